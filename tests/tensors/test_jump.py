"""The jump of states is that of plans: flow, matched draw, correction and error, for any shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.launch import launch
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments
from gaussian_score.teleport import corrected, jump, landing_error, matched
from solvers.denoiser import Known
from solvers.float64 import FLOAT64
from solvers.grids import explicit
from solvers.method import entry
from solvers.point import Point
from solvers.schedules import schedule

F64 = torch.float64
ROUNDING: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-11}
LINEAR = schedule("vp_linear")
START = Point(LINEAR, FLOAT64, "t", FLOAT64.number(1.0))
GRID = explicit(LINEAR, "rho", [FLOAT64.number(r) for r in (5.0, 2.0)])


def level(p: Point) -> tuple[float, float]:
    return float(p.alpha), float(p.sigma)


def states() -> Tensor:
    return torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=F64)


LAW = GaussianMixture.isotropic([0.7, 0.3], [[0.0] * 6, [1.0, -2.0, 0.5, 0, 3, 1]], [0.3, 0.1])
WHOLE = Moments.from_covariance(LAW.mean.numpy(), LAW.covariance.numpy())
PART = Moments(WHOLE.mean, WHOLE.eigenvalues[:1], WHOLE.basis[:, :1], 0.24)


class Shaped(Known):
    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        return super().at(kind, x.flatten(1), t, alpha, sigma).reshape(x.shape)


@pytest.mark.parametrize("moments", [WHOLE, PART], ids=["full", "rank 1 and a floor"])
@pytest.mark.parametrize("better", [False, True])
def test_a_loop_of_ones_own_lands_where_a_plan_does(moments: Moments, better: bool) -> None:
    x, end = states(), level(GRID.points[0])
    how = {"start": START, "corrected": better, "states": True}
    done = launch(entry("ddim"), GRID, Shaped(LAW), moments, x, **how)
    there = jump(x, moments, start=level(START), end=end)
    data = LAW.denoise(there.flatten(1), *end).reshape(x.shape)
    error = landing_error(there, data, moments, level=end)
    torch.testing.assert_close(error, done.landing, **ROUNDING)
    if better:
        there = corrected(there, data, moments, level=end)
    torch.testing.assert_close(there, done.states[1], **ROUNDING)
    off = jump(x, moments, start=level(START), end=level(GRID.points[1]))  # control
    assert float((off - done.states[1]).abs().max()) > 0.01


@pytest.mark.parametrize("moments", [WHOLE, PART], ids=["full", "rank 1 and a floor"])
def test_a_matched_draw_has_the_gaussians_covariance(moments: Moments) -> None:
    """The map ξ -> x is linear; its matrix is a root of α² Σ + σ² I."""
    end = level(GRID.points[0])
    unit = torch.eye(6, dtype=F64)
    root = matched(unit, moments, end=end) - matched(0 * unit, moments, end=end)
    cov = end[0] ** 2 * moments.covariance() + end[1] ** 2 * np.eye(6)
    np.testing.assert_allclose((root.mT @ root).numpy(), cov, rtol=1e-12, atol=1e-12)
    middle = matched(0 * unit[:1], moments, end=end)[0].numpy()
    np.testing.assert_allclose(middle, end[0] * moments.mean, rtol=1e-12, atol=1e-12)
    p = launch(
        entry("ddim"),
        GRID,
        Known(LAW),
        moments,
        unit * float(START.sigma),
        start=START,
        prior="matched",
        states=True,
    )
    both = [a @ a.mT for a in (p.states[1] - torch.tensor(middle), root)]
    torch.testing.assert_close(*both, **ROUNDING)


def test_no_distance_is_no_change_and_dtypes_stay() -> None:
    x, end = states().float(), level(GRID.points[0])
    assert jump(x, WHOLE, start=end, end=end) is x
    assert jump(x, WHOLE, start=level(START), end=end).dtype == torch.float32
    with pytest.raises(ValueError, match="sigma"):
        jump(x, WHOLE, start=(1.0, -1.0), end=end)
