"""DPM-Solver-v3's statistics against the noise level: exact ones, and estimates with errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.plots.style import BLUE, GREEN, INK, ORANGE, style

LOOKS = ((INK, "-"), (ORANGE, "--"), (BLUE, "o"), (GREEN, "s"))
NAMES = ("l", "s", "b")


def statistics(
    lam: Sequence[float],
    curves: Mapping[str, Mapping[str, Any]],
    errors: Mapping[str, Mapping[str, Any]],
) -> Figure:
    """One panel for each of l, s and b, (n,) at λ; where errors are known, bars of two of them."""
    with style():
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        panels = figure.subplots(1, 3)
        for axes, name in zip(panels, NAMES, strict=True):
            for (colour, look), (label, values) in zip(LOOKS, curves.items(), strict=False):
                if label in errors:
                    bars = 2 * np.asarray(errors[label][name])
                    how = {"color": colour, "fmt": look, "ms": 3.5, "mfc": "none", "lw": 0.9}
                    axes.errorbar(lam, values[name], bars, label=label, **how)
                else:
                    axes.plot(lam, values[name], look, color=colour, label=label)
            axes.set(title=name, xlabel="λ = log(α/σ)")
            axes.grid()
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(curves)
        )
    return figure
