"""Samples beside the exact flow's, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from experiments.plots.style import style


def sheet(pictures: Mapping[str, Any], *, scale: int = 12) -> Figure:
    """The exact images; below, each method's images and what is wrong with them, on one scale.

    A method's "error" is what is known of more images than these; else it is of these.
    """
    exact = pictures["exact"]
    worst = max(np.abs(method["images"] - exact).max() for method in pictures["methods"].values())
    strips = [("exact flow", _strip(exact, "gray", 1.0))]
    for name, method in pictures["methods"].items():
        wrong = method["images"] - exact
        known = method.get("error")
        rms = float(np.sqrt(np.mean(wrong**2))) if known is None else known
        both = [_strip(method["images"], "gray", 1.0), _strip(wrong, "RdBu_r", worst)]
        strips.append((f"{name}, {method['nfe']} calls: RMS error {rms:.3f}", np.vstack(both)))
    heights = [len(strip) for _, strip in strips]
    with style():
        height = 5.4 * sum(heights) / strips[0][1].shape[1] + 0.27 * len(strips)
        figure = Figure(figsize=(5.4, height), layout="constrained")
        for axes, (title, strip) in zip(
            figure.subplots(len(strips), 1, height_ratios=heights), strips, strict=True
        ):
            pixels = np.kron(strip, np.ones((scale, scale, 1)))
            axes.imshow(pixels, interpolation="nearest", aspect="equal")
            axes.set_title(title, fontsize=9, fontweight="normal", pad=2)
            axes.set_axis_off()
    return figure


def _strip(images: np.ndarray, colours: str, bound: float) -> np.ndarray:
    """The images side by side as RGBA, −bound to bound, one transparent pixel between."""
    painted = colormaps[colours]((np.clip(images / bound, -1, 1) + 1) / 2)
    return np.hstack([np.pad(image, ((0, 1), (0, 1), (0, 0))) for image in painted])
