r"""Images to train on, one LightningDataModule a source; pixels in [-1, 1], (B, C, H, W).

Batch k holds the images π_e[p mod N] at the places p = k B .. k B + B − 1 of an endless row of
shuffles, e = p // N, π_e a permutation drawn from (seed, e). It depends on nothing but (seed, k),
so a training that goes on at step k sees what it would have seen.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from experiments.fashion import CLASSES, fashion
from experiments.samples import load_samples
from gaussian_score.pixel_scale import limits

HELD_OUT = 10
"""Every tenth image is for validation where a source has no test part of its own."""
Batch = tuple[Tensor, Tensor | None]


@dataclass(frozen=True, eq=False)
class Part(Dataset):
    """Bytes or float32 in [-1, 1], (N, C, H, W), and classes (N,), int64, or None."""

    pixels: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Any) -> Batch:
        """Float32 in [-1, 1] and the classes, of a slice, an index or a list of indices."""
        x = self.pixels[index]
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x
        return x, None if self.labels is None else self.labels[index]

    __getitems__ = __getitem__


@dataclass(frozen=True)
class Steps(Sampler[list[int]]):
    """The batches first .. last − 1 of N = count images."""

    count: int
    batch: int
    seed: int
    first: int
    last: int

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __iter__(self) -> Iterator[list[int]]:
        for k in range(self.first, self.last):
            places = range(k * self.batch, (k + 1) * self.batch)
            yield [
                int(_shuffle(self.count, self.seed, p // self.count)[p % self.count])
                for p in places
            ]


@lru_cache(maxsize=2)
def _shuffle(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


class Pictures(pl.LightningDataModule):
    """A source; ``setup`` reads it and ``begin`` says which batches are wanted.

    Attributes:
        training, validation: after `setup`.
        names: of the classes 0, 1, ..; empty where images have no labels.
    """

    training: Part
    validation: Part
    names: tuple[str, ...] = ()

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self._steps = {"batch": 128, "seed": 0, "first": 0, "last": 0}
        self._ready = False

    @abstractmethod
    def read(self) -> tuple[Part, Part]:
        """Training and validation part; sets ``names``."""

    def setup(self, stage: str | None = None) -> None:
        """Read once.

        Raises:
            ValueError: the source is missing or damaged, or its images have other sizes.
        """
        if not self._ready:
            self.training, self.validation = self.read()
            self._ready = True

    def begin(self, *, batch: int, seed: int, first: int = 0, last: int) -> None:
        """The batches that `train_dataloader` yields: first .. last − 1."""
        self._steps = {"batch": batch, "seed": seed, "first": first, "last": last}

    def train_dataloader(self) -> DataLoader:
        """Batches in their order; see the module's formula."""
        steps = Steps(len(self.training), **self._steps)
        return DataLoader(self.training, batch_sampler=steps, collate_fn=_same)

    def val_dataloader(self) -> DataLoader:
        """The validation part in order."""
        return DataLoader(self.validation, self._steps["batch"], collate_fn=_same)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        channels, rows, columns = self.training.pixels.shape[1:]
        return channels, rows, columns

    def provenance(self) -> dict[str, Any]:
        """Source, counts, shape, classes and SHA-256 of the training part."""
        digest = hashlib.sha256(self.training.pixels.numpy().tobytes())
        if self.training.labels is not None:
            digest.update(self.training.labels.numpy().tobytes())
        return {
            "source": self.source,
            "training": len(self.training),
            "validation": len(self.validation),
            "shape": list(self.shape),
            "classes": list(self.names),
            "sha256": digest.hexdigest(),
        }


def _same(batch: Any) -> Any:
    return batch


class Digits(Pictures):
    """scikit-learn's 1797 digits, 8 x 8 grey."""

    def __init__(self) -> None:
        super().__init__("digits")

    def read(self) -> tuple[Part, Part]:
        """Nine tenths and one tenth."""
        found = load_samples("digits")
        self.names = tuple(str(d) for d in range(10))
        labels = torch.as_tensor(cast(np.ndarray, found.labels), dtype=torch.int64)
        return _split(torch.as_tensor(found.rows, dtype=torch.float32)[:, None], labels)


class Fashion(Pictures):
    """Fashion-MNIST, 28 x 28 grey, or with ``pad`` in a black frame of 32 x 32.

    Args:
        path: the folder of its four files; see `fashion.located` for where it is looked for.
        pad: two black pixels on each side.
        fetch: take it from Debian's package where it is nowhere.
    """

    def __init__(
        self, path: str | Path | None = None, *, pad: bool = False, fetch: bool = True
    ) -> None:
        super().__init__("fashion")
        self.path, self.pad, self.fetch = path, 2 if pad else 0, fetch

    def read(self) -> tuple[Part, Part]:
        """60 000 and 10 000."""
        first, second = fashion(self.path, fetch=self.fetch)
        self.names = CLASSES
        return self._part(*first), self._part(*second)

    def _part(self, pixels: np.ndarray, labels: np.ndarray) -> Part:
        frame = ((0, 0), (self.pad, self.pad), (self.pad, self.pad))
        return Part(
            torch.from_numpy(np.pad(pixels, frame))[:, None],
            torch.from_numpy(labels.astype(np.int64)),
        )


class Folder(Pictures):
    """Pictures of one size in a folder, or in one folder a class; or a .npy, .npz or IDX file.

    All of it is kept in memory, bytes as bytes.
    """

    def read(self) -> tuple[Part, Part]:
        """Nine tenths and one tenth."""
        found = load_samples(self.source)
        if found.scale is None or found.rows.ndim not in (3, 4):
            raise ValueError(
                f"source: {found}; pixels of shape (N, H, W) or (N, H, W, C) are allowed"
            )
        rows = np.array(found.rows)
        x = torch.from_numpy(rows[:, None] if rows.ndim == 3 else rows.transpose(0, 3, 1, 2))
        if rows.dtype != np.uint8:
            low, high = limits(found.scale)
            x = (x.double() - low) / (high - low) * 2 - 1
            x = x.float()
        labels = None
        if found.labels is not None:
            names, places = np.unique(found.labels, return_inverse=True)
            self.names = tuple(str(name) for name in names)
            labels = torch.from_numpy(places.astype(np.int64))
        return _split(x.contiguous(), labels)


def _split(x: Tensor, labels: Tensor | None) -> tuple[Part, Part]:
    """A tenth drawn once and for all, so that no seed trains on another's validation images."""
    if len(x) < HELD_OUT:
        raise ValueError(f"source: {len(x)} images; {HELD_OUT} or more are allowed")
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(x)))
    held, rest = (place.sort().values for place in order.tensor_split([len(x) // HELD_OUT]))

    def part(places: Tensor) -> Part:
        return Part(x[places], None if labels is None else labels[places])

    return part(rest), part(held)


def pictures(data: str, *, pad: bool = False) -> Pictures:
    """The module of "digits", "fashion", or a path.

    Raises:
        ValueError: pad for anything but Fashion-MNIST.
    """
    if pad and data != "fashion":
        raise ValueError(f"pad: got True for {data!r}; it is allowed for 'fashion'")
    return {"digits": Digits, "fashion": lambda: Fashion(pad=pad)}.get(
        data, lambda: Folder(str(data))
    )()
