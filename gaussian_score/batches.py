"""Data sets of any kind as blocks of rows, (n, D): arrays, files mapped to memory, loaders.

A block is a view of an array where it can be; nothing else of the data set is kept in memory.
`Reading` goes through the blocks once and notes what a provenance needs.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_score import archive
from gaussian_score.pixel_scale import limits

Rows = NDArray[Any]
Progress = Callable[[int, int | None], None]
"""Called with the samples read so far and, where it is known, with how many there are."""

NUMBERS = 1 << 22  # in a block: 32 MiB as float64


class Reading:
    """The blocks of a data set, once: iterate over (index of the first row, rows, labels).

    Args:
        batches: see `blocks`.
        labels: see `blocks`.
        scale: the pixel scale that data other than bytes are on, or None; see `streaming.stream`.
        progress: called after every block.
    """

    def __init__(
        self,
        batches: Any,
        labels: Any = None,
        *,
        scale: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        if scale is not None:
            limits(scale)
        self.count = 0
        self.scale = scale
        self._source, self._labels, self._progress = batches, labels, progress
        self._digest = hashlib.sha256()
        self._dtype, self._dim = "", 0

    def __iter__(self) -> Iterator[tuple[int, Rows, Rows | None]]:
        size = total(self._source)
        for rows, tags in blocks(self._source, self._labels):
            self._dtype, self._dim = str(rows.dtype), rows.shape[1]
            if rows.dtype == np.uint8:
                self.scale = "0..255"
            elif self.scale is not None:
                self._inside(rows)
            self._digest.update(np.ascontiguousarray(rows).data)
            yield self.count, rows, tags
            self.count += len(rows)
            if self._progress is not None:
                self._progress(self.count, size)

    def provenance(self) -> dict[str, Any]:
        """What was read: count, SHA-256 of the rows, dtype, pixel scale, and the versions."""
        return {
            "count": self.count,
            "sha256": self._digest.hexdigest(),
            "dtype": self._dtype,
            "dim": self._dim,
            "scale": self.scale,
            "covariance": "divided by N",
            "versions": archive.versions(),
        }

    def _inside(self, rows: Rows) -> None:
        low, high = limits(str(self.scale))
        if (rows < low).any() or (rows > high).any():
            sample = self.count + int(np.argmax(((rows < low) | (rows > high)).any(1)))
            raise ValueError(
                f"image {sample} has pixels from {rows.min():.6g} to {rows.max():.6g} around it;"
                f" scale is {self.scale!r}: numbers from {low:g} to {high:g} are allowed"
            )


def blocks(batches: Any, labels: Any = None) -> Iterator[tuple[Rows, Rows | None]]:
    """Blocks (n, D) of rows, in order and in the dtype of the data, with their labels, (n,).

    A block has max(D, 2²²/D) rows, so that a D x D matrix is updated seldom enough.

    Args:
        batches: an array, a memmap or a tensor (N, ...); a torch Dataset; or any iterable of
            batches, each (n, ...) or a tuple that begins with one and, where labels are wanted,
            goes on with (n,) labels (what a torch DataLoader yields).
        labels: (N,), for an array; True: the second entry of every batch; None: no labels.

    Raises:
        ValueError: no rows, batches of different dtype or size, or labels that do not fit.
    """
    held: list[tuple[Rows, Rows | None]] = []
    first: Rows | None = None
    limit = size = 0
    for number, (rows, tags) in enumerate(_pieces(batches, labels)):
        if first is None:
            first = rows
            limit = block_rows(rows.shape[1])
        if rows.dtype != first.dtype or rows.shape[1] != first.shape[1]:
            raise ValueError(
                f"batch {number} has {rows.shape[1]} numbers of dtype {rows.dtype} a sample; "
                f"{first.shape[1]} of dtype {first.dtype}, as in the first, are allowed"
            )
        for start in range(0, len(rows), limit):
            part = slice(start, start + limit)
            held.append((rows[part], None if tags is None else tags[part]))
            size += len(held[-1][0])
            if size >= limit:
                yield _joined(held)
                held, size = [], 0
    if first is None:
        raise ValueError("batches hold no samples; one or more are allowed")
    if held:
        yield _joined(held)


def block_rows(dim: int) -> int:
    """How many rows of D numbers a block has."""
    return max(dim, NUMBERS // dim)


def total(batches: Any) -> int | None:
    """How many samples there are, where that is known beforehand."""
    if isinstance(batches, np.ndarray) or _is_tensor(batches):
        return len(batches)
    held = getattr(batches, "dataset", batches)
    return len(held) if _is_dataset(held) and hasattr(held, "__len__") else None


def repeatable(batches: Any) -> None:
    """Refuse what can be read only once.

    Raises:
        ValueError: batches is an iterator.
    """
    if isinstance(batches, Iterator):
        raise ValueError(
            f"batches is a {type(batches).__name__}, which can be read once; what can be read"
            " again (an array, a list, a DataLoader) is allowed"
        )


def _pieces(batches: Any, labels: Any) -> Iterator[tuple[Rows, Rows | None]]:
    if isinstance(batches, np.ndarray) or _is_tensor(batches):
        tags = None if labels is None else np.asarray(labels)
        step = block_rows(max(1, int(np.prod(batches.shape[1:]))))
        if tags is not None and tags.shape != batches.shape[:1]:
            raise ValueError(
                f"labels have shape {tags.shape}; ({len(batches)},), one a sample, is allowed"
            )
        for start in range(0, len(batches), step):
            part = slice(start, start + step)
            yield _rows(batches[part]), None if tags is None else tags[part]
        return
    single = _is_dataset(batches)
    for number, batch in enumerate(_samples(batches) if single else batches):
        pair = batch if isinstance(batch, tuple | list) else (batch,)
        rows = _rows(_array(pair[0])[None] if single else pair[0])
        if labels is None:
            yield rows, None
            continue
        tags = np.reshape(_array(pair[1]), -1) if len(pair) > 1 else np.empty(0)
        if len(tags) != len(rows):
            raise ValueError(
                f"batch {number} has {len(rows)} samples and {len(tags)} labels; a pair"
                " (samples, labels) of one length is allowed"
            )
        yield rows, tags


def _samples(dataset: Any) -> Iterable[Any]:
    """A Dataset's samples; one with indices need not be iterable."""
    indexed = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    return (dataset[i] for i in range(len(dataset))) if indexed else dataset


