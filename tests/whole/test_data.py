"""Real images are read exactly or refused by name; their mixture is a law, always the same."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import cache, data
from experiments.data import Images, Mixture, fit_mixture, load_images, pool, read_idx

PIXELS = np.arange(5 * 6 * 6, dtype=np.uint8).reshape(5, 6, 6)


def idx(pixels: np.ndarray) -> bytes:
    sizes = b"".join(n.to_bytes(4, "big") for n in pixels.shape)
    return b"\0\0\x08" + bytes([pixels.ndim]) + sizes + pixels.tobytes()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def fashion_folder(tmp_path: Path) -> Path:
    write(tmp_path / "train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS)))
    return tmp_path


@pytest.fixture
def no_fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.FASHION_ENV, raising=False)
    monkeypatch.setattr(data, "DEBIAN_FASHION", tmp_path / "nowhere")


def blobs(count: int = 300) -> Images:
    """Two clusters of 2 x 2 pictures, far apart, of known spread."""
    rng = np.random.default_rng(1)
    centres = np.where(rng.random((count, 1, 1)) < 0.25, -0.5, 0.5)
    return Images(centres + 0.05 * rng.standard_normal((count, 2, 2)), "blobs")


def test_digits() -> None:
    images = load_images()
    assert images.pixels.shape == (1797, 8, 8)
    assert images.pixels.min() == -1
    assert images.pixels.max() == 1


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_idx_is_read_exactly(tmp_path: Path, compress) -> None:
    file = write(tmp_path / "images", compress(idx(PIXELS)))
    np.testing.assert_array_equal(read_idx(file), PIXELS)
    np.testing.assert_array_equal(load_images(file).pixels, PIXELS / 127.5 - 1)


GOOD = idx(PIXELS)
HUGE = b"\0\0\x08\x03" + b"\xff" * 12
HOSTILE = {
    "empty": (b"", "must begin with"),
    "text": (b"these are no pictures at all", "must begin with"),
    "labels": (b"\0\0\x08\x01" + GOOD[4:], "must begin with"),
    "floats": (b"\0\0\x0d\x03" + GOOD[4:], "must begin with"),
    "head only": (GOOD[:10], "must begin with"),
    "short": (GOOD[:-1], "only 179"),
    "long": (GOOD + b"\0", "holds more"),
    "says far too much": (HUGE, "images"),
    "square but huge": (b"\0\0\x08\x03" + b"\0\0\xff\xff" * 3, "256 MiB"),
    "no images": (idx(PIXELS[:0]), "one or more"),
    "oblong": (idx(PIXELS[:, :3]), "square"),
    "cut gzip": (gzip.compress(GOOD)[:-9], "cannot be read"),
    "broken gzip": (gzip.compress(GOOD)[:10] + b"\xff" * 40, "cannot be read"),
    "wrong checksum": (gzip.compress(GOOD)[:-8] + b"\0" * 8, "cannot be read"),
    "gzip of text": (gzip.compress(b"these are no pictures"), "must begin with"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_by_name(tmp_path: Path, case: str) -> None:
    content, reason = HOSTILE[case]
    file = write(tmp_path / "hostile.gz", content)
    with pytest.raises(ValueError, match=reason) as caught:
        load_images(file)
    assert str(file) in str(caught.value)


def test_fashion_is_looked_for_in_order(
    fashion_folder: Path, no_fashion: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="Tried, in order") as caught:
        load_images("fashion")
    for place in ("path", data.FASHION_ENV, str(data.DEBIAN_FASHION), "digits"):
        assert place in str(caught.value)
    monkeypatch.setattr(data, "DEBIAN_FASHION", fashion_folder)
    assert load_images("fashion").pixels.shape == PIXELS.shape
    # What the user names wins, and is never silently passed over.
    monkeypatch.setenv(data.FASHION_ENV, str(fashion_folder / "missing"))
    with pytest.raises(ValueError, match=f"^{data.FASHION_ENV}: .*missing"):
        load_images("fashion")
    assert load_images("fashion", fashion_folder).source == "fashion"
    with pytest.raises(ValueError, match="^path: .*elsewhere"):
        load_images("fashion", fashion_folder / "elsewhere")


def test_unknown_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^source: .*cifar.* 'digits' nor 'fashion'"):
        load_images("cifar")
    with pytest.raises(ValueError, match="^path: only source 'fashion'"):
        load_images("digits", tmp_path)


def test_pooling_is_the_block_mean() -> None:
    pixels = np.array([[[1.0, 3.0], [5.0, 7.0]]])
    np.testing.assert_array_equal(pool(pixels, 1), [[[4.0]]])
    np.testing.assert_array_equal(pool(pixels, 2), pixels)
    with pytest.raises(ValueError, match="^size: must be a divisor of the images' side 6; got 4"):
        pool(np.zeros((1, 6, 6)), 4)


def is_a_law(mixture: Mixture, floor: float) -> bool:
    """Weights sum to one and no eigenvalue lies below the floor, both to rounding."""
    total = abs(mixture.weights.sum() - 1) <= 4 * np.finfo(float).eps
    eigenvalues = np.linalg.eigvalsh(mixture.covs)
    # A symmetric eigenvalue is computed to a few ulps of the largest one.
    slack = 16 * np.finfo(float).eps * eigenvalues.max()
    return bool(total and (mixture.weights > 0).all() and eigenvalues.min() >= floor - slack)


def test_the_fit_finds_known_clusters() -> None:
    mixture = fit_mixture(blobs(), components=2, floor=1e-6)
    light, heavy = np.argsort(mixture.weights)
    # 300 draws: the share has standard error 0.025 and the means 0.006; four of each.
    assert abs(mixture.weights[light] - 0.25) < 0.1
    np.testing.assert_allclose(mixture.means[light], -0.5, atol=0.024)
    np.testing.assert_allclose(mixture.means[heavy], 0.5, atol=0.024)
    assert mixture.provenance["converged"] is True


def test_digits_give_a_law_and_the_law_can_fail() -> None:
    mixture = fit_mixture(load_images(), floor=1e-3)
    assert mixture.covs.shape == (12, 64, 64)
    assert is_a_law(mixture, 1e-3)
    assert not is_a_law(mixture, 2e-3)
    assert mixture.provenance["source"] == "digits"
    assert mixture.provenance["count"] == 1797
    with pytest.raises(ValueError, match="read-only"):
        mixture.means[0] = 0


def test_the_fit_is_deterministic_and_the_cache_is_exact() -> None:
    fresh = [fit_mixture(blobs(), components=3, cache=cache) for cache in (False, True)]
    cached = fit_mixture(blobs(), components=3)
    for other in (fresh[1], cached):
        assert other.provenance == fresh[0].provenance
        for name in ("weights", "means", "covs"):
            np.testing.assert_array_equal(getattr(other, name), getattr(fresh[0], name))


def test_the_cache_is_read_keyed_and_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.CACHE_ENV, str(tmp_path / "cache"))
    first = fit_mixture(blobs(), components=2)
    (file,) = (tmp_path / "cache").iterdir()

    def never(*_: object) -> Mixture:
        raise AssertionError("the cache was not read")

    with monkeypatch.context() as patch:
        patch.setattr(data, "_fit", never)
        fit_mixture(blobs(), components=2)
        changes: list[dict[str, Any]] = [{"seed": 1}, {"floor": 1e-2}, {"limit": 200}, {"size": 1}]
        for change in changes:
            with pytest.raises(AssertionError, match="not read"):
                fit_mixture(blobs(), components=2, **change)
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(fit_mixture(blobs(), components=2).means, first.means)
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.CACHE_ENV, str(write(tmp_path / "file", b"")))
    assert len(fit_mixture(blobs(), components=2).weights) == 2


def test_what_was_changed_is_stated() -> None:
    mixture = fit_mixture(blobs(), components=2, size=1, limit=100)
    assert mixture.covs.shape == (2, 1, 1)
    stated = {k: mixture.provenance[k] for k in ("side", "side_of_source", "count", "available")}
    assert stated == {"side": 1, "side_of_source": 2, "count": 100, "available": 300}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("components", 0),
        ("components", 301),
        ("components", 2.5),
        ("floor", 0.0),
        ("floor", float("nan")),
        ("floor", float("inf")),
        ("seed", -1),
        ("size", 0),
        ("limit", 0),
    ],
)
def test_bad_arguments_are_named(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{argument}: "):
        fit_mixture(blobs(), **{"components": 2, argument: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pixels", [np.zeros((0, 2, 2)), np.zeros((3, 2)), np.full((1, 1, 1), np.nan)]
)
def test_bad_images_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="^pixels: "):
        Images(pixels, "array")


@pytest.mark.skipif(not data.DEBIAN_FASHION.is_dir(), reason="dataset-fashion-mnist is not here")
def test_the_real_fashion_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.FASHION_ENV, raising=False)
    images = load_images("fashion")
    assert images.pixels.shape == (60000, 28, 28)
    # The published mean of the training set, 72.94 of 255.
    assert round((images.pixels.mean() + 1) * 127.5, 2) == 72.94
    mixture = fit_mixture(images, size=7, limit=1500)
    assert is_a_law(mixture, 1e-3)
    assert mixture.covs.shape == (12, 49, 49)
