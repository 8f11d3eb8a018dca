"""What a JSON object of the replay format asks for, read strictly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from experiments.ems import fit, in_arrays, read_ems
from experiments.jump import Jump, read_jump, wants_past, with_past
from experiments.methods import find, form_named
from experiments.problems import (
    Floats,
    Law,
    array,
    finite,
    mapping,
    read_grid,
    read_law,
    read_schedule,
    shown,
    word,
)
from solvers.form import Form
from solvers.forms import GaussianPart, Statistics
from solvers.grids import Grid
from solvers.method import Entry
from solvers.teleport import Teleport

PLAN_OPTIONS = ("orders", "lower_order_final", "correct_last")
"""Options of the plan, beside those of the weight function."""
DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Setting:
    """One run, in the coordinates in which it runs: those of x, or of the law's eigenbasis."""

    law: Law
    entry: Entry
    options: Mapping[str, Any]
    form: Form
    full: Grid
    """As asked for."""
    grid: Grid
    """Cut where a teleport ends, or snapped to a table's nodes."""
    teleport: Teleport | None
    first: int
    """How many nodes of the grid are its past."""
    then: Sequence[tuple[float, Form]]
    """Changes of form."""
    statistics: Statistics | None
    basis: Floats
    """x_start and x_final are x basisᵀ."""
    x: Floats
    finish: str
    dtype: torch.dtype
    report: Mapping[str, Any]
    """What the output says of the model statistics."""


def read_setting(obj: Mapping[str, Any]) -> Setting:
    """``ValueError`` names the key, the value and what is allowed."""
    law, schedule = read_law(obj["problem"]), read_schedule(obj["schedule"])
    dtype = word(obj.get("dtype", "float64"), "dtype")
    if dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}; {' or '.join(DTYPES)} is allowed")
    options = dict(mapping(obj.get("options", {}), "options", None))
    name = word(obj["method"], "method")
    entry = find(name, form=options.pop("form", None), q=options.pop("q", None))
    mapping(options, "options", (*entry.options, *PLAN_OPTIONS))
    form = entry.form(options)
    ems = read_ems(obj, form, entry.name)
    full = read_grid(obj["grid"], schedule)
    x = array(obj["x_start"], "x_start", 2)
    if x.shape[1] != law.means.shape[1]:
        raise ValueError(
            f"x_start: got {x.shape[1]} coordinates; the law's {law.means.shape[1]} are allowed"
        )
    then = _changes(obj["switch"], full) if "switch" in obj else []
    moments, principal = law.principal()
    jump = _jump(obj, law, full, moments, entry, options)
    grid, teleport = (jump.grid, jump.teleport) if jump else (full, None)
    statistics, basis, report = None, np.eye(x.shape[1]), {}
    if jump or any(isinstance(f, GaussianPart) for f in (form, *dict(then).values())):
        statistics, basis, law = moments, principal, law.rotated(principal)
    if ems is not None:
        fitted = fit(ems, form, law, grid, rotated=jump is not None)
        form, grid, report = fitted.form, fitted.grid, fitted.report
        teleport = teleport and replace(teleport, start=in_arrays(teleport.start))
    return Setting(
        law,
        entry,
        options,
        form,
        full,
        grid,
        teleport,
        jump.first if jump else 0,
        then,
        statistics,
        basis,
        x @ basis,
        obj.get("finish", "none"),
        DTYPES[dtype],
        report,
    )


def _jump(
    obj: Mapping[str, Any],
    law: Law,
    full: Grid,
    moments: Statistics,
    entry: Entry,
    options: Mapping[str, Any],
) -> Jump | None:
    """The key ``teleport``; None where nothing is skipped, which is the plain run bit for bit."""
    if "teleport" not in obj:
        return None
    past = wants_past(obj["teleport"])
    jump = read_jump(obj["teleport"], law, full, obj["grid"], moments)
    return with_past(jump, entry, options) if jump and past else jump


def _changes(value: Any, grid: Grid) -> list[tuple[float, Form]]:
    """``{"sigma": 0.5, "form": "DATA_LAMBDA"}``: this form from the level σ/α on, or several."""
    high, low = (math.inf if p.silent else float(p.rho) for p in (grid.points[0], grid.points[-1]))
    found: list[tuple[float, Form]] = []
    for i, spec in enumerate(value if isinstance(value, list) else [value]):
        name = f"switch[{i}]" if isinstance(value, list) else "switch"
        obj = mapping(spec, name, ("sigma", "form"), required=("sigma", "form"))
        if not (finite(obj["sigma"]) and low < obj["sigma"] < high):
            got = shown(obj["sigma"])
            raise ValueError(f"{name}.sigma: got {got}; a level in ({low!r}, {high!r}) is allowed")
        found.append((float(obj["sigma"]), form_named(word(obj["form"], f"{name}.form"))))
    return found
