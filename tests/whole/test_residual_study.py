"""The residual of the Gaussian and plain EDM are compared at equal images, and by their errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import store
from experiments.cli import main
from experiments.residual_study import RESULTS, ResidualStudy, gains
from experiments.study import load

SMALL = """
kind = "residual"
name = "small"
seeds = [0, 3]

[training]
data = "digits"
images = 512
batch = 64
every = 256
warm_up = 64
half_life = 64
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(SMALL, encoding="utf-8")
    return file


def test_both_trainings_of_every_seed_and_a_rerun_that_trains_nothing(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, kept = tmp_path / "results", tmp_path / "kept.json"
    command = ["run", str(file), "--out", str(out), "--summary", str(kept)]
    assert main(command) == 0
    found = json.loads(kept.read_text(encoding="utf-8"))
    trained = [row for row in found["rows"] if row["images"]]
    assert {(r["training"], r["seed"], r["images"]) for r in trained} == {
        (name, seed, n) for name in ("edm", "gaussian") for seed in (0, 3) for n in (256, 512)
    }
    assert found["study"]["training"]["images"] == 512
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("256 images", "512 images", gains(trained)[0][1]))
    weights = {f: f.stat().st_mtime_ns for f in out.rglob("*.safetensors")}
    assert len(weights) == 4
    assert main(command) == 0
    assert {f: f.stat().st_mtime_ns for f in weights} == weights
    assert json.loads(kept.read_text(encoding="utf-8"))["rows"] == found["rows"]


def rows(gaussian: float) -> list[dict[str, Any]]:
    values = {("edm", 0): 2.0, ("edm", 1): 4.0, ("gaussian", 0): gaussian, ("gaussian", 1): 1.0}
    return [
        {"training": name, "seed": seed, "images": 10, "sigma": 0.5, "error": error}
        for (name, seed), error in values.items()
    ]


def test_a_gain_is_the_ratio_of_one_seed() -> None:
    assert gains(rows(1.0)) == [("0.5", "0.25 to 0.50")]
    assert gains(rows(3.0)) == [("0.5", "0.25 to 1.50")]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[0, 3]", "[0, 0]", "seeds: got (0, 0); one integer >= 0 or more, each another,"),
        ("[0, 3]", "[]", "seeds: got (); one integer"),
        ("[0, 3]", "[-1]", "seeds: got (-1,); one integer"),
        ("batch = 64", "batch = 0", "batch: got 0; an integer >= 1 is allowed"),
        ("batch = 64", "residual = 1", "training.residual: got 1; a str | None is allowed"),
        ('"digits"', '"nowhere"', "nowhere"),
    ],
)
def test_bad_studies(
    file: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(SMALL.replace(old, new), encoding="utf-8")
    assert main(["run", str(file), "--out", str(file.parent / "results")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_what_is_stored_is_of_the_study_as_it_is() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert found["study"] == json.loads(store.line(load("residual", ResidualStudy).to_json()))


def test_the_residual_is_ahead_at_first_and_falls_behind_at_low_noise() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    ends = {line[0]: [cell.split(" to ") for cell in (line[1], line[-1])] for line in gains(found)}
    assert all(float(most) < 1 for (_, most), _ in ends.values())
    assert all(float(ends[sigma][1][0]) > 1 for sigma in ("0.05", "0.1", "0.2"))
    assert all(float(ends[sigma][1][1]) < 1 for sigma in ("0.5", "1", "2"))
