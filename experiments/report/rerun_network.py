"""Rows of the study of a trained network made anew.

The exact flow from a set of start points is read from the user's cache where an earlier run has
left it; elsewhere it takes minutes, block by block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.network_study import command, flows, model, problem, scores
from experiments.network_study.problem import Problem, Trained
from experiments.network_study.study import NetworkStudy
from experiments.report.identify import Found
from experiments.report.rerun import How, Maker, options_of, picked
from experiments.study import read

Row = dict[str, Any]


def _opened(found: Found) -> tuple[NetworkStudy, Trained]:
    """The study, and the shipped network if it is the one that was studied."""
    assert found.study is not None
    trained = Trained.read(command.PRETRAINED)
    if trained.digest != found.study["checkpoint"]:
        raise ValueError(
            f"--rerun: got {found.id!r}, which was found of another checkpoint than"
            f" {str(command.PRETRAINED)!r}; rows of this one are allowed"
        )
    return read(NetworkStudy, found.study["study"]), trained


def _problem(
    study: NetworkStudy, trained: Trained, seed: int, how: How, *, jump: bool = False
) -> Problem:
    """One set of start points; where a jump lands is found only for rows with one."""
    from experiments.sweep.cluster import workers

    level = problem.landing(study, trained) if jump else study.rho_start
    with workers(how.workers) as client:
        asked = replace(study, seeds=(seed,))
        return problem.build(asked, trained, level, client, progress=how.tick)


def _run(found: Found, how: How) -> Row:
    study, trained = _opened(found)
    names = ("grid", "teleport", "budget", "seed")
    e, options = options_of(found.row)
    cell = {"method": e.name, "options": options, **{k: found.row[k] for k in names}}
    known = _problem(study, trained, cell["seed"], how, jump=cell["teleport"] == "auto")
    return _tried(flows.measure, known, cell)


def _tried(measure: Any, shared: Any, cell: Mapping[str, Any]) -> Row:
    """As a sweep has it: what a run raises is its row's "refused"."""
    try:
        return {**cell, **measure(shared, cell)}
    except ValueError as error:
        return {**cell, "refused": f"ValueError: {error}"}


def _baseline(found: Found, how: How) -> Row:
    study, trained = _opened(found)
    seed = found.row.get("seed", study.seeds[0])
    return picked("baseline", flows.baseline(_problem(study, trained, seed, how)), found.id)


def _explained(found: Found, _: How) -> Row:
    study, trained = _opened(found)
    cell = {"of": "network", "sigma": found.row["sigma"]}
    rows = scores.measure(scores.laws(study.scores, trained), cell)["rows"]
    return picked("explained", rows, found.id)


def _difference(found: Found, _: How) -> Row:
    study, trained = _opened(found)
    kind, lam = found.row["statistics"], found.row["lam"]
    tables = {kind: model.estimated(model.asked(study, trained), kind)}
    rows = model.differences(tables, trained.statistics)
    return min(rows, key=lambda row: abs(row["lam"] - lam))


def _v3(found: Found, how: How) -> Row:
    study, trained = _opened(found)
    kind, names = found.row["statistics"], ("statistics", "method", "budget", "seed")
    cell = next(c for c in model.runs(study) if all(c[k] == found.row[k] for k in names))
    estimated = kind in model.KINDS
    tables = {kind: model.estimated(model.asked(study, trained), kind).table} if estimated else {}
    return _tried(model.measure, (_problem(study, trained, cell["seed"], how), tables), cell)


MAKERS: dict[str, Maker] = {
    "network": _run,
    "baseline": _baseline,
    "explained": _explained,
    "difference": _difference,
    "v3": _v3,
}
