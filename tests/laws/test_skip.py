"""The level to land on is where the tables say, from a mixture, from data or from a denoiser."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gaussian_score.certificate import log1p_chi2, lowest_level
from gaussian_score.cumulants import Cumulants
from gaussian_score.divergence import relative_entropy, relative_fisher
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments
from gaussian_score.network_entropy import network_entropy
from gaussian_score.sample_size import samples_needed
from gaussian_score.skip import auto_skip, landing_shift
from gaussian_score.sources import DataSource, MixtureSource, NetworkSource, Trial
from tests.mixtures import A, C, F, Law

TOLERANCES = (1e-2, 1e-3, 1e-4)
RIGOROUS = [(C, (3.12, 4.99, 7.62)), (A, (1.44, 2.30, 3.52)), (F, (2.29, 3.54, 5.33))]
LEADING = [(C, (2.53, 4.32, 6.71)), (A, (1.16, 1.98, 3.09)), (F, (1.88, 3.08, 4.71))]


@pytest.mark.parametrize(("law", "levels"), RIGOROUS, ids=["C", "A", "F"])
def test_levels_of_mixtures(law: Law, levels: Any) -> None:
    for tolerance, level in zip(TOLERANCES, levels, strict=True):
        skip = auto_skip(MixtureSource(*law), tolerance=tolerance)
        assert skip.rho == pytest.approx(level, rel=1e-2)
        assert skip.bound is not None
        assert skip.estimate - 4 * skip.error <= skip.bound <= tolerance
        assert log1p_chi2(*law, skip.rho / 1.002) > tolerance
        assert skip.estimate == pytest.approx(tolerance / 2, rel=0.15)
        assert (skip.source, skip.target, skip.sampling) == ("mixture", "the data law", 0)


@pytest.mark.parametrize(("law", "levels"), LEADING, ids=["C", "A", "F"])
def test_levels_of_the_leading_law(law: Law, levels: Any) -> None:
    for tolerance, level in zip(TOLERANCES, levels, strict=True):
        found = lowest_level(Cumulants.of(*law).entropy, tolerance, 80, 0.01)
        assert found == pytest.approx(level, rel=1e-2)
    if law is C:
        for level, k in zip(levels, (1.29e-2, 1.06e-3, 1.01e-4), strict=True):
            assert relative_entropy(*C, level).value == pytest.approx(k, rel=2e-2)


def test_a_grid_is_walked_down() -> None:
    grid = [80, 40, 20, 10, 6, 5, 4, 3, 2, 1, 0.5, 0]
    seen: list[Trial] = []
    skip = auto_skip(MixtureSource(*C), tolerance=1e-3, levels=grid, progress=seen.append)
    assert skip.rho == 5
    assert [t.rho for t in skip.tried] == [80, 40, 20, 10, 6, 5, 4]
    assert skip.tried == tuple(seen)
    assert skip.rho_max == 80
    assert auto_skip(MixtureSource(*C), tolerance=1e-3, levels=[80]).rho == 80


def test_a_gaussian_is_skipped_whole() -> None:
    one = ((1.0,), [(0.3, 1.0)], [np.diag([2.0, 0.1])])
    assert auto_skip(MixtureSource(*one)).rho == 0.002


def test_rare_modes_by_draws() -> None:
    rare = ((0.999, 0.001), [(0.0, 0.0), (3.0, 1.0)], [np.eye(2) * 0.04] * 2)
    plain = auto_skip(MixtureSource(*rare), tolerance=0.01, rho_min=0.1)
    found = auto_skip(MixtureSource(*rare, rare=True), tolerance=0.01, rho_min=0.1)
    assert found.rho < 0.7 * plain.rho
    assert found.bound is not None
    assert found.bound > 0.01 > found.estimate + 4 * found.error
    assert "by draws; the rigorous bound" in found.text
    assert "a rigorous bound" in plain.text


def draws(count: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    which = rng.choice(2, count, p=C[0])
    return (np.array([1, -4])[which] + 0.5 * rng.standard_normal(count))[:, None]


def moments(x: Any) -> Moments:
    return Moments.from_covariance(x.mean(0), np.cov(x.T, bias=True).reshape(1, 1), count=len(x))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
def test_levels_of_data(tolerance: float) -> None:
    x = draws(2400)
    own = moments(x)
    skip = auto_skip(DataSource(x, own), tolerance=tolerance)
    assert skip.bound is None
    assert (skip.source, skip.target) == ("data", "the data law")
    theta = own.eigenvalues[0] / (own.eigenvalues[0] + skip.rho**2)
    assert skip.sampling == pytest.approx((theta**2 + theta) / (2 * 2400), rel=1e-12)
    # within the tolerance by the law itself, and not far above where that ends
    k = relative_entropy(*C, skip.rho).value
    assert tolerance / 4 < k < 1.05 * tolerance
    assert abs(skip.estimate - k) < 4 * skip.error + 0.1 * k


def test_data_whose_two_estimates_differ_are_not_believed() -> None:
    x = draws(2400)
    skip = auto_skip(DataSource(x, moments(x)), tolerance=10.0)
    assert skip.rho > 1
    assert "is refused:" in skip.text
    refused = [t for t in skip.tried if t.note]
    assert refused
    assert all(t.value == math.inf for t in refused)


def test_too_few_samples_say_how_many() -> None:
    x = np.random.default_rng(0).standard_normal((20, 4)) * 30
    own = Moments.from_covariance(x.mean(0), np.cov(x.T, bias=True), count=20)
    needed = samples_needed(own, 80.0, 1e-3)
    assert needed > 20
    with pytest.raises(ValueError, match=f"x has 20 samples; {needed} or more are needed at 80"):
        auto_skip(DataSource(x, own), tolerance=1e-3)
    known = Moments.from_covariance(np.zeros(4), np.eye(4) * 900)
    known = Moments(known.mean, known.eigenvalues, known.basis, 0.0, 10**9)
    with pytest.raises(ValueError, match=r"x gives 20 samples; \d+ or more are needed at 80"):
        auto_skip(DataSource(x, known), tolerance=1e-4)
    flat = NetworkSource(lambda x, s: 0 * x, np.tile(x, (3, 1)), own, [10, 15, 20, 25])
    with pytest.raises(ValueError, match="moments come from 20 samples"):
        auto_skip(flat, tolerance=1e-6, levels=[80.0])


def ideal(dtype: torch.dtype = torch.float64) -> Any:
    law = GaussianMixture.full(*C).to(dtype=dtype)
    return lambda x, s: law.denoise(x, 1.0, s)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_ideal_denoiser_has_the_law_s_own_entropy(dtype: torch.dtype) -> None:
    x = torch.tensor(draws(8000), dtype=dtype)
    levels = np.geomspace(1.5, 60, 30).tolist()
    found = network_entropy(ideal(dtype), x, Moments.from_law(*C), levels)
    assert found.left_out == tuple(v for v in levels if v > 30)
    for i in range(0, len(found.levels), 4):
        level = float(found.levels[i])
        j, k = relative_fisher(*C, level).value, relative_entropy(*C, level).value
        assert abs(found.fisher[i] - j) < 4 * found.fisher_error[i]
        # and the power laws between levels; the exponent at the top is known to a few percent
        assert abs(found.entropy[i] - k) < 4 * found.entropy_error[i] + 0.05 * k
        # the ideal denoiser's loss is mmse, where the lower bound is an equality
        assert abs(found.lower[i] - j) < 4 * found.lower_error[i]
    assert found.exponent == pytest.approx(8, abs=1.5)


def test_the_network_s_standard_errors_are_those_of_repetitions() -> None:
    levels, truth = [2.0, 3.0, 4.0, 6.0, 8.0], Moments.from_law(*C)
    law = GaussianMixture.full(*C)

    def denoise(x: Any, s: float) -> Any:
        return law.denoise(torch.tensor(x), 1.0, s).numpy()

    found = [network_entropy(denoise, draws(600, n), truth, levels, seed=n) for n in range(40)]
    spread = np.std([f.entropy for f in found], axis=0)
    stated = np.mean([f.entropy_error for f in found], axis=0)
    np.testing.assert_allclose(stated[:4] / spread[:4], 1, atol=0.5)


def test_a_network_s_own_error_is_its_flow_s() -> None:
    """Off by 0.3: J_θ is J + 0.09/s⁴, and the lower bound of the data's own J is J − 0.09/s⁴."""
    x, law, levels = draws(4000), GaussianMixture.full(*C), np.geomspace(2, 30, 12).tolist()

    def wrong(x: Any, s: float) -> Any:
        return law.denoise(torch.tensor(x), 1.0, s).numpy() + 0.3

    found = network_entropy(wrong, x, Moments.from_law(*C), levels)
    exact = np.array([relative_fisher(*C, s).value for s in found.levels])
    shift = 0.09 / found.levels**4
    assert (abs(found.fisher - exact - shift) < 4 * found.fisher_error).all()
    assert (abs(found.lower - exact + shift) < 4 * found.lower_error).all()
    assert (found.fisher[6:] > exact[6:] + 4 * found.fisher_error[6:]).all()
    skips = [
        auto_skip(
            NetworkSource(f, x, Moments.from_law(*C), levels),
            tolerance=1e-2,
            levels=[30, 20, 10, 8, 6, 5, 4, 3.5, 3, 2.5, 2],
        )
        for f in (wrong, lambda x, s: law.denoise(torch.tensor(x), 1.0, s).numpy())
    ]
    assert skips[0].rho > skips[1].rho
    assert skips[0].target == "the network's own flow"
    assert "the network's own flow" in skips[0].text


