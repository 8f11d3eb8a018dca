"""Errors that fall as steps grow in number: lines, and the slopes between their points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from experiments.plots.style import BLUE, GREEN, INK, ORANGE, PINK, RED, SKY, logarithmic, style

Curve = Sequence[tuple[float, float]]
"""(number of steps or of calls, error)."""
LOOKS = (
    (BLUE, "o-"),
    (ORANGE, "s--"),
    (GREEN, "^-"),
    (PINK, "d:"),
    (SKY, "v-."),
    (INK, "x-"),
    (RED, "P--"),
    ("#999999", "*-"),
    ("#7a6a00", "<-."),
)


def lines(
    curves: Mapping[str, Curve],
    *,
    across: str = "steps",
    down: str = "RMS error at the end",
    guides: Mapping[str, Curve] | None = None,
) -> Figure:
    """Error against steps or work; ``guides`` are thin dotted lines with their own labels."""
    with style():
        figure = Figure(figsize=(6.6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        falling(axes, curves, across, down)
        for label, curve in (guides or {}).items():
            axes.plot(*zip(*curve, strict=True), ":", color=INK, lw=1, label=label)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure


def with_slopes(curves: Mapping[str, Curve], order: int) -> Figure:
    """Error against steps; beside it the slope of every doubling, and the order that is true."""
    with style():
        figure = Figure(figsize=(9.2, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        falling(left, curves, "steps", "RMS error at the end")
        for (colour, look), curve in zip(LOOKS, curves.values(), strict=False):
            right.plot(*zip(*slopes(curve), strict=True), look, color=colour, mfc="none")
        true = right.axhline(order, color=INK, lw=0.9, ls="--", label=f"the order, {order}")
        _counted(right, [n for curve in curves.values() for n, _ in curve])
        right.grid(axis="y")
        right.set(xlabel="steps after the doubling", ylabel="slope")
        handles = [*left.get_legend_handles_labels()[0], true]
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    return figure


def slopes(curve: Curve) -> list[tuple[float, float]]:
    """(n, log₂-like slope of the pair that ends at n)."""
    return [
        (n, math.log(e / f) / math.log(n / m)) for (m, e), (n, f) in pairwise(curve) if e and f
    ]


def falling(axes: Axes, curves: Mapping[str, Curve], across: str, down: str) -> None:
    """A panel: a line for each curve, without a legend."""
    logarithmic(axes)
    for (colour, look), (label, curve) in zip(LOOKS, curves.items(), strict=False):
        shown = [(n, e) for n, e in curve if e > 0]
        axes.plot(*zip(*shown, strict=True), look, color=colour, label=label, mfc="none")
    _counted(axes, [n for curve in curves.values() for n, _ in curve])
    axes.set(xlabel=across, ylabel=down)


def _counted(axes: Axes, counts: Sequence[float]) -> None:
    """Whole numbers on a logarithmic axis, every one that is a doubling of the smallest."""
    axes.set_xscale("log")
    low, high = min(counts), max(counts)
    ticks = [low * 2**k for k in range(round(math.log2(high / low)) + 1)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def derivatives(
    steps: Sequence[float], differences: Mapping[str, Sequence[float]], exact: Mapping[str, float]
) -> Figure:
    """Relative errors of differences against their step; of exact derivatives, level lines."""
    with style():
        figure = Figure(figsize=(6.6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        logarithmic(axes)
        for (colour, look), (label, errors) in zip(LOOKS, differences.items(), strict=False):
            text = f"{label} by differences"
            axes.plot(steps, errors, look, color=colour, label=text, mfc="none", ms=3)
            level = max(exact[label], 2.0**-53)
            text = f"{label} by forward mode"
            axes.axhline(level, color=colour, ls=look[1:], lw=1, label=text)
        axes.set(xlabel="step of the difference, in the clock", ylabel="relative error")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure
