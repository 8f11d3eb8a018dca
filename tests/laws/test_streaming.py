"""One pass over a data set gives its mean and covariance, however it is cut, wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from gaussian_score import batches
from gaussian_score.batches import Reading
from gaussian_score.moments import Moments
from gaussian_score.streaming import Accumulator, accumulate, stream

EPS = float(np.finfo(np.float64).eps)
Exact = list[list[Fraction]]


def data(n: int, d: int, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return offset + rng.normal(size=(n, d)) @ rng.normal(size=(d, d))


def exact(rows: np.ndarray) -> tuple[list[Fraction], Exact]:
    """Mean and covariance of the very numbers, in rationals."""
    x = [[Fraction(float(v)) for v in row] for row in rows]
    n, d = rows.shape
    m = [sum(row[i] for row in x) / Fraction(n) for i in range(d)]
    c = [
        [sum((r[i] - m[i]) * (r[j] - m[j]) for r in x) / Fraction(n) for j in range(d)]
        for i in range(d)
    ]
    return m, c


def close(sums: Accumulator, rows: np.ndarray, ulps: float = 40) -> bool:
    """To a few ulps of the spread: nothing is lost by the distance from zero."""
    m, c = exact(rows)
    cov = sums.covariance()
    scale = max(float(c[i][i]) for i in range(len(c)))
    # the mean itself is a float64 of its own size
    mean = all(
        abs(Fraction(float(a)) + Fraction(float(s)) - b) <= ulps * EPS * scale**0.5
        for a, s, b in zip(sums.shift, sums.offset, m, strict=True)
    )
    return mean and all(
        abs(Fraction(float(cov[i, j])) - c[i][j]) <= ulps * EPS * scale
        for i in range(len(c))
        for j in range(len(c))
    )


def in_parts(rows: np.ndarray, cuts: list[int]) -> Accumulator:
    parts = [Accumulator.of(p) for p in np.split(rows, sorted(cuts)) if len(p)]
    total = parts[0]
    for part in parts[1:]:
        total = total.merged(part)
    return total


@given(st.data())
def test_any_cut_gives_the_same(draw: st.DataObject) -> None:
    n, d = draw.draw(st.integers(1, 40)), draw.draw(st.integers(1, 3))
    offset = draw.draw(st.sampled_from((0.0, 1e3, 1e8)))
    rows = data(n, d, draw.draw(st.integers(0, 99)), offset)
    cuts = draw.draw(st.lists(st.integers(0, n), max_size=6))
    whole = Accumulator.of(rows)
    cut = in_parts(rows, cuts)
    assert cut.count == n
    scale = max(float(np.diag(whole.covariance()).max()), EPS * offset) + EPS
    # parts with shifts of their own: a few ulps of the spread a merge
    atol = 100 * EPS * scale
    np.testing.assert_allclose(cut.covariance(), whole.covariance(), rtol=0, atol=atol)
    np.testing.assert_allclose(cut.mean, whole.mean, rtol=2 * EPS, atol=100 * EPS * scale**0.5)


@pytest.mark.parametrize("offset", [0, 1e4, 1e8, -3e12])
def test_data_far_from_zero_lose_nothing(offset: float) -> None:
    rows = data(60, 2, 1, offset)
    assert close(Accumulator.of(rows), rows)
    assert close(in_parts(rows, [1, 7, 40]), rows)
    naive = Accumulator(
        60, np.zeros(2), rows.mean(0), rows.T @ rows - 60 * np.outer(*[rows.mean(0)] * 2)
    )
    assert close(naive, rows) == (offset == 0)


def test_a_first_block_unlike_the_rest() -> None:
    rows = np.concatenate([data(10, 2, 2), data(90, 2, 3, 1e6)])
    assert close(in_parts(rows, [10, 40, 70]), rows)


def test_a_part_is_refused_where_it_does_not_fit() -> None:
    with pytest.raises(ValueError, match="^other has 3 coordinates; 2 are allowed"):
        Accumulator.of(data(4, 2)).merged(Accumulator.of(data(4, 3)))


def agree(found: Moments, rows: np.ndarray) -> None:
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    cov = np.cov(flat.T, ddof=0).reshape(flat.shape[1], -1)
    # numpy's own sums differ by as much
    atol = 50 * flat.shape[1] * EPS * max(1.0, float(cov.max()))
    np.testing.assert_allclose(found.mean, flat.mean(0), atol=atol)
    np.testing.assert_allclose(found.covariance(), cov, atol=atol)
    assert found.count == len(rows)


class Pictures(Dataset[Any]):
    """Pairs, one by one."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.tensor(self.rows[index]), index % 3