def test_a_gaussian_denoiser_of_a_floor_has_no_excess() -> None:
    x = np.random.default_rng(0).standard_normal((60, 4)) * (3, 2, 0.5, 0.5)
    law = Moments(np.zeros(4), np.array([9.0, 4.0]), np.eye(4)[:, :2], 0.25)
    variances = np.array([9, 4, 0.25, 0.25])

    def off(x: Any, s: float) -> Any:
        return variances / (variances + s * s) * x + 0.1 / s

    found = network_entropy(off, x, law, [1, 2, 4])
    # |D − D_G|² = 4 (0.1/s)²: J = 0.04 s⁻⁶, and K = ½ ∫ J d(s²) = 0.01 s⁻⁴
    np.testing.assert_allclose(found.fisher, 0.04 / np.array([1, 2, 4.0]) ** 6, rtol=1e-10)
    np.testing.assert_allclose(found.entropy, 0.01 / np.array([1, 2, 4.0]) ** 4, rtol=1e-10)
    assert found.at(2.0)[0] == pytest.approx(0.01 / 16)
    assert found.at(3.0)[0] == pytest.approx(0.01 / 81)  # a power of the level between levels
    assert found.at(8.0)[0] == pytest.approx(0.01 / 4096)  # and above them
    with pytest.raises(ValueError, match="rho is 0.5; levels from 1 on"):
        found.at(0.5)


