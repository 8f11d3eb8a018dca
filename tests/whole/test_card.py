"""A card states what is true of its network, of its images and of nothing else."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.card import CARD, CURVE, NEAREST, SAMPLES, explained, write
from experiments.cli import main
from experiments.datamodules import Digits
from experiments.folder import Folder
from experiments.metrics.measured import read
from experiments.sampling.engine import sample_set
from experiments.sampling.job import Job
from experiments.sampling.source import opened
from experiments.train import train
from experiments.training import Training

RECIPE = Training(
    "digits", 2048, residual="gaussian", every=512, warm_up=500, half_life=500, rate=4e-3
)
JOB = {"method": "unipc_2", "steps": 6, "grid": "logsnr", "levels": (0.02, 40.0), "last": 109}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A training's folder and a set of its images."""
    place = tmp_path_factory.mktemp("card")
    train(RECIPE, place / "digits", command="scoreproof train --data digits")
    job = Job(checkpoint=str(place / "digits"), labels="cycle", batch=55, **JOB)
    sample_set(job, place / "set")
    return place / "digits", place / "set"


@pytest.fixture
def folder(places: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(places[0], tmp_path / "digits"))


def test_every_figure_is_computed(places: tuple[Path, Path], folder: Path) -> None:
    before = opened(folder).digest
    done = write(folder, places[1])
    assert opened(folder).digest == before  # a card changes no network
    text = done.card.read_text(encoding="utf-8")
    card, rows, images = Folder(folder).card(), Folder(folder).rows(), read(places[1])
    for said in (
        card["data"]["sha256"],
        "`scoreproof train --data digits`",
        f"{rows[-1]['loss']:.4f}",
        "110 images",
        '"method": "unipc_2"',
        f"{done.figures['figures'][0]['value']:.4g}",
        f"{done.figures['nearest']['median']:.4f}",
    ):
        assert said in text
    for name in re.findall(r"\]\((.*?)\)", text):
        assert (folder / name).stat().st_size > 1000
    assert set(re.findall(r"\]\((.*?)\)", text)) == {CURVE, SAMPLES, NEAREST}
    sheet = np.asarray(Image.open(folder / SAMPLES))
    tile = sheet.shape[0] // 10
    factor = (tile - 2) // 8
    assert images.labels is not None
    third = images.pixels[images.labels == 3][4, 0]  # row 3, column 4
    shown = sheet[3 * tile : 4 * tile - 2 : factor, 4 * tile : 5 * tile - 2 : factor]
    want = ((third.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    assert np.array_equal(shown, want.numpy())
    near = np.asarray(Image.open(folder / NEAREST))
    known = Digits()
    known.setup()
    bytes_ = ((known.training.pixels[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
    for column in (1, 9):  # every neighbour is a training image
        found = near[: tile - 2 : factor, column * tile : (column + 1) * tile - 2 : factor]
        assert (bytes_ == found).all((1, 2)).any()
    first = near[: tile - 2 : factor, : tile - 2 : factor]
    assert not (bytes_ == first).all((1, 2)).any()  # control: the image itself is none


def test_the_gaussian_explains_all_of_the_score_at_high_noise(
    places: tuple[Path, Path],
) -> None:
    data = Digits()
    data.setup()
    rows = {r["sigma"]: r["explained"] for r in explained(opened(places[0]), data, points=64)}
    assert rows[80.0] > 0.99
    assert rows[80.0] > rows[0.5]
    assert all(value <= 1 for value in rows.values())


def test_the_command_says_where_the_card_is(
    places: tuple[Path, Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", str(folder), str(places[1])]) == 0
    assert str(folder / CARD) in capsys.readouterr().out


def test_images_of_another_network_are_refused_and_nothing_is_written(
    places: tuple[Path, Path], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    train(replace(RECIPE, images=512, seed=1), tmp_path / "other")
    np.save(tmp_path / "held.npy", np.zeros((20, 8, 8)))
    few = Job(**{**JOB, "checkpoint": str(folder), "labels": "cycle", "batch": 55, "last": 50})
    sample_set(few, tmp_path / "few")
    bad = (
        (tmp_path / "other", places[1], "which is no set of images of"),
        (folder, tmp_path / "held.npy", "SET: got"),
        (folder, tmp_path / "few", "one class; 10 or more of each"),
        (tmp_path, places[1], f"FOLDER: got {str(tmp_path)!r} without training.json"),
    )
    for place, images, message in bad:
        assert main(["card", str(place), str(images)]) == 2
        assert message in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before
