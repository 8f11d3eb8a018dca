"""The peer audit at a glance: promised and measured orders of other libraries' schedulers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.plots.style import BLUE, GREEN, INK, RED, SKY, sample_of, style
from experiments.rows import Row


def audit(rows: Sequence[Row], *, across: int = 2) -> Figure:
    """A line for every scheduler and promised order; its configurations lie on one another."""
    lines = grouped(rows)
    tall = -(-len(lines) // across)
    with style():
        figure = Figure(figsize=(5.4 * across, 0.7 + 0.24 * tall), layout="constrained")
        parts = figure.subplots(1, across, squeeze=False)[0]
        for i, axes in enumerate(parts):
            _lines(axes, lines[i * tall : (i + 1) * tall], tall)
        marks = [
            sample_of("promised", INK, ls="", marker="o", ms=9, mfc="none"),
            sample_of("measured, exact start", SKY, ls="", marker="D", ms=5),
            sample_of("measured, below the promise", RED, ls="", marker="D", ms=5),
            sample_of("after one expression is repaired", GREEN, ls="", marker="s", ms=5),
            sample_of("measured, as it starts by itself", BLUE, ls="", marker="|", ms=9),
        ]
        figure.legend(handles=marks, loc="outside upper left", ncols=3)
    return figure


def grouped(rows: Sequence[Row]) -> list[tuple[str, int, list[Row]]]:
    """(name, promised order, rows), sorted; names without what all of them share."""
    ordered = sorted(rows, key=lambda row: (row["scheduler"], row["nominal"]))
    groups = groupby(ordered, key=lambda row: (row["scheduler"], row["nominal"]))
    return [(name.removesuffix("Scheduler"), order, list(g)) for (name, order), g in groups]


def _lines(axes: Axes, lines: Sequence[tuple[str, int, list[Row]]], tall: int) -> None:
    levels = range(tall - 1, tall - 1 - len(lines), -1)
    for level, (_, order, rows) in zip(levels, lines, strict=True):
        axes.plot(order, level, "o", mfc="none", mec=INK, ms=10, mew=1.1)
        for row in rows:
            axes.plot(row["measured_plain_start"], level, "|", color=BLUE, ms=9, mew=1.4)
            colour = RED if row["cause"] else SKY
            axes.plot(row["measured"], level, "D", color=colour, ms=4)
            if row["patched"] is not None:
                axes.plot(row["patched"], level, "s", color=GREEN, ms=4)
    names = [f"{name}, order {order}" for name, order, _ in lines]
    axes.set_yticks(levels, names)
    for text, (_, _, rows) in zip(axes.get_yticklabels(), lines, strict=True):
        text.set_color(RED if any(row["cause"] for row in rows) else INK)
    axes.set_xlim(0.5, 5.5)
    axes.set_ylim(-0.7, tall - 0.3)
    axes.grid(axis="x")
    axes.tick_params(length=0)
