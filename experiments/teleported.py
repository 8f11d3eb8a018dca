"""What teleports bring over a whole study: the best runs with one beside the best without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.rows import Row

KEPT = ("method", "options", "grid", "level", "nfe", "jvp", "error_median", "error_rms")


def heads(figure: str = "error") -> tuple[str, ...]:
    """Of a table of `best`."""
    run = ("method", "grid")
    return "calls", f"without: {figure}", *run, f"with: {figure}", *run, "level", "ratio"


BEST = heads()


def calls(row: Row) -> int:
    """Model calls and directional derivatives: what is compared at equal numbers."""
    return row["nfe"] + row["jvp"]


def best(
    rows: Sequence[Row],
    counts: Sequence[int],
    *,
    by: str = "error_median",
    kept: Sequence[str] = KEPT,
) -> list[dict[str, Any]]:
    """For each number of calls: the smallest of a figure without and with a teleport.

    A run that uses fewer calls than it may counts too.
    """
    done = [row for row in rows if row[by] is not None]
    out = []
    for n in counts:
        within = [row for row in done if calls(row) <= n]
        both = [_least(within, jumped, by, kept) for jumped in (False, True)]
        if all(both):
            plain, jumped = both
            ratio = plain[by] / jumped[by]
            out.append({"calls": n, "without": plain, "with": jumped, "ratio": ratio})
    return out


def summary(rows: Sequence[Row], counts: Sequence[int]) -> list[dict[str, Any]]:
    """The same method by method."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], repr(row["options"])), []).append(row)
    return [pair for group in groups.values() for pair in best(group, counts)]


def _least(rows: Iterable[Row], jumped: bool, by: str, kept: Sequence[str]) -> dict[str, Any]:
    chosen = [row for row in rows if (row["level"] is not None) == jumped]
    found = min(chosen, key=lambda row: row[by], default={})
    return {key: found[key] for key in kept if key in found}


def cells(found: Iterable[Mapping[str, Any]], by: str = "error_median") -> list[tuple[Any, ...]]:
    """Lines of a table of ``best``."""
    from experiments.rows import name_of

    lines = []
    for pair in found:
        a, b = pair["without"], pair["with"]
        plain = (f"{a[by]:.3g}", name_of(a), a["grid"])
        jumped = (f"{b[by]:.3g}", name_of(b), b["grid"], f"{b['level']:g}")
        lines.append((pair["calls"], *plain, *jumped, f"{pair['ratio']:.2f}"))
    return lines
