"""What a JSON object of the replay format asks for, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from experiments.ems import fit, read_ems
from experiments.methods import find
from experiments.problems import (
    Floats,
    Law,
    array,
    cut,
    finite,
    mapping,
    read_grid,
    read_law,
    read_schedule,
    shown,
    word,
)
from gaussian_score.certificate import skip_level
from solvers.form import Form
from solvers.forms import GaussianPart, Statistics
from solvers.grids import Grid
from solvers.method import Entry
from solvers.point import Point

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
    above: Point | None
    """Where a teleport begins."""
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
    grid, above = full, None
    if "teleport" in obj:
        grid, above = cut(full, obj["grid"], level(obj["teleport"], law, full))
    if above is not None and entry.controller:
        raise ValueError(f"teleport: got {obj['teleport']}; none is allowed with {entry.name}")
    statistics, basis, report = None, np.eye(x.shape[1]), {}
    if above is not None or isinstance(form, GaussianPart):
        statistics, basis = law.principal()
        law = law.rotated(basis)
    if ems is not None:
        fitted = fit(ems, form, law, grid, above)
        form, grid, above, report = fitted.form, fitted.grid, fitted.above, fitted.report
    return Setting(
        law,
        entry,
        options,
        form,
        full,
        grid,
        above,
        statistics,
        basis,
        x @ basis,
        obj.get("finish", "none"),
        DTYPES[dtype],
        report,
    )


def level(spec: Any, law: Law, grid: Grid) -> float:
    """σ_skip, given or found from a tolerance in nats."""
    known = ("sigma_skip", "tolerance")
    obj = mapping(spec, "teleport", known)
    if len(obj) != 1:
        raise ValueError(
            f"teleport: got the keys {sorted(obj)}; exactly one of {', '.join(known)} is allowed"
        )
    key, value = next(iter(obj.items()))
    if not finite(value) or value <= 0:
        raise ValueError(f"teleport.{key}: got {shown(value)}; a positive number is allowed")
    if key == "sigma_skip":
        return float(value)
    if grid.points[0].silent:
        raise ValueError("teleport: got a start with alpha = 0; alpha > 0 is allowed")
    high, low = (float(grid.points[i].rho) for i in (0, -1))
    try:
        level = skip_level(law.weights, law.means, law.covs, value, high, low)
    except ValueError as error:
        raise ValueError(f"teleport.tolerance: got {value!r}; {error}") from None
    if level <= low:
        raise ValueError(
            f"teleport.tolerance: got {value!r}, which leaves no steps to take;"
            " a smaller number, or sigma_skip, is allowed"
        )
    return level
