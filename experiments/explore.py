"""Sliders for a solver on a mixture in the plane; what they show is computed in ``plane``.

Needs ipywidgets (``pip install scoreproof[notebooks]``), which is imported when sliders are made.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from experiments.plane import (
    FIRST,
    LAST,
    MOST,
    Choice,
    World,
    draw,
    forms_offered,
    solvers_offered,
    world,
)
from experiments.plots.plane import Live
from solvers.grids import RULES


class Explorer:
    """One slider for each field of ``Choice``, and the picture below.

    Attributes:
        controls: the widgets, by field.
        redrawn: how often the picture was drawn.
    """

    def __init__(self, of: World | None = None, choice: Choice | None = None) -> None:
        widgets, begin = _widgets(), choice or Choice()
        self.world = of or world()
        self.live, self.redrawn = Live(self.world), 0
        wide = {"style": {"description_width": "5em"}}
        self.controls: dict[str, Any] = {
            "solver": widgets.Dropdown(options=solvers_offered(), **wide),
            "form": widgets.Dropdown(options=forms_offered(), **wide),
            "steps": widgets.IntSlider(min=2, max=MOST, **wide),
            "grid": widgets.Dropdown(options=tuple(RULES), **wide),
            "skip": widgets.SelectionSlider(options=levels(), **wide),
        }
        for name, control in self.controls.items():
            control.description, control.value = name, getattr(begin, name)
            control.observe(self.redraw, "value")
        self.image, self.words = widgets.Image(format="png"), widgets.Label()
        sliders = widgets.VBox(list(self.controls.values()))
        self.box = widgets.HBox([widgets.VBox([sliders, self.words]), self.image])
        self.redraw()

    @property
    def choice(self) -> Choice:
        """What the sliders say."""
        return Choice(**{name: control.value for name, control in self.controls.items()})

    def redraw(self, change: Any = None) -> None:
        """The callback of every slider; a run that is refused leaves the picture and says why."""
        try:
            drawn = draw(self.choice, self.world)
        except ValueError as refusal:
            self.words.value = str(refusal)
            return
        self.image.value, self.words.value = self.live.png(drawn), drawn.words
        self.redrawn += 1

    def _repr_mimebundle_(self, **how: Any) -> Any:
        return self.box._repr_mimebundle_(**how)


def levels() -> list[tuple[str, float]]:
    """Of the skip slider, from no jump downwards; a few to each halving of the noise."""
    falling = [FIRST * 2 ** (-n / 2) for n in range(40)]
    return [
        ("none" if level == FIRST else f"{level:.3g}", level)
        for level in falling
        if level > 2 * LAST
    ]


def redraw_times(
    explorer: Explorer, changes: Iterable[tuple[str, Any]]
) -> list[tuple[float, float]]:
    """Seconds from a slider's new value to the new picture: on the clock, and of the processor."""
    times: list[tuple[float, float]] = []
    for name, value in changes:
        began, spent = time.perf_counter(), time.process_time()
        explorer.controls[name].value = value
        times.append((time.perf_counter() - began, time.process_time() - spent))
    return times


def _widgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError(
            "ipywidgets: not installed; pip install scoreproof[notebooks] is allowed"
        ) from error
    return ipywidgets
