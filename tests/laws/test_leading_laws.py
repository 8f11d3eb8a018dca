"""At high noise the score, the jump's error, J and K follow their leading laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp
from scipy.special import elliprd

from gaussian_score.cumulants import Cumulants, cumulant_norms, norm
from gaussian_score.divergence import relative_entropy, relative_fisher
from gaussian_score.mixture import GaussianMixture
from gaussian_score.reference import reference_flow
from gaussian_score.skip import landing_shift
from tests.mixtures import (
    LAWS,
    A,
    B,
    C,
    E,
    F,
    Law,
    displaced,
    exact,
    line,
    score_difference,
    spread,
)

TABLE = [  # σ, w, s − s_G, its leading term, the next, δ, its leading term
    (4, 1.5, -0.026471148295777881, -0.018289894833104710, -0.00112900585389535,
     -0.15136625878221832, -0.12345679012345679),
    (4, -0.5, 0.015202321836244777, 0.010973936899862826, -0.00118921949943644,
     0.091376482609688525, 0.074074074074074074),
    (8, 1.5, -0.0018234224354652896, -0.0016101115002213903, -2.97699449831849e-5,
     -0.039394278583043795, -0.036630036630036630),
    (8, -0.5, 0.0010621478881216099, 0.0009660669001328342, -1.66578429162505e-7,
     0.023371816774160191, 0.021978021978021978),
    (16, 1.5, -0.00011490719193695298, -0.00011073369377150656, -7.81361554573505e-7,
     -0.0098256147567031738, -0.0096061479346781940),
    (16, -0.5, 6.8424599228913095e-5, 6.6440216262903936e-5, 6.17396513866941e-7,
     0.0058781227125911354, 0.0057636887608069164),
]  # fmt: skip
SYMMETRIC = line((0.5, 0.5), ("1.5", "-1.5"), ("0.04", "0.04"))
SKEWED = line(("0.8", "0.2"), (1, -4), ("0.25", "0.25"))


@pytest.mark.parametrize("row", TABLE, ids=lambda r: f"{r[0]}-{r[1]}")
def test_table_of_scores_and_displacements(row: Any) -> None:
    sigma, w, score, leading, following, delta, delta_leading = row
    laws = Cumulants.of(*C)
    x = np.array([[math.sqrt(4.25 + sigma**2) * w]])
    one, two = (float(laws.score(x, sigma, terms=n)[0, 0]) for n in (1, 2))
    assert one == pytest.approx(leading, rel=1e-12)
    assert two - one == pytest.approx(following, rel=1e-10)  # a difference of two numbers
    assert float(laws.displacement(np.array([[w]]), sigma)[0, 0]) == pytest.approx(
        delta_leading, rel=1e-12
    )
    assert float(score_difference(SKEWED, str(w), sigma)) == pytest.approx(score, rel=1e-12)
    assert float(displaced(SKEWED, str(w), sigma)) == pytest.approx(delta, rel=1e-12)


def test_carlson() -> None:
    assert elliprd(1, 2, 3) == pytest.approx(0.29046028102899064, rel=1e-14)
    assert elliprd(64.25, 65, 68) == pytest.approx(0.0018384288856940300, rel=1e-14)


@pytest.mark.parametrize(("law", "orders"), [(SKEWED, (4, 2)), (SYMMETRIC, (5, 3))])
def test_slopes_of_score_and_displacement(law: Law, orders: Any) -> None:
    """From σ to 2σ they fall by 2^{−4} and 2^{−2}, and for symmetric laws by 2^{−5} and 2^{−3}."""
    for f, order in zip((score_difference, displaced), orders, strict=True):
        far = [f(law, "1.5", sigma) for sigma in (256, 512)]
        assert math.log2(abs(far[0] / far[1])) == pytest.approx(order, abs=0.02)


@pytest.mark.parametrize(("law", "orders"), [(C, (8, 6)), (B, (10, 8))], ids=["C", "B"])
def test_slopes_of_fisher_and_entropy(law: Law, orders: Any) -> None:
    for f, leading, order in (
        (relative_fisher, Cumulants.of(*law).fisher, orders[0]),
        (relative_entropy, Cumulants.of(*law).entropy, orders[1]),
    ):
        near, far = (f(*law, sigma).value for sigma in (64, 128))
        assert math.log2(near / far) == pytest.approx(order, abs=0.03)
        # the ratio to the law is 1 + O(σ⁻²): what is left of it at 128
        assert far / leading(128) == pytest.approx(1, abs=5e-3)


def test_control_ratios_to_a_wrong_law_do_not_tend_to_one() -> None:
    far = relative_entropy(*C, 128).value
    without = norm(Cumulants.of(*C).third, *[np.array([1 / (4.25 + 128**2)])] * 3) / 6
    assert abs(far / without - 1) > 0.4


def test_ratios_approach_one_like_the_inverse_of_sigma() -> None:
    apart = []
    for sigma in (1024, 2048, 4096):
        leading = Cumulants.of(*C).score(np.array([[math.sqrt(4.25 + sigma**2) * 1.5]]), sigma)
        apart.append(float(score_difference(SKEWED, "1.5", sigma)) / float(leading[0, 0]) - 1)
    assert apart[0] / apart[1] == pytest.approx(2, abs=0.1)
    assert apart[1] / apart[2] == pytest.approx(2, abs=0.05)


def test_norms_of_the_vectors() -> None:
    a, c = Cumulants.of(*A), Cumulants.of(*C)
    np.testing.assert_allclose(
        a.eigenvalues, (0.157959913782682, 0.578283564178167, 1.22045652203915), rtol=1e-13
    )
    assert norm(a.third, *[np.ones(3)] * 3) == pytest.approx(1.188083620536367**2, rel=1e-12)
    assert norm(a.fourth, *[np.ones(3)] * 4) == pytest.approx(1.4018004422003172**2, rel=1e-12)
    assert c.third.item() == pytest.approx(-12)
    assert c.fourth.item() == pytest.approx(4)


@pytest.mark.parametrize("name", sorted(LAWS))
@pytest.mark.parametrize("rho", [0.5, 3])
def test_pairs_of_components_give_the_norms_of_the_tensors(name: str, rho: float) -> None:
    laws = Cumulants.of(*LAWS[name])
    p = 1 / (laws.eigenvalues + rho**2)
    found = cumulant_norms(*LAWS[name], rho)
    # sums of terms of order |a|⁶, of which little may be left
    assert found.third == pytest.approx(norm(laws.third, p, p, p), rel=1e-12, abs=1e-14)
    assert found.third_fisher == pytest.approx(norm(laws.third, p * p, p, p), rel=1e-12, abs=1e-14)
    assert found.fourth == pytest.approx(norm(laws.fourth, p, p, p, p), rel=1e-12)
    assert found.entropy == pytest.approx(laws.entropy(rho), rel=1e-12)


@pytest.mark.parametrize(
    ("law", "rho", "value"),
    [(B, 1, 1.82e-2), (B, 2, 1.36e-3), (B, 4, 1.91e-5), (C, 2, 2.14e-2), (C, 4, 1.447e-3),
     (C, 8, 3.776e-5), (A, 1, 1.69e-2), (A, 2, 9.61e-4), (A, 4, 2.40e-5), (E, 2, 1.04e-2),
     (E, 4, 2.66e-4), (E, 8, 1.99e-6), (F, 2, 7.68e-3), (F, 4, 2.47e-4), (F, 8, 4.74e-6)],
)  # fmt: skip
def test_table_of_leading_entropies(law: Law, rho: float, value: float) -> None:
    assert Cumulants.of(*law).entropy(rho) == pytest.approx(value, rel=4e-3)  # three digits


def rms(x: Any) -> float:
    return float(np.sqrt((np.asarray(x) ** 2).sum(1).mean()))


def draws(law: Law, count: int, sigma: float) -> Any:
    """x at σ, (N, D)."""
    mixture = GaussianMixture.full(*law)
    generator = torch.Generator().manual_seed(0)
    x0 = mixture.sample(count, generator=generator)
    return (x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=x0.dtype)).numpy()


def excess_score(law: Law, x: Any, sigma: float) -> Any:
    """s − s_G by the mixture's own score; enough digits up to σ = 64."""
    c = Cumulants.of(*law)
    own = GaussianMixture.full(*law).score(torch.tensor(x), 1.0, sigma).numpy()
    p = (c.basis / (c.eigenvalues + sigma**2)) @ c.basis.T
    return own + (x - c.mean) @ p


