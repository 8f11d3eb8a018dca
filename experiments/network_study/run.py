"""The whole study, stage by stage; what one stage has found is stored before the next begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from experiments import cache, store
from experiments.folder import Folder
from experiments.model_statistics import Estimate
from experiments.network_study import flows, model, problem, scores
from experiments.network_study.problem import Trained
from experiments.network_study.study import SOURCES, NetworkStudy
from experiments.store import Run
from experiments.sweep.spread import unordered
from experiments.sweep.sweep import Row, Sweep
from experiments.terminal import Stage, Tick, silent
from solvers.statistics import Table

ARRAYS = ("lam", "l", "s", "b", "l_error", "s_error", "b_error")


@dataclass(frozen=True)
class Found:
    """Everything that a study of a network finds.

    Attributes:
        run_id: of this study of this checkpoint on these sources.
        checkpoint: SHA-256 over the files that decide the network.
        level: σ/α where "auto" lands.
        rows: `flows.measure` of every run.
        baseline: distances to data of the exact ends, and of training images.
        scores: rows of `scores`, the network's; ``history``: those of its snapshots.
        differences: of `model`; ``statistics``: its runs.
    """

    run_id: str
    checkpoint: str
    level: float
    rows: list[Row]
    baseline: list[Row]
    scores: list[Row]
    history: list[Row]
    differences: list[Row]
    statistics: list[Row]


def run(
    study: NetworkStudy,
    checkpoint: str | Path,
    root: str | Path,
    client: Client,
    *,
    stage: Stage = silent,
) -> Found:
    """All rows; those that an earlier run has stored are not computed again.

    The snapshots of the checkpoint must have the same path where the client's workers are.

    Raises:
        ValueError: no such checkpoint or data, or another process is at this run.
    """
    trained = Trained.read(checkpoint)
    digest = trained.digest
    stored = store.open_run(root, f"network-{study.name}", study.decides(digest), SOURCES)
    with stored.alone():
        with stage("level"):
            level = _level(stored, study, trained)
        with stage("exact flow") as tick:
            known = problem.build(study, trained, level, client, progress=tick)
        with stage("runs") as tick:
            rows = _swept(stored, "flows", flows.measure, known, flows.asked(study), client, tick)
        with stage("scores") as tick:
            cells = scores.levels(study, Folder(trained.place).snapshots())
            laws = scores.laws(study.scores, trained)
            by_level = _swept(stored, "scores", scores.measure, laws, cells, client, tick)
        with stage("model statistics") as tick:
            tables = _tables(stored, study, trained, client, tick)
            shared = known, {kind: found.table for kind, found in tables.items()}
            again = _swept(stored, "model", model.measure, shared, model.runs(study), client, tick)
    network, history = (
        [row for found in by_level if found["of"] == of for row in found.get("rows", ())]
        for of in ("network", "history")
    )
    apart = model.differences(tables, trained.statistics)
    baseline = flows.baseline(known)
    return Found(stored.id, digest, level, rows, baseline, network, history, apart, again)


def _swept(
    stored: Run, name: str, measure: Any, shared: Any, cells: list[Row], client: Client, tick: Tick
) -> list[Row]:
    """The rows of one stage, in a folder of its own."""
    folder = stored.folder / name
    folder.mkdir(exist_ok=True)
    return Sweep(measure, shared, cells).run(Run(folder), client, progress=tick)


def _level(stored: Run, study: NetworkStudy, trained: Trained) -> float:
    file = stored.folder / "level.json"
    if not file.exists():
        level = problem.landing(study, trained)
        with store.replacing(file) as out:
            out.write(store.page(level))
    return json.loads(file.read_text(encoding="utf-8"))


def _tables(
    stored: Run, study: NetworkStudy, trained: Trained, client: Client, tick: Tick
) -> Mapping[str, Estimate]:
    """The network's tables; both estimators at once."""
    found: dict[str, Estimate] = {}
    for kind in model.KINDS:
        held = cache.load(_file(stored, kind), ARRAYS)
        if held is not None:
            found[kind] = _estimate(held[0])
    missing = [kind for kind in model.KINDS if kind not in found]
    asked = model.asked(study, trained) if missing else None
    for kind, made in unordered(model.estimated, asked, missing, client):
        cache.store(_file(stored, kind), _arrays(made), {"run_id": stored.id, "statistics": kind})
        found[kind] = made
        tick(len(found), len(model.KINDS), kind)
    return {kind: found[kind] for kind in model.KINDS}


def _file(stored: Run, kind: str) -> Path:
    return stored.folder / f"{kind.replace(' ', '_')}.npz"


def _arrays(made: Estimate) -> dict[str, np.ndarray]:
    table = {name: getattr(made.table, name) for name in ("lam", *model.NAMES)}
    return {**table, **{f"{name}_error": made.errors[name] for name in model.NAMES}}


def _estimate(arrays: Mapping[str, np.ndarray]) -> Estimate:
    table = Table(*(arrays[name] for name in ("lam", *model.NAMES)))
    return Estimate(table, {name: arrays[f"{name}_error"] for name in model.NAMES})
