"""A form enters, reads and leaves without loss, and every other form agrees with it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.field import Scalar
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import FORMS, GAUSSIAN, GAUSSIAN_LAMBDA, GaussianPart, Statistics
from solvers.gridstep import GridStep
from solvers.point import Point
from solvers.schedules import SCHEDULES, Schedule, schedule
from solvers.stochastic import NOISY
from solvers.transfer import affine
from theory.fields import MP

M = MP(50)
STATISTICS = Statistics((0.3,), (0.02,))
NAMES = sorted({**FORMS, **NOISY})
SCHEDULE_NAMES = sorted(SCHEDULES)
numbers = st.floats(-3.0, 3.0)
schedules = st.sampled_from(SCHEDULE_NAMES)
SPANS = {"edm": (0.01, 80.0), "ddpm_discrete": (0.5, 998.5), "vp_cosine": (0.01, 0.99)}


@st.composite
def points(draw: Any) -> Point:
    """Anywhere on any schedule."""
    name = draw(schedules)
    t = draw(st.floats(*SPANS.get(name, (0.01, 0.99))))
    return Point(schedule(name), M, "t", M.number(t))


def bound(name: str) -> Form:
    form = {**FORMS, **NOISY}[name]
    return form.with_statistics(STATISTICS) if isinstance(form, GaussianPart) else form


def plain(x: Scalar) -> Scalar:
    """The one coordinate of a per-coordinate scalar."""
    return x.v[0] if isinstance(x.v, tuple) else x


def close(a: Scalar, b: Scalar, digits: int = 40) -> bool:
    x, y = plain(a), plain(b)
    return abs(float(x - y)) <= 10.0**-digits * max(1.0, abs(float(x)))


def read(form: Form, p: Point, x: Scalar, eps: Scalar) -> tuple[Scalar, Scalar]:
    """(u, N) of a form at x, where the model predicts the noise ε, or D = (x − σε)/α."""
    u = (x - form.shift(p)) / form.scale(p)
    r = form.read(p)
    P = eps if r.kind == "noise" else (x - p.sigma * eps) / p.alpha
    return u, r.u_weight * u + r.p_weight * P + r.constant


@pytest.mark.parametrize("name", NAMES)
@given(p=points(), x=numbers)
def test_leaving_undoes_entering(name: str, p: Point, x: float) -> None:
    form, state = bound(name), M.number(x)
    u = (state - form.shift(p)) / form.scale(p)
    assert close(form.scale(p) * u + form.shift(p), state)


@pytest.mark.parametrize("name", NAMES)
@given(p=points())
def test_the_clock_has_an_inverse(name: str, p: Point) -> None:
    form = bound(name)
    q = form.point(p.schedule, M, form.tau(p))
    assert close(q.lam, p.lam)
    assert close(q.t, p.t)
    assert close(form.tau(q), form.tau(p))


@pytest.mark.parametrize("old", NAMES)
@given(new=st.sampled_from(NAMES), p=points(), x=numbers, eps=numbers)
def test_changing_form_is_reading_the_same_model(
    old: str, new: str, p: Point, x: float, eps: float
) -> None:
    """``transfer.affine`` takes (u, N) of one form to (u, N) of the other at the same x and ε."""
    a, b = bound(old), bound(new)
    state, noise = M.number(x), M.number(eps)
    (u, N), (v, Q) = read(a, p, state, noise), read(b, p, state, noise)
    k = affine(a, b, p)
    assert close(_first(k.u_weight) * plain(u) + _first(k.constant), v, 38)
    moved = _first(k.n_u) * plain(u) + _first(k.n_n) * plain(N) + _first(k.n_constant)
    scale = max(1.0, abs(float(plain(Q))))
    assert abs(float(moved - plain(Q))) < 1e-36 * scale


def _first(x: Any) -> Any:
    return x[0] if isinstance(x, tuple) else x


@pytest.mark.parametrize("name", NAMES)
def test_the_step_integrates_a_constant(name: str) -> None:
    """φ₀(c) = χ(start)/χ(end); with N = 1 and G = 0 one step equals many: φ₁ telescopes."""
    form, s = bound(name), schedule("vp_linear")
    a, m, b = (Point(s, M, "t", M.number(t)) for t in (0.6, 0.5, 0.3))

    def move(u: Scalar, p: Point, q: Point) -> Scalar:
        h = form.tau(q) - form.tau(p)
        phi = form.moments(M.lift(1), p, h)
        return phi(0) * u + h * phi(1) + h * form.force(M.lift(1), p, h)

    u = M.lift(2)
    assert close(move(u, a, b), move(move(u, a, m), m, b))


@pytest.mark.parametrize("name", NAMES)
def test_phi_of_a_fraction_is_phi_of_the_shorter_step(name: str) -> None:
    """φ_k(c) of the step h is φ_k(1) of the step ch."""
    form, s = bound(name), schedule("vp_linear")
    p, half = Point(s, M, "t", M.number(0.6)), M.lift(1) / 2
    h = form.tau(Point(s, M, "t", M.number(0.4))) - form.tau(p)
    for k in range(4):
        part, whole = form.moments(half, p, h)(k), form.moments(M.lift(1), p, h * half)(k)
        assert close(part, whole)


@pytest.mark.parametrize("form", [GAUSSIAN, GAUSSIAN_LAMBDA])
@given(p=points(), x=numbers)
def test_a_gaussian_has_no_nonlinear_part(form: GaussianPart, p: Point, x: float) -> None:
    """With D = D_G of the data's moments N = 0: these forms carry a single Gaussian exactly."""
    own = form.with_statistics(STATISTICS)
    m, v = M.number(STATISTICS.mean[0]), M.number(STATISTICS.variances[0])
    state = M.number(x)
    data = m + v / (v + p.rho * p.rho) * (state / p.alpha - m)
    _, N = read(own, p, state, (state - p.alpha * data) / p.sigma)
    assert abs(float(plain(N))) < 1e-38 * max(1.0, 1 / float(p.alpha))


