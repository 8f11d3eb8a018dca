"""Moments in one pass and eigenbases: seconds of one thread, and memory beyond the data.

Each figure is measured in a process of its own, whose high-water mark of memory counts what BLAS
and LAPACK allocate; the data are random and lie in memory before the clock starts.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from experiments.bench.row import Row
from gaussian_score.eigenbasis import leading
from gaussian_score.moments import Moments
from gaussian_score.streaming import stream

STATUS = Path("/proc/self/status")
IMAGES, PIXELS = 60_000, 784
SAMPLES, DIM, RANK = 10_000, 3_072, 128
Figures = tuple[float, float, str]
"""Seconds, MiB beyond the data, and a note."""


def rows() -> list[Row]:
    """The figures, about half a minute."""
    found: list[Row] = []
    for name, measure in MEASURES.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory, note = pool.apply(measure)
        found += [
            Row(f"{name}: time", seconds, "s", note),
            Row(f"{name}: memory beyond the data", memory, "MiB", note),
        ]
    return found


def peak() -> float:
    """The most memory that this process has had, MiB."""
    if STATUS.exists():  # getrusage would count the parent's before exec as well
        line = next(t for t in STATUS.read_text().splitlines() if t.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measured(work: Callable[[], Moments], note: Callable[[Moments], str]) -> Figures:
    """One call on one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        before, start = peak(), time.perf_counter()
        moments = work()
        return time.perf_counter() - start, peak() - before, note(moments)


def images(dtype: str, count: int = IMAGES) -> Figures:
    """Mean, covariance and eigenvectors of 60,000 images of 784 pixels, read once."""
    rng = np.random.default_rng(0)
    pixels = np.empty((count, PIXELS), dtype)
    for block in np.array_split(pixels, 60):
        block[:] = rng.integers(0, 256, block.shape, dtype=np.uint8)
    return measured(
        lambda: stream(pixels),
        lambda m: f"{count} x {PIXELS} {dtype}, float64 sums, SHA-256, eigh",
    )


def decaying() -> np.ndarray:
    """10,000 x 3,072 float32 samples whose variances fall like k^(−3/2), mixed."""
    rng = np.random.default_rng(0)
    spread = 10 / np.arange(1, DIM + 1, dtype=np.float32) ** 0.75
    x = rng.standard_normal((SAMPLES, DIM), dtype=np.float32)
    # a random reflection: eigenvectors that are not the coordinates
    v = rng.standard_normal(DIM, dtype=np.float32)
    v *= np.sqrt(2 / (v @ v))
    for block in np.array_split(x, 100):  # nothing of the size of the data beside it
        block *= spread
        block -= np.outer(block @ v, v)
    return x


def full() -> Figures:
    """Covariance and all eigenvectors in 3,072 dimensions."""
    x = decaying()
    return measured(lambda: stream(x), lambda m: f"{SAMPLES} x {DIM}, streamed, eigh")


def low_rank() -> Figures:
    """The leading eigenvectors in 3,072 dimensions, without the covariance."""
    x = decaying()
    return measured(
        lambda: leading(x, RANK),
        lambda m: (
            f"{SAMPLES} x {DIM}, rank {RANK}, LOBPCG, residual "
            f"{m.provenance['truncated']['residual'] / m.trace:.1e} of tr Σ"
        ),
    )


MEASURES: dict[str, Callable[[], Figures]] = {
    "moments of 60,000 x 784 bytes": partial(images, "uint8"),
    "moments of 60,000 x 784 floats": partial(images, "float32"),
    "eigenbasis in 3,072 dimensions": full,
    "leading eigenvectors in 3,072 dimensions": low_rank,
}
