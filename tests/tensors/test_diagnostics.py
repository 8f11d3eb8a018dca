"""What known scores leave of a score meets closed forms; its gap to the Gaussian is lmmse − mmse.

The laws here play the network too: where "learned" is known, every number of a row is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gaussian_score.delta import DeltaMixture
from gaussian_score.diagnostics import SIGMAS, Predicts, baselines, compare, excess, lmmse
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments

F64 = torch.float64
EPS = torch.finfo(F64).eps
KEYS = ("score", "score_reversed", "data", "data_reversed")

WEIGHTS, MEANS = (0.2, 0.3, 0.5), ((1, 0, -0.5), (-0.8, 1.2, 0.3), (0.1, -0.9, 0.4))
COVS = (np.diag((0.5, 0.1, 0.2)), np.diag((0.05, 0.6, 0.1)), 0.15 * np.eye(3))
THREE = GaussianMixture.full(WEIGHTS, MEANS, COVS)
MOMENTS = Moments.from_law(WEIGHTS, MEANS, COVS)
POINTS = THREE.sample(40, generator=torch.Generator().manual_seed(1))


@dataclass
class Changed:
    """Another law's prediction, changed."""

    law: Predicts
    factor: float = 1.0
    dtype: torch.dtype = F64

    def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        return self.factor * self.law.denoise(x.to(self.dtype), alpha, sigma).to(F64)


def isotropic(variance: float, mean: float = 0.3) -> GaussianMixture:
    return GaussianMixture.isotropic((1,), torch.full((1, 3), mean, dtype=F64), [variance])


def table(rows: list[dict[str, Any]]) -> dict[tuple[str, float], dict[str, Any]]:
    return {(row["candidate"], row["sigma"]): row for row in rows}


# --- rows against closed forms ------------------------------------------------------------------


@pytest.mark.parametrize(("v", "w"), [(0.0, 2.0), (2.0, 0.5)])
def test_two_isotropic_gaussians(v: float, w: float) -> None:
    """R = ((v − w)/(σ² + w))², the same for every sample; reversed, v stands below."""
    rows = table(compare(isotropic(v), {"other": isotropic(w)}, POINTS, samples=64))
    for sigma in SIGMAS:
        row = rows["other", sigma]
        forward, backward = (((v - w) / (sigma**2 + u)) ** 2 for u in (w, v))
        # D loses ε of itself; beside |D − x| ~ σ that is relative ε (1 + |x|/σ), twice squared
        rtol = 100 * EPS / sigma**2 + 100 * EPS
        assert row["score"]["residual"] == pytest.approx(forward, rel=rtol)
        assert row["score_reversed"]["residual"] == pytest.approx(backward, rel=rtol)
        assert row["score"]["explained"] == 1 - row["score"]["residual"]
        assert row["score"]["std"] <= rtol * forward
        for key in ("low", "median", "high"):
            assert row["score"][key] == pytest.approx(forward, rel=rtol)


@pytest.mark.parametrize("batch", [7, 1000])
def test_a_law_explains_itself_and_others_as_their_scores_say(batch: int) -> None:
    """The rows from data predictions are those from scores, sample by sample; none is above 1."""
    others = {"itself": THREE, **baselines(MOMENTS)}
    rows = table(compare(THREE, others, POINTS, samples=100, batch=batch, sigmas=(0.3, 2, 20)))
    generator = torch.Generator().manual_seed(0)
    y = POINTS[torch.randint(len(POINTS), (100,), generator=generator)]
    noise = torch.randn(100, 3, generator=generator, dtype=F64)
    for sigma in (0.3, 2.0, 20.0):
        x = y + sigma * noise
        for name, law in others.items():
            row, whole = rows[name, sigma], THREE.score(x, 1, sigma)
            part = (whole - law.score(x, 1, sigma)).square().sum(1)
            ratio = part / whole.square().sum(1)
            # two scores lose ε each, which their difference may be a millionth of
            assert row["score"]["residual"] == pytest.approx(float(ratio.mean()), rel=1e-8)
            assert row["score"]["std"] == pytest.approx(float(ratio.std()), rel=1e-8)
            assert row["gap"] == pytest.approx(float(part.mean()), rel=1e-8)
            assert all(row[key]["residual"] >= 0 for key in KEYS)
        assert all(rows["itself", sigma][key]["residual"] == 0 for key in KEYS)
        assert 1 > rows["Gaussian", sigma]["score"]["explained"] > 0


def test_it_is_a_mean_of_ratios() -> None:
    """Between far clusters samples differ in |s| by far more than the mean of ratios is known."""
    law = GaussianMixture.isotropic((0.5, 0.5), ((-3, 0, 0, 0), (3, 0, 0, 0)), (0.01, 1))
    gaussian = GaussianMixture.full((1,), law.mean[None], law.covariance[None])
    points = law.sample(2000, generator=torch.Generator().manual_seed(0))
    flat = GaussianMixture.isotropic((1,), ((0, 0, 0, 0),), [1e30])
    how = {"sigmas": (0.5,), "samples": 20000}
    row, whole = compare(law, {"Gaussian": gaussian, "s = 0": flat}, points, **how)
    error = row["score"]["std"] / math.sqrt(row["samples"])
    assert abs(row["score"]["residual"] - row["gap"] / whole["gap"]) > 5 * error


