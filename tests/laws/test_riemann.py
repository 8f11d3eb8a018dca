"""The released code's left sums of ten thousand points: evaluated by few, equal to the sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from solvers.field import Field, Scalar, total
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import NOISE_RHO, NOISE_T
from solvers.grids import explicit
from solvers.method import entry
from solvers.ops import Advance
from solvers.plan import plan
from solvers.point import Point
from solvers.riemann import LeftSum, degree, gram
from solvers.schedules import DDPMDiscrete, schedule
from theory.fields import MP
from theory.jets import mean

POINTS = 10_000
FIELDS = (FLOAT64, MP(50))


def moments(form: Form, name: str, F: Field, a: float, b: float) -> list[Scalar]:
    """φ₁ .. φ₄ of the step from a to b in the form's clock."""
    start = form.point(schedule(name), F, F.number(a))
    phi = form.moments(F.lift(1), start, F.number(b) - F.number(a))
    return [phi(k) for k in (1, 2, 3, 4)]


# --- Gauss's rule for equal weights -----------------------------------------------------------


@pytest.mark.parametrize("F", FIELDS, ids=repr)
@pytest.mark.parametrize(("count", "n"), [(10_000, 12), (216, 24), (432, 48), (49, 6), (48, 6)])
def test_polynomials_are_summed_exactly(F: Field, count: int, n: int) -> None:
    rule = gram(F, count, n)
    assert len(rule) == (n if count > 8 * n else count)
    for k in (0, 1, 2, n, 2 * n - 1):
        got = total(w * (x / count) ** k for x, w in rule)
        want = F.lift(Fraction(sum(m**k for m in range(count)), count**k))
        assert abs(float(got - want)) < 10.0 ** (6 - F.digits) * count


def test_control_the_next_degree_is_not() -> None:
    got = total(w * (x / 150) ** 16 for x, w in gram(FLOAT64, 150, 8))
    assert abs(float(got) - sum((m / 150) ** 16 for m in range(150))) > 1e-8


def test_longer_blocks_take_more_nodes() -> None:
    assert degree(FLOAT64, 0.01) < degree(FLOAT64, 0.5) < degree(MP(50), 0.5)


# --- against the sums, term by term -----------------------------------------------------------


def vp_linear(t: float) -> float:
    """ρ' of ρ² = e^B − 1, B = t/10 + 199 t²/20."""
    B = 0.1 * t + 9.95 * t * t
    return (0.1 + 19.9 * t) * math.exp(B) / (2 * math.sqrt(math.expm1(B)))


def flow(t: float) -> float:
    """ρ' of ρ = t/(1−t)."""
    return 1 / (1 - t) ** 2


def ddpm_discrete(t: float) -> float:
    """ρ' of ρ² = 1/ᾱ − 1, log ᾱ linear between the integers."""
    n = min(int(t), 998)
    betas = [1e-4 + (2e-2 - 1e-4) * k / 999 for k in range(n + 2)]
    rate = -math.log1p(-betas[n + 1])
    log = math.fsum(math.log1p(-b) for b in betas[: n + 1]) - rate * (t - n)
    return rate * math.exp(-log) / (2 * math.sqrt(math.expm1(-log)))


CASES: list[tuple[Callable[[float], float], float, float]] = [
    (vp_linear, 1.0, 0.75),
    (vp_linear, 0.012, 1e-4),
    (vp_linear, 0.3, 1e-5),
    (flow, 0.97, 0.5),
    (ddpm_discrete, 40.0, 30.0),
    (ddpm_discrete, 12.6, 3.2),
]


@pytest.mark.parametrize(("slope", "a", "b"), CASES)
def test_moments_are_the_sums(slope: Callable[[float], float], a: float, b: float) -> None:
    form = LeftSum("LEFT", "t", NOISE_T)
    got = moments(form, slope.__name__, FLOAT64, a, b)
    fractions = [m / POINTS for m in range(POINTS)]
    values = [slope(a + (b - a) * f) for f in fractions]
    for k, phi in enumerate(got):
        terms = (v * f**k for v, f in zip(values, fractions, strict=True))
        want = math.fsum(terms) / (POINTS * math.factorial(k))
        # nodes near t = 0 amplify the rounding of t, by at most 1/t of the step
        assert float(phi) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("F", FIELDS, ids=repr)
def test_to_all_digits(F: Field) -> None:
    form = LeftSum("LEFT", "t", NOISE_T, points=2500)
    a, b = F.number(0.2), F.number(0.05)
    s = schedule("vp_linear")
    got = form.moments(F.lift(1), Point(s, F, "t", a), b - a)(2)
    terms = (
        NOISE_T.coefficients(Point(s, F, "t", a + (b - a) * m / 2500))[1] * m for m in range(2500)
    )
    want = total(terms) / 2500**2
    assert abs(float(got / want - 1)) < 10.0 ** (3 - F.quadrature)


def test_sums_in_rho_are_rational() -> None:
    """There K = 1: the prover's numbers."""
    got = moments(LeftSum("LEFT", "rho", NOISE_RHO), "edm", MP(50), 3.0, 1.25)
    for k, phi in enumerate(got):
        assert abs(float(phi * math.factorial(k) - mean(k, POINTS))) < 1e-48
    assert mean(1, POINTS) == Fraction(1, 2) - Fraction(1, 2 * POINTS)
    assert mean(3, None) == Fraction(1, 4)


def test_control_sums_are_no_integrals() -> None:
    exact = moments(NOISE_T, "vp_linear", FLOAT64, 0.5, 0.4)
    left = moments(LeftSum("LEFT", "t", NOISE_T), "vp_linear", FLOAT64, 0.5, 0.4)
    for a, b in zip(exact, left, strict=True):
        assert 1e-6 < abs(float(b / a - 1)) < 1e-3


# --- in a plan --------------------------------------------------------------------------------


def test_rows_sum_to_the_form_s_own_moment() -> None:
    """Σ b = φ₁ with the sum in place of the integral: the row check passes, DDIM is not exact."""
    grid = explicit(schedule("vp_linear"), "t", [0.9, 0.6, 0.4, 0.25])
    old, new = (plan(entry("deis_t_ab2"), grid, as_published=flag) for flag in (True, False))
    sums: list[Any] = []
    for p in (old, new):
        op = p.ops[2]
        assert isinstance(op, Advance)
        sums.append(sum((*op.weights.b.now, *op.weights.b.past)))
    assert (old.form.name, new.form.name) == ("NOISE_T_LEFT", "NOISE_T")
    assert 1e-6 < abs(sums[0] / sums[1] - 1) < 1e-3
    assert old.hash != new.hash


def test_a_point_on_a_knot_belongs_to_the_piece_before_it() -> None:
    """Integer nodes of the discrete schedule: every hundredth point is one."""
    s = DDPMDiscrete()
    form = LeftSum("LEFT", "t", NOISE_T, points=1000)
    start = Point(s, FLOAT64, "t", FLOAT64.lift(40))
    phi = form.moments(FLOAT64.lift(1), start, FLOAT64.lift(-10))(1)
    want = math.fsum(ddpm_discrete(40 - m / 100) for m in range(1000)) / 1000
    assert float(phi) == pytest.approx(want, rel=1e-13)
    later = math.fsum(ddpm_discrete(40 - (m + 1e-6) / 100) for m in range(1000)) / 1000
    assert float(phi) != pytest.approx(later, rel=1e-10)  # control: the piece after it
