"""Float64 computes φ_k and elementary functions so well that only the last rounding is seen."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.field import RATIONAL
from solvers.float64 import FLOAT64 as F
from theory.fields import MP

M = MP(50)
MAGNITUDES = [10 ** (e / 8) for e in range(-64, 14)] + [0.5, 0.999, 1.0, 1.001, 2.0, 32.0, 50.0]

# out() rounds once, so half an ulp; 40 digits lose less than 10^-15 of one before that
HALF_ULP = 0.5 + 1e-15

VECTORS = {  # the DEIS tables section 6: φ₁ .. φ₄
    -1: (0.6321205588285577, 0.3678794411714423, 0.1321205588285577, 0.03454610783810899),
    0.5: (1.297442541400256, 0.5948850828005126, 0.1897701656010252, 0.04620699786871702),
    -0.01: (0.9950166250831946, 0.4983374916805357, 0.1662508319464261, 0.04158347202405726),
    0.3: (1.166196025253344, 0.5539867508444789, 0.1799558361482631, 0.04429723160532148),
}


def by_definition(k: int, z: float) -> Any:
    """Σ_j z^j/(j+k)! at 120 digits, as many terms as it takes; apart from ``Field.phi``."""
    with mpmath.workdps(120):
        return mpmath.nsum(lambda j: mpmath.mpf(z) ** int(j) / mpmath.factorial(j + k), [0, 400])


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("sign", [-1, 1])
def test_phi_is_correctly_rounded_from_1e_8_to_50(k: int, sign: int) -> None:
    for size in MAGNITUDES:
        z = sign * size
        got = F.out(F.phi(k, F.number(z)))
        error = M.number(got) - M.phi(k, M.number(z))
        assert abs(float(error)) <= HALF_ULP * math.ulp(got), z


@pytest.mark.parametrize("k", range(1, 6))
@pytest.mark.parametrize("z", [-31.0, -1.0, -0.999, 1e-8, 0.999, 1.0, 17.5])
def test_fifty_digits_are_right(k: int, z: float) -> None:
    assert abs(M.phi(k, M.number(z)).v / by_definition(k, z) - 1) < mpmath.mpf(10) ** -50


@pytest.mark.parametrize("z", VECTORS)
def test_printed_values(z: float) -> None:
    got = [F.out(F.phi(k, F.number(z))) for k in (1, 2, 3, 4)]
    assert got == pytest.approx(VECTORS[z], rel=1e-15, abs=0)


def test_phi_of_zero_is_one_over_k_factorial() -> None:
    for k in range(1, 6):
        assert F.phi(k, F.lift(0)) * math.factorial(k) == 1
        assert RATIONAL.phi(k, RATIONAL.lift(0)) * math.factorial(k) == 1


def test_control_the_quotient_alone_would_fail() -> None:
    """In floats (φ₂ − 1/2)/z at z = 1e-3 is off by thousands of ulps: the bound above is sharp."""
    z = 1e-3
    naive = ((math.expm1(z) / z - 1) / z - 0.5) / z
    assert abs(naive - float(by_definition(3, z))) > 1000 * math.ulp(naive)


FUNCTIONS = {
    "exp": (-40.0, 40.0),
    "log": (1e-9, 1e9),
    "expm1": (-30.0, 30.0),
    "log1p": (-0.999, 1e9),
    "sqrt": (0.0, 1e9),
    "cos": (-4.0, 4.0),
    "sin": (-4.0, 4.0),
    "acos": (-0.999, 1.0),
    "asinh": (0.0, 1e6),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_keep_25_digits(name: str) -> None:
    @given(st.floats(*FUNCTIONS[name]))
    def check(x: float) -> None:
        with mpmath.workdps(60):
            want = getattr(mpmath, name)(mpmath.mpf(x))
            got = mpmath.mpf(str(getattr(F, name)(F.number(x)).v))
            # absolute below 1, where cos and sin have zeros
            assert abs(got - want) <= mpmath.mpf(10) ** -25 * max(1, abs(want))

    check()


def test_small_arguments_keep_relative_digits() -> None:
    with mpmath.workdps(60):
        for name in ("expm1", "log1p", "asinh", "sin"):
            for x in (1e-12, 1e-6, 1e-3):
                want = getattr(mpmath, name)(mpmath.mpf(x))
                got = mpmath.mpf(str(getattr(F, name)(F.number(x)).v))
                assert abs(got / want - 1) < mpmath.mpf(10) ** -25, (name, x)


def test_out_of_range_is_an_error() -> None:
    with pytest.raises(OverflowError, match="range of float64"):
        F.out(F.exp(F.number(1000.0)))
