"""A form's noise adds up over steps, vanishes with its option, keeps the law of one data point."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from solvers.field import Scalar
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import DATA_LAMBDA, NOISE_LAMBDA
from solvers.point import Point
from solvers.schedules import schedule
from solvers.stochastic import DATA_SA, DATA_SDE, ER_SDE, NOISE_SDE, ancestral, churn
from theory.fields import MP

M = MP(50)
A, B, C = (Point(schedule("vp_linear"), M, "t", M.number(t)) for t in (0.6, 0.5, 0.3))
FORMS: dict[str, Form] = {
    "DATA_SDE": DATA_SDE,
    "DATA_SDE 0.3": DATA_SDE.with_options(eta=0.3),
    "DATA_SA 0.7": DATA_SA.with_options(tau=0.7),
    "NOISE_SDE": NOISE_SDE,
    "NOISE_SDE 0.3": NOISE_SDE.with_options(eta=0.3),
    "ER_SDE": ER_SDE,
    "ER_SDE sde": ER_SDE.with_options(phi="sde"),
}
QUIET: dict[str, Form] = {
    "DATA_SDE": DATA_SDE.with_options(eta=0),
    "DATA_SA": DATA_SA.with_options(tau=0.0),
    "NOISE_SDE": NOISE_SDE.with_options(eta=0),
    "ER_SDE": ER_SDE.with_options(phi="ode"),
}
ONE = M.lift(1)


def step(form: Form, a: Point, b: Point) -> Scalar:
    return form.tau(b) - form.tau(a)


def deviation(form: Form, a: Point, b: Point) -> Scalar:
    return form.deviation(ONE, a, step(form, a, b))


def kept(form: Form, a: Point, b: Point) -> Scalar:
    return form.moments(ONE, a, step(form, a, b))(0)


def close(a: Scalar, b: Scalar) -> bool:
    return abs(float(a - b)) < 1e-44


@pytest.mark.parametrize("name", FORMS)
def test_the_noise_of_two_steps_is_that_of_one(name: str) -> None:
    """V(a→c) = V(b→c) + φ₀(b→c)² V(a→b)."""
    form = FORMS[name]
    whole, first, last = (deviation(form, *p) ** 2 for p in ((A, C), (A, B), (B, C)))
    assert close(whole, last + kept(form, B, C) ** 2 * first)
    assert not close(whole, last + first)  # control
    half = M.lift(1) / 2
    part = form.deviation(half, A, step(form, A, C))
    assert close(part, form.deviation(ONE, A, step(form, A, C) * half))


@pytest.mark.parametrize("name", FORMS)
def test_one_point_of_data_keeps_its_marginal(name: str) -> None:
    """With D held the variance ρ² of x/α becomes ρ'²; holding ε takes too little for η ≠ 0."""
    form = FORMS[name]
    data = form.read(A).kind == "data"
    scale = [form.scale(p) / p.alpha for p in (A, C)]
    before = A.rho / scale[0]
    if not data:  # u' = φ₀ u + hφ₁ N with N = −(1+η) u
        h = step(form, A, C)
        phi = form.moments(ONE, A, h)
        factor = phi(0) + h * phi(1) * form.read(A).p_weight
    else:
        factor = kept(form, A, C)
    after = (factor * before) ** 2 + deviation(form, A, C) ** 2
    assert close(after * scale[1] ** 2, C.rho * C.rho) == data


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize("F", [FLOAT64, M], ids=["float64", "50 digits"])
def test_without_noise_nothing_is_drawn(name: str, F: Any) -> None:
    a, b = (Point(schedule("edm"), F, "rho", F.number(r)) for r in (2.0, 0.7))
    form = QUIET[name]
    assert form.deviation(F.lift(1), a, step(form, a, b)) == 0
    loud = ER_SDE if form.clock == "rho" else DATA_SDE
    assert loud.deviation(F.lift(1), a, step(loud, a, b)) > 0


@pytest.mark.parametrize(
    ("form", "still"),
    [
        (QUIET["DATA_SDE"], DATA_LAMBDA),
        (QUIET["DATA_SA"], DATA_LAMBDA),
        (QUIET["NOISE_SDE"], NOISE_LAMBDA),
    ],
)
def test_without_noise_the_form_is_the_flow_digit_by_digit(form: Form, still: Form) -> None:
    p = Point(schedule("vp_linear"), FLOAT64, "t", FLOAT64.number(0.6))
    h, c = FLOAT64.number(0.37), FLOAT64.lift(1) / 3
    assert [x.v for x in numbers(form, p, c, h)] == [x.v for x in numbers(still, p, c, h)]
    loud = DATA_SDE if still is DATA_LAMBDA else NOISE_SDE
    assert [x.v for x in numbers(loud, p, c, h)] != [x.v for x in numbers(still, p, c, h)]


