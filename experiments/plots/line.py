"""A mixture on a line: its exact paths between the noised law and the data."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.plots.style import BLUE, INK, ORANGE, SKY, style

Floats = NDArray[np.float64]


def fan(
    sigmas: Floats, paths: Floats, at: Floats, densities: tuple[Floats, Floats], cut: int
) -> Figure:
    """Paths (T, B) of v/√(1 + σ²), which keep their quantile, between two densities at ``at``.

    The first ``cut`` paths are drawn in one colour, those above in another.
    """
    with style():
        figure = Figure(figsize=(7.6, 4.0), layout="constrained")
        left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=(1, 5, 1))
        for path, colour in zip(paths.T, [BLUE] * cut + [ORANGE] * len(paths.T), strict=False):
            middle.plot(sigmas, path, color=colour, lw=1, alpha=0.85)
        middle.set_xscale("log")
        middle.set_xlim(sigmas[0], sigmas[-1])
        middle.set_xlabel("noise level σ (sampling runs to the right)")
        middle.set_title("Paths that keep their quantile")
        middle.tick_params(length=0)
        _density(left, at, densities[0], "noise")
        _density(right, at, densities[1], "data")
        left.invert_xaxis()
        left.set_ylabel("x/√(1 + σ²)")
    return figure


def _density(axes: Axes, at: Floats, density: Floats, title: str) -> None:
    axes.fill_betweenx(at, density, color=SKY, alpha=0.35, lw=0)
    axes.plot(density, at, color=INK, lw=1)
    axes.set_title(title)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(length=0)
