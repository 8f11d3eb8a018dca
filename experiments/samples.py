"""Samples that statistics are made of: a named source, .npy, .npz, IDX, or a folder of pictures.

They stay on the pixel scale on which they lie, bytes as bytes; the scale is found and said.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.data import images_file, load_images, read_idx, read_labels
from gaussian_score.pixel_scale import limits

NAMES = ("images", "x", "data", "arr_0")
LABELS = ("labels", "y")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
MODES = ("1", "L", "P", "RGB")  # what eight bits a channel hold whole


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows (N, ...), numbers of any dtype, with their labels, (N,), where there are some.

    Attributes:
        low: the smallest number found.
        high: the largest.
        scale: the pixel scale of bytes, or the smallest that holds all numbers; None: none does.
    """

    rows: np.ndarray
    labels: np.ndarray | None
    source: str
    low: float
    high: float
    scale: str | None

    def __str__(self) -> str:
        """One line: what was found."""
        shape = " x ".join(map(str, self.rows.shape[1:]))
        what = "no pixel scale" if self.scale is None else f"pixels on {self.scale}"
        return (
            f"{self.source}: {len(self.rows)} samples of {shape}, {self.rows.dtype} from"
            f" {self.low:.4g} to {self.high:.4g}: {what}"
        )


def load_samples(source: str | Path, path: str | Path | None = None) -> Samples:
    """Samples of a source.

    Args:
        source: "digits" or "fashion", as `data.load_images` has them; or the path of a .npy file
            (N, ...), which is not read into memory; a .npz file with an array named images, x or
            data, or one array alone, and with labels or y if it likes; an IDX file or its folder;
            or a folder of pictures of one size, or of folders of such, named by class.
        path: for "fashion": where it lies.

    Raises:
        ValueError: none of these, or numbers that are NaN or no numbers.
    """
    place = Path(source)
    if source == "digits":
        from sklearn.datasets import load_digits

        return _found(load_images("digits").pixels, load_digits(return_X_y=True)[1], "digits")
    if place.suffix == ".npy":
        return _found(_array_file(place), None, place.name)
    if place.suffix == ".npz":
        return _found(*_archive(place), place.name)
    idx = images_file(source, path)
    if idx is not None:
        return _found(read_idx(idx), read_labels(idx), str(source) if idx != place else place.name)
    if place.is_dir():
        return _found(*_pictures(place), place.name)
    raise ValueError(
        f"source: {str(source)!r} is neither 'digits' nor 'fashion' nor a .npy, .npz or IDX file"
        " nor a folder of pictures"
    )


def _found(rows: np.ndarray, labels: np.ndarray | None, source: str) -> Samples:
    if rows.ndim < 2 or not rows.size or rows.dtype.kind not in "fiu":
        raise ValueError(
            f"source: {source} has shape {rows.shape} and dtype {rows.dtype}; numbers of shape"
            " (N, ...) are allowed"
        )
    if labels is not None and labels.shape != rows.shape[:1]:
        raise ValueError(
            f"source: {source} has {len(rows)} samples and labels of shape {labels.shape};"
            " one a sample is allowed"
        )
    low, high = float(rows.min()), float(rows.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = next(i for i, row in enumerate(rows) if not np.isfinite(row).all())
        raise ValueError(f"source: {source} has NaN or infinity in image {bad}")
    holding = [s for s in ("[0,1]", "[-1,1]", "0..255") if _holds(s, low, high)]
    scale = "0..255" if rows.dtype == np.uint8 else next(iter(holding), None)
    return Samples(rows, labels, source, low, high, scale)


def _holds(scale: str, low: float, high: float) -> bool:
    return limits(scale)[0] <= low and high <= limits(scale)[1]


def _array_file(place: Path) -> np.ndarray:
    try:
        return np.load(place, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"source: {place} cannot be read as .npy: {error}") from None


def _archive(place: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with np.load(place, allow_pickle=False) as file:
            name = next((n for n in NAMES if n in file), None)
            if name is None:
                raise ValueError(f"its arrays are {', '.join(file)}; images is looked for")
            labels = next((file[n] for n in LABELS if n in file), None)
            return file[name], labels
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"source: {place} cannot be read as .npz: {error}") from None


def _pictures(folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Every picture below the folder, in the order of their names; classes are folders."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in PICTURES)
    if not files:
        raise ValueError(f"source: {folder} has no pictures ({', '.join(PICTURES)})")
    first = _picture(files[0])
    rows = np.empty((len(files), *first.shape), np.uint8)
    for i, file in enumerate(files):
        pixels = _picture(file)
        if pixels.shape != first.shape:
            raise ValueError(
                f"source: {file} is of shape {pixels.shape} and {files[0]} of {first.shape};"
                " pictures of one shape are allowed"
            )
        rows[i] = pixels
    nested = all(f.parent != folder for f in files)
    return rows, np.array([f.parent.name for f in files]) if nested else None


def _picture(file: Path) -> np.ndarray:
    from PIL import Image  # comes with matplotlib

    try:
        with Image.open(file) as image:
            if image.mode not in MODES:
                raise ValueError(f"its mode is {image.mode}; {', '.join(MODES)} are allowed")
            return np.asarray(image.convert("RGB" if image.mode in ("P", "RGB") else "L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"source: {file} cannot be read as a picture: {error}") from None
