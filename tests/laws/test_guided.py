"""The guided flow of two Gaussians is its ODE's, in closed form, by quadrature and by integration.

The field is the extrapolation of two denoisers; where both covariances are one it is a Gaussian's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp
from torch import Tensor

from gaussian_score.guided import AffineMap, GuidedGaussian
from gaussian_score.mixture import GaussianMixture
from gaussian_score.trajectory import GaussianFlow

F64 = torch.float64
EPS = torch.finfo(F64).eps
RNG = np.random.default_rng(0)
Q = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
MEANS = RNG.normal(size=(2, 3))
X = torch.from_numpy(RNG.normal(size=(4, 3)))
COVS = {
    "same": [(Q * (4, 0.25, 0.1)) @ Q.T] * 2,
    "commuting": [(Q * (4, 0.25, 0.1)) @ Q.T, (Q * (0.5, 1, 0.2)) @ Q.T],
    "general": [(Q * (4, 0.25, 0.1)) @ Q.T, np.diag((0.5, 1, 0.2))],
}
PATHS: list[Any] = [
    ((1, 80), (1, 0.05)),
    ((0, 1), (0.9, 0.1)),
    ((1, 0.1), (0.3, 0.8)),
    ((0.6, 0.8), (0, 1)),
    ((1, 80), (1, 0)),
]


def guided(kind: str, guidance: float = 3.0) -> GuidedGaussian:
    u, c = COVS[kind]
    return GuidedGaussian.of(MEANS[0], u, MEANS[1], c, guidance)


def one_mode(cov_c: float) -> float:
    law = GuidedGaussian.of([0.3], [[4.0]], [1.2], [[cov_c]], 3.0)
    return float(law.flow(torch.tensor([[30.0]], dtype=F64), start=(1, 80), end=(1, 0.5)))


def test_vector_of_two_variances() -> None:
    # the table has ten digits
    assert one_mode(0.5) == pytest.approx(1.5692545828, abs=5e-11)


def test_vector_of_one_variance() -> None:
    """3.69555674679: m = 0.3 + 3 · 0.9 = 3 and x = 3 + 27 √(4.25/6404).

    A figure of 3.69555474669 is in circulation; it solves neither the formula nor the equation.
    """
    with mp.workdps(50):
        formula = 3 + 27 * mp.sqrt(mp.mpf("4.25") / 6404)
        ode = mp.odefun(
            lambda t, y: [-(80 - t) * (y[0] - 3) / ((80 - t) ** 2 + 4)], 0, [mp.mpf(30)]
        )(mp.mpf("79.5"))[0]
        assert abs(formula - ode) < mp.mpf(10) ** -45
    assert one_mode(4.0) == pytest.approx(float(formula), rel=1e-14)
    assert abs(float(formula) - 3.69555474669) > 1e-6


@pytest.mark.parametrize("kind", COVS)
@pytest.mark.parametrize("guidance", [-1.0, 0.5, 7.5])
@pytest.mark.parametrize(("start", "end"), PATHS)
def test_the_flow_solves_its_equation(kind: str, guidance: float, start: Any, end: Any) -> None:
    """Against the integration in the scale of x, whose error estimate is its tolerance."""
    law = guided(kind, guidance)
    covs = [one.covariance.numpy() for one in (law.unconditional, law.conditional)]
    exact = law.flow_map(start=start, end=end)
    ode = law._integrated([m.copy() for m in MEANS], covs, start, end)
    sources = {"same": "closed form", "commuting": "quadrature", "general": "DOP853"}
    assert exact.source.startswith(sources[kind])
    for one, other in ((exact.matrix, ode.matrix), (exact.shift, ode.shift)):
        assert (one - other).abs().max() <= exact.error + ode.error
    assert exact.error <= 1e-7 * (1 + float(exact.matrix.abs().max()))


@pytest.mark.parametrize("kind", COVS)
def test_the_flow_is_tangent_to_the_field(kind: str) -> None:
    """∂x/∂σ = (x − D)/σ at α = 1, by a central difference of the map."""
    law, sigma, h = guided(kind), 0.7, 1e-4
    there = [law.flow_map(start=(1, sigma), end=(1, sigma + step))(X) for step in (h, -h)]
    slope = (there[0] - there[1]) / (2 * h)
    field = (X - law.denoise(X, 1, sigma)) / sigma
    # h² of a third derivative below 100, and 1e-13/h of the maps
    assert (slope - field).abs().max() < 1e-6
    wrong = (X - guided(kind, 3.1).denoise(X, 1, sigma)) / sigma
    assert (slope - wrong).abs().max() > 1e-3


@pytest.mark.parametrize("kind", COVS)
def test_group_property(kind: str) -> None:
    law = guided(kind)
    a, b, c = (1, 10), (0.8, 0.6), (1, 0.1)
    there = law.flow_map(start=a, end=c)
    first, second = law.flow_map(start=a, end=b), law.flow_map(start=b, end=c)
    error = there.error + second.error + float(second.matrix.abs().max()) * first.error * 3
    assert (second(first(X)) - there(X)).abs().max() <= 4 * error * (1 + X.abs().max())


@pytest.mark.parametrize("guidance", [0.0, 1.0])
@pytest.mark.parametrize("kind", COVS)
def test_without_guidance_it_is_one_gaussian(kind: str, guidance: float) -> None:
    law = guided(kind, guidance)
    which = int(guidance)
    one = GaussianMixture.full((1.0,), MEANS[[which]], COVS[kind][which][None])
    for name in ("denoise", "score", "noise"):
        torch.testing.assert_close(
            getattr(law, name)(X, 0.6, 0.8), getattr(one, name)(X, 0.6, 0.8)
        )
    flow = GaussianFlow.from_covariance(MEANS[which], COVS[kind][which])
    expected = flow.flow(X, start=(0.1, 1), end=(1, 0.1))
    found = law.flow_map(start=(0.1, 1), end=(1, 0.1))
    assert (found(X) - expected).abs().max() <= 10 * found.error + 1e-12


def test_predictions_agree() -> None:
    law, a, s = guided("general"), 0.6, 0.8
    data, noise, score = law.denoise(X, a, s), law.noise(X, a, s), law.score(X, a, s)
    torch.testing.assert_close(a * data + s * noise, X, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(-s * score, noise, rtol=1e-13, atol=1e-13)


def test_singular_covariances() -> None:
    """Down to σ > 0, where a mode without variance keeps its extrapolated mean."""
    flat = [(Q * (4, 0.25, 0)) @ Q.T, (Q * (0.5, 1, 0)) @ Q.T]
    law = GuidedGaussian.of(MEANS[0], flat[0], MEANS[1], flat[1], 3.0)
    there = law.flow_map(start=(1, 2.0), end=(1, 1e-3))
    mode = torch.from_numpy(Q[:, 2].copy())
    mean = torch.from_numpy(-2 * MEANS[0] + 3 * MEANS[1]) @ mode
    expected = mean + 1e-3 / 2 * (X @ mode - mean)
    torch.testing.assert_close(there(X) @ mode, expected, rtol=1e-12, atol=1e-12)
    for level in ("start", "end"):
        pair = {"start": (1, 1), "end": (1, 1)} | {level: (1, 0)}
        with pytest.raises(ValueError, match=f"{level} is .*singular"):
            law.flow_map(**pair)


def test_dtype_and_affine_map() -> None:
    law = guided("commuting")
    there = law.flow_map(start=(1, 10), end=(1, 0.1))
    assert isinstance(there, AffineMap)
    short = law.flow(X.float(), start=(1, 10), end=(1, 0.1))
    assert short.dtype is torch.float32
    torch.testing.assert_close(short.double(), there(X.float().double()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guidance": math.nan}, "guidance is nan"),
        ({"mean_c": (0.0, 0, 0)}, r"covs has shape"),
        ({"cov_u": ((1.0, 2), (2, 1))}, r"covs\[0\] has the eigenvalue -1"),
        ({"cov_c": ((1.0, 0.5), (0, 1))}, r"covs\[0\] differs"),
        ({"mean_c": (0.0,), "cov_c": ((1.0,),)}, "have 2 and 1 coordinates"),
        ({"mean_u": (math.inf, 0)}, "mean is"),
    ],
)
def test_bad_laws(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "mean_u": (0.0, 0.0),
        "cov_u": np.eye(2),
        "mean_c": (1.0, 0.0),
        "cov_c": np.eye(2),
        "guidance": 2.0,
    }
    with pytest.raises(ValueError, match=message):
        GuidedGaussian.of(**good | changes)


@pytest.mark.parametrize("level", [(1, -1), (0, 0), (math.inf, 1), (1, math.nan)])
def test_bad_levels(level: Any) -> None:
    with pytest.raises(ValueError, match="end is"):
        guided("same").flow_map(start=(1, 1), end=level)


@pytest.mark.gpu
def test_device() -> None:
    law = guided("commuting")
    there: Tensor = law.flow(X.cuda(), start=(1, 10), end=(1, 0.1))
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), law.flow(X, start=(1, 10), end=(1, 0.1)))