def _rows(batch: Any) -> Rows:
    array = _array(batch)
    if array.ndim < 2 or not array[0:1].size or array.dtype.kind not in "fiub":
        raise ValueError(
            f"a batch has shape {array.shape} and dtype {array.dtype}; real numbers of shape"
            " (n, ...) with n >= 1 are allowed"
        )
    return array.reshape(len(array), -1)


def _array(batch: Any) -> Rows:
    if _is_tensor(batch):
        batch = batch.detach().cpu()
        # numpy has no bfloat16
        return (batch.double() if "bfloat16" in str(batch.dtype) else batch).numpy()
    return np.asarray(batch)


def _joined(held: list[tuple[Rows, Rows | None]]) -> tuple[Rows, Rows | None]:
    if len(held) == 1:
        return held[0]
    tags = [t for _, t in held if t is not None]
    return np.concatenate([rows for rows, _ in held]), np.concatenate(tags) if tags else None


def _is_tensor(value: Any) -> bool:
    torch: Any = sys.modules.get("torch")  # a tensor exists only where torch is loaded
    return torch is not None and isinstance(value, torch.Tensor)


def _is_dataset(value: Any) -> bool:
    torch: Any = sys.modules.get("torch.utils.data")
    return torch is not None and isinstance(value, torch.Dataset)
