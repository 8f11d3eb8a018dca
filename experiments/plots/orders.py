"""Orders: claimed, proved and measured, and the curves that they are read from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.plots.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    RED,
    SKY,
    logarithmic,
    sample_of,
    style,
)
from experiments.rows import Row, deviates, families, name_of

ORDERS = {1: ORANGE, 2: SKY, 3: GREEN, 4: BLUE}
"""Colour of a proved order; higher ones are PINK."""


def overview(rows: Sequence[Row], *, across: int = 2) -> Figure:
    """Claimed, proved and measured order of every row; what falls short of its claim is red."""
    groups = list(families(rows).items())
    cut = _half([len(group) + 2 for _, group in groups]) if across == 2 else len(groups)
    columns = (groups[:cut], groups[cut:])[:across]
    tall = max(sum(len(group) + 2 for _, group in column) for column in columns)
    highest = max(max(row["proved"], row["claimed"] or 0) for row in rows)
    with style():
        figure = Figure(figsize=(5.5 * across, 0.6 + 0.21 * tall), layout="constrained")
        for part, column in zip(
            figure.subfigures(1, across, squeeze=False)[0], columns, strict=True
        ):
            heights = [len(group) + 1 for _, group in column]
            filler = max(tall - sum(heights) - len(heights), 0.01)
            ratios = [*heights, filler]
            stacked = part.subplots(len(ratios), 1, height_ratios=ratios, squeeze=False)
            *used, rest = stacked[:, 0]
            rest.set_axis_off()
            for axes, (title, group) in zip(used, column, strict=True):
                _orders(axes, title, group, highest)
        marks = [
            sample_of("claimed", INK, ls="", marker="o", ms=9, mfc="none"),
            sample_of("proved", SKY, ls="", marker="s", ms=9),
            sample_of("proved, below the claim", RED, ls="", marker="s", ms=9),
            sample_of("measured", INK, ls="", marker="d", ms=6),
        ]
        figure.legend(handles=marks, loc="outside upper center", ncols=2 * across)
    return figure


def _half(heights: Sequence[int]) -> int:
    """Where to cut a column in two of nearly equal height."""
    total = sum(heights)
    return min(range(len(heights) + 1), key=lambda i: abs(2 * sum(heights[:i]) - total))


def _orders(axes: Axes, title: str, rows: Sequence[Row], highest: int) -> None:
    """A bar to the proved order, a ring at the claimed and a diamond at the measured one."""
    levels = range(len(rows) - 1, -1, -1)
    colours = [RED if deviates(row) else SKY for row in rows]
    axes.barh(levels, [row["proved"] for row in rows], color=colours, height=0.62)
    for row, level in zip(rows, levels, strict=True):
        if row["claimed"] is not None:
            axes.plot(row["claimed"], level, "o", mfc="none", mec=INK, ms=9, mew=1.2)
        if row["measured"] is not None:
            axes.plot(row["measured"], level, "d", color=INK, ms=4)
    axes.set_title(title)
    axes.set_yticks(levels, [name_of(row) for row in rows])
    for text, row in zip(axes.get_yticklabels(), rows, strict=True):
        text.set_color(RED if deviates(row) else INK)
    axes.set_xlim(0, highest + 0.4)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xticks(range(highest + 1))
    axes.grid(axis="x")
    axes.tick_params(length=0)


CURVES = {
    "exact": ("o-", BLUE, "exact start", "measured"),
    "plain": ("s--", ORANGE, "usual warm-up", "measured_plain_start"),
    "irregular": ("^:", GREEN, "steps 1 : 2", "measured_irregular"),
    "float64": ("x", INK, "float64", "measured_float64"),
}
"""Marker, colour, label and the key of the measured order, by kind of start and grid."""


def convergence(row: Row) -> Figure:
    """Error against step: every start and grid, the window, the proved and the claimed slope."""
    with style():
        figure = Figure(figsize=(5.4, 4.4), layout="constrained")
        axes = figure.add_subplot()
        _convergence(axes, row)
        axes.set_title(name_of(row))
        axes.set_xlabel(f"largest step h, form {row['form']}")
        axes.set_ylabel("RMS error at the end")
        axes.legend(loc="upper left")
    return figure


def _convergence(axes: Axes, row: Row) -> None:
    logarithmic(axes)
    for kind, (look, colour, label, measured) in CURVES.items():
        curve = [(h, e) for h, e in row["curves"].get(kind, ()) if e > 0]
        if curve:
            slope = row.get(measured)
            text = label if slope is None else f"{label}: {slope:.2f}"
            axes.plot(*zip(*curve, strict=True), look, color=colour, label=text, mfc="none")
    inside = _window(row)
    if len(inside) < 2:
        return
    (h1, e1), (h0, _) = inside[-1], inside[0]
    axes.axvspan(min(h1, h0), max(h1, h0), color=INK, alpha=0.07, lw=0, label="window")
    steps = sorted(h for h, _ in row["curves"]["exact"])
    if row["claimed"] is not None:
        line = [(h, e1 * (h / h1) ** row["claimed"]) for h in (steps[0], steps[-1])]
        colour = RED if deviates(row) else INK
        label = f"claimed: {row['claimed']}"
        axes.plot(*zip(*line, strict=True), "-", color=colour, lw=0.9, alpha=0.8, label=label)
    _triangle(axes, h1, e1 / 8, row["proved"])


def _window(row: Row) -> list[tuple[float, float]]:
    """The points of the exact-start curve whose slope is the measured order, by falling step."""
    if not row["window"]:
        return []
    low, high = sorted(row["window"])
    curve = row["curves"]["exact"]
    return sorted(((h, e) for h, e in curve if low <= h <= high and e > 0), reverse=True)


def _triangle(axes: Axes, h: float, error: float, slope: int) -> None:
    """A right triangle of this slope with its corner at (h, error), one doubling wide."""
    corners = [(h, error), (2 * h, error), (2 * h, error * 2**slope), (h, error)]
    axes.plot(*zip(*corners, strict=True), "-", color=INK, lw=1)
    axes.annotate(
        f"proved {slope}",
        (2 * h, error * 2 ** (slope / 2)),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
    )


def family(rows: Sequence[Row], *, across: int = 2) -> Figure:
    """Small multiples: error against step of every row, coloured by its proved order."""
    groups = families(rows)
    down = math.ceil(len(groups) / across)
    with style():
        figure = Figure(figsize=(4.8 * across, 2.8 * down + 0.5), layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, (title, group) in zip(grid, groups.items(), strict=False):
            logarithmic(axes)
            for row in group:
                curve = [(h, e) for h, e in row["curves"].get("exact", ()) if e > 0]
                if curve:
                    colour = RED if deviates(row) else ORDERS.get(row["proved"], PINK)
                    dash = "--" if deviates(row) else "-"
                    axes.plot(*zip(*curve, strict=True), dash, color=colour, lw=1.2, alpha=0.85)
            axes.set_title(title)
        for axes in grid[len(groups) :]:
            axes.set_visible(False)
        proved = sorted({row["proved"] for row in rows})
        marks = [(ORDERS.get(p, PINK), "-", f"order {p} proved") for p in proved]
        marks += [(RED, "--", "below its claim")] if any(map(deviates, rows)) else []
        handles = [sample_of(text, colour, ls=dash) for colour, dash, text in marks]
        figure.legend(handles=handles, loc="outside upper left", ncols=2 + across)
        figure.supxlabel("largest step h, in each method's own clock", fontsize=10)
        figure.supylabel("RMS error, exact start", fontsize=10)
    return figure
