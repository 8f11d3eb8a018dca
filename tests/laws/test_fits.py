"""Fitted mixtures are laws, always the same, and the clusters' own moments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from experiments.data import load_images
from gaussian_score.fits import Fit, expectation_maximisation, k_means
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments

EPS = float(np.finfo(np.float64).eps)
DIGITS = load_images("digits").pixels.reshape(-1, 64)
FITS: dict[str, Callable[..., Fit]] = {"k-means": k_means, "em": expectation_maximisation}
CLUSTERS = k_means(DIGITS, 20)


def blobs() -> np.ndarray:
    """Two Gaussians far apart, a quarter and three, and one point alone."""
    rng = np.random.default_rng(1)
    centres = np.where(rng.random(400)[:, None] < 0.25, -5.0, 5.0)
    return np.concatenate([centres + 0.1 * rng.standard_normal((400, 2)), [[40.0, -40.0]]])


@pytest.mark.parametrize("fit", FITS)
def test_known_clusters_are_found_and_always_the_same(fit: str) -> None:
    found, again = (FITS[fit](blobs(), 3, seed=0) for _ in range(2))
    for name in ("weights", "means", "covs"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    alone, light, heavy = np.argsort(found.weights)
    assert found.weights[alone] == pytest.approx(1 / 401, rel=1e-6)
    # 4 standard errors of 400 draws; centres of k-means are running means, near the clusters'
    assert abs(found.weights[light] - 0.25) < 0.09
    np.testing.assert_allclose(found.means[light], -5, atol=0.05)
    np.testing.assert_allclose(found.means[heavy], 5, atol=0.05)
    ridge = found.provenance["ridge"]
    np.testing.assert_allclose(found.covs[alone], ridge * np.eye(2), atol=1e-9)
    assert (np.linalg.eigvalsh(found.covs) > ridge * (1 - 1e-6)).all()


def test_clusters_have_their_own_covariance() -> None:
    x = blobs()
    found = k_means(x, 3)
    for weight, mean, cov in zip(found.weights, found.means, found.covs, strict=True):
        mine = x[
            ((x[:, None] - found.means) ** 2).sum(2).argmin(1)
            == np.argwhere((found.means == mean).all(1))[0, 0]
        ]
        assert len(mine) == round(weight * len(x))
        goal = np.cov(mine.T, ddof=0) if len(mine) > 1 else np.zeros((2, 2))
        np.testing.assert_allclose(cov, goal + 1e-5 * np.eye(2), atol=1e-14)
    assert found.weights.sum() == pytest.approx(1, rel=4 * EPS)


def test_one_component_is_the_gaussian_of_the_data() -> None:
    for name, fit in FITS.items():
        found = fit(DIGITS, 1, ridge=1e-5)
        goal = np.cov(DIGITS.T, ddof=0) + 1e-5 * np.eye(64)
        np.testing.assert_allclose(found.covs[0], goal, atol=1e-12)
        # mini-batches of k-means do not weigh every point alike
        np.testing.assert_allclose(
            found.means[0], DIGITS.mean(0), atol=1e-12 if name == "em" else 0.05
        )


@pytest.mark.parametrize("floor", ["zero", "mean"])
def test_low_rank_parts_make_the_mixture(floor: str) -> None:
    bases, eigenvalues, floors = CLUSTERS.low_rank(16, floor=floor)
    law = GaussianMixture.low_rank(CLUSTERS.weights, CLUSTERS.means, bases, eigenvalues, floors)
    assert bases.shape == (20, 64, 16)
    full = GaussianMixture.full(CLUSTERS.weights, CLUSTERS.means, CLUSTERS.covs)
    traces = [float(m.covariance.trace()) for m in (law, full)]
    assert (traces[0] == pytest.approx(traces[1], rel=1e-12)) == (floor == "mean")
    # where noise drowns what was dropped the scores agree, the mean floor better
    x = torch.tensor(DIGITS[:50]) * 3
    error = (law.score(x, 1, 3.0) - full.score(x, 1, 3.0)).norm() / full.score(x, 1, 3.0).norm()
    assert error < {"zero": 0.05, "mean": 0.02}[floor]


def test_at_full_rank_nothing_is_dropped() -> None:
    bases, eigenvalues, floors = CLUSTERS.low_rank(64)
    assert not floors.any()
    covs = (bases * eigenvalues[:, None, :]) @ bases.swapaxes(1, 2)
    np.testing.assert_allclose(covs, CLUSTERS.covs, atol=1e-13 * float(CLUSTERS.covs.max()) * 64)
    assert (np.diff(eigenvalues) <= 0).all()


def test_the_moments_of_a_fit_are_those_of_the_data() -> None:
    """EM keeps mean and covariance in every step, up to its ridge."""
    fit = expectation_maximisation(DIGITS, 5, ridge=1e-3)
    law = Moments.from_law(fit.weights, fit.means, fit.covs)
    np.testing.assert_allclose(law.mean, DIGITS.mean(0), atol=1e-12)
    goal = np.cov(DIGITS.T, ddof=0) + 1e-3 * np.eye(64)
    np.testing.assert_allclose(law.covariance(), goal, atol=1e-10)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        ((DIGITS[:5], 6), {}, "components is 6; an integer from 1 to 5, the number of points"),
        ((DIGITS[:5], 0), {}, "components is 0"),
        ((DIGITS[0], 1), {}, r"points have shape \(64,\)"),
        ((DIGITS[:5] * np.nan, 1), {}, r"points\[0, 0\] is nan"),
        ((DIGITS[:5], 1), {"seed": -1}, "seed is -1"),
        ((DIGITS[:5], 1), {"ridge": -1e-9}, "ridge is -1e-09"),
    ],
)
def test_bad_input_is_named(fit: str, arguments: tuple, options: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        FITS[fit](*arguments, **options)
