"""All targets are one D; the residual is D_G where F = 0 and asks F for numbers of size one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.networks import EDMScaling, Preconditioned
from experiments.residual import GaussianScaling
from experiments.targets import TARGETS
from gaussian_score.eigenbasis import truncated
from gaussian_score.moments import Moments
from gaussian_score.trajectory import GaussianFlow

SIGMAS = (0.002, 0.1, 0.75, 4.0, 80.0)
ROUNDING = 1e-14  # float64; no formula subtracts nearly equal numbers
DIM = 12


def law(floor: float = 0.0) -> Moments:
    """Variances from 4 to 1e-3 and a dead direction, in a basis of no symmetry."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
    values = np.append(np.geomspace(4, 1e-3, DIM - 1), 0.0)
    return Moments(rng.standard_normal(DIM), values.clip(min=floor), basis)


def columns(sigma: float, like: Tensor) -> Tensor:
    return torch.full((len(like), *[1] * (like.dim() - 1)), sigma, dtype=like.dtype)


def asked(scaling: EDMScaling, x0: Tensor, n: Tensor, sigma: float) -> Tensor:
    """What F must be for D to be x₀."""
    x, s = x0 + sigma * n, columns(sigma, x0)
    return (x0 - scaling.base(x, s)) / scaling.out(s)


STATED: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "eps": lambda x0, n, s: n,
    "x0": lambda x0, n, s: x0,
    "v": lambda x0, n, s: (n - s * x0) / math.sqrt(1 + s * s),
    "flow": lambda x0, n, s: n - x0,
}


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("target", STATED)
def test_f_is_asked_for_its_target(target: str, sigma: float) -> None:
    g = torch.Generator().manual_seed(0)
    x0, n = (torch.randn(50, DIM, generator=g, dtype=torch.float64) for _ in range(2))
    found = asked(TARGETS[target](0.7), x0, n, sigma)
    # a target is a difference of x over c_out, so it keeps ε |x|/c_out
    loss = ROUNDING * 100 * (1 + sigma) / min(1.0, sigma)
    torch.testing.assert_close(found, STATED[target](x0, n, sigma), rtol=0, atol=loss)


def test_edm_is_v_for_deviation_one() -> None:
    s = torch.tensor(SIGMAS, dtype=torch.float64)
    edm, v = EDMScaling(1.0), TARGETS["v"](1.0)
    torch.testing.assert_close(edm.skip(s), v.skip(s), rtol=ROUNDING, atol=0)
    torch.testing.assert_close(edm.out(s), -v.out(s), rtol=ROUNDING, atol=0)


class Perfect(torch.nn.Module):
    """The F for which D is a Gaussian's denoiser, by any scaling."""

    def __init__(self, scaling: EDMScaling, flow: GaussianFlow) -> None:
        super().__init__()
        self.scaling, self.flow = scaling, flow

    def forward(self, seen: Tensor, c: Tensor) -> Tensor:
        s = (4 * c).exp()[:, None]
        x = seen / self.scaling.into(s)
        denoised = self.flow.denoise(x, 1.0, s[:, 0])
        return (denoised - self.scaling.base(x, s)) / self.scaling.out(s)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_all_targets_are_the_same_function(sigma: float) -> None:
    known = law(1e-3)
    flow = GaussianFlow.from_covariance(known.mean.tolist(), known.covariance().tolist())
    x = 3 * torch.randn(20, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    s = torch.tensor(sigma, dtype=torch.float64)
    found = []
    for kind in TARGETS.values():
        scaling = kind(0.7)
        found.append(Preconditioned(Perfect(scaling, flow), scaling)(x, s))
    expected = flow.denoise(x, 1.0, s)
    for D in found:
        torch.testing.assert_close(D, expected, rtol=1e-11, atol=1e-11)
    # control: another target's F is another D
    wrong = Preconditioned(Perfect(TARGETS["flow"](0.7), flow), TARGETS["eps"](0.7))(x, s)
    assert (wrong - expected).abs().max() > 1e-4


@pytest.mark.parametrize("rank", [DIM, 5, 0])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_where_f_is_zero_the_residual_is_the_gaussians_denoiser(sigma: float, rank: int) -> None:
    known = truncated(law(1e-3), rank)
    flow = GaussianFlow.from_covariance(known.mean.tolist(), known.covariance().tolist())
    x = torch.tensor(known.mean) + sigma * torch.randn(
        30, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    scaling = GaussianScaling(known, 1e-3)
    short = x.float().reshape(30, 1, 3, 4)
    found = scaling.base(short, columns(sigma, short))
    assert found.shape == (30, 1, 3, 4)
    expected = flow.denoise(x, 1.0, sigma)
    tolerance = 1e-6 * float(1 + x.abs().max())  # float32 of x and of the basis
    torch.testing.assert_close(found.reshape(30, DIM).double(), expected, rtol=0, atol=tolerance)
    x = x.reshape(30, 1, 3, 4)
    plain = EDMScaling(math.sqrt(known.trace / DIM)).base(x, columns(sigma, x))
    if rank and 0.1 < sigma < 10:  # control: EDM's own base is another function
        assert (plain.reshape(30, DIM) - expected).abs().max() > 0.01


@pytest.mark.parametrize("floor", [0.0, 0.01])
@pytest.mark.parametrize("rank", [DIM, 4])
def test_f_is_asked_for_mean_square_one(size: int, rank: int, floor: float) -> None:
    # a law that is no Gaussian: signs times deviations; only its two moments count
    whole = law()
    count = 20_000 * size
    g = torch.Generator().manual_seed(3)
    signs = torch.randint(0, 2, (count, DIM), generator=g).double() * 2 - 1
    basis, values = torch.tensor(whole.basis), torch.tensor(whole.eigenvalues)
    x0 = torch.tensor(whole.mean) + (signs * values.sqrt()) @ basis.T
    n = torch.randn(count, DIM, generator=g, dtype=torch.float64)
    scaling = GaussianScaling(truncated(whole, rank), floor).double()
    for sigma in SIGMAS:
        x, s = x0 + sigma * n, columns(sigma, x0)
        f = (x0 - scaling.base(x, s)) / scaling.out(s)
        # F² has kurtosis of a few, so its mean over count · DIM numbers is good to some of these
        assert abs(float(f.square().mean()) - 1) < 8 / math.sqrt(count), sigma
        assert scaling.seen(x, s).square().mean() == pytest.approx(1, abs=8 / math.sqrt(count))
        edm = EDMScaling(math.sqrt(whole.trace / DIM)).out(s[:1])
        if not floor:
            assert scaling.out(s[:1]) <= edm * (1 + 1e-6)


def test_an_isotropic_law_is_edm() -> None:
    moments = Moments(np.zeros(DIM), np.full(DIM, 0.49), np.eye(DIM))
    ours, edm = GaussianScaling(moments).double(), EDMScaling(0.7)
    x = torch.randn(5, DIM, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for sigma in SIGMAS:
        s = columns(sigma, x)
        for name in ("base", "seen"):
            pair = (getattr(c, name)(x, s) for c in (ours, edm))
            torch.testing.assert_close(*pair, rtol=1e-7, atol=1e-7)  # 0.49 in float32
        torch.testing.assert_close(ours.out(s), edm.out(s), rtol=1e-7, atol=0)


def test_no_variance_is_refused() -> None:
    with pytest.raises(ValueError, match="no variance"):
        GaussianScaling(Moments(np.zeros(2), np.zeros(2), np.eye(2)))
