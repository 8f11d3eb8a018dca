"""All that may be chosen at each number of calls, and what is best: figures from stored rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from experiments.plots.network import MEASURES
from experiments.plots.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    logarithmic,
    power,
    sample_of,
    style,
)
from experiments.rows import Row

WAYS = {"off": (INK, -1, "without a jump"), "auto": (BLUE, 1, "with a jump")}
"""Colour, side and label."""
MARKS = ((ORANGE, "s--"), (GREEN, "^-"), (PINK, "d-"))
HALF = 0.13
"""Of a dash, and of the place between the two ways; numbers of calls are 1 apart."""
NEAR = 0.9
"""The part of all distances that lies where their axis is linear."""
LINEAR = 2.0
"""Height of that part of the axis over that of the rest."""


def choices(
    rows: Sequence[Row],
    budgets: Sequence[int],
    *,
    floor: Mapping[str, float],
    chance: tuple[float, float],
    marked: Mapping[str, Sequence[Row]] | None = None,
) -> Figure:
    """A dash for each run at each number of calls; lines through the best, and through ``marked``.

    Dotted: the exact flow's own, ``floor`` by measure. ``chance`` is mean and deviation of the
    distance of as many images of the data, a band. Where some distances are far above the others,
    their axis is linear up to a thin line and logarithmic beyond it.
    """
    with style():
        figure = Figure(figsize=(8.9, 4.6), layout="constrained")
        for axes, (by, label) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
            for way, look in WAYS.items():
                _runs(axes, [row for row in rows if row["teleport"] == way], budgets, by, look)
            for (colour, look), own in zip(MARKS, (marked or {}).values(), strict=False):
                places = [budgets.index(row["budget"]) for row in own]
                axes.plot(places, [row[by] for row in own], look, color=colour, lw=1.3, mfc="none")
            axes.axhline(floor[by], color=INK, lw=0.9, ls=":")
            axes.set_xticks(range(len(budgets)), [str(n) for n in budgets])
            axes.grid(axis="y")
            axes.set(xlabel="calls an image", ylabel=label)
        left, right = figure.axes
        left.set_yscale("log")
        left.yaxis.set_major_formatter(FuncFormatter(power))
        left.yaxis.set_minor_formatter(NullFormatter())
        left.set_title("Error to the network's own flow")
        right.set_title("Distance to data")
        _seen(right, [row["frechet"] for row in rows], chance)
        figure.legend(handles=_legend(marked or {}), loc="outside lower center", ncols=4)
    return figure


def disagreement(rows: Sequence[Row], floor: float, named: Mapping[str, Row]) -> Figure:
    """Distance against error, a dot for each run; dotted: the exact flow's own distance.

    The axis of distances is that of `choices`.
    """
    with style():
        figure = Figure(figsize=(6.6, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for way, (colour, _, label) in WAYS.items():
            own = [row for row in rows if row["teleport"] == way]
            places = [[row[by] for row in own] for by in MEASURES]
            axes.plot(*places, ".", color=colour, ms=3, alpha=0.6, label=label)
        for (colour, look), (label, row) in zip(MARKS, named.items(), strict=False):
            place = [[row[by]] for by in MEASURES]
            axes.plot(*place, look[0], color=colour, ms=9, mew=1.8, mfc="none", label=label)
        axes.axhline(floor, color=INK, lw=0.9, ls=":", label="the exact flow")
        logarithmic(axes)
        axes.set_yscale("linear")
        _seen(axes, [row["frechet"] for row in rows], (floor, 0.0))
        axes.set(xlabel=MEASURES["error_median"], ylabel=MEASURES["frechet"])
        axes.legend(loc="upper left")
    return figure


def _runs(
    axes: Axes, rows: Sequence[Row], budgets: Sequence[int], by: str, look: tuple[str, int, str]
) -> None:
    """Dashes of one way as one line with gaps, and the line of its best."""
    colour, side, _ = look
    middles = [budgets.index(row["budget"]) + side * HALF for row in rows]
    x = np.array([(m - HALF / 1.3, m + HALF / 1.3, np.nan) for m in middles]).ravel()
    y = np.repeat([row[by] for row in rows], 3)
    axes.plot(x, y, color=colour, lw=0.9, alpha=0.35)
    best = [min(row[by] for row in rows if row["budget"] <= n) for n in budgets]
    axes.plot(range(len(budgets)), best, "o-", color=colour, ms=4, lw=1.5)


def _seen(axes: Axes, distances: Sequence[float], chance: tuple[float, float]) -> None:
    """All of them and the band of chance; on two scales where a few are far above the others."""
    middle, deviation = chance
    if deviation:
        axes.axhspan(middle - deviation, middle + deviation, color=INK, alpha=0.08, lw=0)
    low, far = min(*distances, middle - deviation), max(*distances, middle + deviation)
    near = max(float(np.quantile(distances, NEAR)), middle + deviation)
    low -= 0.05 * (near - low)
    if far - low > 2 * (near - low) > 0:
        _logarithmic_above(axes, low, near, far)
    axes.set_ylim(low, far + 0.05 * (far - low))


def _logarithmic_above(axes: Axes, low: float, near: float, far: float) -> None:
    """An axis that is linear from ``low`` to ``near``, a line, and logarithmic to ``far``."""
    linear = LINEAR * math.log10(far / near) * near / (near - low)
    axes.set_yscale("symlog", linthresh=near, linscale=0.9 * linear)  # it makes that 10/9 of it
    whole = MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(low, near)
    ticks = [x for x in whole if x < near]
    ticks += [10.0**k for k in range(math.ceil(math.log10(near)), math.ceil(math.log10(far)))]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: power(x) if x > near else f"{x:g}"))
    axes.axhline(near, color=INK, lw=0.8)


def _legend(marked: Mapping[str, Sequence[Row]]) -> list[Any]:
    best = [
        sample_of(f"best {label}", colour, marker="o", ms=4) for colour, _, label in WAYS.values()
    ]
    lines = [
        sample_of(label, colour, marker=look[0], ls=look[1:], mfc="none")
        for (colour, look), label in zip(MARKS, marked, strict=False)
    ]
    flow = sample_of("the exact flow itself", INK, ls=":", lw=0.9)
    return [*best, *lines, flow, sample_of("chance", INK, lw=7, alpha=0.12)]
