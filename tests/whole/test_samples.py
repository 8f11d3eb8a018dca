"""Samples of every source are read exactly, on the scale on which they lie, or refused by name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import data
from experiments.bench import moments as bench
from experiments.data import read_labels
from experiments.samples import Samples, load_samples
from gaussian_score.class_moments import class_moments
from gaussian_score.streaming import stream

PIXELS = np.arange(5 * 6 * 6, dtype=np.uint8).reshape(5, 6, 6)
CLASSES = np.array([3, 0, 3, 1, 0], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + sizes + array.tobytes()


def pictures(folder: Path, colour: bool = False) -> None:
    for i, (pixels, label) in enumerate(zip(PIXELS, CLASSES, strict=True)):
        place = folder / f"class {label}" / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([pixels] * 3, -1) if colour else pixels).save(place)


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", PIXELS)
    return folder / "a.npy"


def npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", images=PIXELS, labels=CLASSES)
    return folder / "a.npz"


def idx_folder(folder: Path) -> Path:
    (folder / "train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(CLASSES)))
    return folder


SOURCES: dict[str, tuple[Callable[[Path], Path], bool]] = {
    ".npy": (npy, False),
    ".npz": (npz, True),
    "folder of IDX": (idx_folder, True),
    "IDX": (lambda folder: idx_folder(folder) / "train-images-idx3-ubyte", True),
}


@pytest.mark.parametrize("source", SOURCES)
def test_files_are_read_exactly(tmp_path: Path, source: str) -> None:
    write, labelled = SOURCES[source]
    found = load_samples(write(tmp_path))
    np.testing.assert_array_equal(found.rows, PIXELS)
    assert found.rows.dtype == np.uint8
    assert (found.low, found.high, found.scale) == (0, 179, "0..255")
    assert (found.labels is not None) == labelled
    if labelled:
        np.testing.assert_array_equal(found.labels, CLASSES)
    assert "5 samples of 6 x 6, uint8 from 0 to 179: pixels on 0..255" in str(found)


@pytest.mark.parametrize("colour", [False, True])
def test_folders_of_pictures(tmp_path: Path, colour: bool) -> None:
    pictures(tmp_path, colour)
    found = load_samples(tmp_path)
    assert found.rows.shape == ((5, 6, 6, 3) if colour else (5, 6, 6))
    order = np.argsort(CLASSES, kind="stable")  # files in the order of their names
    np.testing.assert_array_equal(found.rows[..., 0] if colour else found.rows, PIXELS[order])
    assert found.labels is not None
    assert found.labels.tolist() == [f"class {k}" for k in CLASSES[order]]
    assert load_samples(tmp_path / "class 3").labels is None
    classes = class_moments(found.rows, found.labels, scale="[-1,1]")
    assert [m.count for m in classes.values()] == [2, 1, 2]


def test_a_npy_file_stays_on_disk(tmp_path: Path) -> None:
    assert isinstance(load_samples(npy(tmp_path)).rows, np.memmap)


def test_named_sources_have_labels() -> None:
    digits = load_samples("digits")
    assert digits.rows.shape == (1797, 8, 8)
    assert digits.scale == "[-1,1]"
    assert digits.labels is not None
    assert set(digits.labels) == set(range(10))


def test_fashion_has_its_labels(tmp_path: Path) -> None:
    idx_folder(tmp_path)
    found = load_samples("fashion", tmp_path)
    assert found.source == "fashion"
    np.testing.assert_array_equal(found.labels, CLASSES)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    assert load_samples("fashion", tmp_path).labels is None


@pytest.mark.skipif(not data.DEBIAN_FASHION.is_dir(), reason="no Fashion-MNIST")
def test_the_real_fashion_has_6000_of_each_class() -> None:
    file = data.images_file("fashion")
    assert file is not None
    labels = read_labels(file)
    assert labels is not None
    assert np.bincount(labels).tolist() == [6000] * 10


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [(0, 1, "[0,1]"), (-1, 1, "[-1,1]"), (0, 255, "0..255"), (-3, 3, None), (-0.1, 2, None)],
)
def test_the_scale_of_floats_is_found(
    tmp_path: Path, low: float, high: float, scale: str | None
) -> None:
    np.save(tmp_path / "a.npy", np.linspace(low, high, 12).reshape(4, 3))
    found = load_samples(tmp_path / "a.npy")
    assert found.scale == scale
    assert stream(found.rows, scale=found.scale).provenance["scale"] == scale
    assert ("no pixel scale" in str(found)) == (scale is None)


def broken(folder: Path) -> Path:
    np.save(folder / "a.npy", np.where(np.arange(12).reshape(4, 3) == 7, np.nan, 0.5))
    return folder / "a.npy"


def of(content: bytes, name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def array(name: str, **arrays: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / name, **arrays)  # type: ignore[arg-type]
        return folder / name

    return write


def uneven(folder: Path) -> Path:
    pictures(folder)
    Image.fromarray(PIXELS[0, :3]).save(folder / "z.png")
    return folder


def deep(folder: Path) -> Path:
    Image.fromarray(PIXELS[0].astype(np.uint16) * 256).save(folder / "a.png")
    return folder


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "NaN": (broken, "NaN or infinity in image 2"),
    "missing": (lambda folder: folder / "cifar", "is neither 'digits'"),
    "missing .npy": (lambda folder: folder / "a.npy", "cannot be read as .npy"),
    "empty .npy": (of(b"", "a.npy"), "cannot be read as .npy"),
    "text as .npz": (of(b"text", "a.npz"), "cannot be read as .npz"),
    "empty .npz": (of(b"", "a.npz"), "cannot be read as .npz"),
    "other arrays": (array("a.npz", weights=PIXELS), "weights; images is looked for"),
    "too few labels": (array("a.npz", images=PIXELS, y=CLASSES[1:]), r"labels of shape \(4,\)"),
    "a row": (array("a.npz", images=PIXELS[0, 0]), r"numbers of shape \(N, ...\)"),
    "words": (array("a.npz", images=np.full((3, 2), "a")), "dtype <U1"),
    "no pictures": (lambda folder: folder, "has no pictures"),
    "unequal pictures": (uneven, "pictures of one shape"),
    "sixteen bits": (deep, "mode is I;16"),
    "no picture": (lambda folder: of(b"text", "a.png")(folder).parent, "as a picture"),
    "short labels": (
        lambda folder: (
            of(idx(CLASSES)[:-1], "train-labels-idx1-ubyte")(
                of(idx(PIXELS), "train-images-idx3-ubyte")(folder).parent
            ).parent
        ),
        "not an IDX file of labels",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_bad_sources_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    write, reason = HOSTILE[case]
    with pytest.raises(ValueError, match=reason) as caught:
        load_samples(write(tmp_path))
    assert "\n" not in str(caught.value)


def test_digits_through_the_whole_chain() -> None:
    samples: Samples = load_samples("digits")
    moments = stream(samples.rows, scale=samples.scale, provenance={"source": samples.source})
    assert moments.count == 1797
    np.testing.assert_allclose(moments.mean, samples.rows.reshape(1797, -1).mean(0), atol=1e-13)


def test_figures_are_measured_in_their_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MEASURES", {"few": partial(bench.images, "uint8", 2000)})
    time, memory = bench.rows()
    assert (time.name, time.unit) == ("few: time", "s")
    assert time.note.startswith("2000 x 784 uint8")
    assert 0 < time.value < 5
    assert (memory.name, memory.unit) == ("few: memory beyond the data", "MiB")
    # at least one block as float64, which is 2000 x 784 here, and not what the parent had
    assert 11 < memory.value < 60
