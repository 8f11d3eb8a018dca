"""Every source gives pixels in [-1, 1], in an order that seed and step decide, or is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

from experiments import data
from experiments.datamodules import Digits, Fashion, Folder, Pictures, Steps, pictures
from experiments.fashion import INSIDE, PACKAGE, located
from tests.picture_files import COUNT, coloured, fashion_files


def ready(module: Pictures) -> Pictures:
    module.setup()
    return module


@pytest.mark.parametrize("kind", ["digits", "fashion", "padded", "folder", "array"])
def test_pixels_labels_and_shapes(tmp_path: Path, kind: str) -> None:
    array = tmp_path / "a.npy"
    np.save(array, np.linspace(0, 1, COUNT * 16).reshape(COUNT, 4, 4))
    module: Pictures = {
        "digits": Digits,
        "fashion": lambda: Fashion(fashion_files(tmp_path / "f")),
        "padded": lambda: Fashion(fashion_files(tmp_path / "f"), pad=True),
        "folder": lambda: Folder(str(coloured(tmp_path / "c"))),
        "array": lambda: Folder(str(array)),
    }[kind]()
    shapes = {
        "digits": (1, 8, 8),
        "fashion": (1, 28, 28),
        "padded": (1, 32, 32),
        "folder": (3, 8, 8),
        "array": (1, 4, 4),
    }
    ready(module)
    assert module.shape == shapes[kind]
    assert len(module.names) == {"folder": 3, "array": 0}.get(kind, 10)
    for part in (module.training, module.validation):
        x, labels = part[slice(None)]
        assert x.dtype == torch.float32
        assert -1 <= x.min() < -0.8
        assert x.max() <= 1
        assert (labels is None) == (kind == "array")
        if labels is not None:
            assert labels.dtype == torch.int64
            assert 0 <= labels.min() <= labels.max() < len(module.names)
    if kind == "padded":
        assert (module.training[0][0][:, :2] == -1).all()
    assert module.provenance()["sha256"] == ready(module).provenance()["sha256"]


def test_pictures_lie_where_they_lay(tmp_path: Path) -> None:
    module = ready(Folder(str(coloured(tmp_path))))
    x = torch.cat([module.training[slice(None)][0], module.validation[slice(None)][0]])
    files = sorted(tmp_path.rglob("*.png"))
    for file in files[:5]:
        pixels = torch.tensor(np.asarray(Image.open(file))).permute(2, 0, 1) / 127.5 - 1
        assert ((x - pixels).abs().amax((1, 2, 3)) < 1e-6).sum() == 1


def test_a_validation_image_is_never_trained_on() -> None:
    module = ready(Digits())
    assert len(module.training) + len(module.validation) == 1797
    seen = {row.numpy().tobytes() for row in module.training.pixels}
    held = [row.numpy().tobytes() for row in module.validation.pixels]
    assert sum(row in seen for row in held) <= 1  # the digits hold few doubles


def test_batches_depend_on_seed_and_step_alone() -> None:
    whole = list(Steps(COUNT, 7, seed=3, first=0, last=20))
    assert list(Steps(COUNT, 7, seed=3, first=8, last=20)) == whole[8:]
    assert list(Steps(COUNT, 7, seed=4, first=0, last=20)) != whole
    flat = [i for batch in whole for i in batch]
    for epoch in range(4):  # each image once an epoch, though batches cross epochs
        assert sorted(flat[epoch * COUNT : (epoch + 1) * COUNT]) == list(range(COUNT))
    assert flat[:COUNT] != flat[COUNT : 2 * COUNT]


def test_the_loader_yields_these_batches() -> None:
    module = ready(Digits())
    module.begin(batch=16, seed=1, first=5, last=8)
    batches = list(module.train_dataloader())
    steps = list(Steps(len(module.training), 16, 1, 5, 8))
    assert len(batches) == len(module.train_dataloader()) == 3
    for (x, labels), places in zip(batches, steps, strict=True):
        expected = module.training[places]
        assert torch.equal(x, expected[0])
        assert labels is not None
        assert labels.tolist() == cast(torch.Tensor, expected[1]).tolist()
    assert sum(len(x) for x, _ in module.val_dataloader()) == len(module.validation)


# --- Fashion-MNIST where it is not --------------------------------------------------------------


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> None:
    """apt-get and dpkg-deb that do what those of Debian do, without a network."""
    source = fashion_files(folder / "source")
    scripts = {
        "apt-get": f'test "$1 $2" = "download {PACKAGE}" && touch {PACKAGE}_1_all.deb',
        "dpkg-deb": f'mkdir -p "$3/{INSIDE}" && cp {source}/* "$3/{INSIDE}"',
    }
    for name, script in scripts.items():
        script = f"echo 'E: no {name}' >&2; exit 3" if name == fails else script
        place = folder / "bin" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SCOREPROOF_CACHE", str(folder / "cache"))
    monkeypatch.delenv(data.FASHION_ENV, raising=False)
    monkeypatch.setattr(data, "DEBIAN_FASHION", folder / "nowhere")


def test_the_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands(tmp_path, monkeypatch)
    assert located().parent == tmp_path / "cache" / "fashion-mnist"
    assert len(ready(Fashion()).training) == COUNT
    (tmp_path / "bin" / "apt-get").write_text("#!/bin/sh\nexit 1\n")
    assert located().is_file()
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["fashion-mnist"]


@pytest.mark.parametrize("fails", ["apt-get", "dpkg-deb"])
def test_a_failed_fetch_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    commands(tmp_path, monkeypatch, fails)
    with pytest.raises(ValueError, match=f"cannot be fetched.*{fails}.*no {fails}"):
        located()
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(ValueError, match="not on this machine"):
        located(fetch=False)


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither .*nowhere"):
        ready(Fashion(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="30 images and 29 labels"):
        ready(Fashion(fashion_files(tmp_path / "short", labels=29)))
    (fashion_files(tmp_path / "gone") / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="has no t10k-labels"):
        ready(Fashion(tmp_path / "gone"))
    torn = fashion_files(tmp_path / "torn") / "train-images-idx3-ubyte.gz"
    torn.write_bytes(torn.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz"):
        ready(Fashion(tmp_path / "torn"))
    coloured(tmp_path / "mixed")
    Image.new("RGB", (9, 8)).save(tmp_path / "mixed" / "class 0" / "z.png")
    with pytest.raises(ValueError, match="pictures of one shape"):
        ready(Folder(str(tmp_path / "mixed")))
    with pytest.raises(ValueError, match="neither 'digits' nor 'fashion'"):
        ready(pictures(str(tmp_path / "no such")))
    np.save(tmp_path / "few.npy", np.zeros((9, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="9 images; 10 or more"):
        ready(Folder(str(tmp_path / "few.npy")))
    np.save(tmp_path / "wide.npy", np.full((20, 4, 4), 700.0))
    with pytest.raises(ValueError, match="no pixel scale"):
        ready(Folder(str(tmp_path / "wide.npy")))
    with pytest.raises(ValueError, match="pad: got True for 'digits'"):
        pictures("digits", pad=True)
