"""K ≤ log(1 + χ²) on any mixture, both keep their digits, and what is derived from them holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp
from scipy.integrate import quad
from scipy.special import ndtr, ndtri

from gaussian_score.certificate import (
    log1p_chi2,
    prior_mismatch,
    skip_level,
    tighter,
    total_variation,
    wasserstein,
)
from gaussian_score.divergence import relative_entropy, relative_fisher
from gaussian_score.mixture import GaussianMixture
from gaussian_score.trajectory import GaussianFlow
from gaussian_score.transport import transport
from gaussian_score.whitened import Centred, Gaussian, log_det1p
from tests.mixtures import EPS, A, B, C, E, F, Law, fifty_digits, integral, line

UNEQUAL = line((0.3, 0.7), ("-1.1", "0.4"), ("0.2", "0.9"))


def plain(law: Law, sigma: float) -> float:
    """The same in float64."""
    parts = [(float(w), float(m), float(s)) for w, (m,), ((s,),) in zip(*law, strict=True)]
    mean = sum(w * m for w, m, _ in parts)
    c = sum(w * (s + (m - mean) ** 2) for w, m, s in parts) + sigma**2
    total = 0.0
    for wi, mi, si in parts:
        for wj, mj, sj in parts:
            p, q, a, b = 1 / (si + sigma**2), 1 / (sj + sigma**2), mi - mean, mj - mean
            m = p + q - 1 / c
            power = (p * a + q * b) ** 2 / m - p * a * a - q * b * b
            total += wi * wj * math.sqrt(c * p * q / m) * math.exp(power / 2)
    return total - 1


@pytest.mark.parametrize("law", [B, C, UNEQUAL], ids=["symmetric", "skewed", "unequal variances"])
@pytest.mark.parametrize("sigma", [2, 16, 128])
def test_small_chi2_keeps_its_digits(law: Law, sigma: int) -> None:
    """Terms of order σ⁻⁴ cancel against what is left, σ⁻⁶ or σ⁻⁸: σ² or σ⁴ times ε is lost."""
    w, m, s = (np.array(part, dtype=float) for part in law)
    found, expected = math.expm1(log1p_chi2(w, m, s, sigma)), float(fifty_digits(law, sigma))
    assert found == pytest.approx(expected, rel=4 * EPS * max(100, sigma**4))
    if sigma == 128:  # control: the plain formula loses 100 times as many
        assert abs(plain(law, sigma) / expected - 1) > 1e-5


def test_log_determinants_of_small_matrices() -> None:
    rng = np.random.default_rng(0)
    for size in (1e-9, 1e-4, 5e-3, 0.019, 0.021, 0.5):
        x = rng.standard_normal((4, 3, 3))
        x = size * (x + x.mT) / np.sqrt((x * x).sum((1, 2), keepdims=True)) / 2
        with mp.workdps(40):
            expected = [float(mp.log(mp.det(mp.eye(3) + mp.matrix(m.tolist())))) for m in x]
        scale = size if size < 0.02 else 1
        np.testing.assert_allclose(log_det1p(x), expected, rtol=1e-10, atol=10 * EPS * scale)


def density(law: Law, rho: float) -> Any:
    w, m, s = (np.array(part, dtype=float).reshape(-1) for part in law)
    return lambda x: float(
        w @ (np.exp(-((x - m) ** 2) / (2 * (s + rho**2))) / np.sqrt(2 * np.pi * (s + rho**2)))
    )


def normal(mean: float, variance: float) -> Any:
    return lambda x: (
        math.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    )


@pytest.mark.parametrize(("mean", "variance"), [(0.7, 6.0), (-0.2, 9.0)])
def test_any_other_gaussian_by_quadrature(mean: float, variance: float) -> None:
    p, g = density(C, 1.5), normal(mean, variance)
    expected = quad(lambda x: p(x) ** 2 / g(x), -25, 25, limit=200, epsrel=1e-12)[0]
    against = Gaussian(np.array([mean]), np.array([[variance]]))
    assert math.exp(log1p_chi2(*C, 1.5, against=against)) == pytest.approx(expected, rel=1e-10)


def test_reference_start_is_what_the_flow_makes_of_it() -> None:
    law = Centred.read(*A)
    shifted = Centred.read(A[0], np.array(A[1]) + np.array([0.5, -1, 0.25]), A[2])
    flow = GaussianFlow.from_covariance(*map(torch.tensor, (shifted.mean, shifted.covariance)))
    landed = shifted.jumped(80, 2)

    def carried(x: Any) -> Any:
        return flow.flow(torch.tensor(x), start=(1, 80), end=(1, 2)).numpy()

    origin = carried(np.zeros((1, 3)))
    columns = carried(80 * np.eye(3)) - origin
    np.testing.assert_allclose(landed.mean, origin[0], rtol=1e-12)
    np.testing.assert_allclose(landed.covariance, columns.T @ columns, rtol=1e-10, atol=1e-12)
    # against it the bound is larger by about the start's own mismatch, which the flow keeps
    bounds = [log1p_chi2(*A, 2), log1p_chi2(*A, 2, against=law.jumped(80, 2))]
    own = prior_mismatch(law.eigenvalues, law.mean, 80)
    assert bounds[1] == pytest.approx(bounds[0] + 2 * own, rel=1e-3)
    assert bounds[1] > bounds[0]
    # a matched start gives the matched bound
    assert log1p_chi2(*A, 2, against=law.matched(2)) == pytest.approx(bounds[0], rel=1e-9)


def test_prior_mismatch() -> None:
    """Against KL(N(m, c) ‖ N(0, σ²)) by quadrature."""
    p, g = normal(0.5, 9 + 4), normal(0, 9)
    kl = quad(lambda x: p(x) * math.log(p(x) / g(x)), -40, 40, epsrel=1e-11)[0]
    assert prior_mismatch([4.0], [0.5], 3) == pytest.approx(kl, rel=1e-9)


@pytest.mark.parametrize(
    ("law", "rho", "entropy", "bound"),
    [(B, 1, 5.79e-2, 0.102), (B, 2, 1.91e-3, 3.60e-3), (B, 4, 1.98e-5, 3.94e-5),
     (C, 2, 3.28e-2, 6.19e-2), (C, 4, 1.553e-3, 3.08e-3), (C, 8, 3.797e-5, 7.60e-5),
     (A, 1, 2.29e-2, 4.48e-2), (A, 2, 1.04e-3, 2.04e-3), (A, 4, 2.45e-5, 4.83e-5),
     (E, 2, 1.94e-2, 3.58e-2), (E, 4, 3.00e-4, 5.80e-4), (E, 8, 2.03e-6, 4.02e-6),
     (F, 2, 1.01e-2, 1.94e-2), (F, 4, 2.58e-4, 5.08e-4), (F, 8, 4.78e-6, 9.50e-6)],
)  # fmt: skip
def test_table_of_entropies_and_bounds(law: Law, rho: int, entropy: float, bound: float) -> None:
    k = relative_entropy(*law, rho, samples=2**16)
    assert k.error <= 0.09 * k.value
    # three digits were printed, most of them from draws
    assert abs(k.value - entropy) < 4 * k.error + 2e-2 * entropy
    assert log1p_chi2(*law, rho) == pytest.approx(bound, rel=6e-3)


def test_one_printed_entropy_is_off_by_its_draws() -> None:
    """B at 4: 1.98e-5 was printed; the integral is 2.00568e-5, by 50 digits and by our sums."""
    with mp.workdps(50):
        c = mp.mpf("18.29")

        def term(x: Any) -> Any:
            deviation = mp.sqrt(mp.mpf("16.04"))
            p = (mp.npdf(x, mp.mpf("1.5"), deviation) + mp.npdf(x, mp.mpf("-1.5"), deviation)) / 2
            return p * mp.log(p / mp.npdf(x, 0, mp.sqrt(c)))

        k = 2 * integral(term, range(0, 64, 4))
    assert float(k) == pytest.approx(2.00568e-5, rel=1e-5)
    assert relative_entropy(*B, 4).value == pytest.approx(float(k), rel=1e-9)
    assert abs(float(k) / 1.98e-5 - 1) > 1e-2


VECTORS = {  # σ: K, J, mmse, lmmse
    4: (0.0015530228004304896, 0.00048251453301705716, 3.23450097090566, 3.35802469135802),
    8: (3.7970269955150595e-5, 3.3515464049649191e-6, 3.97162005127325, 3.98534798534799),
    16: (6.8108025666783188e-7, 1.5706267931853918e-8, None, None),
}


@pytest.mark.parametrize("rho", VECTORS)
def test_entropy_and_fisher_meet_the_vectors(rho: int) -> None:
    k, j, mmse, lmmse = VECTORS[rho]
    assert relative_entropy(*C, rho).value == pytest.approx(k, rel=1e-12)
    assert relative_fisher(*C, rho).value == pytest.approx(j, rel=1e-12)
    if mmse is not None:  # 15 digits were printed of each
        assert (lmmse - mmse) / rho**4 == pytest.approx(j, rel=1e-12)


def test_fisher_is_the_excess_error() -> None:
    """J = (lmmse − mmse)/σ⁴ with mmse by quadrature of the posterior variance."""
    w, m, s = (np.array(part, dtype=float).reshape(-1) for part in C)
    rho, p = 2.0, density(C, 2.0)
    c = s + rho**2

    def variance(x: float) -> float:
        gamma = w * np.exp(-((x - m) ** 2) / (2 * c)) / np.sqrt(c)
        gamma /= gamma.sum()
        mean = m + s / c * (x - m)
        return float(gamma @ (s * rho**2 / c + mean**2) - (gamma @ mean) ** 2)

    mmse = quad(lambda x: p(x) * variance(x), -30, 30, limit=200, epsrel=1e-12)[0]
    assert mmse == pytest.approx(1.56932523172946, rel=1e-12)
    lmmse = 4.25 * rho**2 / (4.25 + rho**2)
    assert (lmmse - mmse) / rho**4 == pytest.approx(0.0307050518047877, rel=1e-12)
    assert relative_fisher(*C, rho).value == pytest.approx(0.0307050518047877, rel=1e-12)


@pytest.mark.parametrize("law", [B, C, UNEQUAL], ids=["B", "C", "unequal"])
def test_de_bruijn(law: Law) -> None:
    """K(ρ) = ½ ∫ J d(s²) from ρ² on, and J = −2 dK/dρ²."""
    law = tuple(np.array(part, dtype=float) for part in law)  # type: ignore[assignment]

    def integrand(log_s: float) -> float:
        return relative_fisher(*law, math.exp(log_s)).value * math.exp(2 * log_s)

    top = 200.0  # above it K ~ s⁻⁶ is below 1e-9 of what is compared
    summed = quad(integrand, math.log(1.5), math.log(top), epsrel=1e-9, limit=100)[0]
    k = relative_entropy(*law, 1.5).value
    assert summed == pytest.approx(k - relative_entropy(*law, top).value, rel=1e-7)
    assert abs(2 * summed / k - 1) > 0.5  # control: without the half
    step = 1e-3
    near, far = (relative_entropy(*law, math.sqrt(64 + h)).value for h in (-step, step))
    # fourth derivatives times the step squared, and ε K over the step
    assert (near - far) / step == pytest.approx(relative_fisher(*law, 8).value, rel=1e-7)


def test_draws_agree_with_quadrature() -> None:
    """One dimension beside an independent second one in which the law is Gaussian."""
    flat = (C[0], [(m, 0.0) for (m,) in C[1]], [np.diag([0.25, 1.0])] * 2)
    for rho in (2.0, 0.3):  # nearly Gaussian, and two modes apart
        for f in (relative_entropy, relative_fisher):
            drawn, summed = f(*flat, rho, samples=2**15), f(*C, rho)
            assert abs(drawn.value - summed.value) < 4 * drawn.error
            assert drawn.error < (0.05 if rho == 2 else 0.02) * drawn.value


def test_the_tighter_of_two_for_a_rare_mode() -> None:
    rare = ((0.999, 0.001), [(0.0, 0.0), (3.0, 1.0)], [np.eye(2) * 0.04] * 2)
    found = tighter(*rare, 0.4)
    assert found.source == "entropy"
    assert found.value == found.entropy + 4 * found.error < found.chi2 / 20
    common = tighter(*F, 2)
    assert (common.source, common.value) == ("entropy", common.entropy + 4 * common.error)
    # where draws are few and the law nearly Gaussian the closed form is smaller
    few = tighter(*F, 0.9, samples=64)
    assert few.value == min(few.chi2, few.entropy + 4 * few.error)


@pytest.mark.parametrize("rho", [1.0, 2.0, 4.0])
def test_distances_that_the_divergence_bounds(rho: float) -> None:
    p, g = density(C, rho), normal(0, 4.25 + rho**2)
    tv = quad(lambda x: abs(p(x) - g(x)) / 2, -30, 30, limit=400, points=[-4, 0, 1])[0]
    k, bound = relative_entropy(*C, rho).value, log1p_chi2(*C, rho)
    assert tv <= total_variation(k)
    assert tv <= total_variation(1.0, log1p_chi2=bound)
    if rho == 4:
        assert tv == pytest.approx(0.01985, abs=5e-6)
        assert total_variation(1.0, log1p_chi2=bound) == pytest.approx(0.02779, abs=5e-6)

    # in one dimension W₂² = E δ², δ the difference of quantiles
    w = ndtri((np.arange(4000) + 0.5) / 4000)
    top = 1e6  # there the law is Gaussian to 1e-9
    x = transport(C[0], [1, -4], [0.25, 0.25], math.sqrt(4.25 + top**2) * w, top, rho)
    distance = math.sqrt(np.mean((x - math.sqrt(4.25 + rho**2) * w) ** 2))
    assert distance <= wasserstein(k, rho, 4.25) < 4 * distance


@pytest.mark.parametrize(
    ("sigma", "mass", "law"),
    [(2, 0.20761, 6.9e-3), (4, 0.20189, 1.79e-3), (8, 0.20030, 2.90e-4)],
)
def test_mass_of_a_mode_after_the_jump(sigma: int, mass: float, law: float) -> None:
    """The left mode of C ends with Φ(x*/√c), F_σ(x*) = 0.2."""
    c, top, quantile = 4.25 + sigma**2, 1e6, float(ndtri(0.2))
    x = transport(C[0], [1, -4], [0.25, 0.25], math.sqrt(4.25 + top**2) * quantile, top, sigma)
    assert ndtr(float(x) / math.sqrt(c)) == pytest.approx(mass, abs=6e-6)
    leading = 2 / c**1.5 * (1 - quantile**2) * math.exp(-(quantile**2) / 2)
    assert leading / math.sqrt(2 * math.pi) == pytest.approx(law, rel=1e-2)


def test_pointwise_bound(size: int) -> None:
    """|D − D_G| ≤ R³|θ|² + R e + (e λ₁ + R² e² + λ₁²/σ²) |θ|, θ = (x − m)/σ², e = e^{R²/2σ²} − 1.

    For data in a ball of radius R about m; never violated, and far from tight.
    """
    rng = np.random.default_rng(0)
    quotients = []
    for _ in range(20 * size):
        points = rng.normal(0, 1, (int(rng.integers(2, 6)), 2))
        points -= points.mean(0)
        mixture = GaussianMixture.isotropic(
            [1 / len(points)] * len(points), points, [0] * len(points)
        )
        radius, lam = np.sqrt((points**2).sum(1).max()), np.linalg.eigvalsh(mixture.covariance)
        sigma = radius * 2 ** rng.uniform(0, 4)
        x = points[rng.integers(0, len(points), 50)] + sigma * rng.normal(0, 1, (50, 2))
        exact_d = mixture.denoise(torch.tensor(x), 1.0, sigma).numpy()
        s = mixture.covariance.numpy()
        gaussian = x @ np.linalg.solve(s + sigma**2 * np.eye(2), s)
        theta, e = np.sqrt((x**2).sum(1)) / sigma**2, math.expm1(radius**2 / (2 * sigma**2))
        rest = e * lam[-1] + radius**2 * e**2 + lam[-1] ** 2 / sigma**2
        bound = radius**3 * theta**2 + radius * e + rest * theta
        quotients.append((np.sqrt(((exact_d - gaussian) ** 2).sum(1)) / bound).max())
    assert 0.01 < max(quotients) <= 1


def test_a_search_says_what_it_tries() -> None:
    seen: list[tuple[float, float]] = []
    rho = skip_level(*C, 1e-3, 80, 0.01, progress=lambda r, b: seen.append((r, b)))
    assert (rho, log1p_chi2(*C, rho)) in seen
    assert seen[0][0] == 80


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relative_entropy(*A, 1, samples=4), "samples is 4; 32 or more"),
        (lambda: relative_fisher(*A, 0), "rho is 0; a finite level > 0"),
        (lambda: Centred.read(*A).jumped(-1, 1), "rho_start is -1"),
        (
            lambda: log1p_chi2(*C, 1, against=Gaussian(np.zeros(1), np.zeros((1, 1)))),
            "the Gaussian has the variance 0",
        ),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
