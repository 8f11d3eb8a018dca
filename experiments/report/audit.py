"""The report's section on other libraries: the audit, from its stored rows."""

from __future__ import annotations

import json
from functools import partial

from experiments.plots.audit import audit
from experiments.report import page
from experiments.report.columns import Columns, tabled
from experiments.report.figures import both
from experiments.report.identify import AUDIT
from experiments.rows import Row

NUMBERS = {
    "promised": "nominal",
    "measured": "measured",
    "plain start": "measured_plain_start",
    "repaired": "patched",
}


def _number(key: str, row: Row) -> str:
    return "–" if row[key] is None else f"{row[key]:.3g}"


COLUMNS: Columns = {
    "scheduler": lambda row: row["scheduler"].removesuffix("Scheduler"),
    "configuration": lambda row: ", ".join(f"{k}={v}" for k, v in row["config"].items()),
    **{head: partial(_number, key) for head, key in NUMBERS.items()},
    "cause": lambda row: row["cause"],
}


def section() -> str:
    """The audit of other libraries, from its stored rows."""
    rows = json.loads(AUDIT.read_text(encoding="utf-8"))
    missed = sum(bool(row["cause"]) for row in rows)
    versions = ", ".join(sorted({f"{row['library']} {row['version']}" for row in rows}))
    said = page.prose(f"""
        Schedulers of other libraries ({versions}), measured as our own methods are
        (`scoreproof audit`): of {len(rows)} configurations {missed} do not reach the order that
        is promised for them.
    """)
    described = "Promised and measured orders of other libraries' schedulers"
    drawn = both(lambda n: audit(rows, across=n), "pa", described, "One line a scheduler.")
    return said + drawn + page.folded("All rows", *tabled("audit", rows, COLUMNS))
