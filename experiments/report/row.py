"""``report --row``: a stored row, the command that makes it again, and what that gives."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from experiments.answer import Answer
from experiments.terminal import bar, say, table

if TYPE_CHECKING:
    from experiments.report.compare import Compared

HEADS = ("", "stored", "recomputed", "difference")


def row(args: Namespace) -> Answer:
    """The row of this id; with --rerun beside itself made anew, status 1 if they differ."""
    from experiments.report.compare import compared
    from experiments.report.identify import command, find
    from experiments.report.rerun import recomputed
    from experiments.runs import WORKERS

    found = find(args.row, args.out)
    value = {"id": found.id, "kind": found.kind, "row": found.row, "command": command(found.id)}
    if not args.rerun:

        def shown() -> None:
            leaves = compared(found, found.row)
            table(("", ""), [(c.name, _text(c.stored)) for c in leaves if "[" not in c.name])
            say(value["command"])

        return Answer(value, shown)
    with bar(f"{found.kind} {found.id}") as tick:
        fresh = recomputed(found, workers=args.workers or WORKERS, progress=tick)
    pairs = compared(found, fresh)
    value["recomputed"] = fresh
    value["differences"] = {c.name: c.difference for c in pairs if c.difference is not None}
    value["same"] = all(c.same for c in pairs)
    return Answer(value, lambda: _beside(pairs), status=0 if value["same"] else 1)


def _beside(pairs: list[Compared]) -> None:
    """Stored, recomputed and their difference; of curves only the points that differ."""
    points = [c for c in pairs if "[" in c.name]
    shown = [c for c in pairs if c not in points or not c.same]
    table(HEADS, [(c.name, *map(_text, (c.stored, c.recomputed)), _off(c)) for c in shown])
    if points:
        say(f"{sum(c.same for c in points)} of {len(points)} figures of curves are the same")


def _text(value: Any) -> str:
    return "–" if value is None else f"{value:.8g}" if isinstance(value, float) else str(value)


def _off(c: Compared) -> str:
    return "" if c.difference is None else f"{c.difference:.1e}" if c.difference else "0"
