"""Error against work, and which solvers are named in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from experiments.plots.style import BLUE, GREEN, INK, ORANGE, PINK, RED, SKY, logarithmic, style
from experiments.rows import Row, name_of


def diagram(rows: Sequence[Row], grid: str, *, at: int = 10) -> Figure:
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
