r"""Real images and a mixture fitted to them:  p(x) = Σ_k w_k N(x; m_k, C_k), all C_k ⪰ floor I.

The mixture is the law that solvers are measured on: its score is known exactly, its means and
covariances come from pictures. Nothing is downloaded; what is not on the machine is named.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from experiments import cache as kept
from gaussian_score.fits import MAX_ITERATIONS, expectation_maximisation

FASHION_ENV = "SCOREPROOF_FASHION"
ARRAYS = ("weights", "means", "covs")
RESULT = ("log_likelihood_per_sample", "converged", "iterations", "smallest_eigenvalue")
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
TRAIN_IMAGES = ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte")
TRAIN_LABELS = ("train-labels-idx1-ubyte.gz", "train-labels-idx1-ubyte")


@dataclass(frozen=True)
class Images:
    """Square grey images in [-1, 1], shape (count, side, side), with where they come from."""

    pixels: np.ndarray
    source: str

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        square = len(shape) == 3 and shape[1] == shape[2] and self.pixels.size > 0
        _check("pixels", shape, "of shape (count, side, side), one image or more", square)
        finite = bool(np.isfinite(self.pixels).all())
        _check("pixels", self.source, "finite everywhere", finite)


@dataclass(frozen=True)
class Mixture:
    """Weights (K,), means (K, D) and covariances (K, D, D), read-only, and how they were found."""

    weights: np.ndarray
    means: np.ndarray
    covs: np.ndarray
    provenance: dict[str, Any]


def load_images(source: str | Path = "digits", path: str | Path | None = None) -> Images:
    """The images of a named source, or of an IDX file (gzipped or not) or its folder.

    Args:
        source: "digits" (scikit-learn, 8 x 8), "fashion" (Fashion-MNIST, 28 x 28), or a path.
        path: for "fashion": where it lies. Without it the environment variable
            SCOREPROOF_FASHION is asked, then the place where Debian's package puts it.
    """
    if path is not None and source != "fashion":
        raise ValueError(f"path: only source 'fashion' takes a path; got source {str(source)!r}")
    if source == "digits":
        from sklearn.datasets import load_digits

        return Images(np.asarray(cast(Any, load_digits()).images) / 8 - 1, "digits")
    if source == "fashion":
        return _grey(_fashion_file(path), "fashion")
    file = _images_file(Path(source))
    if file is None:
        raise ValueError(
            f"source: {str(source)!r} is neither 'digits' nor 'fashion' nor an IDX file nor a "
            f"folder with {TRAIN_IMAGES[0]}"
        )
    return _grey(file, file.name)


def images_file(source: str | Path, path: str | Path | None = None) -> Path | None:
    """The IDX file of "fashion", looked for as `load_images` does, or of a path; None: no such."""
    return _fashion_file(path) if source == "fashion" else _images_file(Path(source))


def read_labels(images: Path, names: Sequence[str] = TRAIN_LABELS) -> np.ndarray | None:
    """The uint8 classes, (count,), in the IDX file beside one of images; None without one."""
    beside = (images.with_name(name) for name in names)
    file = next((file for file in beside if file.is_file()), None)
    return None if file is None else read_idx(file, _parse_labels)


def read_idx(
    path: str | Path, parse: Callable[[BinaryIO, Path], np.ndarray] | None = None
) -> np.ndarray:
    """The uint8 images of an IDX file: bytes 0 0 8 3, three big-endian sizes, the pixels."""
    path, parse = Path(path), parse or _parse_idx
    try:
        with open(path, "rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not gzipped:
                return parse(raw, path)
            with gzip.open(raw) as stream:
                return parse(cast(BinaryIO, stream), path)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read as IDX: {error}") from error


def fit_mixture(
    images: Images,
    components: int = 12,
    floor: float = 1e-3,
    seed: int = 0,
    size: int = 14,
    limit: int = 5000,
    cache: bool = True,
) -> Mixture:
    """The full-covariance mixture found by expectation maximisation, the same on every call.

    Args:
        images: what to fit; see `load_images`.
        components: the number K of Gaussians.
        floor: added to every variance in each step, so no eigenvalue is smaller (to rounding);
            the default is about the rounding variance of 17 grey levels in [-1, 1].
        seed: of the draw of images and of the start.
        size: larger images are average-pooled to size x size, which changes the law that is
            fitted: the provenance says so. The side of the images must be a multiple of it.
        limit: how many images are used at most, drawn without replacement.
        cache: keep the result in the user's cache folder (SCOREPROOF_CACHE moves it).
    """
    available, side = images.pixels.shape[:2]
    for name, value in {"components": components, "size": size, "limit": limit}.items():
        _check(name, value, "an integer >= 1", isinstance(value, int) and value >= 1)
    _check("seed", seed, "an integer >= 0", isinstance(seed, int) and seed >= 0)
    _check("floor", floor, "a finite number > 0", 0 < floor < np.inf)
    pixels = images.pixels
    if available > limit:
        chosen = np.random.default_rng(seed).choice(available, limit, replace=False)
        pixels = pixels[np.sort(chosen)]
    if components > len(pixels):
        raise ValueError(
            f"components: {components} Gaussians need as many images; got {len(pixels)}"
        )
    law: dict[str, Any] = {
        "source": images.source,
        "sha256": hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest(),
        "count": len(pixels),
        "available": available,
        "side": min(side, size),
        "side_of_source": side,
        "components": components,
        "floor": floor,
        "seed": seed,
        "max_iterations": MAX_ITERATIONS,
        "numpy": np.__version__,
        "scikit-learn": version("scikit-learn"),
    }
    file = kept.place("mixture", law) if cache else None
    stored = kept.load(file, ARRAYS) if file else None
    if stored is not None:
        weights, means, covs = (stored[0][name] for name in ARRAYS)
        return _frozen(weights, means, covs, stored[1])
    points = (pool(pixels, size) if side > size else pixels).reshape(len(pixels), -1)
    fitted = _fit(points, components, floor, seed, law)
    if file:
        kept.store(file, {name: getattr(fitted, name) for name in ARRAYS}, fitted.provenance)
    return fitted


def pool(pixels: np.ndarray, size: int) -> np.ndarray:
    """Means over equal square blocks: (count, side, side) -> (count, size, size)."""
    count, side = pixels.shape[:2]
    _check("size", size, f"a divisor of the images' side {side}", size >= 1 and side % size == 0)
    return pixels.reshape(count, size, side // size, size, side // size).mean((2, 4))


def _fit(points: np.ndarray, components: int, floor: float, seed: int, law: dict) -> Mixture:
    fit = expectation_maximisation(points, components, ridge=floor, seed=seed)
    result = {name: fit.provenance[name] for name in RESULT}
    return _frozen(fit.weights, fit.means, fit.covs, law | result)


def _frozen(weights: np.ndarray, means: np.ndarray, covs: np.ndarray, provenance: dict) -> Mixture:
    for array in (weights, means, covs):
        array.flags.writeable = False
    return Mixture(weights, means, covs, provenance)


def _grey(file: Path, source: str) -> Images:
    """Bytes 0..255 as numbers -1..1."""
    return Images(read_idx(file) / 127.5 - 1, source)


def _parse_idx(stream: BinaryIO, path: Path) -> np.ndarray:
    head = stream.read(16)
    if len(head) < 16 or head[:4] != b"\0\0\x08\x03":
        raise ValueError(
            f"{path}: not an IDX file of grey images: it must begin with the bytes 0 0 8 3 and "
            f"three sizes; it begins with {list(head[:4])}"
        )
    count, rows, columns = (int.from_bytes(head[i : i + 4], "big") for i in (4, 8, 12))
    if not (count >= 1 and rows == columns >= 1):
        raise ValueError(
            f"{path}: must hold square images, one or more; it says {count} of {rows} x {columns}"
        )
    expected = count * rows * columns
    if expected > 1 << 28:
        raise ValueError(
            f"{path}: says {count} images of {rows} x {columns}; at most 256 MiB is read"
        )
    body = stream.read(expected + 1)
    if len(body) != expected:
        found = "more" if len(body) > expected else f"only {len(body)}"
        raise ValueError(
            f"{path}: {count} images of {rows} x {columns} are {expected} bytes; it holds {found}"
        )
    return np.frombuffer(body, np.uint8).reshape(count, rows, columns)


def _parse_labels(stream: BinaryIO, path: Path) -> np.ndarray:
    """Bytes 0 0 8 1, one big-endian size, the classes."""
    head, body = stream.read(8), stream.read(1 << 28)
    count = int.from_bytes(head[4:], "big")
    if len(head) < 8 or head[:4] != b"\0\0\x08\x01" or len(body) != count:
        raise ValueError(
            f"{path}: not an IDX file of labels: it must begin with the bytes 0 0 8 1 and hold as "
            f"many bytes as it says; it begins with {list(head[:4])}, says {count}, holds "
            f"{len(body)}"
        )
    return np.frombuffer(body, np.uint8)


def _images_file(place: Path) -> Path | None:
    """The file itself, or the training images inside a folder."""
    candidates = [place, *(place / name for name in TRAIN_IMAGES)]
    return next((file for file in candidates if file.is_file()), None)


def _fashion_file(path: str | Path | None) -> Path:
    """What the user names wins and must exist; only then is Debian's place looked at."""
    named = [("path", path), (FASHION_ENV, os.environ.get(FASHION_ENV)), ("", DEBIAN_FASHION)]
    origin, place = next((o, Path(p)) for o, p in named if p)
    file = _images_file(place)
    if file is not None:
        return file
    if origin:
        raise ValueError(
            f"{origin}: no Fashion-MNIST: neither {place} nor {place / TRAIN_IMAGES[0]} is a file"
        )
    raise ValueError(
        "source: Fashion-MNIST is not on this machine. Tried, in order: path (not given), "
        f"{FASHION_ENV} (not set), {place} (no {TRAIN_IMAGES[0]}; the Debian package "
        "dataset-fashion-mnist puts it there). Or use the source 'digits'."
    )


def _check(name: str, value: Any, allowed: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name}: must be {allowed}; got {value!r}")
