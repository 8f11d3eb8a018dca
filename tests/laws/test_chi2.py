"""log(1 + χ²) meets the vectors, bounds the KL divergence, and the skip level is where it says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from gaussian_score.certificate import log1p_chi2, skip_level
from gaussian_score.targets import TARGETS, target

EPS = float(np.finfo(np.float64).eps)
Law = tuple[Any, Any, Any]  # weights, means, covs


def line(weights: Any, means: Any, variance: float) -> Law:
    return weights, [(m,) for m in means], [((variance,),)] * len(means)


B = line((0.5, 0.5), (1.5, -1.5), 0.04)
C = line((0.8, 0.2), (1, -4), 0.25)
F = (
    (1 / 3,) * 3,
    [(2 * math.cos(a), 2 * math.sin(a)) for a in (0, 2 * math.pi / 3, -2 * math.pi / 3)],
    [np.eye(2) * 0.01] * 3,
)
VECTORS = [
    (B, 2, 0.003605103462793314),
    (B, 4, 3.942546630508755e-5),
    (B, 8, 2.217452326955889e-7),
    (C, 2, 0.06388130714791177),
    (C, 4, 0.0030895236854932448),
    (C, 8, 7.5954943774313976e-5),
    (C, 16, 1.3622448222444005e-6),
]


@pytest.mark.parametrize(("law", "rho", "chi2"), VECTORS)
def test_vectors(law: Law, rho: float, chi2: float) -> None:
    # χ² is a sum of terms near one: ε of each is lost whatever its size
    found = math.expm1(log1p_chi2(*law, rho))
    assert found == pytest.approx(chi2, rel=1e-12, abs=100 * EPS)


def test_standard_deviations_for_variances_miss_the_vector() -> None:
    weights, means, _ = C
    wrong = math.expm1(log1p_chi2(weights, means, [((0.5,),)] * 2, 2))
    assert abs(wrong / VECTORS[3][2] - 1) > 1e-2


@pytest.mark.parametrize(
    ("law", "rho", "bound"),
    [(F, 2, 1.94e-2), (F, 4, 5.08e-4), (F, 8, 9.50e-6), (B, 1, 0.102)],
)
def test_published_bounds(law: Law, rho: float, bound: float) -> None:
    assert log1p_chi2(*law, rho) == pytest.approx(bound, rel=6e-3)  # three digits are printed


@pytest.mark.parametrize(("rho", "kl"), [(4, 0.0015530228004304896), (8, 3.7970269955150595e-5)])
def test_bounds_the_kl_divergence(rho: float, kl: float) -> None:
    """K ≤ log(1 + χ²) ≃ 2 K at large ρ, with K by quadrature and by vector."""
    weights, means, covs = C
    m, s = np.array(means)[:, 0], np.array(covs)[:, 0, 0] + rho**2
    w, total = np.array(weights), 4.25 + rho**2

    def integrand(x: float) -> float:
        p = float(w @ (np.exp(-((x - m) ** 2) / (2 * s)) / np.sqrt(2 * np.pi * s)))
        return p * (math.log(p) + x * x / (2 * total) + math.log(2 * math.pi * total) / 2)

    width = 12 * math.sqrt(total)
    found = quad(integrand, -width, width, limit=200, epsabs=1e-14, epsrel=1e-10)[0]
    assert found == pytest.approx(kl, rel=1e-8)
    assert kl < log1p_chi2(*C, rho) < 2.1 * kl


def test_against_quadrature_with_unequal_variances() -> None:
    weights, means, variances = (0.3, 0.7), (-1.0, 0.5), (0.2, 0.9)
    law = (weights, [(m,) for m in means], [((v,),) for v in variances])
    rho = 0.9
    w, mu, s = np.array(weights), np.array(means), np.array(variances) + rho**2
    mean = w @ mu
    total = w @ (s + (mu - mean) ** 2)

    def integrand(x: float) -> float:
        p = float(w @ (np.exp(-((x - mu) ** 2) / (2 * s)) / np.sqrt(2 * np.pi * s)))
        return p * p / math.exp(-((x - mean) ** 2) / (2 * total)) * math.sqrt(2 * math.pi * total)

    expected = quad(integrand, -15, 15, limit=200, epsabs=0, epsrel=1e-12)[0]
    assert math.exp(log1p_chi2(*law, rho)) == pytest.approx(expected, rel=1e-10)


def test_a_gaussian_is_its_own_match() -> None:
    assert log1p_chi2(*target("one_gaussian"), 0.1) < 100 * EPS


def test_infinite_where_the_integral_diverges() -> None:
    """A component more than twice as wide as the whole law."""
    law = line((0.99, 0.01), (0, 0), 0)
    law = (law[0], law[1], [((0.01,),), ((4.0,),)])
    assert log1p_chi2(*law, 0.1) == math.inf
    assert log1p_chi2(*law, 10) < 0.1
    narrow = (law[0], law[1], [((0.01,),), ((0.01,),)])
    assert log1p_chi2(*narrow, 0.1) < 100 * EPS


def test_weight_zero_is_absent() -> None:
    weights, means, covs = C
    ghost = ((*weights, 0), [*means, (100,)], [*covs, ((1e4,),)])
    assert log1p_chi2(*ghost, 2) == log1p_chi2(*C, 2)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_shifts_and_scales(name: str) -> None:
    """χ² is that of k x₀ + shift at k ρ, and does not grow with ρ."""
    weights, means, covs = target(name)
    moved = (weights, 3 * np.array(means) + 1, 9 * np.array(covs))
    bounds = [log1p_chi2(weights, means, covs, rho) for rho in (0.3, 1, 3, 10)]
    assert bounds == pytest.approx(
        [log1p_chi2(*moved, 3 * rho) for rho in (0.3, 1, 3, 10)], abs=1e-12
    )
    assert (np.diff([min(b, 1e300) for b in bounds]) <= 100 * EPS).all()


@pytest.mark.parametrize(
    ("law", "levels"), [(C, (3.12, 4.99, 7.62)), (F, (2.29, 3.54, 5.33))], ids=["C", "F"]
)
def test_skip_levels(law: Law, levels: Any) -> None:
    for tolerance, expected in zip((1e-2, 1e-3, 1e-4), levels, strict=True):
        rho = skip_level(*law, tolerance, 80, 0.01)
        # the level to 1e-3 relative, the printed one to half a unit of its third digit
        assert rho == pytest.approx(expected, rel=3e-3)
        assert log1p_chi2(*law, rho) <= tolerance < log1p_chi2(*law, rho / 1.001)


def test_skip_level_of_a_gaussian_is_the_lowest() -> None:
    assert skip_level(*target("one_gaussian"), 1e-6, 80, 0.002) == 0.002


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1e-3, 2, 0.1), r"rho_max is 2, where the bound is 0\.06.*tolerance = 0\.001"),
        ((0, 80, 0.1), "tolerance is 0"),
        ((math.nan, 80, 0.1), "tolerance is nan"),
        ((1e-3, 0.1, 80), "0 < min < max"),
        ((1e-3, 80, 0), "0 < min < max"),
    ],
)
def test_bad_searches(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        skip_level(*C, *arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rho": 0}, "rho is 0"),
        ({"rho": math.inf}, "rho is inf"),
        ({"weights": (0.5, 0.4)}, "sum 1 are allowed"),
        ({"weights": (1.5, -0.5)}, "numbers >= 0"),
        ({"means": (1, 2)}, r"\(K, D, D\) are allowed"),
        ({"means": ((0,), (math.nan,))}, "means is"),
        ({"covs": (((1,),), ((-1,),))}, "eigenvalue -1"),
    ],
)
def test_bad_laws(changes: dict[str, Any], message: str) -> None:
    weights, means, covs = C
    good: dict[str, Any] = {"weights": weights, "means": means, "covs": covs, "rho": 1}
    log1p_chi2(**good)
    with pytest.raises(ValueError, match=message):
        log1p_chi2(**(good | changes))


def test_an_unknown_target_names_its_neighbours() -> None:
    with pytest.raises(ValueError, match="'two_bump'; nearest: two_bumps"):
        target("two_bump")
    with pytest.raises(ValueError, match="one_gaussian, two_bumps, ring, anisotropic, far_modes"):
        target("?")


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_targets_are_mixtures(name: str) -> None:
    weights, means, covs = target(name)
    log1p_chi2(weights, means, covs, 1)
    assert all(isinstance(a, float) for cov in covs for row in cov for a in row)
    assert sum(weights) == pytest.approx(1, abs=4 * EPS)
    assert len(means) == len(covs) == len(weights)
