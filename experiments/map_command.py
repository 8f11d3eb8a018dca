"""The command ``map``: every scheme in every form, from stored rows or proved anew."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from experiments import store
from experiments.answer import Answer
from experiments.runs import WORKERS
from experiments.terminal import bar, say, table

OUT = "report/results"
HEADS = ("scheme", "form", "order", "any\ngrid", "warm-up", "slope", "names", "leading error")


def arguments(p: ArgumentParser) -> None:
    """Of the command."""
    p.add_argument("names", nargs="*", metavar="NAME", help="schemes or forms; all by default")
    p.add_argument("--new", action="store_true", help="only cells without a name")
    p.add_argument("--plot", metavar="FILE", help="draw these cells: .png, .svg or .pdf")
    p.add_argument("--summary", metavar="FILE", help="prove all anew and write the map, as JSON")
    p.add_argument(
        "--out", metavar="DIR", help=f"with --summary: for rows on the way; default {OUT}"
    )


def map_(args: Namespace) -> Answer:
    """The stored map; with --summary one that is proved and measured now."""
    from experiments import atlas
    from experiments.formula import typeset

    for name in ("out", "workers"):
        value = getattr(args, name)
        if value is not None and not args.summary:
            raise ValueError(f"--{name}: got {value!r} without --summary; allowed with it")
    if args.plot:
        from experiments.plots.style import drawable

        drawable(store.writable(args.plot, "--plot"), "--plot")
    known = [*atlas.schemes(), *atlas.COLUMNS]
    for name in args.names:
        if name not in known:
            raise ValueError(f"name: got {name!r}; allowed: {', '.join(known)}")
    if args.summary:
        store.writable(args.summary, "--summary")
        with bar("map") as tick:
            found = atlas.prove(args.out or OUT, workers=args.workers or WORKERS, progress=tick)
        with store.replacing(args.summary) as file:
            file.write(atlas.text(found))
    else:
        found = atlas.read()
    names = set(args.names or known)
    rows = [
        row
        for row in found["cells"]
        if {row["scheme"], *row["also"], row["form"]} & names
        and (row["state"] == "new" or not args.new)
    ]
    if args.plot:
        if all(row["state"] == "refused" for row in rows):
            raise ValueError(f"--plot: got {args.plot!r}; none of these cells can be drawn")
        from experiments.plots.map import chart
        from experiments.plots.style import save

        save(chart(rows), args.plot)

    def show() -> None:
        lines = [
            (
                row["scheme"],
                row["form"],
                *(row.get(k) for k in ("order", "any_grid", "plain_start", "measured")),
                ", ".join(row.get("names") or [f"= {n}" for n in row.get("same", ())]) or "new",
                typeset(row.get("leading_error", "")) or row["refused"],
            )
            for row in rows
        ]
        table(HEADS, lines)
        if not atlas.current(found):
            say(f"these rows are of other sources than are here; {atlas.COMMAND} makes new ones")

    return Answer(rows, show)