def test_what_differs_only_below_zero_is_infinite() -> None:
    """|D_θ − D|²/|D|² with D = 0, the mean alone of data round zero; 0/0 is no difference."""
    mean = isotropic(0.0, 0)
    (row,) = compare(isotropic(1.0, 0), {"mean": mean}, POINTS, sigmas=(1,))
    assert row["data_reversed"]["residual"] == math.inf
    assert row["data"]["residual"] == 1
    (row,) = compare(mean, {"mean": mean}, POINTS, sigmas=(1,))
    assert row["data"]["residual"] == row["data_reversed"]["residual"] == 0


def test_a_level_does_not_depend_on_the_others_and_the_seed_decides() -> None:
    others = {"Gaussian": baselines(MOMENTS)["Gaussian"]}
    many = table(compare(THREE, others, POINTS, sigmas=(0.5, 1, 2), samples=50))
    (alone,) = compare(THREE, others, POINTS, sigmas=(1,), samples=50)
    assert alone == many["Gaussian", 1]
    (other,) = compare(THREE, others, POINTS, sigmas=(1,), samples=50, seed=1)
    assert other["score"]["residual"] != alone["score"]["residual"]


def test_the_baselines_are_the_laws_they_are_named_after() -> None:
    """Also where the moments have a floor across their basis, which λ does not contain."""
    basis, _ = np.linalg.qr(np.arange(12.0).reshape(4, 3) ** 2 + np.eye(4, 3))
    low = Moments(np.arange(4.0), np.array([2.0, 1.0, 0.1]), basis, floor=0.4)
    for moments in (MOMENTS, low):
        found, cov = baselines(moments), moments.covariance()
        eye = np.eye(moments.dim)
        expected = {
            "mean": 0 * eye,
            "isotropic": np.trace(cov) / moments.dim * eye,
            "Gaussian": cov,
            "Gaussian + 1e-4": cov + 1e-4 * eye,
        }
        assert found.keys() == expected.keys()
        for name, law in found.items():
            np.testing.assert_array_equal(law.mean, moments.mean)
            np.testing.assert_allclose(law.covariance, expected[name], atol=1e-14)


# --- float32 ------------------------------------------------------------------------------------


def test_small_residuals_keep_their_digits() -> None:
    """R = 1e-12/(σ² + w)² to six digits, where 1 − EV in float32 is zero."""
    v, w = 1.0, 1.0 + 1e-6
    rows = compare(isotropic(v), {"near": isotropic(w)}, POINTS, sigmas=(1, 5), samples=32)
    for row in rows:
        residual = row["score"]["residual"]
        # D loses ε of which 1e-6/(σ² + w) is left in the difference; squared: twice
        assert residual == pytest.approx(((w - v) / (row["sigma"] ** 2 + w)) ** 2, rel=1e-6)
        assert 1 - np.float32(1 - residual) == 0


def test_float32_arithmetic_leaves_no_residual_of_1e_7() -> None:
    """A law evaluated in float32 is explained by itself to about ε² from σ = 0.1 on.

    So residuals of 1e-7 are either real or the spacing of float32 below 1, which is 6e-8.
    """
    narrow = Changed(THREE.to(dtype=torch.float32), dtype=torch.float32)
    rows = compare(narrow, {"float64": THREE}, POINTS, sigmas=[s for s in SIGMAS if s >= 0.1])
    eps = torch.finfo(torch.float32).eps
    for row in rows:
        # x and D lose ε of |x| <= 4 + 4σ each, responsibilities up to |x|²/σ² times that
        assert 0 < row["score"]["residual"] < (100 * eps / min(row["sigma"], 1)) ** 2
        assert row["score"]["residual"] < 1e-8


# --- identities ---------------------------------------------------------------------------------

SKEWED = ((0.8, 0.2), ((1.0,), (-4.0,)), (((0.25,),), ((0.25,),)))
VECTORS = [  # σ, J, mmse, lmmse, to 15 digits
    (2.0, 0.0307050518047877, 1.56932523172946, 2.06060606060606),
    (4.0, 0.00048251453301705716, 3.23450097090566, 3.35802469135802),
    (8.0, 3.3515464049649191e-6, 3.97162005127325, 3.98534798534799),
]


