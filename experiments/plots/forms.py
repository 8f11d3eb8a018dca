"""What solvers read in each canonical form, and how much the form matters to their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.plots.style import BLUE, INK, SKY, logarithmic, style

Floats = NDArray[np.float64]
CLOCKS = {
    "t": "t",
    "rho": "ρ = σ/α",
    "lam": "λ = log(α/σ)",
    "snr": "1/ρ",
    "log_rho": "log ρ",
}


@dataclass(frozen=True, eq=False)
class Seen:
    """A form's clock at its nodes, (T,), and N of B trajectories there, (T, B)."""

    name: str
    clock: str
    tau: Floats
    N: Floats


def readings(panels: Sequence[Seen], *, across: int = 3) -> Figure:
    """One panel a form; sampling runs to the right, ticks below are the same noise levels."""
    down = -(-len(panels) // across)
    with style():
        figure = Figure(figsize=(3.3 * across, 2.3 * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False).flatten()
        for axes, seen in zip(grid, panels, strict=False):
            axes.plot(seen.tau, seen.N, color=BLUE, lw=1, alpha=0.8)
            axes.set_xlim(seen.tau[0], seen.tau[-1])
            low, high = axes.get_ylim()
            marks = seen.tau[:: max(1, len(seen.tau) // 8)]
            axes.vlines(marks, low, low + (high - low) / 12, color=INK, lw=0.8)
            axes.set_ylim(low, high)
            axes.set_title(seen.name)
            axes.set_xlabel(CLOCKS[seen.clock])
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        figure.supylabel("N, what a method reads", fontsize=10)
    return figure


def spread(errors: Mapping[str, Mapping[str, float]]) -> Figure:
    """Errors of methods (rows) by form: a dot a form on a logarithmic line, named at its dot."""
    with style():
        figure = Figure(figsize=(8.6, 0.9 + 0.5 * len(errors)), layout="constrained")
        axes = figure.add_subplot()
        logarithmic(axes)
        axes.set_yscale("linear")
        levels = range(len(errors) - 1, -1, -1)
        for level, row in zip(levels, errors.values(), strict=True):
            ranked = sorted(row.items(), key=lambda item: item[1])
            values = [value for _, value in ranked]
            axes.plot(values, [level] * len(values), "-", color=SKY, lw=3, alpha=0.4)
            axes.plot(values, [level] * len(values), "o", color=BLUE, ms=5)
            for (name, value), place in ((ranked[0], "right"), (ranked[-1], "left")):
                shift = -8 if place == "right" else 8
                axes.annotate(
                    name,
                    (value, level),
                    xytext=(shift, 0),
                    textcoords="offset points",
                    ha=place,
                    va="center",
                    fontsize=9,
                )
        axes.set_yticks(levels, list(errors))
        axes.set_ylim(-0.6, len(errors) - 0.4)
        axes.margins(x=0.35)
        axes.set_xlabel("RMS error at the end")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    return figure
