"""Fashion-MNIST's four files: named, installed, or taken from Debian's package without root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from experiments import cache
from experiments.data import (
    FASHION_ENV,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    images_file,
    read_idx,
    read_labels,
)

PACKAGE = "dataset-fashion-mnist"
INSIDE = Path("usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
TEST_IMAGES, TEST_LABELS = (
    tuple(name.replace("train", "t10k") for name in names)
    for names in (TRAIN_IMAGES, TRAIN_LABELS)
)
Part = tuple[np.ndarray, np.ndarray]


def fashion(path: str | Path | None = None, *, fetch: bool = True) -> tuple[Part, Part]:
    """Training and test part, each of bytes (N, 28, 28) and classes (N,).

    Raises:
        ValueError: a file is not there, damaged, or has another number of labels than images.
    """
    folder = located(path, fetch=fetch).parent
    parts = (TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)
    return _part(folder, *parts[0]), _part(folder, *parts[1])


def located(path: str | Path | None = None, *, fetch: bool = True) -> Path:
    """The file of training images: of the path, of SCOREPROOF_FASHION, of Debian, of the cache.

    Where it is in none of these, ``fetch`` has apt-get download the package into the cache.
    """
    if path is not None or os.environ.get(FASHION_ENV):
        return _named(path)
    try:
        return _named(None)
    except ValueError:
        kept = cache.place("fashion", {}).parent / "fashion-mnist"
    if images_file(kept) is None:
        if not fetch:
            return _named(None)
        _fetch(kept)
    found = images_file(kept)
    assert found is not None
    return found


def _named(path: str | Path | None) -> Path:
    found = images_file("fashion", path)
    assert found is not None  # `images_file` raises where Fashion-MNIST is missing
    return found


def _fetch(kept: Path) -> None:
    """Download, unpack, and give the folder its name when it is complete."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fashion-") as place:
        _called(["apt-get", "download", PACKAGE], place)
        debs = sorted(Path(place).glob(f"{PACKAGE}_*.deb"))
        if not debs:
            raise ValueError(f"{_MISSING} (apt-get download left no {PACKAGE}_*.deb)")
        _called(["dpkg-deb", "-x", debs[0].name, "unpacked"], place)
        unpacked = Path(place) / "unpacked" / INSIDE
        if images_file(unpacked) is None:
            raise ValueError(f"{_MISSING} (the package has no {INSIDE / TRAIN_IMAGES[0]})")
        shutil.rmtree(kept, ignore_errors=True)
        unpacked.rename(kept)


_MISSING = (
    f"source: Fashion-MNIST is not on this machine and cannot be fetched; a path, {FASHION_ENV}"
    f" or the Debian package {PACKAGE} is allowed"
)


def _called(command: list[str], place: str) -> None:
    try:
        subprocess.run(command, cwd=place, check=True, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise ValueError(f"{_MISSING} ({' '.join(command[:2])}: {said[-1]})") from None


def _part(folder: Path, images: tuple[str, ...], labels: tuple[str, ...]) -> Part:
    file = next((folder / name for name in images if (folder / name).is_file()), None)
    classes = None if file is None else read_labels(file, labels)
    if file is None or classes is None:
        missing = (images if file is None else labels)[0]
        raise ValueError(f"{folder}: has no {missing}; Fashion-MNIST's four files are allowed")
    pixels = read_idx(file)
    if len(classes) != len(pixels):
        raise ValueError(
            f"{folder}: has {len(pixels)} images and {len(classes)} labels; one an image is"
            " allowed"
        )
    return pixels, classes