def test_three_dimensions_the_error_of_one_term_halves_and_of_two_quarters() -> None:
    laws = Cumulants.of(*A)
    one, two = [], []
    for sigma in (4.0, 8.0, 16.0, 32.0, 64.0):
        x = draws(A, 4000, sigma)
        found = excess_score(A, x, sigma)
        one.append(rms(found - laws.score(x, sigma)) / rms(found))
        two.append(rms(found - laws.score(x, sigma, terms=2)) / rms(found))
    np.testing.assert_allclose(np.diff(np.log2(one))[1:], -1, atol=0.1)
    np.testing.assert_allclose(np.diff(np.log2(two))[1:], -2, atol=0.1)
    # published for another mean over x than this root mean square, a sixth smaller
    np.testing.assert_allclose(one, [0.17, 0.080, 0.039, 0.019, 0.0096], rtol=0.25)
    np.testing.assert_allclose(two, [0.079, 0.021, 0.0053, 0.0013, 0.00034], rtol=0.4)


def landing(law: Law, w: Any, sigma: float, top: float) -> tuple[Any, Any]:
    """The jump's end from m + U √c_T w, and the exact flow's."""
    c = Cumulants.of(*law)

    def at(level: float) -> Any:
        return c.mean + (np.sqrt(c.eigenvalues + level**2) * w) @ c.basis.T

    exact = reference_flow(*law, at(top), (1, top), (1, sigma))
    return at(sigma), exact.x