def test_statistics_are_asked_for() -> None:
    p = Point(schedule("edm"), FLOAT64, "t", FLOAT64.lift(1))
    with pytest.raises(
        ValueError, match="statistics: got None; GAUSSIAN needs the data's moments"
    ):
        GAUSSIAN.scale(p)


@pytest.mark.parametrize("clock", ["t", "rho", "lam", "snr", "log_rho"])
def test_fractions_in_another_clock(clock: str) -> None:
    """``at`` is where the named clock has made its way: ends stay, the middle is its middle."""
    form, s = FORMS["NOISE_LAMBDA"], schedule("vp_linear")
    points = tuple(Point(s, M, "t", M.number(t)) for t in (0.6, 0.4))
    step = GridStep(form, points, tuple(form.tau(p) for p in points), 0)
    assert close(step.at(1, clock), M.lift(1))
    middle = form.end(step.at(M.lift(1) / 2, clock), points[0], step.h)
    values = [_clock(clock, p) for p in (points[0], middle, points[1])]
    assert math.isclose(2 * values[1], values[0] + values[2], rel_tol=1e-14)


def _clock(name: str, p: Point) -> float:
    known = {"snr": lambda: 1 / float(p.rho), "log_rho": lambda: -float(p.lam)}
    return known[name]() if name in known else float(getattr(p, name))


def test_rectified_flow_starts_where_alpha_is_zero() -> None:
    """At α = 0 dx/dt = ε − D is read from D, and one Euler step of it is DDIM."""
    s: Schedule = schedule("flow")
    p = Point(s, FLOAT64, "t", FLOAT64.lift(1))
    r = FORMS["VELOCITY_T"].read(p)
    assert (r.kind, float(r.u_weight), float(r.p_weight)) == ("data", 1.0, -1.0)
    with pytest.raises(ZeroDivisionError, match=r"lam: alpha = 0 at t = 1\.0"):
        assert p.lam
