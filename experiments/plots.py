"""Rows to figures: nothing is computed here that is not in the rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from experiments.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    RED,
    SKY,
    inline,
    logarithmic,
    sample_of,
    save,
    style,
)

__all__ = [
    "convergence",
    "family",
    "foremost",
    "inline",
    "name_of",
    "overview",
    "save",
    "sheet",
    "work",
]

Row = Mapping[str, Any]
ORDERS = {1: ORANGE, 2: SKY, 3: GREEN, 4: BLUE}
"""Colour of a proved order; higher ones are PINK."""


def name_of(row: Row) -> str:
    """A row's method with what its options change, in few words."""
    words = [
        key if value is True else value if isinstance(value, str) else f"{key}={value}"
        for key, value in row["options"].items()
    ]
    return " ".join([row["method"], *words])


def deviates(row: Row) -> bool:
    """Whether the proved order is below the claimed one."""
    return row["claimed"] is not None and row["proved"] < row["claimed"]


def families(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by family."""
    ordered = sorted(rows, key=lambda row: row["family"])
    return {family: list(group) for family, group in groupby(ordered, lambda r: r["family"])}


# --- orders --------------------------------------------------------------------------------------


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


# --- images --------------------------------------------------------------------------------------


def work(rows: Sequence[Row], grid: str, *, at: int = 10) -> Figure:
    """Error against calls and derivatives; named: DDIM, and each family's best if it is better."""
    curves = _work_curves(rows, grid)
    named = foremost(rows, grid, at=at)
    colours = [BLUE, ORANGE, GREEN, PINK, SKY, RED]
    with style():
        figure = Figure(figsize=(6, 4.4), layout="constrained")
        axes = figure.add_subplot()
        logarithmic(axes)
        for points in curves.values():
            axes.plot(*zip(*points, strict=True), color=INK, lw=0.7, alpha=0.18)
        ends = []
        for i, name in enumerate(named):
            colour = INK if name == "ddim" else colours[i % len(colours)]
            axes.plot(*zip(*curves[name], strict=True), "o-", color=colour, ms=3.5)
            ends.append((*curves[name][-1], name, colour))
        axes.axvline(at, color=INK, lw=0.8, ls=":", alpha=0.6)
        counts = sorted({x for points in curves.values() for x, _ in points})
        ticks = [n for n in (1, 2, 5, 10, 20, 50, 100, 200) if counts[0] <= n <= counts[-1]]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        _end_labels(axes, ends)
        schedule = next(row["schedule"] for row in rows if row["grid"] == grid)
        axes.set_title(f"grid {grid}, schedule {schedule}")
        axes.set_xlabel("model calls + directional derivatives for one sample")
        axes.set_ylabel("RMS error of a pixel")
    return figure


def _work_curves(rows: Sequence[Row], grid: str) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["grid"] == grid and row["error_rms"]:
            point = (row["nfe"] + row["jvp"], row["error_rms"])
            curves.setdefault(name_of(row), []).append(point)
    return curves


def foremost(rows: Sequence[Row], grid: str, *, at: int) -> list[str]:
    """DDIM, and of each family the best at so many calls or less, if it is better than DDIM."""
    curves, kin = _work_curves(rows, grid), {name_of(row): row["family"] for row in rows}
    best = {name: _error_at(points, at) for name, points in curves.items()}
    ranked = sorted(best, key=best.__getitem__)
    first = {kin[name]: name for name in reversed(ranked)}.values()
    plain = best.get("ddim", math.inf)
    return [n for n in ranked if n == "ddim" or (n in first and best[n] < 0.99 * plain)]


def _error_at(points: Iterable[tuple[int, float]], at: int) -> float:
    """The error of the most expensive run that costs ``at`` or less."""
    return min(((-x, e) for x, e in points if x <= at), default=(0, math.inf))[1]


def _end_labels(axes: Axes, ends: Sequence[tuple[int, float, str, str]]) -> None:
    """Names right of the axes at the heights of their curves' ends, moved apart if they meet."""
    low, high = (math.log(y) for y in axes.get_ylim())
    gap = 0.05 * (high - low)
    level = -math.inf
    edge = axes.get_xlim()[1]
    for x, y, name, colour in sorted(ends, key=lambda end: end[1]):
        level = max(math.log(y), level + gap)
        place = (edge * 1.04, math.exp(level))
        link = {"arrowstyle": "-", "color": colour, "lw": 0.6, "alpha": 0.6}
        look = {"color": colour, "fontsize": 9, "va": "center", "arrowprops": link}
        axes.annotate(name, (x, y), place, annotation_clip=False, **look)


def sheet(pictures: Mapping[str, Any], *, scale: int = 12) -> Figure:
    """The exact images; below, each method's images and what is wrong with them, on one scale."""
    exact = pictures["exact"]
    worst = max(np.abs(method["images"] - exact).max() for method in pictures["methods"].values())
    strips = [("exact flow", _strip(exact, "gray", 1.0))]
    for name, method in pictures["methods"].items():
        wrong = method["images"] - exact
        rms = float(np.sqrt(np.mean(wrong**2)))
        both = [_strip(method["images"], "gray", 1.0), _strip(wrong, "RdBu_r", worst)]
        strips.append((f"{name}, {method['nfe']} calls: RMS error {rms:.3f}", np.vstack(both)))
    heights = [len(strip) for _, strip in strips]
    with style():
        height = 5.4 * sum(heights) / strips[0][1].shape[1] + 0.27 * len(strips)
        figure = Figure(figsize=(5.4, height), layout="constrained")
        for axes, (title, strip) in zip(
            figure.subplots(len(strips), 1, height_ratios=heights), strips, strict=True
        ):
            pixels = np.kron(strip, np.ones((scale, scale, 1)))
            axes.imshow(pixels, interpolation="nearest", aspect="equal")
            axes.set_title(title, fontsize=9, fontweight="normal", pad=2)
            axes.set_axis_off()
    return figure


def _strip(images: np.ndarray, colours: str, bound: float) -> np.ndarray:
    """The images side by side as RGBA, −bound to bound, one transparent pixel between."""
    painted = colormaps[colours]((np.clip(images / bound, -1, 1) + 1) / 2)
    return np.hstack([np.pad(image, ((0, 1), (0, 1), (0, 0))) for image in painted])
