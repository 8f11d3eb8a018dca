"""``report --row``: a stored row, the command that makes it again, and what that gives."""

from __future__ import annotations

from argparse import Namespace

from experiments.answer import Answer
from experiments.terminal import bar, say, table

HEADS = ("", "stored", "recomputed", "difference")


def row(args: Namespace) -> Answer:
    """The row of this id; with --rerun beside itself made anew, status 1 if they differ."""
    from experiments.identify import command, compared, find, recomputed

    found = find(args.row, args.out)
    value = {"id": found.id, "kind": found.kind, "row": found.row, "command": command(found.id)}
    if not args.rerun:

        def shown() -> None:
            plain = {k: v for k, v in found.row.items() if not isinstance(v, list | dict) or not v}
            table(("", ""), [(k, v) for k, v in plain.items() if v != {}])
            say(value["command"])

        return Answer(value, shown)
    with bar(f"{found.kind} {found.id}"):
        fresh = recomputed(found)
    pairs = compared(found.row, fresh)
    value["recomputed"] = fresh
    value["differences"] = {c.name: c.difference for c in pairs if c.difference is not None}
    value["same"] = all(c.same for c in pairs)
    lines = [(c.name, c.stored, c.recomputed, _said(c.difference)) for c in pairs]
    return Answer(value, lambda: table(HEADS, lines), status=0 if value["same"] else 1)


def _said(difference: float | None) -> str:
    return "" if difference is None else f"{difference:.1e}" if difference else "0"