class Flow(IterableDataset[Any]):
    """Samples that come without an index."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


ROWS = data(70, 12, 5).astype(np.float32).reshape(70, 3, 4)
SOURCES: dict[str, Callable[[Path], Any]] = {
    "array": lambda _: ROWS,
    "not contiguous": lambda _: np.asfortranarray(ROWS),
    "tensor": lambda _: torch.tensor(ROWS, requires_grad=True),
    "list of batches": lambda _: [ROWS[:30], ROWS[30:31], ROWS[31:]],
    "generator": lambda _: (ROWS[i : i + 9] for i in range(0, 70, 9)),
    "loader": lambda _: DataLoader(TensorDataset(torch.tensor(ROWS)), batch_size=16),
    "loader with labels": lambda _: DataLoader(Pictures(ROWS), batch_size=16),
    "dataset": lambda _: Pictures(ROWS),
    "dataset without index": lambda _: Flow(ROWS),
    "memmap": lambda folder: mapped(folder / "rows.npy"),
}


def mapped(file: Path) -> np.ndarray:
    np.save(file, ROWS)
    return np.load(file, mmap_mode="r")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("numbers", [1, 200, 1 << 22])
def test_every_source_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, numbers: int
) -> None:
    """In blocks of 12 rows, of 16, and in one."""
    monkeypatch.setattr(batches, "NUMBERS", numbers)
    found = stream(SOURCES[source](tmp_path))
    agree(found, ROWS)
    digest = stream(ROWS).provenance["sha256"]
    assert found.provenance["sha256"] == digest
    assert digest != stream(ROWS[::-1]).provenance["sha256"]


def test_no_block_is_larger_than_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "NUMBERS", 120)
    for source in (ROWS, iter([ROWS]), [row[None] for row in ROWS]):
        sizes = [len(rows) for rows, _ in batches.blocks(source)]
        assert sum(sizes) == 70
        assert max(sizes) == batches.block_rows(12) == 12


class Watched(np.ndarray):
    """An array that tells how many of its rows are asked for at once."""

    asked: ClassVar[list[int]] = []

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        self.asked.append(len(part))
        return part


def test_no_more_of_an_array_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file in memory's place must not do: one block at most, or all of it is copied."""
    monkeypatch.setattr(batches, "NUMBERS", 120)
    agree(stream(np.asfortranarray(ROWS).view(Watched)), ROWS)
    assert max(Watched.asked) == 12


def test_half_precision_tensors_are_read() -> None:
    agree(stream(torch.tensor(ROWS).bfloat16()), torch.tensor(ROWS).bfloat16().double().numpy())
    agree(stream(torch.tensor(ROWS).half()), torch.tensor(ROWS).half().double().numpy())


def test_bytes_are_summed_as_they_are_and_scaled_once() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 2, 3), dtype=np.uint8)
    agree(stream(pixels), pixels)
    for scale, scaled in (("[-1,1]", pixels / 127.5 - 1), ("[0,1]", pixels / 255)):
        found = stream(pixels, scale=scale)
        agree(found, scaled)
        assert found.provenance["scale"] == scale
    assert stream(pixels).provenance["scale"] == "0..255"


def test_progress_and_provenance() -> None:
    seen: list[tuple[int, int | None]] = []
    found = stream(
        ROWS, progress=lambda done, total: seen.append((done, total)), provenance={"source": "s"}
    )
    assert seen == [(70, 70)]
    stream(iter([ROWS]), progress=lambda done, total: seen.append((done, total)))
    assert seen[1:] == [(70, None)]
    assert found.provenance["source"] == "s"
    assert found.provenance["count"] == 70
    assert found.provenance["versions"]["numpy"] == np.__version__


def test_sums_of_several_processes_are_those_of_one(tmp_path: Path) -> None:
    flat = ROWS.reshape(70, -1)
    for i, part in enumerate(np.split(flat, 5)):
        accumulate(part)[0].save(tmp_path / f"{i}.npz", {"part": i})
    first, *rest = (Accumulator.load(tmp_path / f"{i}.npz") for i in range(5))
    for part in rest:
        first = first.merged(part)
    agree(first.moments(), flat)


def broken(at: int, value: float = np.nan) -> np.ndarray:
    rows = ROWS.copy()
    rows[at, 1, 2] = value
    return rows


REFUSED: list[tuple[str, Callable[[], Any]]] = [
    ("^image 41 is nan at pixel 6", lambda: stream(broken(41))),
    ("^image 0 is nan at pixel 6", lambda: stream(broken(0))),
    ("^image 41 is inf", lambda: stream([broken(41, np.inf)[:40], broken(41, np.inf)[40:]])),
    ("no samples", lambda: stream([])),
    ("no samples", lambda: stream(ROWS[:0])),
    ("batch has shape", lambda: stream([ROWS[:0]])),
    ("batch has shape .*<U1", lambda: stream(np.full((3, 2), "a"))),
    (r"batch has shape \(3,\)", lambda: stream(np.zeros(3))),
    ("batch 1 has 6 numbers", lambda: stream([ROWS, ROWS[:, :2, :3]])),
    ("batch 1 .*float64", lambda: stream([ROWS, ROWS.astype(float)])),
    (r"scale is '\[0;1\]'", lambda: stream(ROWS, scale="[0;1]")),
    (
        r"^image 3 has pixels .*scale is '\[-1,1\]'",
        lambda: stream(np.eye(5) * (1, 1, 1, 2, 1), scale="[-1,1]"),
    ),
]


@pytest.mark.parametrize(("reason", "build"), REFUSED)
def test_bad_input_is_named(reason: str, build: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_the_index_of_a_bad_image_counts_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "NUMBERS", 1)
    with pytest.raises(ValueError, match="^image 41 is nan"):
        stream(broken(41))


def test_one_sample_is_a_law() -> None:
    found = stream(ROWS[:1])
    assert found.trace == 0
    assert found.count == 1


def test_labels_come_with_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "NUMBERS", 1)
    tags = np.arange(70) % 3
    for source, labels in ((ROWS, tags), (DataLoader(Pictures(ROWS), batch_size=16), True)):
        for first, rows, found in Reading(source, labels):
            assert found is not None
            np.testing.assert_array_equal(found, tags[first : first + len(rows)])
    with pytest.raises(ValueError, match=r"labels have shape \(69,\); \(70,\)"):
        next(iter(Reading(ROWS, tags[1:])))
    with pytest.raises(ValueError, match="batch 0 has 70 samples and 0 labels"):
        next(iter(Reading([ROWS], True)))
