"""Every method stays within three times its proved leading error of the closed-form trajectory.

A failing example is printed as the JSON that ``scoreproof solve`` takes.
"""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, note, settings
from hypothesis import strategies as st

from gaussian_score.mixture import GaussianMixture
from gaussian_score.reference import Oracle
from solvers.denoiser import Known
from solvers.forms import ConstantForm
from solvers.method import Entry, Weights, entry, rows
from solvers.ops import Advance
from solvers.plan import plan
from solvers.sample import sample
from tests.conftest import SIZE
from tests.strategies import WIDE, Case, cases
from theory.mixtures import Mixture
from theory.prediction import predict

DTYPES = {"float64": torch.float64, "float32": torch.float32}
ROWS = [
    (e.name, {**v.options, **(e.quiet or {})})
    for e, v in rows()
    if isinstance(e.form(v.options), ConstantForm)
]
"""The leading error is carried along the flow for forms with constant L."""


def ends(case: Case, e: Entry, options: dict[str, Any], dtype: str) -> np.ndarray:
    """The run's end in the rotated coordinates, (B, D)."""
    law = GaussianMixture.full(*case.law()).to(dtype=DTYPES[dtype])
    x = torch.tensor(case.x_start(), dtype=DTYPES[dtype])
    p = plan(e, case.grid(), **options)
    out = sample(p, Known(law), x, state=DTYPES[dtype]).x
    return out.to(torch.float64).numpy() @ case.basis


def truth(case: Case) -> np.ndarray:
    """The closed form: conservation of each coordinate's CDF."""
    first, last = case.grid(WIDE).points[0], case.grid(WIDE).points[-1]
    out = []
    for start in np.array(case.start):
        row = []
        for f, v in zip(case.factors, start, strict=True):
            spread = [[[s]] for s in f.variances]
            oracle = Oracle(f.weights, [[m] for m in f.means], spread, 20)
            row.append(float(oracle.flow(float(v), first.rho.v, last.rho.v) * last.alpha.v))
        out.append(row)
    return np.array(out)


def allowed(case: Case, e: Entry, options: dict[str, Any], dtype: str, graded: bool) -> np.ndarray:
    """3 Σ|leading errors carried to the end| + rounding, (B, D)."""
    grid = case.grid(WIDE)
    eps = torch.finfo(DTYPES[dtype]).eps
    out = []
    for start in case.start:
        row = []
        for f, v in zip(case.factors, start, strict=True):
            x = WIDE.number(v) * grid.points[0].alpha
            p = predict(
                e, f, grid, x, options=options, start="plain", jets="series", graded=graded
            )
            # one rounding a step of a state of this size, grown by the flow as the errors are;
            # ε amplifies the model's rounding by 1/sigma, which is above 1/10 here
            size = 1 + max(abs(float(x.v)), abs(v))
            row.append(3 * float(p.bound) + 20 * eps * (len(case.lam) + 8) * size)
        out.append(row)
    return np.array(out)


def excess(case: Case, e: Entry, options: dict[str, Any], dtype: str, graded: bool) -> float:
    """The largest ratio of error to allowance."""
    miss = np.abs(ends(case, e, options, dtype) - truth(case))
    return float(np.max(miss / allowed(case, e, options, dtype, graded)))


def carries(e: Entry, options: dict[str, Any]) -> bool:
    """Whether an evaluation is kept for the next step."""
    ops = plan(e, FIXED.grid(), **options).ops
    return any(isinstance(op, Advance) and op.weights.carry is not None for op in ops)


@pytest.mark.parametrize("family", sorted({entry(n).family for n, _ in ROWS}))
@settings(max_examples=10 * SIZE)
@given(data=st.data())
def test_runs_end_within_the_proved_error(family: str, data: st.DataObject) -> None:
    name, options = data.draw(st.sampled_from([r for r in ROWS if entry(r[0]).family == family]))
    e = entry(name)
    kept = carries(e, options)  # its leading error is proved at equal steps
    case = data.draw(cases(uneven=not kept, smooth=e.form(options).clock == "t"))
    dtype = data.draw(st.sampled_from(sorted(DTYPES)))
    note(json.dumps(case.json(name, options, dtype)))
    assert excess(case, e, options, dtype, graded=kept) <= 1


FIXED = Case(
    {"name": "vp_linear"},
    tuple(-0.6 + 0.05 * n for n in range(21)),
    (
        Mixture(
            (Fraction(2, 5), Fraction(3, 5)),
            (Fraction(-1), Fraction(4, 5)),
            (Fraction(1, 4), Fraction(1, 2)),
        ),
    ),
    ((1.0,),),
    ((0.4,), (-0.9,)),
)


def spoilt(e: Entry) -> Entry:
    """The entry with the update's last weight added to the first."""

    def changed(*args: Any, **options: Any) -> Weights:
        w = e.fn(*args, **options)
        now = (w.b.now[0] + w.b.now[-1], *w.b.now[1:])
        return replace(w, b=replace(w.b, now=now), consistent=False)

    return replace(e, fn=functools.wraps(e.fn)(changed))


@pytest.mark.parametrize(("name", "options"), ROWS)
def test_control_a_changed_coefficient_leaves_the_bound(
    name: str, options: dict[str, Any]
) -> None:
    e = entry(name)
    bound = allowed(FIXED, e, options, "float64", graded=carries(e, options))
    exact = truth(FIXED)
    assert np.max(np.abs(ends(FIXED, e, options, "float64") - exact) / bound) <= 1
    assert np.max(np.abs(ends(FIXED, spoilt(e), options, "float64") - exact) / bound) > 1
