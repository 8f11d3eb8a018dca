"""Few samples and few eigenvectors cost what the laws say, where they say that they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from gaussian_score.eigenbasis import smallest_rank, truncated
from gaussian_score.moments import Moments
from gaussian_score.sample_size import (
    FewSamplesWarning,
    effective_dimension,
    samples_needed,
    sampling_kl,
    truncation_kl,
    truncation_kl_by_rank,
    warn_of_few_samples,
)

D = 40
SPECTRUM = 4 / np.arange(1, D + 1)
LAW = Moments(np.zeros(D), SPECTRUM, np.eye(D))


def measured(sigma: float, count: int, draws: int, seed: int = 0) -> tuple[float, float]:
    """Mean of KL(g ‖ ĝ) over data sets of Gaussian samples, and its standard error."""
    rng, found = np.random.default_rng(seed), []
    noised = SPECTRUM + sigma**2
    for _ in range(draws):
        x = rng.standard_normal((count, D)) * np.sqrt(SPECTRUM)
        cov = np.cov(x.T, ddof=0) + sigma**2 * np.eye(D)
        inverse, m = np.linalg.inv(cov), x.mean(0)
        trace, log_det = inverse.diagonal() @ noised, np.linalg.slogdet(cov)[1]
        found.append(0.5 * (trace + m @ inverse @ m - D + log_det - np.log(noised).sum()))
    return float(np.mean(found)), float(np.std(found) / math.sqrt(draws))


@pytest.mark.parametrize(
    ("sigma", "count", "printed"), [(1, 200, 0.1317), (2, 1000, 0.00453), (0.5, 50, 2.19)]
)
def test_the_law_has_its_printed_values(sigma: float, count: int, printed: float) -> None:
    assert sampling_kl(LAW, sigma, count) == pytest.approx(printed, rel=2e-3)  # three digits


@pytest.mark.parametrize(
    ("sigma", "count", "printed"), [(1, 200, 0.1300), (2, 1000, 0.00450), (0.5, 50, 2.46)]
)
def test_the_cost_is_the_measured_one(sigma: float, count: int, printed: float, size: int) -> None:
    mean, error = measured(sigma, count, 200 * size)
    # the printed means are of some hundred data sets themselves: an error like ours at size 1
    other = measured(sigma, count, 200)[1] if size > 1 else error
    assert abs(mean - printed) < 4 * math.hypot(error, other)


@pytest.mark.parametrize("sigma", [0.5, 1, 2])
def test_the_law_holds_from_five_effective_dimensions_on(sigma: float, size: int) -> None:
    d_eff = effective_dimension(LAW, sigma)
    for ratio in (5, 20):
        count = round(ratio * d_eff)
        mean, error = measured(sigma, count, 100 * size, seed=1)
        law = sampling_kl(LAW, sigma, count)
        assert abs(mean - law) < 0.1 * law * 5 / ratio + 4 * error
        # without its quadratic term it is another law
        assert abs(mean - d_eff / (2 * count)) > 0.2 * law


def test_the_law_fails_below() -> None:
    count = round(effective_dimension(LAW, 0.5))
    mean, error = measured(0.5, count, 100)
    law = sampling_kl(LAW, 0.5, count)
    assert mean - law > 0.1 * law + 4 * error
    assert samples_needed(LAW, 0.5, 1e9) >= 5 * effective_dimension(LAW, 0.5)


@given(st.floats(0.05, 20), st.floats(1e-4, 0.1))
def test_as_many_samples_as_needed_and_no_more(sigma: float, tolerance: float) -> None:
    n = samples_needed(LAW, sigma, tolerance)
    assert sampling_kl(LAW, sigma, n) <= tolerance
    if n > 5 * effective_dimension(LAW, sigma) + 1:
        assert sampling_kl(LAW, sigma, n - 1) > tolerance


def test_known_laws_cost_nothing_and_few_samples_are_said() -> None:
    assert LAW.count is None
    assert sampling_kl(LAW, 1) == 0
    warn_of_few_samples(LAW, 1, 1e-6)
    few = Moments(LAW.mean, LAW.eigenvalues, LAW.basis, count=100)
    warn_of_few_samples(few, 1, 1)
    with pytest.warns(FewSamplesWarning, match=r"count is 100; .* need 2634 samples \(d_eff"):
        warn_of_few_samples(few, 1, 0.01)


@pytest.mark.parametrize(("floor", "printed"), [("zero", 0.00109), ("mean", 0.00015)])
def test_truncation_has_its_printed_values(floor: str, printed: float) -> None:
    """Printed of the leading term Σ (λ − f)²/4σ⁴, to which the exact sum is near."""
    dropped = SPECTRUM[10:]
    f = dropped.mean() if floor == "mean" else 0.0
    leading = float(((dropped - f) ** 2).sum() / 4 / 4**4)
    found = truncation_kl(LAW, 4, 10, floor=floor)
    assert found == pytest.approx(leading, rel=0.05)  # next order: (λ − f)/σ² ≤ 1/45
    assert found == pytest.approx(printed, rel=0.04)


@pytest.mark.parametrize("floor", ["mean", "zero"])
@pytest.mark.parametrize("rank", [0, 3, 39, 40])
@pytest.mark.parametrize("sigma", [0.01, 1, 30])
def test_truncation_is_the_divergence_of_the_two_gaussians(
    floor: str, rank: int, sigma: float
) -> None:
    """Against 50 digits, for the moments that `truncated` returns."""
    cut = truncated(LAW, rank, floor=floor)
    assert cut.rank == rank
    assert floor == "zero" or cut.trace == pytest.approx(LAW.trace, rel=1e-14)
    with mp.workdps(50):
        spectrum = [*map(mp.mpf, cut.eigenvalues), *[mp.mpf(cut.floor)] * (D - rank)]
        ratios = [
            (mp.mpf(a) + mp.mpf(sigma) ** 2) / (b + mp.mpf(sigma) ** 2)
            for a, b in zip(SPECTRUM, spectrum, strict=True)
        ]
        exact = float(sum(r - 1 - mp.log(r) for r in ratios) / 2)
    # x − log(1 + x) cancels: rounding of x ≤ λ₁/σ²; the floor's own rounding is of second order
    x = SPECTRUM[rank:].max(initial=0) / sigma**2
    assert truncation_kl(LAW, sigma, rank, floor=floor) == pytest.approx(
        exact, rel=1e-12, abs=1e-15 * (1 + D * x)
    )


@pytest.mark.parametrize("sigma", [0.3, 1, 4])
def test_the_smallest_rank_is_the_smallest(sigma: float) -> None:
    costs = truncation_kl_by_rank(LAW, sigma)
    each = [truncation_kl(LAW, sigma, r) for r in range(D + 1)]
    np.testing.assert_allclose(costs, each, rtol=1e-9, atol=1e-14)
    for tolerance in (1e-4, 1e-2, 1):
        r = smallest_rank(LAW, sigma, tolerance)
        assert each[r] <= tolerance / 4
        assert r == 0 or each[r - 1] > tolerance / 4
    assert smallest_rank(LAW, sigma, 1e-300) >= D - 1  # one eigenvalue is its own mean


def test_a_floor_counts_among_what_is_dropped() -> None:
    low = truncated(LAW, 10)
    again = truncated(low, 4)
    assert again.floor == pytest.approx(SPECTRUM[4:].mean(), rel=1e-14)
    assert again.trace == pytest.approx(LAW.trace, rel=1e-14)
    assert smallest_rank(low, 4, 1e-12) == 10


def test_bad_input_is_named() -> None:
    for call, reason in (
        (lambda: effective_dimension(LAW, 0), "sigma is 0"),
        (lambda: truncation_kl(LAW, -1, 3), "sigma is -1"),
        (lambda: sampling_kl(LAW, math.nan, 3), "sigma is nan"),
        (lambda: sampling_kl(LAW, 1, 0), "count is 0"),
        (lambda: samples_needed(LAW, 1, 0), "tolerance is 0"),
        (lambda: smallest_rank(LAW, 1, -1), "tolerance is -1"),
        (lambda: truncation_kl(LAW, 1, 41), "rank is 41; an integer from 0 to 40"),
        (lambda: truncated(LAW, -1), "rank is -1"),
        (lambda: truncated(LAW, 3, floor="median"), "floor is 'median'"),
        (lambda: truncation_kl(LAW, 1, 3, floor="median"), "floor is 'median'"),
    ):
        with pytest.raises(ValueError, match=reason):
            call()
