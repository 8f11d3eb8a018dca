"""A network whose data nobody has here: a figure from `experiments.galaxy`'s rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from matplotlib.figure import Figure

from experiments.plots.errors import falling
from experiments.plots.scores import unexplained
from experiments.plots.style import INK, style
from experiments.rows import Row


def judgement(errors: Sequence[Row], explained: Sequence[Row]) -> Figure:
    """Errors to the network's own flow against calls; what Gaussians leave of its score against σ.

    Dotted: the error of the converged flow itself.
    """
    curves = {
        method: [(row["nfe"], row["error"]) for row in rows]
        for method, rows in groupby(errors, key=lambda row: row["method"])
    }
    with style():
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        falling(left, curves, "model calls", "RMS error of a pixel")
        own = errors[0]["reference"]
        left.axhline(own, color=INK, lw=1, ls=":", label="of the converged flow")
        left.set_title("Error to its own flow")
        unexplained(right, explained, "score")
        for axes in (left, right):
            axes.legend(loc="best", fontsize=8)
    return figure
