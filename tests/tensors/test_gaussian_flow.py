"""One Gaussian's closed-form flow meets the vectors, composes, and works at both singular ends."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gaussian_score.flow import carried_log_density
from gaussian_score.mixture import GaussianMixture
from gaussian_score.oracle import Oracle
from gaussian_score.trajectory import GaussianFlow

F64 = torch.float64
EPS = torch.finfo(F64).eps
BASIS = torch.eye(3, dtype=F64) - 2 / 9 * torch.outer(*[torch.tensor((1, 2, 2), dtype=F64)] * 2)
# the table has 16 to 17 digits and asks for 1e-12 relative; logdet has 15
VECTOR: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14}


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=F64)


def flow(*eigenvalues: float) -> GaussianFlow:
    return GaussianFlow(
        torch.tensor((0.5, -1, 0.25), dtype=F64),
        torch.tensor(eigenvalues, dtype=F64),
        BASIS[:, : len(eigenvalues)],
    )


G1 = tensor((60, -35, 80))
G1_ENDS = [
    (
        2.0,
        (2.2307910160659024, -1.9779170052421441, 2.1935780223264566),
        (0.92472473283794597, -1.2208046977112096, 0.18246134966210674),
        -10.69008439440658,
    ),
    (
        0.1,
        (1.2843469433640570, -1.3741899769040682, 0.53605545822368215),
        (1.2790931419855596, -1.3566731657477045, 0.51298724196060251),
        -15.428138133592718,
    ),
    (
        0.0,
        (1.2851764460300203, -1.3583962402827111, 0.52353586185839253),
        (1.2851764460300203, -1.3583962402827111, 0.52353586185839253),
        -math.inf,
    ),
]


@pytest.mark.parametrize("law", [flow(4, 0.25, 0), flow(4, 0.25)], ids=["zero", "dropped"])
@pytest.mark.parametrize(("sigma", "x", "data", "log_det"), G1_ENDS)
def test_g1(law: GaussianFlow, sigma: float, x: Any, data: Any, log_det: float) -> None:
    """α = 1, with the direction of zero variance kept as λ = 0 or left out of the basis."""
    levels: dict[str, Any] = {"start": (1, 80), "end": (1, sigma)}
    torch.testing.assert_close(law.flow(G1, **levels), tensor(x), **VECTOR)
    torch.testing.assert_close(law.denoised(G1, **levels), tensor(data), **VECTOR)
    torch.testing.assert_close(
        law.log_det(G1, **levels), torch.tensor([log_det], dtype=F64), **VECTOR
    )


def test_log_det_counts_every_dropped_direction() -> None:
    levels: dict[str, Any] = {"start": (1, 80), "end": (1, 2)}
    whole, dropped = flow(4, 0, 0).log_det(G1, **levels), flow(4).log_det(G1, **levels)
    torch.testing.assert_close(dropped, whole, rtol=9 * EPS, atol=0)


def test_g1_densities() -> None:
    """N(0, 80² I) carried to σ = 2, and the law of the data there."""
    law = flow(4, 0.25, 0)
    log_q = -0.5 * float((G1**2).sum()) / 6400 - 3 * math.log(80) - 1.5 * math.log(2 * math.pi)
    carried = log_q - law.log_det(G1, start=(1, 80), end=(1, 2))
    assert float(carried) == pytest.approx(-6.089764234229083, rel=1e-12)
    x = law.flow(G1, start=(1, 80), end=(1, 2))
    cov = (BASIS * law.eigenvalues) @ BASIS
    density = GaussianMixture.full((1,), law.mean[None], cov[None]).log_density(x, 1, 2)
    assert float(density) == pytest.approx(-6.0768534118739058, rel=1e-12)


def test_g2() -> None:
    """α = cos t, σ = sin t, from t = 1.5 to 0.7."""
    law, x = flow(4, 0.25, 0), tensor((0.3, -1.2, 0.8))
    alpha, sigma = math.cos(0.7), math.sin(0.7)
    levels: dict[str, Any] = {"start": (math.cos(1.5), math.sin(1.5)), "end": (alpha, sigma)}
    end, data = law.flow(x, **levels), law.denoised(x, **levels)
    eps = (end - alpha * data) / sigma
    expected = [
        (0.87750020522709679, -1.6653571486314081, 0.62356529864694221),
        (1.118957803462436, -1.319407710221201, 0.17056953208013611),
        (0.033644017817604012, -1.0186284584013407, 0.76543462623798192),
    ]
    for found, vector in zip((end, data, eps), expected, strict=True):
        torch.testing.assert_close(found, tensor(vector), **VECTOR)


def test_g3() -> None:
    """α = 1 − τ, σ = τ, from τ = 0.95 to 0.4, with the velocity (x − D)/τ."""
    law, x = flow(4, 0.25, 0), tensor((0.3, -1.2, 0.8))
    levels: dict[str, Any] = {"start": (1 - 0.95, 0.95), "end": (0.6, 0.4)}
    end = law.flow(x, **levels)
    velocity = (end - law.denoised(x, **levels)) / 0.4
    end_vector = (0.72356607512208862, -1.2458218757550879, 0.41979455760554623)
    velocity_vector = (-1.2226130903665381, 0.29635569249405219, 0.58565633638100209)
    torch.testing.assert_close(end, tensor(end_vector), **VECTOR)
    torch.testing.assert_close(velocity, tensor(velocity_vector), **VECTOR)


def test_standard_deviations_for_variances_miss_the_vector() -> None:
    found = flow(2, 0.5, 0).flow(G1, start=(1, 80), end=(1, 2))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(found, tensor(G1_ENDS[0][1]), **VECTOR)


LEVELS = [(0.0, 1.0), (0.1, 0.9), (1.0, 80.0), (0.6, 0.8), (1.0, 1e-4), (1.0, 0.0)]


@pytest.mark.parametrize("start", LEVELS)
@pytest.mark.parametrize("end", LEVELS)
def test_group(start: tuple[float, float], end: tuple[float, float]) -> None:
    """Φ(a→c) = Φ(b→c) Φ(a→b) and the log determinants add, pure noise and data included."""
    law, x = flow(4, 0.25, 1e-3), tensor((0.3, -1.2, 0.8), (5, 5, 5))
    middle = (0.9, 0.3)
    half = law.flow(x, start=start, end=middle)
    direct = law.flow(x, start=start, end=end)
    # rounding of x at the first level, carried along by at most the ratio of spreads, which is
    # 80/√1e-3 at worst, and less by as much as the middle level is narrow
    scale = float((direct.abs().amax() + half.abs().amax() * (1 + end[1] / 0.3)) * 30 + 30)
    two_steps = law.flow(half, start=middle, end=end)
    torch.testing.assert_close(two_steps, direct, rtol=0, atol=scale * EPS)
    total = law.log_det(x, start=start, end=middle) + law.log_det(x, start=middle, end=end)
    torch.testing.assert_close(total, law.log_det(x, start=start, end=end), rtol=0, atol=60 * EPS)


@pytest.mark.parametrize(("start", "end"), [((1, 5), (1, 0.3)), ((0, 1), (0.7, 0.3))])
def test_whitened_coordinates_are_constant(start: Any, end: Any) -> None:
    law, x = flow(4, 0.25, 0.01), tensor((0.3, -1.2, 0.8))

    def whitened(x: Tensor, alpha: float, sigma: float) -> Tensor:
        c = alpha**2 * law.eigenvalues + sigma**2
        return (x - alpha * law.mean) @ BASIS / c.sqrt()

    there = whitened(law.flow(x, start=start, end=end), *end)
    torch.testing.assert_close(there, whitened(x, *start), rtol=1e-14, atol=1e-14)


def test_denoised_is_that_of_the_mixture() -> None:
    cov = (BASIS * tensor(4, 0.25, 0.01)) @ BASIS
    law = GaussianFlow.from_covariance((0.5, -1, 0.25), cov)
    mixture = GaussianMixture.full((1,), law.mean[None], cov[None])
    x = tensor((0.3, -1.2, 0.8), (5, 5, 5))
    levels: dict[str, Any] = {"start": (0, 1), "end": (0.6, 0.8)}
    there = law.flow(x, **levels)
    expected = mixture.denoise(there, 0.6, 0.8)
    torch.testing.assert_close(law.denoised(x, **levels), expected, rtol=1e-14, atol=1e-14)


def test_dtype_is_that_of_the_points() -> None:
    law, x = flow(4, 0.25), tensor((0.3, -1.2, 0.8)).float()
    levels: dict[str, Any] = {"start": (1, 80), "end": (1, 0.1)}
    for method in (law.flow, law.denoised):
        short = method(x, **levels)
        assert short.dtype is torch.float32
        assert torch.equal(short, method(x.double(), **levels).float())


FLOOR = GaussianFlow(
    torch.tensor((0.5, -1, 0.25), dtype=F64),
    torch.tensor((4, 0.001), dtype=F64),
    BASIS[:, :2],
    0.3,
)


@pytest.mark.parametrize("start", LEVELS)
@pytest.mark.parametrize("end", LEVELS)
def test_against_the_oracle_of_each_mode(start: Any, end: Any) -> None:
    """Every coordinate along U, and across it where the variance is the floor, by itself."""
    x = tensor((0.3, -1.2, 0.8), (60, -35, 80))
    found = FLOOR.flow(x, start=start, end=end)
    exact = torch.zeros_like(x)
    for i, variance in enumerate(("4", "0.001", "0.3")):
        one = Oracle((1,), ((0,),), (((float(variance),),),), 20)
        for row, z in zip(exact, (x - start[0] * FLOOR.mean) @ BASIS[:, i], strict=True):
            row[i] = float(one.flow_x(float(z), start, end))
    # rounding of x, which modes stretch by no more than √(0.3 + 80²)/√0.001
    slack = 30 * EPS * (100 * max(1, end[1] + 1) / max(start[1], 0.03) + 100)
    expected = end[0] * FLOOR.mean + exact @ BASIS.mT
    torch.testing.assert_close(found, expected, rtol=0, atol=slack)


def test_the_floor_is_the_variance_across() -> None:
    """The same law with its basis completed; a zero floor is the law without it."""
    whole = GaussianFlow(FLOOR.mean, tensor(4, 0.001, 0.3), BASIS)
    x = tensor((0.3, -1.2, 0.8), (5, 5, 5))
    close: dict[str, Any] = {"rtol": 1e-13, "atol": 1e-13}
    for start, end in (((0, 1), (0.6, 0.8)), ((1, 80), (1, 0)), ((1, 0), (1, 2))):
        for name in ("flow", "denoised", "log_det"):
            found, expected = (getattr(a, name)(x, start=start, end=end) for a in (FLOOR, whole))
            torch.testing.assert_close(found, expected, **close)
    bare = replace(FLOOR, floor=0.0).flow(x, start=(1, 80), end=(1, 0))
    assert (bare - FLOOR.flow(x, start=(1, 80), end=(1, 0))).abs().max() > 1e-3


@pytest.mark.parametrize("law", [FLOOR, flow(4, 0.25, 1e-3), flow(4, 0.25), flow()])
def test_predictions_are_those_of_the_mixture(law: GaussianFlow) -> None:
    cov = (law.basis * (law.eigenvalues - law.floor)) @ law.basis.mT
    cov = cov + law.floor * torch.eye(3, dtype=F64)
    mixture = GaussianMixture.full((1,), law.mean[None], 0.5 * (cov + cov.mT)[None])
    x, levels = tensor((0.3, -1.2, 0.8), (5, 5, 5)), (tensor(0.6, 1), tensor(0.8, 3))
    for level in ((0.6, 0.8), (0, 1), (1, 50), levels):
        for name in ("log_density", "score", "noise", "denoise"):
            found, expected = (getattr(a, name)(x, *level) for a in (law, mixture))
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_clean_data_have_a_density_where_every_variance_is_positive() -> None:
    x = tensor((0.3, -1.2, 0.8))
    near, clean = (FLOOR.log_density(x, 1, sigma) for sigma in (1e-12, 0))
    torch.testing.assert_close(near, clean, rtol=1e-12, atol=0)
    assert torch.equal(FLOOR.denoise(x, 1, 0).round(decimals=12), x)
    assert torch.equal(FLOOR.noise(x, 1, 0), torch.zeros_like(x))
    with pytest.raises(ValueError, match="zero variance; sigma > 0"):
        flow(4, 0.25).log_density(x, 1, 0)


def test_densities_are_carried() -> None:
    """N(0, 80² I) carried to σ = 2: by the start's density, and as the Gaussian that it is."""
    law, levels = flow(4, 0.25, 0), {"start": (1, 80), "end": (1, 2)}
    x = law.flow(G1, start=(1, 80), end=(1, 2))

    def start(y: Tensor) -> Tensor:
        return GaussianMixture.isotropic((1,), torch.zeros(1, 3).double(), (6400.0,)).log_density(
            y, 1, 1e-6
        )

    carried = carried_log_density(law, start, x, start=(1, 80), end=(1, 2))
    assert float(carried) == pytest.approx(-6.089764234229083, rel=1e-11)
    found = law.from_noise(**levels)  # pyright: ignore
    assert float(found.log_density(x, 1, 0)) == pytest.approx(-6.089764234229083, rel=1e-12)
    assert float(law.log_density(x, 1, 2)) == pytest.approx(-6.0768534118739058, rel=1e-12)


