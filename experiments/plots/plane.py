"""A mixture in the plane: its exact flow, and a solver's trajectories drawn over it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from experiments.plane import LAST, Drawn, World, scaled
from experiments.plots.style import BLUE, GREEN, INK, ORANGE, PINK, RED, SKY, sample_of, style

REACH = 3.3
"""Half the side of the picture, in x/√(1 + σ²)."""
CONTOURS = (0.02, 0.2, 0.6)
"""Of the data's density, as parts of its peak."""
MODES = ListedColormap((BLUE, ORANGE, GREEN, PINK, SKY, RED, "#999999", "#b8a000"))


def flow(world: World) -> Figure:
    """The exact flow: a colour for each component that points end in."""
    with style():
        figure, axes = _paper()
        _data(axes, world)
        modes = world.modes(world.end)
        lines = scaled(world.paths, world.sigmas).transpose(1, 0, 2)
        colours = MODES(modes % MODES.N)
        axes.add_collection(LineCollection(list(lines), colors=colours, lw=1.0, alpha=0.8))
        axes.scatter(*lines[:, 0].T, s=9, facecolors="white", edgecolors=colours, zorder=3)
        axes.scatter(*lines[:, -1].T, s=11, color=colours, zorder=3)
        axes.set_title("From noise (rings) to data (dots) along the exact flow")
    return figure


def solver(world: World, drawn: Drawn) -> Figure:
    """A solver's trajectories over the exact flow."""
    with style():
        figure, axes = _paper()
        behind(axes, world)
        for artist in over(axes):
            _set(artist, drawn, world)
    return figure


class Live:
    """The same picture for sliders: what does not move is painted once.

    Attributes:
        world: the law and its flow.
        painted: how often everything behind the trajectories was painted.
    """

    def __init__(self, world: World, dpi: int = 90) -> None:
        self.world, self.painted = world, 1
        with style():
            figure, axes = _paper()
            figure.set_dpi(dpi)
            figure.set_facecolor("white")
            self.canvas = FigureCanvasAgg(figure)
            behind(axes, world)
            self.moving = over(axes)[:-1]  # words take long, and stand beside the sliders
            for artist in self.moving:
                artist.set_animated(True)
            self.canvas.draw()
            self.axes = axes
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def png(self, drawn: Drawn) -> bytes:
        """The picture of a run."""
        self.canvas.restore_region(self.background)
        for artist in self.moving:
            _set(artist, drawn, self.world)
            self.axes.draw_artist(artist)
        out = io.BytesIO()
        pixels = np.asarray(self.canvas.buffer_rgba())[..., :3]
        Image.fromarray(pixels).save(out, format="png", compress_level=1)
        return out.getvalue()


def _paper() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.0, 6.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xlabel="x₁/√(1 + σ²)")
    axes.set_ylabel("x₂/√(1 + σ²)")
    return figure, axes


def _data(axes: Axes, world: World) -> None:
    """Contours of the data's density."""
    side = np.linspace(-REACH, REACH, 121)
    at = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    log_p = world.mixture.log_density(torch.tensor(at * np.sqrt(1 + LAST**2)), 1.0, LAST).numpy()
    p = np.exp(log_p - log_p.max()).reshape(len(side), -1)
    axes.contourf(side, side, p, levels=(*CONTOURS, 1.1), colors=[SKY], alpha=0.2)


def behind(axes: Axes, world: World) -> None:
    """The data and the exact flow, and what is what."""
    _data(axes, world)
    lines = scaled(world.paths, world.sigmas).transpose(1, 0, 2)
    axes.add_collection(LineCollection(list(lines), colors=INK, lw=0.7, alpha=0.45))
    axes.scatter(*scaled(world.end, np.array(LAST)).T, s=10, color=INK, alpha=0.6)
    marks = [
        sample_of("exact flow", INK, lw=0.9, alpha=0.6),
        sample_of("solver", ORANGE, marker=".", lw=1.1),
        sample_of("strayed into another mode", RED, ls="", marker="o", mfc="none", ms=8),
    ]
    axes.legend(handles=marks, loc="upper right", ncols=3, columnspacing=1, handlelength=1.4)
    axes.set_title(" ")  # its room


def over(axes: Axes) -> list[Any]:
    """The artists that a run moves: lines, nodes, strayed ends, words."""
    lines = axes.add_collection(LineCollection([], colors=ORANGE, lw=1.1, alpha=0.85))
    (nodes,) = axes.plot([], [], ".", color=ORANGE, ms=3.5)
    (strayed,) = axes.plot([], [], "o", color=RED, mfc="none", ms=10, mew=1.4)
    words = axes.text(0, 1.012, "", transform=axes.transAxes, weight="bold", fontsize=11)
    for artist, gid in zip((lines, nodes, strayed, words), PARTS, strict=True):
        artist.set_gid(gid)
    return [lines, nodes, strayed, words]


PARTS = ("lines", "nodes", "strayed", "words")


def _set(artist: Any, drawn: Drawn, world: World) -> None:
    """Move one of ``over``'s artists to a run."""
    at = scaled(drawn.states, drawn.sigmas)
    kind = artist.get_gid()
    if kind == "lines":
        artist.set_segments(list(at.transpose(1, 0, 2)))
    elif kind == "nodes":
        artist.set_data(*at.reshape(-1, 2).T)
    elif kind == "strayed":
        artist.set_data(*at[-1][drawn.strayed].T)
    else:
        artist.set_text(f"{drawn.choice.solver}: {drawn.words}")
