"""A proof takes roots of step ratios: on any grid ratio_j is a power of a free symbol."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import sympy
from sympy import Rational, Symbol

from solvers.forms import DATA_SNR, NOISE_RHO
from solvers.method import Entry, Row, Step, Weights, entry, unpublished
from theory.fields import Poly
from theory.order import prove_order, prove_step

F = Poly(["r", "s"], ["g"])
R, S = F.symbol("r"), F.symbol("s")
QUARTER = Fraction(1, 4)


def test_powers_of_monomials_whose_exponents_stay_whole() -> None:
    assert F.pow(S**4, QUARTER) == S
    assert F.pow(S**4 / R**8, QUARTER) == S / R**2
    assert F.pow(S**4 / R**8, Fraction(-3, 2)) == R**12 / S**6
    assert F.pow(F.lift(1), Fraction(5, 7)) == 1
    assert Poly([], ["g"]).pow(Poly([], ["g"]).lift(1) / 1, QUARTER).v == 1


@pytest.mark.parametrize("x", [S, S**2, 2 * S**4, S**4 + 1, F.symbol("g") ** 4, F.lift(0)])
def test_nothing_else_has_a_root(x: Any) -> None:
    with pytest.raises(TypeError, match=r"power 1/4: got .*; the exact field takes roots of 1"):
        F.pow(x, QUARTER)


def two_values(weight: Callable[[Step], Any]) -> Entry:
    def method(s: Step, *, q: int) -> Weights:
        if q == 1:
            return Weights(b=Row(now=(s.phi(1),)))
        w = s.phi(2) / weight(s)
        return Weights(b=Row(now=(s.phi(1) + w,), past=(-w,)))

    return unpublished(method, NOISE_RHO, q=2)


def test_the_fourth_power_of_a_fourth_root_is_the_ratio() -> None:
    rooted = two_values(lambda s: s.F.pow(s.ratio(), QUARTER) ** 4)
    plain = entry("deis_rho_ab1")
    assert prove_order(rooted).any_grid == prove_order(plain).any_grid == 2
    a, b = (prove_step(e, 2, NOISE_RHO, graded=False).leading for e in (rooted, plain))
    for (word, x), (other, y) in zip(a.terms, b.terms, strict=True):
        assert word == other
        assert sympy.simplify(x - y) == 0


@pytest.mark.parametrize("root", [Fraction(1, 4), Fraction(1, 2), Fraction(2, 3)])
def test_another_power_loses_the_order_where_steps_differ(root: Fraction) -> None:
    """The defect of one step is (r^{1−q} − 1)/2 h² N', r the ratio and q the power taken."""
    e = two_values(lambda s: s.F.pow(s.ratio(), root))
    proof = prove_order(e)
    assert (proof.graded, proof.any_grid) == (2, 1)
    ((word, c),) = prove_step(e, 2, NOISE_RHO, graded=False).leading.terms
    r = Symbol("ratio1", positive=True)
    known = (r ** (1 - Rational(root)) - 1) / 2
    assert word == ("g1",)
    assert sympy.simplify(c.subs(Symbol("ratio1"), r) - known) == 0


def test_a_form_knows_its_own_clock() -> None:
    """Rule A takes ratios in ρ, which are the step's own in V1 and another clock's in V2."""
    own, other = (
        prove_order(entry(name), rule="A", phi1="fd").leading
        for name in ("scire_v1_2m", "scire_v2_2m")
    )
    assert str(own) == "h^3 [-5/12 N'']"
    assert own == prove_order(entry("deis_rho_ab1")).leading
    assert other.symbols == {"rho2"}
    moved = prove_order(entry("scire_v1_2m"), DATA_SNR, rule="A", phi1="fd").leading
    assert moved == other