@pytest.mark.parametrize("law", [FLOOR, flow(4, 0.25, 0), flow(4, 0.25)])
@pytest.mark.parametrize("levels", [((1, 80), (1, 0.1)), ((0.1, 0.995), (0.9, 0.4))])
def test_from_noise_has_the_moments_of_flowed_noise(law: GaussianFlow, levels: Any) -> None:
    """The flow is affine: mean Φ(0), covariance σ_T² A Aᵀ with A from three points and 0."""
    start, end = levels
    points = torch.cat((torch.zeros(1, 3, dtype=F64), torch.eye(3, dtype=F64)))
    moved = law.flow(points, start=start, end=end)
    a = (moved[1:] - moved[0]).mT
    found = law.from_noise(start=start, end=end)
    cov = (found.basis * (found.eigenvalues - found.floor)) @ found.basis.mT
    cov = cov + found.floor * torch.eye(3, dtype=F64)
    torch.testing.assert_close(found.mean, moved[0], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(cov, start[1] ** 2 * a @ a.mT, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": torch.zeros(2)}, r"\(D,\), \(R,\), \(D, R\) are allowed"),
        ({"eigenvalues": tensor(4, -1, 0)}, "eigenvalues has the entry -1"),
        ({"eigenvalues": tensor(4, math.nan, 0)}, "eigenvalues is"),
        ({"basis": 1.1 * BASIS}, "basis misses UᵀU = I by 0.21"),
        ({"floor": -0.1}, "floor is -0.1; a finite number >= 0"),
    ],
)
def test_bad_laws(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"mean": torch.zeros(3), "eigenvalues": tensor(4, 1, 0), "basis": BASIS}
    GaussianFlow(**good)
    with pytest.raises(ValueError, match=message):
        GaussianFlow(**(good | changes))


