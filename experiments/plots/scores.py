"""How much of a network's score known scores explain: a figure from `experiments.scores`' rows."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.plots.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    SKY,
    logarithmic,
    style,
)
from experiments.scores import Row, own_error_from, pick

LOOKS = {
    "mean": (INK, ":", "mean alone"),
    "isotropic": (PINK, "-.", "one variance"),
    "Gaussian": (BLUE, "o-", "Gaussian"),
    "Gaussian + 1e-4": (SKY, "--", "Gaussian, variances + 10⁻⁴"),
    "mixture": (GREEN, "s-", "mixture of Gaussians"),
    "delta": (ORANGE, "^-", "training points"),
}
"""Colour, marker and dash, and label, by candidate."""
BANDS = ("Gaussian", "mixture", "delta")
PANELS = {
    "score": ("The network's score s", "not explained: |Δs|² / |s|²"),
    "data": ("Its data prediction D", "relative difference: |ΔD|² / |D|²"),
}
"""Title and y label, by key of a row."""


def explained(rows: Sequence[Row], *, across: int = 2) -> Figure:
    """What each known law leaves of the network's score and data prediction, against σ.

    Lines are means over samples, bands their 10% and 90% quantiles. Dashed in ink: what the
    Gaussian leaves of the data's own score, on the same points.
    """
    level = own_error_from(rows)
    with style():
        down = 2 // across
        figure = Figure(figsize=(4.8 * across, 3.9 * down + 0.7), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).flatten()
        for axes, quantity in zip(panels, PANELS, strict=True):
            unexplained(axes, rows, quantity, level)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3 * across - 2)
    return figure


def unexplained(
    axes: Axes, rows: Sequence[Row], quantity: str, level: float | None = None
) -> None:
    """A panel without a legend, of the laws and of the data's own score where rows have them."""
    logarithmic(axes)
    for name, (colour, look, label) in LOOKS.items():
        curve = pick(rows, "network", name)
        if not curve:
            continue
        sigmas, spread = [row["sigma"] for row in curve], [row[quantity] for row in curve]
        means = [s["residual"] for s in spread]
        axes.plot(sigmas, means, look, color=colour, lw=1.3, ms=3.5, label=label)
        if name in BANDS:
            low, high = ([s[key] for s in spread] for key in ("low", "high"))
            axes.fill_between(sigmas, low, high, color=colour, alpha=0.15, lw=0)
    ideal = pick(rows, "data", "Gaussian")
    if ideal:
        points = [row["sigma"] for row in ideal], [row[quantity]["residual"] for row in ideal]
        axes.plot(*points, "--", color=INK, lw=1.2, label="Gaussian, for the data's exact score")
    least = min(row[quantity]["low"] for row in pick(rows, "network", "Gaussian"))
    axes.set_ylim(least / 30, 30)
    if level is not None:
        end = ideal[-1]["sigma"]
        axes.axvspan(level, end, color=INK, alpha=0.06, lw=0)
        axes.text((level * end) ** 0.5, 12, "the network's\nown error", ha="center", va="top")
    title, label = PANELS[quantity]
    axes.set_title(title)
    axes.set_xlabel("noise level σ")
    axes.set_ylabel(label)
