"""A series' coefficients are Taylor's: f(x + ε) has f^{(j)}(x)/j! at ε^j."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import pytest

from solvers.float64 import FLOAT64
from solvers.series import Series, series_over
from theory.fields import MP

N = 6
FUNCTIONS: dict[str, tuple[Callable[[Series, Any], Any], Callable[[Any], Any], str]] = {
    "exp": (lambda S, x: S.exp(x), mpmath.exp, "0.7"),
    "log": (lambda S, x: S.log(x), mpmath.log, "0.7"),
    "sqrt": (lambda S, x: S.sqrt(x), mpmath.sqrt, "0.7"),
    "expm1": (lambda S, x: S.expm1(x), mpmath.expm1, "0.01"),
    "log1p": (lambda S, x: S.log1p(x), mpmath.log1p, "0.01"),
    "cos": (lambda S, x: S.cos(x), mpmath.cos, "0.7"),
    "sin": (lambda S, x: S.sin(x), mpmath.sin, "0.7"),
    "acos": (lambda S, x: S.acos(x), mpmath.acos, "0.7"),
    "asinh": (lambda S, x: S.asinh(x), mpmath.asinh, "0.7"),
    "power": (lambda S, x: S.pow(x, Fraction(-3, 7)), lambda x: x ** (mpmath.mpf(-3) / 7), "0.7"),
    "quotient": (lambda S, x: (1 + x * x) / (2 - x), lambda x: (1 + x * x) / (2 - x), "0.7"),
    "nested": (lambda S, x: S.exp(S.sqrt(1 + x)), lambda x: mpmath.exp(mpmath.sqrt(1 + x)), "0.7"),
}


def coefficients(name: str, field: Any = None) -> list[Any]:
    ours, _, at = FUNCTIONS[name]
    C = field or MP(50)
    S = series_over(C, N)
    return [mpmath.mpf(str(c.v)) for c in ours(S, S.variable(C.number(Fraction(at)))).v]


def taylor(name: str) -> list[Any]:
    _, f, at = FUNCTIONS[name]
    with mpmath.workdps(80):
        return mpmath.taylor(f, mpmath.mpf(at), N)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_match_mpmath(name: str) -> None:
    """mpmath differentiates numerically at 80 digits, which leaves more than 40."""
    with mpmath.workdps(60):
        for ours, theirs in zip(coefficients(name), taylor(name), strict=True):
            assert abs(ours - theirs) < mpmath.mpf(10) ** -40


@pytest.mark.parametrize("name", FUNCTIONS)
def test_series_over_float64_keep_its_digits(name: str) -> None:
    with mpmath.workdps(60):
        for ours, theirs in zip(coefficients(name, FLOAT64), taylor(name), strict=True):
            assert abs(ours - theirs) < mpmath.mpf(10) ** -30


@pytest.mark.parametrize("k", [1, 2, 4])
def test_phi_of_a_series_without_constant_term(k: int) -> None:
    """φ_k(ε) has 1/(j+k)! at ε^j, and φ_k(2ε) 2^j of it."""
    S = series_over(MP(50), N)
    got = S.phi(k, 2 * S.variable(S.C.lift(0))).v
    for j, c in enumerate(got):
        assert abs(float(c) * float(mpmath.factorial(j + k)) - 2**j) < 1e-12


def test_calculus() -> None:
    S = series_over(MP(50), N)
    x = S.variable(S.C.lift(2))
    f = S.exp(x)
    assert S.integrate(S.differentiate(f), f.v[0]) == f
    inner = S.variable(S.C.lift(0)) * 3
    outer = S.exp(S.variable(S.C.lift(0)))
    assert max(abs(float(c)) for c in (S.compose(outer, inner) - S.exp(inner)).v) < 1e-45


def test_control_a_wrong_derivative_is_seen() -> None:
    got = coefficients("exp")
    got[3] = got[3] * mpmath.mpf("1.000001")
    assert abs(got[3] - taylor("exp")[3]) > mpmath.mpf(10) ** -40
