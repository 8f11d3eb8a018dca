"""Pairs of samples from disjoint halves give the norms of the cumulants and χ², with errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gaussian_score.certificate import log1p_chi2
from gaussian_score.cumulants import Cumulants, norm
from gaussian_score.moments import Moments
from gaussian_score.pairs import PairEstimates, Pairs
from tests.mixtures import A, C, Law

NAMES = ("third", "third_fisher", "fourth", "entropy", "chi2")


def draws(law: Law, count: int, seed: int) -> Any:
    """x₀, (N, D)."""
    rng = np.random.default_rng(seed)
    w, mu, s = (np.array(part, dtype=float) for part in law)
    k = rng.choice(len(w), count, p=w)
    noise = rng.standard_normal((count, mu.shape[1]))
    return mu[k] + np.einsum("nij,nj->ni", np.linalg.cholesky(s)[k], noise)


def expected(law: Law, rho: float) -> dict[str, float]:
    laws = Cumulants.of(*law)
    p = 1 / (laws.eigenvalues + rho**2)
    return {
        "third": norm(laws.third, p, p, p),
        "third_fisher": norm(laws.third, p * p, p, p),
        "fourth": norm(laws.fourth, p, p, p, p),
        "entropy": laws.entropy(rho),
        "chi2": math.expm1(log1p_chi2(*law, rho)),
    }


def deviations(found: PairEstimates, law: Law) -> dict[str, float]:
    """(estimate − truth)/error."""
    truth = expected(law, found.rho)
    return {n: (getattr(found, n).value - truth[n]) / getattr(found, n).error for n in NAMES}


@pytest.mark.parametrize(("law", "rhos"), [(A, (1.0, 3.0)), (C, (3.0, 8.0))], ids=["A", "C"])
def test_within_four_standard_errors_of_the_tensors(law: Law, rhos: Any) -> None:
    pairs = Pairs.of(draws(law, 3000, 0), Moments.from_law(*law))
    for rho in rhos:
        for name, z in deviations(pairs.at(rho), law).items():
            assert abs(z) < 4, name


def test_the_standard_errors_are_those_of_repetitions(size: int) -> None:
    """Over data sets, (estimate − truth)/error has a spread near 1; √(n²) would say far less."""
    moments, seen, naive = Moments.from_law(*A), [], []
    for seed in range(30 * size):
        pairs = Pairs.of(draws(A, 600, seed), moments, seed=seed)
        found = pairs.at(2.0)
        seen.append([deviations(found, A)[n] for n in NAMES])
        g = (pairs.a / (moments.eigenvalues + 4)) @ pairs.b.T
        naive.append((found.third.value - expected(A, 2.0)["third"]) / ((g**3).std() / len(g)))
    spread = np.std(seen, axis=0)
    assert (spread > 0.6).all()
    assert (spread < 1.7).all()
    assert np.std(naive) > 1.7  # control


def test_a_sample_beside_itself_biases_the_estimate() -> None:
    """Halves that overlap wholly add E (aᵀPa)³/n."""
    moments = Moments.from_covariance(np.zeros(12), np.eye(12))
    t = np.random.default_rng(3).standard_normal((800, 12))
    apart, same = (Pairs(t[:400], b, moments, 0.0).at(1.0).third for b in (t[400:], t[:400]))
    own = (((t[:400] ** 2) / 2).sum(1) ** 3).mean() / 400
    assert abs(apart.value) < 4 * apart.error  # a Gaussian has no third cumulant
    assert same.value > 8 * apart.error
    assert same.value == pytest.approx(own, rel=0.4)


def test_gaussian_data_have_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((2000, 6)) * np.arange(1, 7)
    moments = Moments.from_covariance(np.zeros(6), np.diag(np.arange(1.0, 7) ** 2))
    found = Pairs.of(x, moments).at(4.0)
    for name in NAMES:
        estimate = getattr(found, name)
        assert abs(estimate.value) < 4 * estimate.error, name


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Pairs.of(draws(A, 400, 1), Moments.from_law(*A))
    whole = pairs.at(2.0)
    monkeypatch.setattr("gaussian_score.pairs.BLOCK", 200 * 7)
    for name in NAMES:
        one, two = getattr(whole, name), getattr(pairs.at(2.0), name)
        assert (two.value, two.error) == pytest.approx((one.value, one.error), rel=1e-9)


def test_what_the_basis_leaves_out() -> None:
    """Σ (λ_k − f)²/(4 (ρ² + f)²) from residuals; nothing where the basis is whole."""
    rng = np.random.default_rng(2)
    variances = np.array([9.0, 4, 1.5, 1.0, 0.5])
    x = rng.standard_normal((4000, 5)) * np.sqrt(variances)
    f = variances[2:].mean()
    cut = Moments(np.zeros(5), variances[:2], np.eye(5)[:, :2], f, 4000)
    expected = ((variances[2:] - f) ** 2).sum() / (4 * (4 + f) ** 2)
    assert Pairs.of(x, cut).truncation(2.0) == pytest.approx(expected, rel=0.35)
    zero = Moments(np.zeros(5), variances[:2], np.eye(5)[:, :2], 0.0, 4000)
    expected = (variances[2:] ** 2).sum() / (4 * 4**2)
    assert Pairs.of(x, zero).truncation(2.0) == pytest.approx(expected, rel=0.15)
    whole = Moments.from_covariance(np.zeros(5), np.diag(variances))
    assert Pairs.of(x, whole).truncation(2.0) == 0


@pytest.mark.parametrize(
    ("x", "rho", "message"),
    [
        (np.zeros((15, 3)), 1, "x has 15 samples; 16 or more"),
        (np.zeros((20, 2)), 1, r"x has shape \(20, 2\); \(N, 3\)"),
        (np.full((20, 3), np.nan), 1, "x.* is nan"),
        (np.zeros((20, 3)), 0, "rho is 0"),
    ],
)
def test_bad_input(x: Any, rho: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pairs.of(x, Moments.from_law(*A)).at(rho)
