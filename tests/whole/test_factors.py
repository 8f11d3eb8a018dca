"""``scoreproof factor``: 1/φ* says on which steps a recursive difference beats the finite one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from experiments.factors import best_factors
from tests.crosscheck.test_scire_errors import quantiles

METHODS = ("scire_v1_2", "scire_v2_2", "scirei_2")
LINE: dict[str, Any] = {
    "weights": [0.4, 0.6],
    "means": [[-1], [1.5]],
    "covs": [[[0.25]], [[0.09]]],
}
PLANE: dict[str, Any] = {
    "weights": [0.35, 0.65],
    "means": [[-1.0, 0.4], [1.2, -0.3]],
    "covs": [[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]]],
}
INSIDE: dict[str, Any] = {"name": "logsnr", "start": 0.5, "end": 0.4}
"""Where N' has no zero on the way from the starts below."""
STARTS = {1: [[0.2], [-0.6]], 2: [[0.2, 0.5], [-0.6, 0.1]]}


def study(
    method: str, problem: Any, steps: int, end: float = INSIDE["end"], **options: Any
) -> dict[str, Any]:
    starts = STARTS[len(problem["means"][0])]
    return best_factors(
        {
            "problem": problem,
            "schedule": {"name": "vp_linear"},
            "method": method,
            "options": options,
            "grid": {**INSIDE, "end": end, "steps": steps},
            "x_start": starts,
        }
    )


def worst(found: dict[str, Any]) -> float:
    """The largest distance of predicted and best."""
    pairs = (
        pair for s in found["steps"] for pair in zip(s["best_predicted"], s["best"], strict=True)
    )
    return max(abs(a - b) for a, b in pairs)


