"""Files as galaxygrad's, of a small network with drawn weights, and a study of it in small."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIDE, PATCH, WIDTH, INNER, BLOCKS = 8, 4, 6, 10, 2
COUNT = (SIDE // PATCH) ** 2


def leaves(seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """Arrays of a small network, as Equinox lays them."""
    draw = np.random.default_rng(seed)
    shapes: list[tuple[int, ...]] = [(WIDTH, 2, PATCH, PATCH), (WIDTH, 1, 1)]
    shapes += [(1, WIDTH, PATCH, PATCH), (1, 1, 1)]
    for _ in range(BLOCKS):
        for n in (COUNT, WIDTH):
            shapes += [(INNER, n), (INNER,), (n, INNER), (n,)]
        shapes += [(WIDTH, COUNT)] * 2 + [(COUNT, WIDTH)] * 2
    shapes += [(WIDTH, COUNT)] * 2
    out = [0.3 * draw.standard_normal(s).astype(np.float32) for s in shapes]
    return [*out, np.array(10.0)]


def write(file: Path, arrays: Sequence[np.ndarray[Any, Any]]) -> Path:
    with file.open("wb") as stream:
        for array in arrays:
            np.save(stream, array)
    return file


STUDY = """
kind = "galaxies"
name = "small"
methods = ["ddim"]
steps = [8, 64]
samples = 4
converged = 0.01
draws = 6
points = 4
levels = [0.3, 3.0]
"""
