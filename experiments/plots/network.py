"""Solvers on a trained network, and its score over the training: figures from stored rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from experiments.plots.style import BLUE, GREEN, INK, ORANGE, PINK, SKY, logarithmic, power, style
from experiments.rows import Row

LOOKS = {
    "adams": (BLUE, "-"),
    "dpm_solver": (ORANGE, "-"),
    "dpm_solver_v3": (GREEN, "-"),
    "exponential": (PINK, "-"),
    "pndm": (SKY, "-"),
    "runge_kutta": (INK, "-"),
    "scire": (BLUE, "--"),
    "scire_multistep": (ORANGE, "--"),
    "taylor": (GREEN, "--"),
    "unipc": (PINK, "--"),
}
"""Colour and dash of a family."""
MEASURES = {
    "error_median": "median RMS error of a pixel",
    "frechet": "Frechet distance to data",
}
LAWS = {"Gaussian": (BLUE, "o-"), "mixture": (GREEN, "s-"), "delta": (ORANGE, "^-")}
STATISTICS = {
    "moments": (BLUE, "o-"),
    "network moments": (ORANGE, "s-"),
    "network jvp": (GREEN, "^-"),
}


def against_calls(
    rows: Sequence[Row], budgets: Sequence[int], floor: Mapping[str, float], *, across: int = 2
) -> Figure:
    """The best run of each family: error and distance, without a teleport and with one.

    ``floor``, by measure, is drawn across: what the exact flow itself has.
    """
    with style():
        figure = Figure(figsize=(4.8 * across, 3.5 * 4 / across + 0.9), layout="constrained")
        panels = figure.subplots(4 // across, across, squeeze=False).flatten()
        pairs = [(by, way) for by in MEASURES for way in ("off", "auto")]
        for axes, (by, way) in zip(panels, pairs, strict=True):
            chosen = [row for row in rows if row["teleport"] == way]
            _families(axes, chosen, budgets, by)
            axes.axhline(floor[by], color=INK, lw=0.8, ls=":")
            axes.set_title(f"{'Error' if by == 'error_median' else 'Distance'}, teleport {way}")
            axes.set_ylabel(MEASURES[by])
        for by in MEASURES:
            _same_range([a for a, (b, _) in zip(panels, pairs, strict=True) if b == by], floor[by])
        handles, labels = _unique(panels)
        figure.legend(handles, labels, loc="outside lower center", ncols=2 * across)
    return figure


def frontier(
    rows: Sequence[Row], family: str, budgets: Sequence[int], by: str
) -> list[tuple[int, Row]]:
    """A family's best run within each number of calls, derivatives counted."""
    own = [row for row in rows if row["family"] == family and row[by] is not None]
    best = []
    for n in budgets:
        within = [row for row in own if row["nfe"] + row["jvp"] <= n]
        best += [(n, min(within, key=lambda row: row[by]))] if within else []
    return best


def drawn(rows: Sequence[Row], budgets: Sequence[int]) -> list[Row]:
    """Every run of `against_calls`, once."""
    ways = [[row for row in rows if row["teleport"] == way] for way in ("off", "auto")]
    found = [
        row
        for own in ways
        for family in LOOKS
        for by in MEASURES
        for _, row in frontier(own, family, budgets, by)
    ]
    return list({id(row): row for row in found}.values())


def over_training(rows: Sequence[Row], sigmas: Sequence[float], *, across: int = 2) -> Figure:
    """What each law leaves of the score, against images seen: a panel for each noise level."""
    with style():
        down = -(-len(sigmas) // across)
        figure = Figure(figsize=(4.8 * across, 3 * down + 0.5), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).flatten()
        for axes, sigma in zip(panels, sigmas, strict=False):
            for name, (colour, look) in LAWS.items():
                curve = sorted(
                    (row["images"] / 1000, row["residual"])
                    for row in rows
                    if (row["sigma"], row["candidate"]) == (sigma, name)
                )
                axes.plot(*zip(*curve, strict=True), look, color=colour, ms=3, lw=1.2, label=name)
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(power))
            axes.grid()
            axes.set_title(f"σ = {sigma:g}")
            axes.set_xlabel("thousand images seen")
            axes.set_ylabel("not explained: |Δs|²/|s|²")
        for axes in panels[len(sigmas) :]:
            axes.remove()
        handles, labels = _unique(panels[:1])
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def model_statistics(
    tables: Sequence[Row], runs: Sequence[Row], method: str, *, across: int = 2
) -> Figure:
    """First: how far l, s and b of the network are from those of moments; second: what it does."""
    with style():
        down = 2 // across
        figure = Figure(figsize=(4.8 * across, 3.9 * down), layout="constrained")
        left, right = figure.subplots(down, across, squeeze=False).flatten()
        logarithmic(left)
        for kind, dash in (("network moments", "-"), ("network jvp", "--")):
            own = [row for row in tables if row["statistics"] == kind]
            sigmas = [row["sigma"] for row in own]
            for name, colour in zip("lsb", (BLUE, ORANGE, GREEN), strict=True):
                apart = [row[name]["apart"] for row in own]
                left.plot(sigmas, apart, dash, color=colour, lw=1.3, label=f"{name}, {kind}")
        left.set_title("Tables: network's minus moments'")
        left.set_xlabel("noise level σ")
        left.set_ylabel("root mean square over coordinates")
        left.legend(loc="best", fontsize=8)
        logarithmic(right)
        for kind, (colour, look) in STATISTICS.items():
            curve = sorted(
                (row["nfe"], row["error_median"])
                for row in runs
                if (row["statistics"], row["method"]) == (kind, method)
                and row["error_median"] is not None
            )
            right.plot(*zip(*curve, strict=True), look, color=colour, ms=4, lw=1.3, label=kind)
        _calls(right, sorted({row["budget"] for row in runs}))
        right.set_title(f"Error of {method}")
        right.set_ylabel(MEASURES["error_median"])
        right.legend(loc="best")
    return figure


def _families(axes: Axes, rows: Sequence[Row], budgets: Sequence[int], by: str) -> None:
    logarithmic(axes)
    for family, (colour, dash) in LOOKS.items():
        curve = [(n, row[by]) for n, row in frontier(rows, family, budgets, by)]
        if curve:
            points = zip(*curve, strict=True)
            axes.plot(*points, dash, lw=1.3, color=colour, label=family)
    if by == "frechet":  # all of it lies within a decade
        axes.set_yscale("linear")
    _calls(axes, budgets)


def _calls(axes: Axes, budgets: Sequence[int]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(list(budgets)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("calls (and derivatives)")


def _same_range(panels: Sequence[Axes], floor: float) -> None:
    """One scale, and no more of it than four decades above what is lowest."""
    low = min(floor, *(float(min(line.get_ydata())) for a in panels for line in a.lines)) * 0.8  # type: ignore[arg-type]
    high = max(a.get_ylim()[1] for a in panels)
    for axes in panels:
        axes.set_ylim(low, min(high, low * 1e4))


def _unique(panels: Any) -> tuple[list[Any], list[str]]:
    """Each label once."""
    found = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    return list(found.values()), list(found)
