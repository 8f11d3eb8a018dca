"""The report's section on the map: a table of cells, and what the page's script shows of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from statistics import median
from typing import Any

from experiments import atlas
from experiments.formula import typeset
from experiments.references import cite
from experiments.report import page
from experiments.report.columns import Columns, tabled
from experiments.report.identify import identity
from experiments.rows import Row
from solvers.method import registry
from theory.certificates import load, status

STATES = {
    "published": "published in this form",
    "same": "a published method, written in another form",
    "ours": "named in this project first",
    "new": "without a name",
}
LEGEND = """\
<fieldset id="map-states" class="tools" hidden><legend>Show</legend>{boxes}</fieldset>"""


def section(found: Mapping[str, Any]) -> str:
    """The section's HTML, of `atlas.read`."""
    cells = [row for row in found["cells"] if row["state"] != "refused"]
    counted = Counter(row["state"] for row in cells)
    off = [abs(row["measured"] - row["order"]) for row in cells]
    said = page.prose(f"""
        A solver is a weight function, and a weight function runs in any canonical form of the
        ODE: {len(found["schemes"])} schemes, {len(atlas.COLUMNS)} forms, {len(cells)} cells, each
        proved and measured (`{found["command"]}`). {counted["published"]} cells are published
        methods, {counted["same"]} are published ones again, run for run, written in another form,
        {counted["ours"]} were named here first, and {counted["new"]} have no name. Of the slopes
        in float64, with {atlas.STEPS[-1]} steps at most, half are within {median(off):.2f} of the
        order that was proved.

        A number is the proved order; in leading errors κ and ξ belong to the form, and T₂ to the
        grid τ_n+k = T(kε), T(ε) = ε + T₂ε²/2 + ... Arrow keys go from cell to cell; a cell shows
        its leading error, formula, source and certificate, Enter or a click its convergence.
    """)
    if not atlas.current(found):
        said += page.outdated(found["command"])
    boxes = "".join(
        f'<label><input type="checkbox" value="{state}" checked> {words}</label>'
        for state, words in STATES.items()
    )
    panel = '<div id="map-panel" role="region" aria-live="polite" aria-label="Cell" hidden></div>'
    listed = page.folded("All cells as a table", *tabled("map", cells, LISTED))
    return said + LEGEND.format(boxes=boxes) + _grid(found, cells) + panel + listed


def _grid(found: Mapping[str, Any], cells: Sequence[Row]) -> str:
    """Schemes by family, forms across."""
    place = {(row["scheme"], row["form"]): i for i, row in enumerate(cells)}
    head = "".join(f'<th scope="col">{page.breakable(form)}</th>' for form in atlas.COLUMNS)
    out = [f'<thead><tr><th scope="col">scheme</th>{head}</tr></thead>']
    families = groupby(found["schemes"].items(), key=lambda pair: pair[1]["family"])
    for family, schemes in families:
        across = len(atlas.COLUMNS) + 1
        lines = [f'<tr><th scope="rowgroup" colspan="{across}">{family}</th></tr>']
        for scheme, _ in schemes:
            inside = "".join(_cell(cells, place.get((scheme, form))) for form in atlas.COLUMNS)
            lines.append(f'<tr><th scope="row">{page.breakable(scheme)}</th>{inside}</tr>')
        out.append(f"<tbody>{''.join(lines)}</tbody>")
    table = f'<table class="map" id="map-grid">{"".join(out)}</table>'
    return f'<div class="scroll">{table}</div>'


def _cell(cells: Sequence[Row], place: int | None) -> str:
    if place is None:
        return "<td></td>"
    row = cells[place]
    names = row["names"] or row["same"]
    name = ("" if row["names"] else "= ") + names[0] if names else "new"
    label = f"{row['scheme']} in {row['form']}: order {row['order']}, {STATES[row['state']]}"
    return (
        f'<td><button type="button" class="o{min(row["order"], 5)} {row["state"]}"'
        f' data-cell="{place}" aria-label="{escape(label)}"><b>{row["order"]}</b>'
        f"<small>{escape(name)}</small></button></td>"
    )


def embedded(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the script shows, by the index of the cell."""
    cells = [row for row in found["cells"] if row["state"] != "refused"]
    keys = sorted({key for row in cells for key in row["cite"]})
    lines = {r.key: r.line or r.key for r in cite([])}
    return {
        "schemes": found["schemes"],
        "sources": {key: lines.get(key, key) for key in keys},
        "cells": [_shown(row, found["run_id"]) for row in cells],
    }


KEPT = ("scheme", "form", "order", "any_grid", "plain_start", "measured", "leading_error", "cite")


def _shown(row: Row, run: str) -> dict[str, Any]:
    curve = [[float(f"{x:.4g}") for x in point] for point in row["curve"]]
    return {
        **{key: row[key] for key in KEPT},
        "leading_error": typeset(row["leading_error"]),
        "measured": round(row["measured"], 3),
        "curve": curve,
        "said": _said(row),
        "certificate": _certificate(row, run),
        "id": identity("map", row),
    }


def _said(row: Row) -> str:
    names, same = ", ".join(row["names"]), ", ".join(row["same"])
    words = [STATES[row["state"]]]
    words += [names] if names else []
    words += [f"runs as {same} in another form"] if same else []
    words += [f"the same weights: {', '.join(row['also'])}"] if row["also"] else []
    return "; ".join(words)


def _certificate(row: Row, run: str) -> str:
    """The file that has this method, with its options, in this form; else the map's own run."""
    for name in row["names"]:
        e = registry()[name.split()[0]]
        found = load(e.name)
        here = [r for r in (found.rows if found else ()) if r["form"] == row["form"]]
        if any(atlas.spelled(e.name, r["options"]) == name for r in here):
            return f"theory/certificates/{e.name}.json ({status(e)})"
    return f"experiments/results/map.json, run {run}"


def _cut(formula: str, most: int = 90) -> str:
    return formula if len(formula) <= most else formula[:most].rsplit(" ", 1)[0] + " …"


LISTED: Columns = {
    "scheme": lambda row: row["scheme"],
    "form": lambda row: row["form"],
    "order": lambda row: row["order"],
    "names": lambda row: ", ".join(row["names"]) or "–",
    "leading error": lambda row: _cut(typeset(row["leading_error"])),
}
"""Every cell as a line of a plain table."""
