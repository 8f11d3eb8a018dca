"""`scoreproof teleport` certifies what it says, compares at equal calls; bad input is one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.cli import main
from experiments.study import load
from experiments.teleport import pairs
from experiments.teleported import best, summary
from gaussian_score.certificate import log1p_chi2
from gaussian_score.moments import Moments
from solvers.grids import laid
from solvers.schedules import schedule

LAW = {"weights": [0.8, 0.2], "means": [[1.0], [-4.0]], "covs": [[[0.25]], [[0.25]]]}


@pytest.fixture
def problem(tmp_path: Path) -> str:
    file = tmp_path / "problem.json"
    file.write_text(json.dumps({"problem": LAW}))
    return str(file)


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["teleport", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def limit(rho: float) -> float:
    return log1p_chi2(LAW["weights"], LAW["means"], LAW["covs"], rho)


def test_the_level_of_a_mixture_is_the_lowest_that_the_bound_allows(
    problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """To 1e-3 relative; K is below the bound, about half of it."""
    for tolerance in ("0.01", "0.001"):
        found = asked(capsys, "--problem", problem, "--tolerance", tolerance)
        level, tau = found["sigma_skip"], float(tolerance)
        assert limit(level) == found["bound"] <= tau < limit(level / 1.001)
        assert 0.4 * found["bound"] < found["estimate"] < found["bound"]
        assert (found["source"], found["target"]) == ("mixture", "the data law")
        assert found["total_variation"] <= math.sqrt(tau / 2)
        assert found["bound_reference"] > found["bound"]  # the wrong prior costs something
        for word in ("80", f"{level:.4g}", tolerance, "rigorous", "the data law"):
            assert word in found["text"]
        assert "\n" not in found["text"]


def test_runs_are_compared_at_equal_calls_from_the_same_starts(
    problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--problem", problem, "--tolerance", "1e-4", "--nfe", "8", "--method", "ddim")
    found = asked(capsys, *words, "--method", "unipc_2")
    both = pairs(found["comparison"])
    assert len(both) * 2 == len(found["comparison"])
    for plain, jumped in both:
        assert plain["nfe"] == jumped["nfe"] == 8
        assert (plain["level"], jumped["level"]) == (None, found["sigma_skip"])
    ddim = next(p for p in both if p[0]["method"] == "ddim")
    assert ddim[1]["error_median"] < ddim[0]["error_median"]
    # 64 starts, and one order in 1/σ
    assert found["landing_entropy"] == pytest.approx(found["estimate"], rel=0.5)
    assert main(["teleport", *words]) == 0
    assert "median error" in capsys.readouterr().out


def test_with_a_grid_the_level_is_a_node(problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "--problem", problem, "--grid", "karras", "--steps", "17", "--nfe", "5")
    nodes = laid(schedule("edm"), "karras", steps=17, start=80.0, end=0.02).points
    levels = [float(p.rho) for p in nodes]
    n = levels.index(found["sigma_skip"])
    assert limit(levels[n]) <= 0.05 < limit(levels[n + 1])


def test_data_give_an_estimate_with_its_error_and_their_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,797 digits: K of the law that they are drawn from, and a file of their moments."""
    file = tmp_path / "moments.npz"
    words = ("--data", "digits", "--nfe", "5", "--samples", "8", "--method", "dpm_solver_pp_2m")
    found = asked(capsys, *words, "--save", str(file))
    assert (found["source"], found["bound"]) == ("data", None)
    assert found["statistics"] == {"dim": 64, "rank": 64, "count": 1797}
    assert found["estimate"] + 2 * found["estimate_error"] + found["sampling"] <= 0.05
    assert 1 < found["sigma_skip"] < 5
    moments = Moments.load(file)
    assert (moments.count, moments.provenance["source"]) == (1797, "digits")
    assert "scoreproof teleport" in moments.provenance["command"]
    again = asked(capsys, *words, "--statistics", str(file))
    assert again["sigma_skip"] == found["sigma_skip"]
    both = pairs(found["comparison"])
    assert all(jumped["error_median"] < plain["error_median"] for plain, jumped in both)


def test_statistics_on_another_scale_are_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.datasets import load_digits

    pixels = load_digits().data / 16  # type: ignore[attr-defined]  # on [0, 1]
    file = tmp_path / "half.npz"
    Moments.from_covariance(pixels.mean(0), np.cov(pixels.T, bias=True)).save(file)
    assert main(["teleport", "--data", "digits", "--statistics", str(file)]) == 2
    error = capsys.readouterr().err
    assert "[0,1]" in error
    assert error.count("\n") == 1