def numbers(form: Form, p: Point, c: Scalar, h: Scalar) -> list[Scalar]:
    r, phi = form.read(p), form.moments(c, p, h)
    return [form.scale(p), r.u_weight, r.p_weight, r.constant, *(phi(k) for k in range(5))]


def test_tau_is_the_root_of_eta() -> None:
    one, other = DATA_SA.with_options(tau=0.5), DATA_SDE.with_options(eta=0.25)
    assert close(deviation(one, A, C), deviation(other, A, C))
    assert close(kept(one, A, C), kept(other, A, C))


@pytest.mark.parametrize("phi", ["default", "ode", "sde"])
def test_phi_of_er_sde(phi: str) -> None:
    """φ₀ = φ(ρ')/φ(ρ), hφ₁ = 1 − φ₀, h²φ₂ = ρ' − ρ + φ(ρ') ∫ ds/φ, as printed."""
    known = {
        "default": lambda r: r * (M.exp(M.pow(r, Fraction(3, 10))) + 10),
        "ode": lambda r: r,
        "sde": lambda r: r * r,
    }[phi]
    form: Form = ER_SDE.with_options(phi=phi)
    h = step(form, A, C)
    moments = form.moments(ONE, A, h)
    q = known(C.rho) / known(A.rho)
    assert close(moments(0), q)
    assert close(h * moments(1), 1 - q)
    ctx = M.ctx
    area = ctx.quad(lambda r: 1 / known(M.number(r)).v, [C.rho.v, A.rho.v])
    assert close(h * h * moments(2), h + known(C.rho) * M.number(area))


@pytest.mark.parametrize("phi", ["default", "ode", "sde"])
def test_published_sums_leave_order_one(phi: str) -> None:
    """φ₂ is off by −hL/200 · 1/h and φ₃ by −1/(200 h), both of first order in a step's result."""
    form = ER_SDE.with_options(phi=phi)
    sums = form.with_options(integrals="rectangle")
    L = form.coefficients(A)[0]
    previous = math.inf
    for n in range(8, 14):
        h = -A.rho / 2**n
        right, published = form.moments(ONE, A, h), sums.moments(ONE, A, h)
        assert published(1) == right(1)
        off = float((published(2) - right(2)) / L * 200) - 1
        assert abs(off) < 0.6 * previous
        previous = abs(off)
        assert float((published(3) - right(3)) * h) == pytest.approx(-1 / 200, rel=0.02)
    assert previous < 1e-3


# --- rules ------------------------------------------------------------------------------------


def test_the_ancestral_rule() -> None:
    """ρ_up² = η²ρ'²(ρ² − ρ'²)/ρ²; at η = 1 the step keeps what DDPM's posterior keeps, ρ'²/ρ."""
    a, b = M.lift(3), M.lift(2)
    high, low, scale = ancestral(a, b, 10, eta=M.number(0.5))
    assert high is a
    assert close(b * b - low * low, b * b * (a * a - b * b) / (a * a) / 4)
    assert scale == 1
    assert close(ancestral(a, b, 10)[1], b * b / a)
    assert ancestral(a, b, 10, eta=0)[:2] == (a, b)
    with pytest.raises(ValueError, match=r"options\.eta: got 1\.5; less than 1\.34.* is allowed"):
        ancestral(a, b, 10, eta=M.number(1.5))


def test_the_churn_rule() -> None:
    """γ = min(S_churn/N, √2 − 1) inside [S_tmin, S_tmax], else nothing."""
    a, b = M.lift(3), M.lift(2)
    high, low, scale = churn(a, b, 10, s_churn=2, s_noise=M.number(1.5))
    assert close(high, a * 12 / 10)
    assert low is b
    assert scale == M.number(1.5)
    most = churn(a, b, 10, s_churn=30)[0]
    assert close(most * most, 2 * a * a)
    for window in ({"s_tmin": 4}, {"s_tmax": 2}, {"s_churn": 0}):
        assert churn(a, b, 10, **{"s_churn": 2, **window}) == (a, b, 1)
    for window in ({"s_tmin": 3}, {"s_tmax": 3}):
        assert churn(a, b, 10, s_churn=2, **window)[0] > a
