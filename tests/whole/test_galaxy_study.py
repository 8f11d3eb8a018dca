"""A network whose data nobody has is judged by its own flow: rows that can be traced, two panels.

The networks are drawn at random; the flow is followed as closely as their kinks allow.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.cli import main
from experiments.metrics import converged
from experiments.plots.galaxy import judgement
from experiments.plots.scores import LOOKS
from gaussian_score.diagnostics import SIGMAS
from tests.galaxy_files import STUDY, leaves, write


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, a study, and what a command must refuse."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "n.eqx", leaves())
    write(tmp_path / "other.eqx", leaves(1)[:3])
    (tmp_path / "text.eqx").write_text("<html>")
    (tmp_path / "n.pkl").write_bytes(b"")
    (tmp_path / "small.toml").write_text(STUDY)
    (tmp_path / "close.toml").write_text(STUDY.replace("= 0.01", "= 1e-7"))
    return tmp_path


RUN = "run small.toml --out results --checkpoint n.eqx"


def test_rows_are_stored_once_beside_the_digest_of_their_file(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*RUN.split(), "--summary", "kept.json", "--plot", "n.svg"]) == 0
    printed = capsys.readouterr().out
    found = json.loads((place / "kept.json").read_text())
    digest = hashlib.sha256((place / "n.eqx").read_bytes()).hexdigest()
    (run,) = (place / "results" / "galaxies-small").iterdir()
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["study"] == found["study"]
    assert (found["study"]["checkpoint"], found["run_id"]) == (digest, run.name)

    few, many = found["errors"]
    assert (few["method"], few["steps"], few["nfe"]) == ("ddim", 8, 8)
    assert 0 < 10 * few["reference"] < many["error"] < few["error"] / 4
    assert few["reference"] == many["reference"]
    assert f"{many['error']:.3g}" in printed
    levels = {row["sigma"] for row in found["explained"]}
    assert levels == {s for s in SIGMAS if 0.3 <= s <= 3}
    assert "<svg" in (place / "n.svg").read_text()

    rows = (run / "rows.jsonl").read_bytes()
    assert main([*RUN.split(), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["errors"], again["explained"]) == (found["errors"], found["explained"])
    assert (run / "rows.jsonl").read_bytes() == rows
    write(place / "n.eqx", leaves(1))  # another network under the same name is another run
    assert main([*RUN.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["errors"] != found["errors"]
    assert len(list((place / "results" / "galaxies-small").iterdir())) == 2


def test_the_figure_shows_the_rows_and_nothing_of_data_that_are_not_there() -> None:
    def error(method: str, steps: int) -> dict[str, object]:
        return {"method": method, "nfe": 2 * steps, "error": 1 / steps, "reference": 1e-3}

    def left(name: str, sigma: float) -> dict[str, object]:
        spread = {"residual": sigma / 9, "low": sigma / 20, "high": sigma / 5}
        return {"of": "network", "candidate": name, "sigma": sigma, "score": spread}

    errors = [error(m, n) for m in ("ddim", "rho_heun2") for n in (5, 20)]
    rows = [left(name, s) for name in ("mean", "Gaussian") for s in (0.5, 2.0)]
    first, second = judgement(errors, rows).axes
    lines = {line.get_label(): line for line in first.lines}
    assert list(lines) == ["ddim", "rho_heun2", "of the converged flow"]
    np.testing.assert_array_equal(lines["ddim"].get_xydata(), [[10, 1 / 5], [40, 1 / 20]])
    np.testing.assert_array_equal(lines["of the converged flow"].get_ydata(), 1e-3)
    labels = [line.get_label() for line in second.lines]
    assert labels == [LOOKS[name][2] for name in ("mean", "Gaussian")]
    np.testing.assert_array_equal(second.lines[1].get_xydata(), [[0.5, 0.5 / 9], [2.0, 2 / 9]])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run small.toml", "--checkpoint: got None; a .eqx of galaxygrad 0.1.9 is allowed"),
        ("run small.toml --checkpoint n.pkl", "--checkpoint: got 'n.pkl'; a .eqx of"),
        ("run small.toml --checkpoint no.eqx", "--checkpoint: got 'no.eqx' (No such file"),
        ("run small.toml --checkpoint text.eqx", "'text.eqx'; a .eqx of arrays of floats is"),
        ("run small.toml --checkpoint other.eqx", "'other.eqx' of 3 arrays; those of a score"),
        (f"{RUN} --plot n.txt", "--plot: got 'n.txt'; a file in .png, .svg, .pdf is allowed"),
        (f"{RUN} --summary no/kept.json", "--summary: got 'no/kept.json', which lies in no"),
        (
            f"{RUN} --scheduler tcp://a",
            "allowed for studies of images and network",
        ),
        (f"{RUN} --workers 3", "--workers: got 3; allowed for studies of images and network"),
        ("run teleport --plot n.svg", "--plot: got 'n.svg'; allowed for studies of galaxies"),
        ("run network --plot n.svg", "--plot: got 'n.svg'; allowed for studies of galaxies"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    place: Path, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(place.rglob("*"))
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(place.rglob("*")) == before


def test_a_reference_that_cannot_be_had_says_what_can(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(converged, "DOUBLINGS", 2)  # more of them take minutes to agree no closer
    assert main(["run", "close.toml", "--out", "results", "--checkpoint", "n.eqx"]) == 2
    error = capsys.readouterr().err
    assert "two solvers agree to" in error
    assert error.count("\n") == 1
    assert not list(place.rglob("rows.jsonl"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('["ddim"]', "[]", "methods: got (); one method or more"),
        ('["ddim"]', '["dim"]', "dim"),
        ("[8, 64]", "[0]", "steps: got (0,); one integer >= 1 or more"),
        ("converged = 0.01", "converged = 0.0", "converged: got 0.0; a number between 0 and 1"),
        ("draws = 6", "draws = 1", "draws: got 1; an integer >= 2"),
        ("[0.3, 3.0]", "[0.3]", "levels: got (0.3,); none or two"),
        ("[0.3, 3.0]", "[3.0, 0.3]", "levels: got 3.0, 0.3; 0 < low < high"),
    ],
)
def test_bad_studies(
    place: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in STUDY
    (place / "small.toml").write_text(STUDY.replace(old, new))
    assert main(RUN.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
