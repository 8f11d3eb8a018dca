"""The quadrature of forms with varying kernels is exact, also at knots and on long steps."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath
import pytest

from solvers.field import legendre
from solvers.float64 import FLOAT64
from solvers.form import Form, panels
from solvers.forms import GAUSSIAN_LAMBDA, NOISE_T, Statistics
from solvers.point import Point
from solvers.schedules import Schedule, schedule
from theory.fields import MP

M = MP(50)
STATISTICS = Statistics((0.3,), (0.02,))


def by_mpmath(form: Form, s: Schedule, start: float, end: float, k: int) -> Any:
    """φ_k(1) from its definition, in λ, by tanh-sinh quadrature; only ρ(λ) and t(λ) are ours."""
    a, b = (Point(s, M, "t", M.number(x)) for x in (start, end))
    with mpmath.workdps(60):
        h = (form.tau(b) - form.tau(a)).v

        def integrand(lam: Any) -> Any:
            p = Point(s, M, "lam", M.number(lam))
            theta = (form.tau(p) - form.tau(a)).v / h
            rho, rho_end = mpmath.exp(-lam), mpmath.exp(-b.lam.v)
            v = mpmath.mpf(STATISTICS.variances[0])
            chi = mpmath.sqrt((v + rho_end**2) / (v + rho**2))
            density = -rho if form is NOISE_T else chi  # K dτ/dλ
            return density * theta ** (k - 1) / mpmath.factorial(k - 1)

        stops = [x.v for x in panels(a, b)]
        return mpmath.quad(integrand, stops) / h


CASES = [
    (NOISE_T, schedule("vp_linear"), 0.9, 0.7),
    (NOISE_T, schedule("vp_linear"), 0.01, 0.001),
    (NOISE_T, schedule("vp_cosine"), 0.9, 0.4),
    (NOISE_T, schedule("edm"), 40.0, 0.01),  # 8.3 long in λ: five panels
    (NOISE_T, schedule("ddpm_discrete"), 3.5, 1.25),  # knots at 3 and 2
    (GAUSSIAN_LAMBDA, schedule("vp_linear"), 0.9, 0.2),
    (GAUSSIAN_LAMBDA, schedule("edm"), 3.0, 0.01),  # through ρ = √v
]


@pytest.mark.parametrize(("form", "s", "start", "end"), CASES)
@pytest.mark.parametrize("k", [1, 3])
def test_moments_equal_their_integrals(
    form: Form, s: Schedule, start: float, end: float, k: int
) -> None:
    want = by_mpmath(form, s, start, end, k)
    bound = form.with_statistics(STATISTICS) if form is GAUSSIAN_LAMBDA else form  # type: ignore[attr-defined]
    # knots are floats, right to 1e-17, and the integrand has a kink there: the square of that
    fifty = 1e-30 if s.knots else 1e-45
    for F, tolerance in ((M, fifty), (FLOAT64, 1e-23)):
        a, b = (Point(s, F, "t", F.number(x)) for x in (start, end))
        h = bound.tau(b) - bound.tau(a)
        got = bound.moments(F.lift(1), a, h)(k)
        value = got.v[0] if isinstance(got.v, tuple) else got
        with mpmath.workdps(60):
            assert abs(mpmath.mpf(str(value.v)) / want - 1) < tolerance


def test_control_without_the_knots_the_rule_is_far_off() -> None:
    s, F = schedule("ddpm_discrete"), FLOAT64
    a, b = (Point(s, F, "t", F.number(x)) for x in (3.5, 1.25))
    smooth = F.integral(
        lambda lam: -Point(s, F, "lam", lam).rho * Point(s, F, "lam", lam).t, a.lam, b.lam
    )
    pieces = panels(a, b)
    cut = [
        F.integral(lambda lam: -Point(s, F, "lam", lam).rho * Point(s, F, "lam", lam).t, p, q)
        for p, q in itertools.pairwise(pieces)
    ]
    assert len(pieces) == 4
    assert abs(float(sum(cut[1:], cut[0]) - smooth)) > 1e-9


@pytest.mark.parametrize("F", [FLOAT64, M])
def test_gauss_legendre_is_exact_for_polynomials(F: object) -> None:
    """n points integrate x^{2m} on [−1, 1] exactly for m < n."""
    field = FLOAT64 if F is FLOAT64 else M
    nodes = legendre(field, 24)
    for m in (0, 1, 23):
        total = sum((2 * w * x ** (2 * m) for x, w in nodes), field.lift(0))
        assert abs(float(total * (2 * m + 1) - 2)) < 10.0 ** (3 - field.digits)


def test_an_odd_number_of_points_is_refused() -> None:
    with pytest.raises(ValueError, match="n: got 5; an even number"):
        legendre(FLOAT64, 5)
