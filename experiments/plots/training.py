"""Curves of trainings: loss and error against images seen, and error against the noise level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments.plots.style import BLUE, GREEN, INK, ORANGE, PINK, SKY, logarithmic, style
from experiments.rows import Row

COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, INK)
SHOWN = ("0.05", "0.2", "0.5", "1.0", "5.0", "80.0")
"""Levels whose errors are drawn against images seen."""


def long(rows: Sequence[Row]) -> list[Row]:
    """Rows whose loss is a mean over half as many images as the longest's, or more.

    The last row of a training may be of a few steps alone.
    """
    lengths = [b - a for a, b in pairwise([0, *(row["images"] for row in rows)])]
    return [row for row, n in zip(rows, lengths, strict=True) if 2 * n >= max(lengths)]


def curves(rows: Sequence[Row]) -> Figure:
    """The training loss, and the averaged network's error at some levels, against images seen."""
    seen = [row["images"] for row in rows]
    with style():
        figure = Figure(figsize=(9.6, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        kept = long(rows)
        left.plot([row["images"] for row in kept], [row["loss"] for row in kept], color=BLUE)
        left.xaxis.set_major_formatter(EngFormatter(sep=""))
        left.set(title="Training loss", xlabel="images seen", ylabel="weighted |D − x₀|²")
        left.grid()
        for colour, level in zip(COLOURS, SHOWN, strict=True):
            errors = [row["validation"][level] for row in rows]
            right.plot(seen, errors, "o-", color=colour, label=f"σ = {float(level):g}")
        logarithmic(right)
        right.set(title="Validation", xlabel="images seen", ylabel="|D − x₀|² a pixel")
        figure.legend(*right.get_legend_handles_labels(), loc="outside right center")
    return figure


def comparison(rows: Sequence[Row]) -> Figure:
    """Errors of `compare_training.residual_rows` over that of F = 0 with the Gaussian, against σ.

    One panel a number of images seen; 1 is what mean and covariance alone reach.
    """
    counts = sorted({row["images"] for row in rows if row["images"]})
    known = {row["sigma"]: row["error"] for row in rows if not row["images"]}
    looks = {"edm": (ORANGE, "s-", "EDM"), "gaussian": (BLUE, "o-", "residual")}
    with style():
        figure = Figure(figsize=(3.2 * len(counts), 3.6), layout="constrained")
        panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
        for axes, count in zip(panels, counts, strict=True):
            for name, (colour, look, label) in looks.items():
                curve = sorted(
                    (row["sigma"], row["error"] / known[row["sigma"]])
                    for row in rows
                    if (row["images"], row["training"]) == (count, name)
                )
                axes.plot(*zip(*curve, strict=True), look, color=colour, label=label)
            logarithmic(axes)
            axes.axhline(1, color=INK, linestyle=":", label="Gaussian alone")
            axes.set(title=f"{count:,} images", xlabel="σ")
        panels[0].set_ylabel("|D − x₀|², Gaussian alone = 1")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