REFUSED = [
    ([], "exactly one of --data and --problem"),
    (["--data", "nope"], "neither 'digits' nor 'fashion'"),
    (["--data", "digits", "--tolerance", "0"], "--tolerance: got 0.0; a finite number > 0"),
    (["--data", "digits", "--sigma-max", "0.01"], "--sigma-min: got 0.02; a level below"),
    (["--data", "digits", "--method", "sa_solver_2"], "--method: got 'sa_solver_2'; fixed steps"),
    (["--data", "digits", "--tolerance", "1e-9"], "or more are needed at 80"),
    (["--data", "digits", "--grid", "cubic"], "--grid: got 'cubic'"),
    (["--problem", "PROBLEM", "--save", "x.npz"], "--save: got 'x.npz'; allowed with --data only"),
    (["--problem", "PROBLEM", "--tolerance", "1e-20"], "a level where it is at most tolerance"),
    (["--problem", "missing.json"], "--problem: got 'missing.json'"),
    (["--data", "FEW", "--tolerance", "1e-7"], "x has 20 samples;"),
    (["--data", "digits", "--seed", "-1"], "--seed: got -1; an integer from 0"),
    (["--data", "NAN"], "NaN"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_bad_input_is_one_line(
    words: list[str],
    message: str,
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few, broken = tmp_path / "few.npy", tmp_path / "nan.npy"
    rows = np.random.default_rng(0).standard_normal((20, 30))
    np.save(few, rows)
    rows[3, 4] = np.nan
    np.save(broken, rows)
    files = {"PROBLEM": problem, "FEW": str(few), "NAN": str(broken)}
    assert main(["teleport", *(files.get(w, w) for w in words)]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert message in error
    assert error.startswith("scoreproof: ")
    assert error.count("\n") == 1


def test_the_best_of_a_study_is_the_least_median_at_that_many_calls() -> None:
    def row(method: str, level: float | None, nfe: int, error: float | None) -> dict[str, Any]:
        return {
            "method": method,
            "options": {},
            "grid": "karras",
            "level": level,
            "nfe": nfe,
            "jvp": 0,
            "error_median": error,
            "error_rms": error,
        }

    rows = [
        row("a", None, 5, 4.0),
        row("a", None, 8, 3.0),
        row("b", None, 8, 5.0),
        row("b", 4.0, 5, 1.0),
        row("b", 6.0, 8, 2.0),  # fewer calls were better
        row("c", 6.0, 8, None),  # overflowed
    ]
    five, eight = best(rows, (5, 8))
    assert (five["without"]["method"], five["with"]["level"], five["ratio"]) == ("a", 4.0, 4.0)
    assert (eight["without"]["nfe"], eight["with"]["nfe"], eight["ratio"]) == (8, 5, 3.0)
    assert [pair["without"]["method"] for pair in summary(rows, (5, 8))] == ["b"]
    assert load("teleport").samples == 256


def test_statistics_are_kept_where_the_level_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "moments.npz"
    words = ["teleport", "--data", "digits", "--sigma-max", "1", "--save", str(file)]
    assert main(words) == 2
    assert "needed" not in capsys.readouterr().err  # more samples would not help
    assert Moments.load(file).count == 1797


def test_rare_modes_may_be_skipped_by_the_entropy_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    law = {"weights": [0.999, 0.001], "means": [[0.0], [12.0]], "covs": [[[1.0]], [[1.0]]]}
    file = tmp_path / "rare.json"
    file.write_text(json.dumps({"problem": law}))
    words = ("--problem", str(file), "--nfe", "5", "--samples", "8", "--method", "ddim")
    rigorous, rare = asked(capsys, *words), asked(capsys, *words, "--rare")
    assert rare["sigma_skip"] < rigorous["sigma_skip"]
    assert rare["bound"] > 0.05
    assert rare["estimate"] <= 0.05 + 1e-9


def test_where_nothing_can_be_compared_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {"weights": [1.0], "means": [[0.0]], "covs": [[[1.0]]]}
    file = tmp_path / "one.json"
    file.write_text(json.dumps({"problem": one}))
    assert main(["teleport", "--problem", str(file)]) == 0
    assert "nothing is compared" in capsys.readouterr().out
    odd = tmp_path / "odd.npy"
    np.save(odd, np.random.default_rng(0).standard_normal((400, 17, 17)).clip(-1, 1))
    assert main(["teleport", "--data", str(odd), "--tolerance", "2"]) == 0
    assert "no mixture was fitted" in capsys.readouterr().out
