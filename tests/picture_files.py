"""Pictures in the formats that are read: Fashion-MNIST's files with noise in them, a folder."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

COUNT = 30


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(b"\0\0\x08" + bytes([array.ndim]) + sizes + array.tobytes())


def fashion_files(folder: Path, labels: int = COUNT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        pixels = rng.integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(pixels))
        classes = rng.integers(0, 10, labels, dtype=np.uint8)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(classes))
    return folder


def coloured(folder: Path, side: int = 8) -> Path:
    rng = np.random.default_rng(1)
    for i in range(COUNT):
        place = folder / f"class {i % 3}" / f"{i:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(place)
    return folder
