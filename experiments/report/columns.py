"""Tables of stored rows: what each column shows, and last the command that makes the row again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.report.identify import command, identity
from experiments.rows import Row, name_of

Columns = Mapping[str, Callable[[Row], Any]]
Tabled = tuple[tuple[str, ...], list[tuple[Any, ...]], list[str]]
RUN: Columns = {
    "solver": name_of,
    "grid": lambda row: row["grid"],
    "landing σ": lambda row: "–" if row["level"] is None else f"{row['level']:g}",
    "calls": lambda row: row["nfe"] + row["jvp"],
    "median error": lambda row: f"{row['error_median']:.3g}",
}
"""Of a run on images; derivatives count as calls."""


def tabled(kind: str, rows: Sequence[Row], columns: Columns, *, mark: str = "") -> Tabled:
    """Heads, lines and their ids, as `page.simple` takes them; ``mark`` begins each id."""
    ids = [identity(kind, row) for row in rows]
    lines = [
        (*(show(row) for show in columns.values()), command(name))
        for row, name in zip(rows, ids, strict=True)
    ]
    return (*columns, "again"), lines, [mark + name for name in ids]
