"""What is kept of a study of a network: its rows as a compact table, read as they were."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import store
from experiments.network_study.study import NetworkStudy
from experiments.teleported import best

if TYPE_CHECKING:
    from experiments.network_study.run import Found

Row = Mapping[str, Any]
RESULTS = Path(__file__).parents[1] / "results" / "network.json"
DIGITS = 7
"""Of every number that is kept."""
RUNS = (
    "method",
    "options",
    "family",
    "grid",
    "teleport",
    "level",
    "budget",
    "seed",
    "steps",
    "nfe",
    "jvp",
    "error_rms",
    "error_median",
    "frechet",
    "kernel",
    "refused",
)
STATISTICS = (
    "statistics",
    "method",
    "budget",
    "seed",
    "nfe",
    "error_rms",
    "error_median",
    "refused",
)
HISTORY = ("images", "candidate", "sigma", "residual")
MEASURES = {"error_median": "error", "frechet": "distance"}
"""What a run may be the best by, and what that is called."""
KEPT = ("method", "options", "family", "grid", "level", "nfe", "jvp", "error_median", "frechet")


def summary(study: NetworkStudy, found: Found) -> dict[str, Any]:
    """Plain values, small enough to be stored with the sources."""
    past = [{**row, "residual": row["score"]["residual"]} for row in found.history]
    _, versions = store.identity({}, ())
    made = store.provenance(found.run_id, study.to_json(), versions)
    del made["certificates"]  # no proof is behind these rows
    return {
        **made,
        "checkpoint": found.checkpoint,
        "level": found.level,
        "baseline": found.baseline,
        "runs": _table(RUNS, found.rows),
        "scores": _rounded(found.scores),
        "history": _table(HISTORY, past),
        "differences": _rounded(found.differences),
        "statistics": _table(STATISTICS, found.statistics),
    }


def read(file: Path = RESULTS) -> dict[str, Any] | None:
    """The same with its tables as rows again; None where nothing is stored."""
    if not file.is_file():
        return None
    value = json.loads(file.read_text(encoding="utf-8"))
    tables = {name: _rows(value[name]) for name in ("runs", "history", "statistics")}
    return value | tables


def winners(rows: Sequence[Row], budgets: Sequence[int], by: str) -> list[dict[str, Any]]:
    """For each budget the best run without a teleport and with one, by error or by distance."""
    done = [{**dict.fromkeys(RUNS), **row} for row in rows]
    return best(done, budgets, by=by, kept=KEPT)


def _table(columns: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    return {"columns": columns, "rows": [[_rounded(row.get(c)) for c in columns] for row in rows]}


def _rows(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
