"""One look for every figure: survives colour blindness, print, dark pages and phones.

Neutral ink is one colour, which ``inline`` hands to the page; colours that carry meaning are Okabe
and Ito's.
"""

from __future__ import annotations

import io
import math
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

INK = "#30363d"
BLUE, ORANGE, GREEN = "#0072b2", "#e69f00", "#009e73"
SKY, PINK, RED = "#56b4e9", "#cc79a7", "#d55e00"
"""RED is kept for what deviates from its claim."""
FORMATS = (".png", ".svg", ".pdf")

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
}


def style(**more: Any) -> AbstractContextManager[None]:
    """The look, with further settings, for the block that draws."""
    settings: dict[Any, Any] = {**STYLE, **more}
    return mpl.rc_context(settings)


def sample_of(label: str, color: str, **look: Any) -> Line2D:
    """A line or a marker for a legend."""
    return Line2D([], [], label=label, color=color, **look)


def logarithmic(axes: Axes) -> None:
    """Both axes, with powers of ten set in plain characters."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, numticks=7))
        axis.set_major_formatter(FuncFormatter(power))
        axis.set_minor_formatter(NullFormatter())
    axes.grid()


def power(x: float, _: Any = None) -> str:
    """10⁻³ in characters that any font on the reader's side can set."""
    exponent = round(math.log10(x)) if x > 0 else 0
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def drawable(path: str | Path, name: str) -> Path:
    """The path, if its suffix is one that can be drawn."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{name}: got {str(path)!r}; a file in {', '.join(FORMATS)} is allowed")
    return path


def save(figure: Figure, path: str | Path) -> None:
    """A file on white paper, its kind by its suffix."""
    path = drawable(path, "path")
    with style(**{"svg.fonttype": "path", "svg.hashsalt": path.name}):
        dates = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(path, dpi=160, facecolor="white", metadata=dates)


def _short(tag: re.Match[str]) -> str:
    """A tag in fewer bytes: hundredths of a point, the page's own sans-serif."""
    text = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", tag[0])
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), text)


def inline(figure: Figure, name: str, description: str) -> str:
    """An SVG element for a page: transparent, ink in the page's colour, ids that are its own."""
    text = vector(figure, name, description, transparent=True).replace(INK, "currentColor")
    return re.sub(r'(width|height)="[\d.]+pt" ?', "", text, count=2)


def vector(figure: Figure, name: str, description: str, **paper: Any) -> str:
    """An SVG element in few bytes, the same whenever it is drawn; ids are its name's own."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with style(**{"svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata=nothing, **paper)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # figure_1 and the like: the same in every figure
    text = re.sub(r"<[^>]+>", _short, re.sub(r">\s+<", "><", text))
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
