"""Exact scalars meet nothing inexact, so a proof is about the numbers that run."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import sympy

from solvers.each import vector
from solvers.field import RATIONAL, Field
from solvers.float64 import FLOAT64
from solvers.forms import NOISE_LAMBDA, NOISE_RHO
from solvers.grids import laid
from solvers.method import Row, Step, Weights, interpolate, method, unpublished
from solvers.plan import plan
from solvers.schedules import schedule
from solvers.series import series_over
from theory.fields import MP, Poly, ring
from theory.order import prove_order

FIELDS: list[Field] = [
    FLOAT64,
    RATIONAL,
    MP(50),
    series_over(FLOAT64, 3),
    Poly(["r"], ["g"]),
    ring(["r"], ["g"], 3),
    vector(FLOAT64, [1.0, 2.0]).F,
]
LITERALS: list[Callable[[Any], Any]] = [
    lambda x: x + 0.1,
    lambda x: 0.1 * x,
    lambda x: x - 1.0,
    lambda x: 1.0 - x,
    lambda x: x / 2.0,
    lambda x: 2.0 / x,
    lambda x: x + True,
    lambda x: True * x,
    lambda x: x * 1j,
    lambda x: x + "1",
    lambda x: x**0.5,
    lambda x: x**-1,
    lambda x: x + sympy.Rational(1, 2),
]


@pytest.mark.parametrize("F", FIELDS, ids=repr)
@pytest.mark.parametrize("use", LITERALS)
def test_only_ints_fractions_and_own_scalars(F: Field, use: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        use(F.lift(3))


@pytest.mark.parametrize("F", FIELDS, ids=repr)
def test_ints_and_fractions_are_exact(F: Field) -> None:
    x = F.lift(3)
    assert (x + Fraction(1, 2)) * 2 - 7 == 0
    assert 1 / (x - 1) == Fraction(1, 2)


def test_scalars_of_different_fields_do_not_mix() -> None:
    with pytest.raises(TypeError, match="met"):
        FLOAT64.lift(1) + MP(50).lift(1)
    with pytest.raises(TypeError, match="met"):
        MP(30).lift(1) * MP(50).lift(1)


def test_the_message_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"met 0\.1; int, Fraction .*\(write Fraction\(1, 10\)"):
        FLOAT64.lift(1) + 0.1  # pyright: ignore[reportOperatorIssue]


@pytest.mark.parametrize("F", [Poly(["r"], ["g"]), ring(["r"], ["g"], 3)], ids=repr)
def test_a_proof_has_no_floats(F: Field) -> None:
    """math.exp of an exact scalar asks it for a float."""
    for use in (math.exp, float, lambda x: x < 1, abs):
        with pytest.raises(TypeError):
            use(F.lift(3))
    with pytest.raises(TypeError, match="has no exp"):
        Poly([], ["g"]).exp(F.lift(3))


def test_parameters_may_be_divided_by_and_symbols_may_not() -> None:
    F = Poly(["r"], ["g"])
    assert F.symbol("r") * (1 / F.symbol("r")) == 1
    with pytest.raises(ZeroDivisionError, match="no invertible constant"):
        1 / F.symbol("g")
    with pytest.raises(ZeroDivisionError):
        1 / F.lift(0)


def step_with(b: Callable[[Any], Any]) -> Callable[[Step], Weights]:
    def written(s: Step) -> Weights:
        return Weights(b=Row(now=(b(s),)))

    return written


@pytest.mark.parametrize(
    "b",
    [
        lambda s: s.phi(1) * 1.0,
        lambda s: s.phi(1) * math.exp(s.phi(1) - s.phi(1)),
        lambda s: s.phi(1) + 0.0,
    ],
)
def test_an_author_cannot_sneak_a_float_in(b: Callable[[Any], Any]) -> None:
    method = unpublished(step_with(b), NOISE_LAMBDA)
    grid = laid(schedule("vp_linear"), "t", steps=2, start=0.9, end=0.2)
    with pytest.raises(TypeError):
        plan(method, grid)
    with pytest.raises(TypeError):
        prove_order(method)


def test_control_sympy_itself_accepts_a_float() -> None:
    """The reason for the guard: a polynomial ring turns 0.1 into another number in silence."""
    _, g = sympy.polys.rings.ring("g", sympy.QQ)
    assert (g + 0.1).coeff(1) == sympy.QQ(1, 10)
    method = unpublished(step_with(lambda s: s.phi(1) * 1), NOISE_LAMBDA)
    assert prove_order(method).graded == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_from_outside_are_finite(value: float) -> None:
    for F in (FLOAT64, MP(50), RATIONAL):
        with pytest.raises(ValueError, match="number: got"):
            F.number(value)


def _stage(s: Step, *, c: Any = 1, now: int = 1) -> Row:
    return Row(now=(s.phi(1, c) * c / now,) * now, c=c)


HALF = Fraction(1, 2)
MALFORMED = {
    r"now: got 2 weights in the update of f; .* 1 or fewer, are allowed": lambda s: Weights(
        b=_stage(s, now=2)
    ),
    r"now: got 2 weights in the stage 1 of f; .* 1 or fewer, are allowed": lambda s: Weights(
        stages=(_stage(s, now=2),), b=_stage(s)
    ),
    r"c: got 1/2 in the update of f; 1, the step's end, is allowed": lambda s: Weights(
        b=_stage(s, c=HALF)
    ),
    r"carry: got 1 of 1 stages in f; the number of a stage at c = 1": lambda s: Weights(
        stages=(_stage(s, c=HALF),), b=_stage(s), carry=1
    ),
    r"carry: got 2 of 1 stages in f": lambda s: Weights(stages=(_stage(s),), b=_stage(s), carry=2),
    r"carry: got 0 of 0 stages in f": lambda s: Weights(b=_stage(s), carry=0),
}


@pytest.mark.parametrize("message", MALFORMED)
def test_malformed_weights_are_neither_proved_nor_planned(message: str) -> None:
    def f(s: Step) -> Weights:
        return MALFORMED[message](s)

    e = unpublished(method(f), NOISE_RHO)
    grid = laid(schedule("edm"), "rho", steps=2, start=2.0, end=1.0)
    for use in (lambda: prove_order(e), lambda: plan(e, grid)):
        with pytest.raises(ValueError, match=message):
            use()


def test_looking_back_needs_q() -> None:
    def f(s: Step) -> Weights:
        b = interpolate(s, 1, [0, s.past(1)])
        return Weights(b=Row(now=b[:1], past=b[1:]))

    with pytest.raises(ValueError, match=r"q: got a f without it; .* must take q"):
        prove_order(unpublished(method(f), NOISE_RHO))