def test_the_landing_shift_is_its_formula_in_arrays_and_tensors() -> None:
    rng = np.random.default_rng(0)
    d, x = rng.standard_normal((2, 5, 3))
    mean, variances = rng.standard_normal(3), np.array([4.0, 1, 0])
    gaussian = mean + variances / (variances + 4) * (x - mean)
    shift = (variances + 4) / 12 * (d - gaussian)
    np.testing.assert_allclose(landing_shift(d, mean, variances, 2.0, x), shift, rtol=1e-12)
    td, tm, tv, tx = (torch.tensor(v) for v in (d, mean, variances, x))
    np.testing.assert_allclose(landing_shift(td, tm, tv, 2.0, tx).numpy(), shift, rtol=1e-12)
    assert (abs(landing_shift(gaussian, mean, variances, 2.0, x)) < 1e-15).all()


@pytest.mark.parametrize("count", [500, 4000])
def test_gaussian_data_are_found_to_be_gaussian(count: int) -> None:
    """Where both estimates of K are negligible they need not agree."""
    x = np.random.default_rng(0).standard_normal((count, 49))
    moments = Moments.from_covariance(x.mean(0), np.cov(x.T, bias=True), count=count)
    found = auto_skip(DataSource(x, moments), tolerance=0.5)
    assert found.rho < 80
    assert found.estimate + 2 * found.error + found.sampling <= 0.5


X = np.random.default_rng(0).standard_normal((60, 1))
KNOWN = Moments.from_law(*C)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auto_skip(MixtureSource(*C), tolerance=0), "tolerance is 0"),
        (lambda: auto_skip(MixtureSource(*C), tolerance=-1, levels=[80]), "tolerance is -1"),
        (lambda: auto_skip(MixtureSource(*C), levels=[0]), "at least one > 0"),
        (lambda: auto_skip(MixtureSource(*C), levels=[0.5, 0.1]), "levels begin at 0.5, where"),
        (lambda: auto_skip(MixtureSource(*C), rho_max=0.5), "rho_max is 0.5, where the bound"),
        (lambda: network_entropy(ideal(), X, KNOWN, [1, 2]), "three or more in"),
        (lambda: network_entropy(ideal(), X, KNOWN, [40, 50, 60]), "three or more in"),
        (lambda: network_entropy(ideal(), X[:30], KNOWN, [1, 2, 4]), "N >= 40"),
        (
            lambda: network_entropy(lambda x, s: x[:, :0], X, KNOWN, [1, 2, 4]),
            r"denoiser gives shape \(60, 0\)",
        ),
        (
            lambda: network_entropy(lambda x, s: x * math.nan, X, KNOWN, [1, 2, 4]),
            r"denoiser at level 1\[0, 0\] is nan",
        ),
        (
            lambda: network_entropy(lambda x, s: x * s * s, X, KNOWN, [1, 2, 4]),
            "levels end at 4, where J falls like",
        ),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
