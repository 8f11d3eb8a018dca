"""The report: one page, the rows of its two largest tables as JSON, and the list of its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments import store, work
from experiments.data import load_images
from experiments.orders import order_rows
from experiments.report import images, scores, sections, teleports
from experiments.report.identify import RUNS, listed
from experiments.rows import deviates
from experiments.study import Study, load
from experiments.terminal import Stage, Tick, silent
from solvers.method import entry
from theory.certificates import check, status

Row = dict[str, Any]
SOURCES = (
    "solvers",
    "theory",
    "gaussian_score",
    "experiments/measure.py",
    "experiments/orders.py",
)
"""What the rows of orders rest on."""
FAST = ("ddim", "dpm_solver_2", "dpm_solver_3m", "scire_v1_3", "unipc_2")
"""Methods of a trial of the machinery."""


@dataclass(frozen=True)
class Report:
    """What was written."""

    page: Path
    orders: list[Row]
    work: list[Row]
    stale: list[tuple[str, Any]]
    """Methods whose certificate does not belong to the sources as they are, and why."""

    @property
    def summary(self) -> str:
        """One line."""
        short = sum(deviates(row) for row in self.orders)
        text = (
            f"{len(self.orders)} solvers proved and measured, {short} below their claim;"
            f" {len(self.work)} runs on images"
        )
        bad = Counter(state for _, state in self.stale)
        counts = ", ".join(f"{n} {state}" for state, n in sorted(bad.items()))
        return text + (f"; certificates: {counts} (make certify)" if bad else "")


def report(
    out: str | Path = "report",
    *,
    study: Study | None = None,
    names: Sequence[str] | None = None,
    workers: int = 2,
    stage: Stage = silent,
) -> Report:
    """Measure what is not stored under ``out``/results yet, then write the page and its rows.

    Beside them `identify.RUNS` names the runs that the page shows: (kind of row, folder).
    """
    out = Path(out)
    study = study or load("digits")
    if names:
        drawn = tuple(name for name in study.sheet.methods if name in names) or tuple(names)
        sheet = replace(study.sheet, methods=drawn)
        study = replace(study, methods=tuple(names), sheet=sheet)
    load_images(study.target)  # images that are not there are missed before anything is computed
    root = out / "results"
    root.mkdir(parents=True, exist_ok=True)
    with stage("orders") as tick:
        run, orders = orders_of(root, names, workers, tick)
    with stage("images") as tick:
        problem, rows = work.run(study, root, workers=workers, progress=tick)
    with stage("teleports") as tick:
        jumps = teleports.measure(study, root, workers=workers, progress=tick)
    with stage("scores") as tick:
        known = scores.measure(root, tick)
    result = Report(out / "index.html", orders, rows, check())
    with stage("page") as tick:
        html = sections.write(orders, rows, result.stale, study, problem, jumps, known, run, tick)
    own = {"order": run, "work": images.stored(study, root)}
    runs = (pair for part in (own, jumps.runs, known.runs) for pair in part.items())
    written = {
        RUNS: listed(out, runs),
        "orders.json": store.page(orders),
        "work_precision.json": store.page(rows),
        "index.html": html,
    }
    for name, content in written.items():
        with store.replacing(out / name) as file:
            file.write(content)
    return result


def orders_of(
    root: Path, names: Sequence[str] | None, workers: int, tick: Tick
) -> tuple[store.Run, list[Row]]:
    """The table of orders; stored rows are kept, but certificates are looked at again."""
    run = store.open_run(root, "orders", {"names": names, "size": "small"}, SOURCES)
    rows = order_rows(names=names, workers=workers, progress=tick, run=run)
    return run, [{**row, "certificate": status(entry(row["method"]))} for row in rows]
