"""Weights that run are the exact ones rounded once: within half an ulp of the row's largest."""

from __future__ import annotations

import math

import pytest

from solvers.grids import explicit, laid
from solvers.method import Entry, Variant, entry, rows
from solvers.plan import plan
from solvers.schedules import schedule
from theory.rounding import distance, exact, ulps, worst_ulps

CASES = list(rows())

# rounding is half an ulp; 40 digits and the quadrature's 23 leave less than 10^-6 of one
ROUNDED_ONCE = 0.5 + 1e-6


@pytest.mark.parametrize(
    ("e", "variant"), CASES, ids=[f"{e.name} {dict(v.options)}" for e, v in CASES]
)
def test_half_an_ulp(e: Entry, variant: Variant) -> None:
    coarse = laid(schedule("vp_linear"), "logsnr", steps=5, start=0.95, end=0.001)
    fine = explicit(schedule("edm"), "sigma", [1.0 - 0.001 * i * i for i in range(5)])
    assert worst_ulps(e, variant.options, [coarse, fine]) <= ROUNDED_ONCE


@pytest.mark.parametrize("name", ["vp_cosine", "sub_vp", "ve", "flow", "ddpm_discrete"])
def test_other_schedules(name: str) -> None:
    start, end = (3.5, 0.25) if name == "ddpm_discrete" else (0.98, 0.05)
    grid = laid(schedule(name), "logsnr", steps=4, start=start, end=end)
    for method in ("deis_t_ab2", "dpm_solver_pp_3m", "unipc_3", "gaussian_ab2"):
        assert ulps(entry(method), grid) <= ROUNDED_ONCE


def test_the_grid_is_the_stored_one() -> None:
    grid = laid(schedule("vp_linear"), "karras", steps=4, start=0.9, end=0.1)
    p = plan(entry("dpm_solver_pp_2m"), grid)
    nodes = [float(q.lam) for q in exact(grid, p.form).points]
    assert nodes[:-1] == [op.tau for op in p.ops]  # type: ignore[union-attr]


def test_distance() -> None:
    from theory.fields import MP

    F = MP(50)
    third = F.lift(1) / 3
    assert distance((1 / 3, 2.0), (third, F.lift(2))) < math.ulp(1 / 3) / math.ulp(2.0)
    assert distance(((1 / 3, 1.0),), ((third, F.lift(1)),)) <= 0.5
    assert distance((math.nextafter(1 / 3, 1),), (third,)) > 0.5  # control: one ulp off
