"""The map in one picture: every scheme in every form, its proved order and what it is called."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.formula import typeset
from experiments.plots.orders import ORDERS
from experiments.plots.style import INK, PINK, style
from experiments.rows import Row

FILL = {"published": 0.55, "same": 0.16, "ours": 0.16, "new": 0.0}
"""How much of the order's colour a cell is filled with."""
EDGE: dict[str, dict[str, Any]] = {
    "published": {"lw": 0},
    "same": {"lw": 0},
    "ours": {"lw": 1.6},
    "new": {"lw": 0.8, "ls": (0, (3, 2))},
}
WIDE = 19
"""Characters that fit a cell."""


def chart(rows: Sequence[Row]) -> Figure:
    """A line a scheme, a column a form; the colour is the order's, unnamed cells are dashed."""
    cells = [row for row in rows if row["state"] != "refused"]
    forms = list(dict.fromkeys(row["form"] for row in cells))
    lines: list[tuple[str, list[Row]]] = [
        (scheme, list(group)) for scheme, group in groupby(cells, key=lambda row: row["scheme"])
    ]
    with style():
        size = 3 + len(forms), 1.1 + 0.33 * len(lines)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlim(-0.5, len(forms) - 0.5)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_xticks(range(len(forms)), forms)
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(lines)), [scheme for scheme, _ in lines])
        axes.tick_params(length=0, labelsize=8)
        for side in axes.spines.values():
            side.set_visible(False)
        for y, (_, group) in enumerate(lines):
            for row in group:
                _cell(axes, forms.index(row["form"]), y, row)
        proved = sorted({row["order"] for row in cells})
        marks = [_sample("published", ORDERS.get(p, PINK), f"order {p}") for p in proved]
        words = {
            "published": "published in this form",
            "same": "published, in another form (=)",
            "ours": "named in this project first",
            "new": "without a name: its leading error",
        }
        marks += [_sample(state, INK, text) for state, text in words.items()]
        figure.legend(handles=marks, loc="outside lower left", ncols=5 if len(forms) > 5 else 2)
    return figure


def _cell(axes: Axes, x: int, y: int, row: Row) -> None:
    axes.add_patch(_box((x - 0.48, y - 0.44), 0.96, 0.88, row["state"], _colour(row["order"])))
    axes.text(x - 0.44, y, str(row["order"]), va="center", fontsize=9, fontweight="bold")
    axes.text(x - 0.3, y, label(row), va="center", fontsize=5.6)


def label(row: Row) -> str:
    """The first of the cell's names, or its leading error, as long as they fit."""
    names = row["names"] or [f"= {name}" for name in row["same"]]
    text = names[0] if names else typeset(row["leading_error"])
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    room = WIDE - len(more)
    return (text if len(text) <= room else text[: room - 1] + "…") + more


def _colour(order: int) -> str:
    return ORDERS.get(order, PINK)


def _box(corner: tuple[float, float], w: float, h: float, state: str, colour: str) -> Rectangle:
    fill = (colour, FILL[state])
    return Rectangle(corner, w, h, facecolor=fill, edgecolor=colour, **EDGE[state])


def _sample(state: str, colour: str, text: str) -> Rectangle:
    box = _box((0, 0), 1, 1, state, colour)
    box.set_label(text)
    return box