def test_three_dimensions_the_displacement_by_carlson() -> None:
    laws = Cumulants.of(*A)
    w = np.random.default_rng(1).standard_normal((24, 3))
    apart = []
    for sigma in (8.0, 16.0, 32.0):
        jumped, exact = landing(A, w, sigma, 2000.0)
        delta = exact - jumped
        apart.append(rms(delta - laws.displacement(w, sigma, 2000.0)) / rms(delta))
    assert apart[0] / apart[1] == pytest.approx(2, abs=0.3)
    assert apart[1] / apart[2] == pytest.approx(2, abs=0.2)
    # without the start's own term a jump from 64 to 32 is off by (32/64)³ of itself
    jumped, exact = landing(A, w, 32.0, 64.0)
    right, wrong = laws.displacement(w, 32.0, 64.0), laws.displacement(w, 32.0)
    assert rms(exact - jumped - right) < 0.03 * rms(right)
    assert rms(exact - jumped - wrong) > 0.08 * rms(right)


def test_the_displacement_s_size_in_the_table() -> None:
    """RMS over w ~ N(0, I), in closed form: E |κ[ww − I]|² = 2 |κ|²."""
    laws = Cumulants.of(*A)
    w = np.random.default_rng(0).standard_normal((200_000, 3))
    for sigma, size in ((4, 1.623e-2), (8, 4.269e-3), (16, 1.081e-3), (32, 2.713e-4)):
        assert rms(laws.displacement(w, sigma)) == pytest.approx(size, rel=1e-2)  # 4 errors


@pytest.mark.parametrize(
    ("law", "factor", "orders"),
    [(SKEWED, 3, (2, 3)), (SYMMETRIC, 4, (3, 5)), (SKEWED, 2, (2, 2)), (SYMMETRIC, 3, (3, 3))],
    ids=["skewed", "symmetric", "control: a half", "control: a third of a symmetric law"],
)
def test_corrected_jump_gains_an_order(law: Law, factor: int, orders: Any) -> None:
    """δ − (c/(k σ²)) (D − D_G), at 50 digits: slopes 2 and 3, for symmetric laws 3 and 5."""
    errors = []
    for sigma in (2048, 4096):
        delta, excess = displaced(law, "1.3", sigma), score_difference(law, "1.3", sigma)
        with mp.workdps(50):
            c = spread(exact(law))[1] + sigma**2
            left = delta - c / factor * excess  # D − D_G = σ² (s − s_G)
        errors.append((abs(delta), abs(left)))
    for (near, far), order in zip(zip(*errors, strict=True), orders, strict=True):
        assert math.log2(near / far) == pytest.approx(order, abs=0.05)


def test_corrected_jump_in_three_dimensions() -> None:
    c = Cumulants.of(*A)
    mixture = GaussianMixture.full(*A)
    w = np.random.default_rng(2).standard_normal((24, 3))
    plain, corrected = [], []
    for sigma in (8.0, 16.0, 32.0):
        jumped, exact = landing(A, w, sigma, 4000.0)
        d = mixture.denoise(torch.tensor(jumped), 1.0, sigma).numpy()
        place = [v @ c.basis for v in (d, c.mean, jumped)]
        shift = landing_shift(place[0], place[1], c.eigenvalues, sigma, place[2])
        plain.append(rms(exact - jumped))
        corrected.append(rms(exact - jumped - shift @ c.basis.T))
        assert math.sqrt((shift**2).sum(1).mean()) == pytest.approx(plain[-1], rel=0.15)
    slopes = [np.diff(np.log2(e)) for e in (plain, corrected)]
    np.testing.assert_allclose(slopes[0], -2, atol=0.1)
    assert (slopes[1] < -2.8).all()


@pytest.mark.parametrize(("law", "limit"), [(SKEWED, 1 / 3), (SYMMETRIC, 1 / 4)])
def test_a_third_of_the_disagreement(law: Law, limit: float) -> None:
    """δ/((c/σ²) (D − D_G)) tends to ⅓, and to ¼ for symmetric laws."""
    found = []
    for sigma in (16, 64, 256):
        c = spread(exact(law))[1] + sigma**2
        share = displaced(law, "1.5", sigma) / (c * score_difference(law, "1.5", sigma))
        found.append(abs(float(share) / limit - 1))
    assert found[0] > 3 * found[1] > 9 * found[2]
    assert found[2] < 5e-3


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="means have 25 coordinates; 24 or fewer"):
        Cumulants.of((1,), np.zeros((1, 25)), np.zeros((1, 25, 25)))
