"""What a teleport does and what it costs: figures from numbers that others have measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from experiments.looseness import HALF
from experiments.plots.style import BLUE, GREEN, INK, ORANGE, PINK, SKY, logarithmic, style
from experiments.rows import Row

Curve = Sequence[tuple[float, float]]


def trajectories(
    sigmas: np.ndarray, exact: np.ndarray, jumped: np.ndarray, level: float
) -> Figure:
    """Exact paths, (B, n), and those that jump from the first σ to ``level``, both whitened.

    In w = (x − m)/√(λ + σ²) the Gaussian's flow is the identity: a jump is a level line.
    """
    with style():
        figure = Figure(figsize=(6.2, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.invert_xaxis()
        for i, (a, b) in enumerate(zip(exact, jumped, strict=True)):
            axes.plot(sigmas, a, color=INK, lw=1.1, alpha=0.75, label=None if i else "exact flow")
            label = None if i else f"jump to σ = {level:.3g}, then exact"
            axes.plot(sigmas, b, "--", color=ORANGE, lw=1.3, label=label)
        axes.axvspan(sigmas[0], level, color=SKY, alpha=0.12, lw=0)
        axes.set_xlabel("noise level σ (sampling runs to the right)")
        axes.set_ylabel("w = (x − m)/√(λ + σ²)")
        axes.set_title("Where the law is nearly its Gaussian, paths stand still")
        axes.legend(loc="upper right")
    return figure


def against_level(
    rows: Sequence[Row],
    landing: Curve,
    bounds: Mapping[str, Curve],
    tolerance: float,
    *,
    across: int = 2,
) -> Figure:
    """First: errors of whole trajectories by landing level; second: K = KL(p‖g) and its bounds.

    ``rows`` are runs at one number of calls; those without a level are drawn as lines across.
    ``landing`` is what the jump alone costs: exact flow from where it lands.
    """
    with style():
        down = 2 // across
        figure = Figure(figsize=(4.8 * across, 4.3 * down), layout="constrained")
        left, right = figure.subplots(down, across, squeeze=False).flatten()
        _errors(left, rows, landing)
        logarithmic(right)
        looks = zip((BLUE, GREEN, ORANGE, PINK), ("-", "o", "s:", "^:"), strict=True)
        for (label, curve), (colour, look) in zip(bounds.items(), looks, strict=False):
            shown = [(x, y) for x, y in curve if np.isfinite(y) and y > 0]
            axes_style = {"color": colour, "ms": 4, "lw": 1.4, "mfc": "none", "label": label}
            right.plot(*zip(*shown, strict=True), look, **axes_style)
        right.axhline(tolerance, color=INK, lw=0.8, ls="--")
        right.annotate(
            f"{tolerance:g} nat",
            (1, tolerance),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            fontsize=9,
        )
        for axes in (left, right):
            axes.xaxis.set_major_locator(FixedLocator([1, 2, 3, 5, 10, 20, 40]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        right.set_title("The law's error: K and its bound")
        right.set_xlabel("landing level σ")
        right.set_ylabel("nat")
        right.legend(loc="lower left")
    return figure


def looseness(rows: Mapping[str, Sequence[Any]]) -> Figure:
    """log(1 + χ²)/K of random mixtures against their smallest weight; infinite bounds on top."""
    with style():
        figure = Figure(figsize=(6.2, 4.0), layout="constrained")
        axes = figure.add_subplot()
        logarithmic(axes)
        for (label, group), colour, mark in zip(rows.items(), (BLUE, ORANGE), "o^", strict=False):
            sure = [r for r in group if r.entropy > 20 * r.error]
            near = [r for r in sure if r.bound < HALF]
            far = [r for r in sure if HALF <= r.bound < np.inf]
            for part, alpha, text in (
                (near, 0.8, f"{label}, χ² < ½"),
                (far, 0.25, f"{label}, more"),
            ):
                points = [(r.rarest, r.looseness) for r in part]
                look = {"color": colour, "ms": 3.5, "alpha": alpha, "mew": 0, "label": text}
                axes.plot(*zip(*points, strict=True), mark, **look)
        top = axes.get_ylim()[1]
        beyond = [r.rarest for group in rows.values() for r in group if r.bound == np.inf]
        axes.plot(beyond, [top] * len(beyond), "|", color=INK, ms=7, alpha=0.5, label="no bound")
        axes.axhline(2, color=INK, lw=0.8, ls=":")
        axes.set_xlabel("smallest weight of the mixture")
        axes.set_ylabel("log(1 + χ²) / K")
        axes.set_title("How loose the rigorous bound is")
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def _errors(axes: Axes, rows: Sequence[Row], landing: Curve) -> None:
    logarithmic(axes)
    names = list(dict.fromkeys(row["method"] for row in rows))
    for name, colour in zip(names, (BLUE, ORANGE, GREEN, PINK, SKY), strict=False):
        own = [row for row in rows if row["method"] == name]
        curve = sorted((r["level"], r["error_median"]) for r in own if r["level"] is not None)
        axes.plot(*zip(*curve, strict=True), "o-", color=colour, ms=3.5, label=name)
        for row in own:
            if row["level"] is None:
                axes.axhline(row["error_median"], color=colour, lw=1, ls=":")
    axes.plot(*zip(*landing, strict=True), "--", color=INK, lw=1.3, label="the jump alone")
    calls = max(row["nfe"] for row in rows)
    axes.set_title(f"A trajectory's error at {calls} calls")
    axes.set_xlabel("landing level σ (dotted: without a jump)")
    axes.set_ylabel("median RMS error of a coordinate")
    axes.legend(loc="best")
