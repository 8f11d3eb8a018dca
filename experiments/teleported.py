"""What teleports bring over a whole study: the best runs with one beside the best without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
KEPT = ("method", "options", "grid", "level", "nfe", "jvp", "error_median", "error_rms")
BEST = (
    "calls",
    "without: error",
    "method",
    "grid",
    "with: error",
    "method",
    "grid",
    "level",
    "ratio",
)


def calls(row: Row) -> int:
    """Model calls and directional derivatives: what is compared at equal numbers."""
    return row["nfe"] + row["jvp"]


def best(rows: Sequence[Row], counts: Sequence[int]) -> list[dict[str, Any]]:
    """For each number of calls: the smallest median errors without and with a teleport.

    A run that uses fewer calls than it may counts too.
    """
    out = []
    for n in counts:
        within = [row for row in rows if calls(row) <= n and row["error_median"] is not None]
        both = [_least(within, jumped) for jumped in (False, True)]
        if all(both):
            plain, jumped = both
            ratio = plain["error_median"] / jumped["error_median"]
            out.append({"calls": n, "without": plain, "with": jumped, "ratio": ratio})
    return out


def summary(rows: Sequence[Row], counts: Sequence[int]) -> list[dict[str, Any]]:
    """The same method by method."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], repr(row["options"])), []).append(row)
    return [pair for group in groups.values() for pair in best(group, counts)]


def _least(rows: Iterable[Row], jumped: bool) -> dict[str, Any]:
    chosen = [row for row in rows if (row["level"] is not None) == jumped]
    found = min(chosen, key=lambda row: row["error_median"], default={})
    return {key: found[key] for key in KEPT if key in found}


def cells(found: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Lines of a table of ``best``."""
    from experiments.plots import name_of

    lines = []
    for pair in found:
        a, b = pair["without"], pair["with"]
        plain = (f"{a['error_median']:.3g}", name_of(a), a["grid"])
        jumped = (f"{b['error_median']:.3g}", name_of(b), b["grid"], f"{b['level']:g}")
        lines.append((pair["calls"], *plain, *jumped, f"{pair['ratio']:.2f}"))
    return lines