@pytest.mark.parametrize(("sigma", "J", "mmse", "linear"), VECTORS)
def test_gap_and_losses_in_one_dimension(
    sigma: float, J: float, mmse: float, linear: float
) -> None:
    """J, mmse and E|s|² − tr C⁻¹ by quadrature, and (lmmse − mmse)/σ⁴."""
    law, moments = GaussianMixture.full(*SKEWED), Moments.from_law(*SKEWED)
    gaussian = baselines(moments)["Gaussian"]
    x = torch.linspace(-8 - 12 * sigma, 8 + 12 * sigma, 20001, dtype=F64)[:, None]
    density = law.log_density(x, 1, sigma).exp() * float(x[1] - x[0])
    s, of_gaussian = law.score(x, 1, sigma)[:, 0], gaussian.score(x, 1, sigma)[:, 0]
    # E|x₀ − D|² = E|x₀|² − E D²; the trapezoid rule converges faster than any power
    found = 4.25 - float(density @ law.denoise(x, 1, sigma)[:, 0] ** 2)
    assert lmmse(moments, sigma) == pytest.approx(linear, rel=1e-14)
    assert found == pytest.approx(mmse, rel=1e-13)
    # mmse has 15 digits, of which lmmse − mmse leaves 12 and more
    assert excess(moments, mmse, sigma) == pytest.approx(J, rel=1e-11)
    assert float(density @ (s - of_gaussian) ** 2) == pytest.approx(J, rel=1e-11)
    assert float(density @ s**2) - 1 / (4.25 + sigma**2) == pytest.approx(J, rel=1e-9)


def test_lmmse_counts_what_lies_across_the_basis() -> None:
    """σ² tr(Σ C⁻¹) with a floor, at levels where λ + σ² would round to either."""
    low = Moments(np.zeros(4), np.array([2.0, 1.0]), np.eye(4)[:, :2], floor=0.5)
    for sigma in (1e-6, 0.7, 1e6):
        full = sum(v * sigma**2 / (v + sigma**2) for v in (2, 1, 0.5, 0.5))
        assert lmmse(low, sigma) == pytest.approx(full, rel=4 * EPS)


def gap_misses(row: dict[str, Any], moments: Moments) -> float:
    """How many standard errors E|s_θ − s_G|² is from (lmmse − loss)/σ⁴."""
    expected = excess(moments, row["loss"], row["sigma"])
    error = math.hypot(row["gap_error"], row["loss_error"] / row["sigma"] ** 4)
    return (row["gap"] - expected) / error


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_gap_and_losses_of_a_data_set(sigma: float, size: int) -> None:
    """Both sides from the same draws of a data set, whose exact score is known; 4 errors."""
    exact = DeltaMixture.of(POINTS)
    cov = np.cov(POINTS.numpy().T, bias=True)
    moments = Moments.from_covariance(POINTS.mean(0).numpy(), cov)
    laws, how = baselines(moments), {"sigmas": (sigma,), "samples": 8000 * size}
    (row,) = compare(exact, {"Gaussian": laws["Gaussian"]}, POINTS, **how)
    assert abs(gap_misses(row, moments)) < 4
    wrong = Moments.from_covariance(POINTS.mean(0).numpy(), 2 * cov)
    assert abs(gap_misses(row, wrong)) > 4, "a covariance twice as large goes unseen"


def test_the_loss_of_a_worse_denoiser_bounds_the_gap_from_below() -> None:
    exact = DeltaMixture.of(POINTS)
    moments = Moments.from_covariance(POINTS.mean(0).numpy(), np.cov(POINTS.numpy().T, bias=True))
    gaussian, how = baselines(moments)["Gaussian"], {"sigmas": (0.5,), "samples": 4000}
    (best,) = compare(exact, {"Gaussian": gaussian}, POINTS, **how)
    (worse,) = compare(Changed(exact, 0.8), {"Gaussian": gaussian}, POINTS, **how)
    assert excess(moments, worse["loss"], 0.5) < best["gap"] - 4 * best["gap_error"]
    assert excess(moments, worse["loss"], 0.5) > 0


# --- bad input ----------------------------------------------------------------------------------

HOLE = torch.cat([POINTS[:2], torch.tensor([[0, math.nan, 0]], dtype=F64)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": POINTS[0]}, r"data has shape \(3,\)"),
        ({"data": POINTS[:0]}, r"data has shape \(0, 3\)"),
        ({"data": (POINTS * 10).int()}, "dtype torch.int32"),
        ({"data": HOLE}, r"data\[2, 1\] is nan"),
        ({"sigmas": (1, 0)}, "sigma is 0"),
        ({"sigmas": (-1,)}, "sigma is -1"),
        ({"sigmas": (math.inf,)}, "sigma is inf"),
        ({"samples": 1}, "samples is 1; an integer >= 2"),
        ({"batch": 0}, "batch is 0; an integer >= 1"),
        ({"learned": Changed(THREE, math.nan)}, "learned predicts .* not finite at sigma = 0.01"),
        ({"candidates": {"odd": Changed(THREE, math.inf)}}, "odd predicts .* not finite"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    good = {"learned": THREE, "candidates": {"itself": THREE}, "data": POINTS}
    with pytest.raises(ValueError, match=message):
        compare(**{**good, **changes})


def test_a_prediction_of_another_shape_is_named() -> None:
    class Flat:
        def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
            return x[:, 0]

    with pytest.raises(ValueError, match=r"flat predicts shape \(8,\) at sigma = 1; .* \(8, 3\)"):
        compare(THREE, {"flat": Flat()}, POINTS, sigmas=(1,), samples=8)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_bad_levels_of_the_identities(sigma: float) -> None:
    with pytest.raises(ValueError, match=f"sigma is {sigma}"):
        lmmse(MOMENTS, sigma)
