"""Guidance and thresholding go around any model, are named in the plan, and do what they say."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Denoiser, Known
from solvers.grids import laid
from solvers.guidance import Guided, Thresholded
from solvers.method import entry
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import schedule

VP = schedule("vp_linear")
ONE = Known(GaussianMixture.isotropic([1.0], [[1.0, -0.5]], [0.3]))
BOTH = Known(GaussianMixture.isotropic([0.4, 0.6], [[1.0, -0.5], [-1.0, 0.5]], [0.3, 0.5]))
X = torch.tensor([[0.4, -1.0], [2.5, 0.3], [-1.5, 1.5]], dtype=torch.float64)
AT = (0.3, 0.6, 0.8)
METHODS = ("ddim", "dpm_solver_pp_2m", "dpm_solver_3", "unipc_2", "rho_rk4", "deis_t_ab2")


def run(name: str, model: Denoiser, steps: int, start: float = 0.9, end: float = 0.2) -> Any:
    grid = laid(VP, "logsnr", steps=steps, start=start, end=end)
    return sample(plan(entry(name), grid, model=model.parts), model, X).x


@pytest.mark.parametrize("kind", ["noise", "data"])
def test_scales_zero_and_one_are_the_two_models(kind: str) -> None:
    free, conditional = BOTH.at(kind, X, *AT), ONE.at(kind, X, *AT)
    assert torch.equal(Guided(ONE, BOTH, 0.0).at(kind, X, *AT), free)
    one = Guided(ONE, BOTH, 1.0).at(kind, X, *AT)
    assert torch.allclose(one, conditional, rtol=0, atol=4 * torch.finfo(X.dtype).eps)
    assert not torch.allclose(Guided(ONE, BOTH, 2.0).at(kind, X, *AT), conditional)


def test_guided_noise_and_data_belong_together() -> None:
    """x = α D + σ ε for every scale."""
    model = Guided(ONE, BOTH, 7.5)
    D, eps = model.at("data", X, *AT), model.at("noise", X, *AT)
    assert torch.allclose(AT[1] * D + AT[2] * eps, X, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", METHODS)
def test_orders_hold_with_guidance(name: str) -> None:
    """Distances of successive refinements shrink like h^order; warm-ups make some of them 2."""
    model = Guided(ONE, BOTH, 3.0)
    ends = [run(name, model, n, 0.6, 0.3) for n in (40, 80, 160)]
    coarse, fine = (float((b - a).abs().max()) for a, b in pairwise(ends))
    expected = {"ddim": 1, "dpm_solver_3": 3, "rho_rk4": 4, "unipc_2": 3}.get(name, 2)
    assert math.log2(coarse / fine) > expected - 0.35


def test_dynamic_thresholding_of_each_sample() -> None:
    """s = max(quantile |D|, 1), D <- clip(D, −s, s)/s; a sample inside [−1, 1] is left alone."""
    x = torch.tensor([[4.0, -1.0, 0.5, 2.0], [0.5, -0.3, 0.1, 0.2]], dtype=torch.float64)

    class Echo(Denoiser):
        def at(self, kind: str, x: torch.Tensor, t: Any, alpha: Any, sigma: Any) -> torch.Tensor:
            return x if kind == "data" else (x - alpha * x) / sigma

    D = Thresholded(Echo(), quantile=0.75).at("data", x, 0.0, 1.0, 1.0)
    s = 2.0 + 0.25 * (4.0 - 2.0)  # between the third and the fourth of |D| = 0.5, 1, 2, 4
    assert torch.allclose(D[0], torch.tensor([1.0, -1 / s, 0.5 / s, 2 / s], dtype=x.dtype))
    assert torch.equal(D[1], x[1])
    static = Thresholded(Echo(), quantile=0.0, floor=1.0).at("data", x, 0.0, 1.0, 1.0)
    assert torch.equal(static, x.clamp(-1, 1))


@pytest.mark.parametrize("name", METHODS)
def test_thresholding_composes_with_every_method(name: str) -> None:
    """The noise that belongs to the clipped data keeps the end inside the range."""
    model = Thresholded(Guided(ONE, BOTH, 6.0), quantile=0.0)
    free = run(name, Guided(ONE, BOTH, 6.0), 8, 0.9, 1e-3)
    assert float(free.abs().max()) > 1.2  # control: without it the end is outside
    grid = laid(VP, "logsnr", steps=8, start=0.9, end=1e-3)
    held = sample(plan(entry(name), grid, model=model.parts, finish="denoise"), model, X).x
    assert float(held.abs().max()) <= 1


def test_a_plan_names_its_parts_and_so_does_its_hash() -> None:
    grid = laid(VP, "logsnr", steps=4, start=0.9, end=0.2)
    model = Thresholded(Guided(ONE, BOTH, 7.5))
    bare, dressed = plan(entry("ddim"), grid), plan(entry("ddim"), grid, model=model.parts)
    assert dressed.model == ("guided(7.5)", "thresholded(0.995, 1.0)")
    assert bare.hash != dressed.hash
    sample(dressed, model, X)
    with pytest.raises(ValueError, match=r"plan: got the model parts \[\]; those of the denoiser"):
        sample(bare, model, X)
    with pytest.raises(ValueError, match=r"plan: got the model parts \['guided"):
        sample(dressed, BOTH, X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Guided(ONE, BOTH, math.nan), r"scale: got nan; a finite number is allowed"),
        (lambda: Guided(Thresholded(ONE), BOTH, 2.0), r"unconditional: got the parts \[\]"),
        (lambda: Thresholded(ONE, quantile=1.5), r"quantile: got 1\.5; a number from 0 to 1"),
        (lambda: Thresholded(ONE, floor=0.0), r"floor: got 0\.0; a positive number is allowed"),
    ],
)
def test_bad_parts_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