@pytest.mark.parametrize("problem", [LINE, PLANE], ids=["line", "plane"])
@pytest.mark.parametrize("options", [{}, {"r1": 0.3}], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_the_prediction_is_right_to_second_order(
    method: str, options: dict[str, Any], problem: dict[str, Any]
) -> None:
    coarse, fine = (worst(study(method, problem, n, **options)) for n in (4, 8))
    assert fine < 0.01
    assert 3.3 < coarse / fine < 4.7


def test_control_a_prediction_for_another_node_is_not() -> None:
    half, third = (study("scire_v1_2", LINE, 8, r1=r) for r in (0.5, 1 / 3))
    mixed = [{**a, "best": b["best"]} for a, b in zip(half["steps"], third["steps"], strict=True)]
    assert worst({"steps": mixed}) > 3 * worst(half)


def test_short_steps_are_won_as_predicted() -> None:
    """With a factor next to 1 each of the two wins some of them."""
    found = study("scire_v1_2", LINE, 24, end=0.1, phi1=0.99)
    wins = [(s["rd_wins_predicted"], s["rd_wins"]) for s in found["steps"]]
    assert {won for _, won in wins} == {0, 0.5, 1}
    assert sum(a == b for a, b in wins) >= 20
    assert all(s["threshold"] == pytest.approx((1 + 1 / 0.99) / 2) for s in found["steps"])


@pytest.mark.parametrize("method", METHODS)
def test_the_best_factor_decides_every_step(method: str) -> None:
    """In one dimension the errors are |1/φ* − 1/φ₁| times one length: no step is too long."""
    for s in study(method, LINE, 4, end=0.01)["steps"]:
        better = [b > s["threshold"] for b in s["best"]]
        assert s["rd_wins"] == sum(better) / len(better)


def test_a_factor_above_one_wins_below_the_threshold() -> None:
    for s in study("scire_v1_2", LINE, 4, phi1=1.25)["steps"]:
        assert s["threshold"] == pytest.approx(0.9)
        better = [b < s["threshold"] for b in s["best"]]
        assert s["rd_wins"] == sum(better) / len(better)


# --- six model calls: the SciRE tables, section 8.1 ----------------------------------------------


def six_calls(method: str, rule: str) -> dict[str, Any]:
    """Three steps from 32 quantiles of the law at t = 1."""
    alpha, rho = 6.57158649492962e-3, 152.166970283946
    starts = (quantiles(rho)[4::8] * alpha).tolist()
    return best_factors(
        {
            "problem": LINE,
            "schedule": {"name": "vp_linear"},
            "method": method,
            "grid": {"name": rule, "steps": 3, "start": 1.0, "end": 1e-3},
            "x_start": [[x] for x in starts],
        }
    )


def lost(step: dict[str, Any]) -> float:
    """What the recursive difference gains in the squared errors of a step."""
    return step["error_fd"] ** 2 - step["error_rd"] ** 2


def test_it_explains_where_the_recursive_difference_wins() -> None:
    """On the NSR grid it wins the step whose error is largest, and so the run (0.187 < 0.237)."""
    found = six_calls("scire_v1_2", "nsr")
    assert found["error_rd"] == pytest.approx(0.187, rel=0.05)
    assert found["error_fd"] == pytest.approx(0.237, rel=0.05)
    worst_step = max(found["steps"], key=lambda s: s["error_fd"])
    assert worst_step["rd_wins"] > 0.9
    assert sorted(worst_step["best"])[16] > 2 > worst_step["threshold"]
    assert sum(map(lost, found["steps"])) > 0


def test_it_explains_where_the_finite_difference_wins() -> None:
    """On the quadratic grid it does not (0.156 > 0.141), nor with four times as many steps."""
    found = six_calls("scire_v1_2", "t2")
    assert found["error_rd"] > found["error_fd"] == pytest.approx(0.141, rel=0.05)
    assert sum(map(lost, found["steps"])) < 0


def test_steps_so_long_are_not_predicted() -> None:
    """The two terms of the prediction say 1 where the best factor is above 2."""
    (_, middle, _) = six_calls("scire_v1_2", "nsr")["steps"]
    assert middle["rd_wins_predicted"] == 0 < 0.9 < middle["rd_wins"]


def test_errors_of_steps_may_cancel() -> None:
    """V2-2 loses its second step and wins the run: what no local diagnostic sees."""
    found = six_calls("scire_v2_2", "nsr")
    assert found["error_rd"] < found["error_fd"]
    assert sum(map(lost, found["steps"])) < 0


# --- input and output ---------------------------------------------------------------------------

RUN: dict[str, Any] = {
    "problem": LINE,
    "schedule": {"name": "vp_linear"},
    "method": "scire_v1_2",
    "grid": {**INSIDE, "steps": 2},
    "x_start": STARTS[1],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "scire_v1_3"}, "method: got 'scire_v1_3'; one of scire_v1_2, scire_v2_2, sc"),
        ({"method": "dpm_solver_2"}, "method: got 'dpm_solver_2'; one of scire_v1_2, scire_v2_2"),
        ({"options": {"phi2": 1}}, "options: got the key 'phi2'; allowed: phi1, r1, r2, inner"),
        ({"options": {"phi1": ["m3"]}}, "options.phi1: got 1 values; one value per step, 2"),
        ({"finish": "denoise"}, "run: got the key 'finish'; allowed: problem, schedule, method"),
        ({"x_start": [[1.0, 2.0]]}, "x_start: got 2 coordinates; the law's 1 are allowed"),
        (
            {"schedule": {"name": "flow"}, "grid": {"t": [1.0, 0.5]}},
            "grid: got alpha = 0 at the first node; alpha > 0 is allowed",
        ),
    ],
)
def test_bad_input_is_one_line(
    change: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**RUN, **change}), encoding="utf-8")
    assert main(["factor", str(path)]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"scoreproof: {message}")
    assert error.count("\n") == 1


def test_json_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**RUN, "options": {"phi1": ["m3", "inf"]}}), encoding="utf-8")
    assert main(["factor", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["inverse_phi1"] for s in found["steps"]] == pytest.approx([1.5, 1.58197670686933])
    assert main(["factor", str(path)]) == 0
    assert "threshold" in capsys.readouterr().out


def test_a_step_that_no_factor_changes_has_none() -> None:
    """At the mean of one Gaussian the noise prediction is 0 all along."""
    law = {"weights": [1.0], "means": [[0.0]], "covs": [[[1.0]]]}
    found = best_factors({**RUN, "problem": law, "x_start": [[0.0]]})
    assert [s["best"] for s in found["steps"]] == [[None], [None]]
    assert json.dumps(found, allow_nan=False)
