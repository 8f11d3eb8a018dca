"""The map: every weight function in every form it can run in, with its proved order.

A scheme is a weight function with its fixed parameters; a cell is a scheme in a form.  Most cells
have no name in the literature.  Which ones do is decided by running them: a cell belongs to a
published method if both end at the same states, on a graded and on an irregular grid, whatever
form each is written in.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from experiments import store
from experiments.measure import errors, estimate
from experiments.orders import FLOOR, Progress
from experiments.parallel import unordered
from solvers.empirical import EMS
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import FORMS
from solvers.method import Entry, WeightFunction, registry, rows, unpublished
from theory.order import prove_order

Row = dict[str, Any]
Probe = tuple[float, float]
COLUMNS: dict[str, Form] = {**FORMS, EMS.name: EMS}
"""The forms of the map: all canonical ones, and that of model statistics."""
OURS = "scoreproof"
"""What methods cite that were named here first."""
RESULTS = Path(__file__).parent / "results" / "map.json"
COMMAND = "scoreproof map --summary experiments/results/map.json"
SOURCES = ("solvers", "theory", "experiments/measure.py", "experiments/atlas.py")
STEPS = (8, 16, 32, 64)
"""Of a cell's curve; a scheme with derivatives takes fewer."""
SAME = 1e-9
"""Relative distance of two errors below which the runs are one: rounding leaves 1e-11."""


@dataclass(frozen=True)
class Scheme:
    """A weight function with its fixed parameters, apart from any form."""

    fn: WeightFunction
    fixed: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The function's name and its parameters: "adams 3", "rk3 1/3 2/3"."""
        values = (v if not isinstance(v, str) else f"{k}={v}" for k, v in self.fixed.items())
        return " ".join([self.fn.__name__, *map(str, sorted(values, key=str))])

    @property
    def family(self) -> str:
        """The file that defines it."""
        return self.fn.__module__.rsplit(".", 1)[-1]

    @property
    def formula(self) -> str:
        """The first paragraph of the docstring, as text."""
        first = inspect.cleandoc(self.fn.__doc__ or "").split("\n\n")[0]
        return " ".join(first.replace("``", "").split())

    def within(self, form: str) -> Entry:
        """An entry that belongs to no registry."""
        return unpublished(self.fn, COLUMNS[form], **self.fixed)


@cache
def schemes() -> dict[str, Scheme]:
    """Every scheme of the registry by name, without those that only noise tells apart."""
    found = (Scheme(e.fn, e.fixed) for e in registry().values() if e.quiet is None)
    return {s.name: s for s in sorted(found, key=lambda s: (s.family, s.name))}


def probe(e: Entry, options: Mapping[str, Any]) -> Probe:
    """Errors of two short runs that no two methods share: eight steps, graded and irregular."""
    kinds = ("exact", "irregular")
    return tuple(errors(e, kind, [8], F=FLOAT64, **options)[0][1] for kind in kinds)  # type: ignore[arg-type,return-value]


def alike(a: Probe, b: Probe) -> bool:
    """Whether two probes are of one run."""
    return all(abs(x - y) <= SAME * max(abs(x), abs(y)) + FLOOR for x, y in zip(a, b, strict=True))


def cell(scheme: str, form: str) -> Row:
    """One cell, proved and measured now; ``refused`` says why a scheme cannot run in a form."""
    e = schemes()[scheme].within(form)
    row: Row = {"scheme": scheme, "form": form}
    try:
        proof = prove_order(e)
        few = [n for n in STEPS if n <= max(16, STEPS[-1] >> max(0, proof.derivatives - 1))]
        curve = errors(e, "exact", few, F=FLOAT64)
        ends = probe(e, {})
    except (ValueError, ArithmeticError, TypeError) as error:
        return {**row, "refused": " ".join(f"{type(error).__name__}: {error}".split())}
    return {
        **row,
        "order": proof.graded,
        "any_grid": proof.any_grid,
        "plain_start": proof.plain_start,
        "leading_error": str(proof.leading),
        "evaluations": proof.evaluations,
        "past": proof.memory,
        "derivatives": proof.derivatives,
        "measured": estimate(curve, FLOOR).slope,
        "curve": [list(point) for point in curve],
        "probe": list(ends),
    }


