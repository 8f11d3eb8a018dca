"""The benchmark of scores measures what it says it measures, here on a law too small to time."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch

from experiments.bench import __main__, scores
from experiments.bench.row import Row


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"COMPONENTS": 3, "PIXELS": 8, "BATCH": 4, "SIDE": 16, "REPEATS": 1}
    for name, value in (sizes | {"IMAGES": (200, 300, 600), "POINTS": 4}).items():
        monkeypatch.setattr(scores, name, value)


@pytest.mark.usefixtures("small")
def test_rows() -> None:
    rows = [*scores._mixture(), *scores._data_set()]
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.value > 0 for row in rows if "memory" not in row.name)
    (note,) = {row.note for row in rows if row.name == "autograd: time"}
    # autograd's score is the mixture's: float32, and 1/0.26 of the smallest variance
    assert float(note.split()[-1]) < 1e-4


@pytest.mark.usefixtures("small")
def test_the_comparison_is_of_one_law() -> None:
    law, covs = scores._law(torch.Generator().manual_seed(0))
    torch.testing.assert_close((law.weights[:, None, None] * covs).sum(0), _within(law))


def _within(law: scores.GaussianMixture) -> torch.Tensor:
    shift = law.means - law.mean
    return law.covariance - (law.weights * shift.mT) @ shift


def test_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("a figure", 1.5, "s", "of one thread"), Row("a share", 0.75, "", "")]
    monkeypatch.setattr(__main__, "SUBJECTS", {"scores": lambda: rows, "moments": list})
    monkeypatch.setattr(sys, "argv", ["bench", "--json"])
    __main__.main()
    assert json.loads(capsys.readouterr().out) == [asdict(row) for row in rows]
    monkeypatch.setattr(sys, "argv", ["bench", "scores"])
    __main__.main()
    assert capsys.readouterr().out == (
        "a figure       1.500 s        of one thread\na share        0.750\n"
    )


def test_bad_subject() -> None:
    call = [sys.executable, "-m", "experiments.bench", "speed"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "NAME is 'speed'; scores, moments, sampling are allowed" in done.stderr
