"""Errors against work are found once, fall with the work, and do not depend on the workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import work
from experiments.measure import fingerprint
from experiments.study import Rule, Sheet, Study, load
from solvers.method import entry, registry

Row = dict[str, Any]
TINY = Study(
    name="tiny",
    target="digits",
    components=2,
    floor=1e-3,
    seed=0,
    samples=3,
    rho_start=20.0,
    rho_end=0.1,
    nfe=(5, 10, 20),
    work=12,
    grids=(Rule("logsnr", "edm"), Rule("karras", "vp_linear", {"rho": 7.0})),
    sheet=Sheet(("ddim", "dpm_solver_2"), 5, 2),
    methods=("ddim", "dpm_solver_2", "rho_heun2"),
)
TIMED = {"seconds"}


def untimed(rows: Sequence[Row]) -> list[Row]:
    return [{k: v for k, v in row.items() if k not in TIMED} for row in rows]


def falls(rows: Sequence[Row]) -> bool:
    """Whether the last error is less than half of the first, with the work in rising order."""
    errors = [row["error_rms"] for row in sorted(rows, key=lambda row: row["nfe"])]
    return errors[-1] < errors[0] / 2


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the module: what one test has stored, the next one finds."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def found(results: Path) -> tuple[work.Problem, list[Row]]:
    return work.run(TINY, results, workers=1)


def test_rows_say_what_was_run(found: tuple[work.Problem, list[Row]]) -> None:
    problem, rows = found
    needed = {"method", "options", "target", "schedule", "grid", "nfe", "error_rms", "seconds"}
    for row in rows:
        assert needed < row.keys()
        assert row["target"] == "digits"
        assert row["samples"] == 3
        assert 0 < row["error_rms"] <= row["error_max"] * len(problem.basis)
        assert row["error_exact"] < 1e-6 < row["error_rms"]
        assert row["seconds"] > 0
    cells = {(row["method"], row["grid"], row["nfe"]) for row in rows if not row["options"]}
    for method, calls in (("ddim", (5, 10, 20)), ("dpm_solver_2", (4, 10, 20))):
        expected = {(method, grid, n) for grid in ("logsnr", "karras") for n in calls}
        assert {cell for cell in cells if cell[0] == method} == expected
    assert {row["method"] for row in rows} == set(TINY.methods)


def test_errors_fall_with_work(found: tuple[work.Problem, list[Row]]) -> None:
    _, rows = found
    curves: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = row["method"], str(row["options"]), row["grid"]
        curves.setdefault(key, []).append(row)
    assert len(curves) >= 6
    for curve in curves.values():
        assert falls(curve)
        turned = zip(curve, reversed(curve), strict=True)
        assert not falls([{**row, "error_rms": other["error_rms"]} for row, other in turned])


def test_errors_are_differences_from_the_exact_flow() -> None:
    """Of the start itself, and of the exact end, where there is none."""
    problem = work.build(TINY)
    p = work.planned(TINY, problem, work.tasks(TINY)[0], 200)
    end, _ = work.carry(TINY, problem, p)
    miss = np.sqrt(np.mean((end - problem.exact) ** 2))
    assert miss < 0.02 < np.sqrt(np.mean((problem.start - problem.exact) ** 2))
    pictures = problem.pixels(problem.exact)
    assert pictures.shape == (3, 8, 8)
    assert np.abs(pictures).max() < 3


def test_a_run_that_is_stored_is_not_computed_again(
    found: tuple[work.Problem, list[Row]],
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, rows = found
    computed: list[str] = []

    def counted(study: Study, problem: work.Problem, task: work.Task) -> list[Row]:
        computed.append(f"{task.method} {task.grid.name}")
        if len(computed) == 3:
            raise KeyboardInterrupt
        return measure(study, problem, task)

    measure = work.measure
    monkeypatch.setattr(work, "measure", counted)
    assert work.run(TINY, results, workers=1)[1] == rows
    assert computed == []
    with pytest.raises(KeyboardInterrupt):
        work.run(TINY, tmp_path, workers=1)
    assert len(computed) == 3
    resumed = work.run(TINY, tmp_path, workers=1)[1]
    assert untimed(resumed) == untimed(rows)
    wanted = len(work.tasks(TINY))
    assert len(computed) == 1 + wanted  # the interrupted one twice, every other one once
    other = work.run(replace(TINY, nfe=(6,)), results, workers=1)[1]
    assert len(computed) == 1 + 2 * wanted  # another study is another run
    assert {row["nfe"] for row in other} == {6}


def test_two_workers_find_what_one_finds(
    found: tuple[work.Problem, list[Row]], tmp_path: Path
) -> None:
    ticks: list[tuple[int, int]] = []
    rows = work.run(
        TINY, tmp_path, workers=2, progress=lambda done, total, _: ticks.append((done, total))
    )[1]
    assert untimed(rows) == untimed(found[1])
    total = len(work.tasks(TINY))
    assert ticks == [(i, total) for i in range(1, total + 1)]


def test_derivatives_are_paid_for() -> None:
    study = replace(TINY, methods=("taylor_2",), grids=TINY.grids[:1], nfe=(2, 4, 6, 8))
    problem = work.build(study)
    rows = work.measure(study, problem, work.tasks(study)[0])
    assert [(row["nfe"], row["jvp"]) for row in rows] == [(2, 2), (4, 4), (6, 6)]


def test_a_run_that_overflows_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflows(*_: Any) -> None:
        raise ValueError("state: overflowed")

    study = replace(TINY, nfe=(5,))
    problem, task = work.build(study), work.tasks(study)[0]
    assert "refused" not in work.measure(study, problem, task)[0]
    monkeypatch.setattr(work, "carry", overflows)
    (row,) = work.measure(study, problem, task)
    assert (row["error_rms"], row["error_max"]) == (None, None)
    assert row["refused"] == "state: overflowed"


def test_the_sample_sheet() -> None:
    problem = work.build(TINY)
    sheet = work.pictures(TINY, problem)
    assert sheet["exact"].shape == (2, 8, 8)
    assert {name: m["nfe"] for name, m in sheet["methods"].items()} == {
        "ddim": 5,
        "dpm_solver_2": 4,
    }
    assert all(m["images"].shape == (2, 8, 8) for m in sheet["methods"].values())


def test_every_run_is_a_task_once() -> None:
    """Methods with their defaults, and as published; equal runs under one name; no noise."""
    study = load("digits")
    found = [task for task in work.tasks(study) if task.grid == study.grids[0]]
    runs = [fingerprint(entry(task.method), task.options) for task in found]
    assert len(set(runs)) == len(runs)
    assert len(work.tasks(study)) == len(found) * len(study.grids)
    still = [e for e in registry().values() if e.quiet is None and e.controller is None]
    assert {fingerprint(e, {}) for e in still} <= set(runs)
    assert {e.name for e in registry().values()} - {e.name for e in still} >= {"sa_solver_2"}
    shipped = ("dpm_solver_3m", {"as_published": True})
    assert shipped in [(task.method, task.options) for task in found]


def test_with_levels_every_task_is_run_with_a_jump_too() -> None:
    """The jump has the Gaussian's past where the method looks back; medians are over samples."""
    study = replace(TINY, methods=("ddim", "dpm_solver_pp_2m"), levels=(4.0,), nfe=(5,))
    problem = work.build(study)
    wanted = work.tasks(study)
    assert [task.level for task in wanted] == [None, 4.0] * (len(wanted) // 2)
    for task in wanted:
        p = work.planned(study, problem, task, 5)
        kinds = [type(op).__name__ for op in p.ops[:2]]
        back = task.level is not None and task.method == "dpm_solver_pp_2m"
        assert kinds[0] == ("Advance" if task.level is None else "Jump")
        assert ("Recall" in kinds) == back
        (row,) = work.measure(study, problem, task)
        end, _ = work.carry(study, problem, p)
        each = np.sqrt(np.mean((end - problem.exact) ** 2, axis=1))
        assert (row["level"], row["nfe"]) == (task.level, 5)
        assert row["error_median"] == pytest.approx(np.median(each), rel=1e-12)
        assert row["error_rms"] == pytest.approx(np.sqrt(np.mean(each**2)), rel=1e-12)
