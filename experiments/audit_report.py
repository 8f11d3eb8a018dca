"""The report's section on other libraries: the audit, from its stored rows."""

from __future__ import annotations

import json

from experiments import page
from experiments.figures import both
from experiments.identify import AUDIT, command, identity
from experiments.plots_audit import audit

HEADS = (
    "scheduler",
    "configuration",
    "promised",
    "measured",
    "plain start",
    "repaired",
    "cause",
    "again",
)
FIGURES = ("nominal", "measured", "measured_plain_start", "patched")


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
    lines = [
        (
            row["scheduler"].removesuffix("Scheduler"),
            ", ".join(f"{k}={v}" for k, v in row["config"].items()),
            *("–" if row[k] is None else f"{row[k]:.3g}" for k in FIGURES),
            row["cause"],
            command(identity("audit", row)),
        )
        for row in rows
    ]
    table = page.simple(HEADS, lines, ids=[identity("audit", row) for row in rows])
    return said + drawn + f"<details><summary>All rows</summary>{table}</details>"
