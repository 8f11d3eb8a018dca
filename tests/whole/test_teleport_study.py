"""The best teleported run has at most half the error of the best plain one: stored, and run again.

Stored are the best runs of every method on every grid (`scoreproof run teleport --summary
experiments/results/teleport.json`); run again are the two best at 8 and at 10 calls.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from experiments import work
from experiments.report.teleports import RESULTS
from experiments.study import load
from solvers.method import registry

STORED = json.loads(RESULTS.read_text(encoding="utf-8"))
BEST = {pair["calls"]: pair for pair in STORED["best"]}


def test_the_stored_study_is_the_one_of_the_file_and_has_every_method() -> None:
    study = load("teleport")
    assert STORED["study"] == json.loads(json.dumps(study.to_json()))
    assert sorted(BEST) == sorted(study.nfe)
    measured = {pair["without"]["method"] for pair in STORED["methods"]}
    wanted = {task.method for task in work.tasks(study)}
    # five calls of these take ten derivatives or more, which count as calls
    assert wanted - measured == {"taylor_3", "taylor_4"}
    assert measured < wanted < set(registry())


@pytest.mark.parametrize("calls", [8, 10])
def test_a_teleport_halves_the_median_error(calls: int) -> None:
    study = load("teleport")
    problem = work.build(study)
    errors = []
    for row in (BEST[calls]["without"], BEST[calls]["with"]):
        grid = next(g for g in study.grids if g.name == row["grid"])
        task = work.Task(row["method"], row["options"], grid, row["level"])
        (found,) = work.measure(replace(study, nfe=(calls,)), problem, task)
        assert found["nfe"] + found["jvp"] <= calls
        assert found["error_median"] == pytest.approx(row["error_median"], rel=1e-6)
        errors.append(found["error_median"])
    assert errors[1] <= errors[0] / 2
    assert BEST[calls]["ratio"] == pytest.approx(errors[0] / errors[1], rel=1e-6)


def test_five_calls_as_far_as_it_gets() -> None:
    pair: dict[str, Any] = BEST[5]
    assert pair["with"]["error_median"] < pair["without"]["error_median"]
