"""Figures in a page."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from experiments.plots.style import inline
from experiments.report import page


def both(draw: Callable[[int], Figure], name: str, described: str, caption: str) -> str:
    """The figure with two columns for a desk, with one for a phone."""
    return "".join(
        page.figure(inline(draw(across), f"{name}{across}", described), caption, kind)
        for across, kind in ((2, "plot wide"), (1, "plot narrow"))
    )