@pytest.mark.parametrize(
    ("mean", "cov", "message"),
    [
        ((0, 0), np.eye(3), r"shapes \(2,\) and \(3, 3\)"),
        ((0, 0), ((1, 2), (2, 1)), "eigenvalue -1"),
        ((0, 0), ((1, 0.5), (0, 1)), "differs from its transpose by 0.5"),
        ((0, 0), ((1, math.inf), (math.inf, 1)), "covariance is"),
    ],
)
def test_bad_covariances(mean: Any, cov: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianFlow.from_covariance(mean, cov)


@pytest.mark.parametrize(
    ("x", "start", "end", "message"),
    [
        (torch.zeros(3), (1, 1), (1, 0), r"\(B, 3\) is allowed"),
        (torch.zeros(1, 3, dtype=torch.int64), (1, 1), (1, 0), "int64"),
        (torch.zeros(1, 3), (1, 0), (1, 1), "zero variance"),
        (torch.zeros(1, 3), (0, 0), (1, 1), r"\(0, 0\) is allowed"),
        (torch.zeros(1, 3), (1, 1), (1, -1), "not negative"),
        (torch.zeros(1, 3), (1, math.inf), (1, 1), "finite"),
    ],
)
def test_bad_arguments(x: Tensor, start: Any, end: Any, message: str) -> None:
    for law in (flow(4, 0.25, 0), flow(4, 0.25)):
        with pytest.raises(ValueError, match=message):
            law.flow(x, start=start, end=end)
