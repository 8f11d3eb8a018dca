"""Notebooks keep their rules: computed numbers, short functions, asserted claims, figures."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.notebook import Picture, Table
from experiments.plots.audit import audit
from experiments.plots.choice import LINEAR, NEAR, choices, disagreement
from experiments.plots.errors import lines, with_slopes
from experiments.plots.forms import Seen, readings
from experiments.plots.images import table
from experiments.plots.statistics import statistics
from experiments.plots.style import RED

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
LONGEST = 10
"""Lines of a function."""
LARGEST = 1_000_000
"""Bytes of a stored notebook."""


def cells(path: Path) -> list[Any]:
    import jupytext

    return jupytext.read(path).cells


def code(path: Path) -> list[str]:
    return [cell.source for cell in cells(path) if cell.cell_type == "code"]


def too_long(source: str) -> list[str]:
    functions = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef))
    return [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > LONGEST]


def typed(prose: str) -> list[str]:
    """Numbers that stand by themselves: outside formulas, code, and names such as DPM-Solver-2."""
    rest = re.sub(r"\$\$.*?\$\$|\$.*?\$|`[^`]*`", "", prose, flags=re.DOTALL)
    return re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-])", rest)


def test_there_are_notebooks() -> None:
    assert len(SOURCES) >= 10


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_functions_are_short(path: Path) -> None:
    assert [name for source in code(path) for name in too_long(source)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_no_number_is_typed_into_prose(path: Path) -> None:
    prose = (cell.source for cell in cells(path) if cell.cell_type == "markdown")
    assert [n for text in prose for n in typed(text)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_the_last_cell_asserts(path: Path) -> None:
    last = cells(path)[-1]
    assert last.cell_type == "code"
    assert sum(isinstance(n, ast.Assert) for n in ast.walk(ast.parse(last.source))) >= 3


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_it_reads_without_a_kernel(path: Path) -> None:
    """The first thing shown is a picture; every figure is stored, and nothing live."""
    text = path.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert len(text) < LARGEST
    ran = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    shown = [[set(o.get("data", {})) for o in cell["outputs"]] for cell in ran]
    assert "image/svg+xml" in next(kinds for kinds in shown if kinds)[0]
    assert not any(o["output_type"] == "error" for cell in ran for o in cell["outputs"])
    for cell, kinds in zip(ran, shown, strict=True):
        pictured = "\nPicture(" in "\n" + "".join(cell["source"])
        assert pictured == any("image/svg+xml" in found for found in kinds)
        if "live" in cell["metadata"].get("tags", ()):
            assert not kinds


def test_a_broken_rule_would_be_seen() -> None:
    assert too_long("def f():\n" + "    x = 1\n" * LONGEST) == ["f"]
    assert typed("The error falls by 7.0, or 12 times.") == ["7.0", "12"]
    assert typed("DPM-Solver-3 in float64, $7.0$ and `12`, $$\n3\n$$") == []


# --- what they show ------------------------------------------------------------------------------


def test_a_picture_has_the_same_bytes_and_says_what_it_is() -> None:
    def drawn() -> str:
        return Picture(lines({"a": [(8, 0.1), (16, 0.025)]}), "falling | <error>")._repr_svg_()

    assert drawn() == drawn()
    assert 'aria-label="falling | &lt;error>"' in drawn()
    assert drawn() != Picture(lines({"a": [(8, 0.1), (16, 0.03)]}), "x")._repr_svg_()


def test_a_table_keeps_its_columns() -> None:
    said = Table(["claim", "holds"], [["E|s|²", True]])._repr_markdown_().splitlines()
    assert said[0] == "| claim | holds |"
    assert said[2] == r"| E\|s\|² | True |"


def test_curves_hold_the_rows_and_slopes_are_theirs() -> None:
    curves = {
        "second": [(8, 1e-2), (16, 2.5e-3), (32, 6.25e-4)],
        "first": [(8, 1e-1), (32, 2.5e-2)],
    }
    left, right = with_slopes(curves, 2).axes
    shown = {line.get_label(): list(map(tuple, line.get_xydata())) for line in left.lines}  # type: ignore[arg-type]
    assert shown == curves
    fallen = np.concatenate([np.asarray(line.get_ydata()) for line in right.lines[:2]])
    assert fallen == pytest.approx([2.0, 2.0, 1.0])


def test_the_audit_has_a_line_for_every_promise_and_marks_those_missed() -> None:
    rows = json.loads((ROOT / "experiments/results/audit.json").read_text(encoding="utf-8"))
    axes = audit(rows).axes
    labels = [text for part in axes for text in part.get_yticklabels()]
    assert len(labels) == len({(row["scheduler"], row["nominal"]) for row in rows})
    red = {text.get_text() for text in labels if text.get_color() == RED}
    missed = {f"{r['scheduler'][:-9]}, order {r['nominal']}" for r in rows if r["cause"]}
    assert red == missed != set()


def test_statistics_have_bars_where_errors_are_known() -> None:
    curve = {"l": [0.1, 0.2], "s": [1.0, 2.0], "b": [0.0, 0.5]}
    figure = statistics([0.0, 1.0], {"exact": curve, "estimate": curve}, {"estimate": curve})
    assert [len(axes.containers) for axes in figure.axes] == [1, 1, 1]


def test_readings_run_to_the_right() -> None:
    tau = np.array([3.0, 2.0, 1.0])
    (axes, *_) = readings([Seen("NOISE_RHO", "rho", tau, np.zeros((3, 1)))]).axes
    assert axes.get_xlim() == (3.0, 1.0)


def run(teleport: str, budget: int, error: float, distance: float) -> dict[str, Any]:
    return {
        "teleport": teleport,
        "budget": budget,
        "error_median": error,
        "frechet": distance,
    }


RUNS = [
    run("off", 5, 0.4, 30.0),
    run("off", 5, 0.3, 20.0),
    run("off", 10, 0.5, 19.0),
    run("auto", 5, 0.2, 18.0),
    run("auto", 10, 0.1, 17.0),
]


def test_choices_show_every_run_and_lines_through_the_best_within_so_many_calls() -> None:
    figure = choices(
        RUNS,
        [5, 10],
        floor={"error_median": 1e-3, "frechet": 16.0},
        chance=(18.0, 4.0),
        marked={"mine": RUNS[:1]},
    )
    _, right = figure.axes
    shown = [[list(np.asarray(line.get_ydata())) for line in axes.lines] for axes in figure.axes]
    assert shown[0] == [
        [0.4] * 3 + [0.3] * 3 + [0.5] * 3,
        [0.3, 0.3],  # one that uses fewer calls counts
        [0.2] * 3 + [0.1] * 3,
        [0.2, 0.1],
        [0.4],
        [1e-3] * 2,
    ]
    assert shown[1][1::2] == [[20.0, 19.0], [18.0, 17.0], [16.0] * 2]
    low, high = right.get_ylim()
    assert low < 14.0  # the band of chance
    assert high > 30.0
    assert right.get_yscale() == "linear"


def test_distances_far_above_the_others_stand_on_a_logarithmic_part() -> None:
    far = 4e4
    runs = [*4 * RUNS, run("off", 5, 9.0, far)]
    (axes,) = disagreement(runs, 16.0, {}).axes
    near = float(np.asarray(axes.lines[-1].get_ydata())[0])
    assert near == np.quantile([row["frechet"] for row in runs], NEAR) == 30.0

    def height(y: float) -> float:
        return (axes.transData + axes.transAxes.inverted()).transform((1.0, y))[1]

    assert 0 < height(16.0) < height(near) < height(far) < 1
    assert height(23.0) == pytest.approx((height(16.0) + height(near)) / 2)
    assert height((near * far) ** 0.5) == pytest.approx((height(near) + height(far)) / 2)
    assert height(near) == pytest.approx(LINEAR * (height(far) - height(near)))


def test_equal_distances_and_one_far_off_have_an_axis() -> None:
    runs = [*40 * [run("off", 5, 9.0, 16.0)], run("off", 5, 9.0, 4e4)]
    (axes,) = disagreement(runs, 16.0, {}).axes
    low, high = axes.get_ylim()
    assert low <= 16.0 < 4e4 < high


def test_disagreement_has_a_dot_for_each_run_and_a_mark_for_those_named() -> None:
    (axes,) = disagreement(RUNS, 16.0, {"first": RUNS[3]}).axes
    off, auto, named, _ = (line.get_xydata() for line in axes.lines)
    assert len(off) == 3  # type: ignore[arg-type]
    assert len(auto) == 2  # type: ignore[arg-type]
    assert np.array_equal(named, [[0.2, 18.0]])


def test_a_table_of_images_has_each_at_its_place() -> None:
    images = torch.full((2, 3, 4, 5), -1.0)
    images[1, 2] = 1.0
    (axes,) = table(images, ["a", "b"], ["x", "y", "z"]).axes
    dots = np.asarray(axes.images[0].get_array())
    found = [[dots[int(y), int(x)] for x in axes.get_xticks()] for y in axes.get_yticks()]
    assert found == [[0, 0, 0], [0, 0, 255]]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