def registered() -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Everything with a name that runs without noise: variants, and every form of a selector."""
    for e, variant in rows():
        if e.quiet is None:
            yield e, dict(variant.options)
    for e in registry().values():
        if e.quiet is None and e.selector:
            yield from ((e, {e.selector: key}) for key in list(e.forms)[1:])


def spelled(method: str, options: Mapping[str, Any]) -> str:
    """As names are in the map."""
    return " ".join([method, *(k if v is True else f"{k}={v}" for k, v in options.items())])


def named(e: Entry, options: Mapping[str, Any]) -> Row | None:
    """A registered run with its probe; None where it cannot be run in float64."""
    try:
        ends = probe(e, options)
    except (ValueError, ArithmeticError):
        return None
    name, form = spelled(e.name, options), e.form(options).name
    plain = not set(options) - {e.selector}
    return {"name": name, "cite": e.cite, "form": form, "plain": plain, "probe": ends}


def placed(row: Row, known: Sequence[Row]) -> Row:
    """The cell with the names that belong to it, in its own form and in other ones.

    ``state``: published, ours (named in this project first), same (a published method written in
    another form) or new.
    """
    if "refused" in row:
        return {**row, "state": "refused"}
    equal = [k for k in known if alike(row["probe"], k["probe"])]
    # names of defaults come first; variants only where no default has the run
    here = [k for k in equal if k["form"] == row["form"]]
    here = [k for k in here if k["plain"]] or here
    there = [k for k in equal if k["form"] != row["form"] and k["plain"]]
    published = [k for k in here if k["cite"] != OURS]
    elsewhere = [k for k in there if k["cite"] != OURS]
    state = "published" if published else "same" if elsewhere else "ours" if here else "new"
    return {
        **row,
        "state": state,
        "names": list(dict.fromkeys(k["name"] for k in here)),
        "same": list(dict.fromkeys(k["name"] for k in there)),
        "cite": sorted({k["cite"] for k in (here or there)}),
    }


def merged(cells: Sequence[Row]) -> list[Row]:
    """Schemes that run alike in every form are one; ``also`` has the other names."""
    table: dict[str, dict[str, Row]] = {}
    for row in cells:
        table.setdefault(row["scheme"], {})[row["form"]] = row
    kept: dict[str, list[str]] = {}
    for scheme in table:
        twin = next((k for k in kept if _one(table[k], table[scheme])), scheme)
        kept.setdefault(twin, []).append(scheme)
    return [
        {**row, "also": also[1:]}
        for scheme, also in kept.items()
        for row in table[scheme].values()
    ]


def _one(a: Mapping[str, Row], b: Mapping[str, Row]) -> bool:
    pairs = [(a[form], b[form]) for form in a]
    if any(("refused" in x) != ("refused" in y) for x, y in pairs):
        return False
    return all("refused" in x or alike(x["probe"], y["probe"]) for x, y in pairs)


def prove(
    root: str | Path, *, workers: int = 2, progress: Progress | None = None
) -> dict[str, Any]:
    """The whole map with its provenance.

    Cells are kept under ``root`` as they are found, so that an interrupted run goes on.
    """
    run = store.open_run(root, "map", {"map": STEPS}, SOURCES)
    wanted = [(scheme, form) for scheme in schemes() for form in COLUMNS]
    found = {(row["scheme"], row["form"]): row for row in run.rows()}
    missing = [task for task in wanted if task not in found]
    for task, row in unordered(_cell, None, missing, workers):
        run.append(row)
        found[task] = row
        if progress:
            progress(len(found), len(wanted), task[0])
    known = [row for e, options in registered() if (row := named(e, options))]
    made = run.about()
    del made["certificates"]
    cells = [placed(row, known) for row in merged([found[task] for task in wanted])]
    shown = dict.fromkeys(row["scheme"] for row in cells)
    about = {n: {"family": schemes()[n].family, "formula": schemes()[n].formula} for n in shown}
    return {**made, "command": COMMAND, "schemes": about, "cells": cells}


def _cell(shared: None, task: tuple[str, str]) -> Row:
    return cell(*task)


def text(found: Mapping[str, Any]) -> str:
    """JSON with a line for every scheme and every cell."""
    head = {k: v for k, v in found.items() if k not in ("schemes", "cells")}
    schemes = ",\n".join(f'"{k}": {store.line(v)}' for k, v in found["schemes"].items())
    cells = ",\n".join(map(store.line, found["cells"]))
    opened = store.page(head).rstrip().removesuffix("}").rstrip()
    return f'{opened},\n "schemes": {{\n{schemes}\n}},\n "cells": [\n{cells}\n]}}\n'


def read(file: Path = RESULTS) -> dict[str, Any]:
    """The stored map."""
    if not file.is_file():
        raise ValueError(f"map: {file.name} is not there; {COMMAND} makes it")
    return json.loads(file.read_text(encoding="utf-8"))


def current(found: Mapping[str, Any]) -> bool:
    """Whether the sources are those that the map was proved with."""
    return store.current(found, {"map": STEPS}, SOURCES)
