"""A run knows no origin, no axes and no company: shifts, rotations and batches carry through it.

Translating the law by b moves x = α x₀ + σ n by α b; an orthogonal Q turns laws, starts and ends
alike; what stands beside a sample in its batch does not matter.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Known
from solvers.forms import ConstantForm
from solvers.method import entry, rows
from solvers.plan import plan
from solvers.sample import sample
from tests.strategies import Case, cases, number, rotations
from theory.mixtures import Mixture

ROWS = [
    (e.name, {**v.options, **(e.quiet or {})})
    for e, v in rows()
    if isinstance(e.form(v.options), ConstantForm) and e.family != "taylor"
]
EPS = float(np.finfo(np.float64).eps)


def end(case: Case, name: str, options: dict[str, Any], x: Any, means: Any, covs: Any) -> Any:
    """The run's end from x for the case's law with other means and covariances."""
    law = GaussianMixture.full(case.law()[0], means, covs)
    start = torch.as_tensor(x, dtype=torch.float64)
    return sample(plan(entry(name), case.grid(), **options), Known(law), start).x.numpy()


def close(a: Any, b: Any, case: Case) -> bool:
    """A rounding error an operation; the noise prediction has up to 1/sigma of it more."""
    sigma = float(case.grid().points[-1].sigma)
    scale = 10 * EPS * len(case.lam) * (1 + np.abs(a).max() + np.abs(b).max())
    return bool(np.abs(a - b).max() <= 10 * scale / min(sigma, 1.0))


@pytest.mark.parametrize("motion", ["shift", "turn", "alone"])
@given(data=st.data())
def test_motions_carry_through(motion: str, data: st.DataObject) -> None:
    name, options = data.draw(st.sampled_from(ROWS))
    case = data.draw(cases())
    _, means, covs = case.law()
    x, d = case.x_start(), means.shape[1]
    plain = end(case, name, options, x, means, covs)
    if motion == "shift":
        b = np.array([data.draw(number(-2, 2)) for _ in range(d)])
        first, last = (float(case.grid().points[i].alpha) for i in (0, -1))
        moved = end(case, name, options, x + first * b, means + b, covs)
        assert close(moved, plain + last * b, case)
    elif motion == "turn":
        Q = np.array(data.draw(rotations(d)))
        turned = end(case, name, options, x @ Q.T, means @ Q.T, Q @ covs @ Q.T)
        assert close(turned, plain @ Q.T, case)
    else:
        assert close(end(case, name, options, x[:1], means, covs), plain[:1], case)


def test_control_another_motion_is_seen() -> None:
    half = Fraction(1, 2)
    law = Mixture((half, half), (Fraction(3, 10), Fraction(-1)), (Fraction(3, 10), half))
    case = Case({"name": "edm"}, (-0.5, 0.0, 0.4), (law,), ((1.0,),), ((0.5,),))
    _, means, covs = case.law()
    x = case.x_start()
    plain = end(case, "dpm_solver_2", {}, x, means, covs)
    moved = end(case, "dpm_solver_2", {}, x + 1.0, means + 1.0, covs)
    assert close(moved, plain + 1.0, case)
    assert not close(moved, plain + 1.0 + 1e-9, case)
