"""Plots are a library: rows in, one figure out, in one style, and nothing global is changed."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

import experiments
from experiments import atlas, plots
from experiments.plots.style import BLUE, FORMATS, GREEN, INK, ORANGE, PINK, RED, SKY, save

FOLDER = Path(experiments.__file__).parent
MODULES = sorted(file.stem for file in FOLDER.glob("plots*.py"))


def drawing() -> Iterator[FunctionType]:
    """Public functions of the plots' modules that give a figure."""
    for name in MODULES:
        module = importlib.import_module(f"experiments.{name}")
        for key, value in vars(module).items():
            own = inspect.isfunction(value) and value.__module__ == module.__name__
            if own and not key.startswith("_") and value.__annotations__["return"] == "Figure":
                yield value


def test_every_module_draws() -> None:
    assert {draw.__module__.rsplit(".", 1)[-1] for draw in drawing()} == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_no_module_keeps_a_global_figure(name: str) -> None:
    assert "pyplot" not in (FOLDER / f"{name}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("draw", list(drawing()), ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_every_figure_is_in_the_style(draw: FunctionType) -> None:
    source = inspect.getsource(draw)
    helper = inspect.getsource(inspect.getmodule(draw)) if "_paper(" in source else source  # type: ignore[arg-type]
    assert "with style(" in helper


def test_a_figure_leaves_no_trace_and_is_saved_in_every_format(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    rows = [row for row in atlas.read()["cells"] if row["scheme"] == "rk2"]
    figure = plots.map.chart(rows)
    assert isinstance(figure, Figure)
    for kind in FORMATS:
        save(figure, tmp_path / f"map{kind}")
        assert (tmp_path / f"map{kind}").stat().st_size > 1000
    assert dict(mpl.rcParams) == before


def test_colours_are_told_apart_without_red_and_green() -> None:
    """Luminance and the blue-yellow axis alone keep every pair of the palette apart."""

    def seen(colour: str) -> tuple[float, float]:
        r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.3 * r + 0.59 * g + 0.11 * b, b - (r + g) / 2

    palette = [INK, BLUE, ORANGE, GREEN, SKY, PINK, RED]
    pairs = [(a, b) for i, a in enumerate(palette) for b in palette[:i]]
    near = [p for p in pairs if max(abs(x - y) for x, y in zip(*map(seen, p), strict=True)) < 0.08]
    assert near == []
    alike = [seen("#d55e00"), seen("#7f8800")]  # a control: a red and a green that look the same
    assert max(abs(x - y) for x, y in zip(*alike, strict=True)) < 0.2
