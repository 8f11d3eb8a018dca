"""Rooted trees: their counts and functions are Butcher's, and conditions decide known tableaux."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from solvers.field import RATIONAL, Scalar
from solvers.forms import NOISE_RHO
from solvers.method import Row, Step, Weights, entry, unpublished
from theory.order import prove_order
from theory.trees import (
    LEAF,
    Tableau,
    density,
    derivative,
    differentials,
    order,
    printed,
    scalar_class,
    symmetry,
    tableau,
    trees,
)


def test_numbers_of_trees() -> None:
    assert [len(trees(p)) for p in range(1, 8)] == [1, 1, 2, 4, 9, 20, 48]


@pytest.mark.parametrize("p", range(1, 7))
def test_functions_of_trees(p: int) -> None:
    """Σ p!/(σ γ) over the trees of order p is (p−1)!, the number of ways to grow one."""
    assert all(order(t) == p for t in trees(p))
    ways = [Fraction(math.factorial(p), symmetry(t) * density(t)) for t in trees(p)]
    assert sum(ways) == math.factorial(p - 1)
    grown = Counter([LEAF])
    for _ in range(p - 1):
        grown = derivative(grown)
    assert [grown[t] for t in trees(p)] == ways


def test_density_of_the_extremes() -> None:
    bushy, tall = (LEAF, LEAF, LEAF), (((LEAF,),),)
    assert (density(bushy), symmetry(bushy), printed(bushy)) == (4, 6, "[τ,τ,τ]")
    assert (density(tall), symmetry(tall), printed(tall)) == (24, 1, "[[[τ]]]")


def test_the_pair_that_scalars_confuse() -> None:
    a, b = ((LEAF, (LEAF,)),), (LEAF, ((LEAF,),))
    assert a != b
    assert scalar_class(a) == scalar_class(b)


def test_words_become_trees() -> None:
    """N''' = [τ,τ,τ] + 3[τ,[τ]] + [[τ,τ]] + [[[τ]]] and (N_u)' N' = [τ,[τ]]."""
    third = {printed(t): n for t, n in differentials(("g3",)).items()}
    assert third == {"[τ,τ,τ]": 1, "[τ,[τ]]": 3, "[[τ,τ]]": 1, "[[[τ]]]": 1}
    assert {printed(t): n for t, n in differentials(("J1", "g1")).items()} == {"[τ,[τ]]": 1}


def classical(a: list[list[Any]], b: list[Any]) -> Tableau:
    def row(xs: list[Any]) -> tuple[Scalar, ...]:
        return tuple(RATIONAL.lift(Fraction(x)) for x in xs)

    return Tableau(tuple(map(row, a)), row(b), row([sum(map(Fraction, r)) for r in a]), RATIONAL)


KNOWN = {
    "euler": ([[]], ["1"], 1),
    "ralston2": ([[], ["2/3"]], ["1/4", "3/4"], 2),
    "ssp3": ([[], ["1"], ["1/4", "1/4"]], ["1/6", "1/6", "2/3"], 3),
    "rk4": ([[], ["1/2"], [0, "1/2"], [0, 0, 1]], ["1/6", "1/3", "1/3", "1/6"], 4),
    "three_eighths": (
        [[], ["1/3"], ["-1/3", 1], [1, -1, 1]], ["1/8", "3/8", "3/8", "1/8"], 4,
    ),
    # Butcher's six stages of order 5
    "butcher5": (
        [[], ["1/4"], ["1/8", "1/8"], [0, 0, "1/2"], ["3/16", "-3/8", "3/8", "9/16"],
         ["-3/7", "8/7", "6/7", "-12/7", "8/7"]],
        ["7/90", 0, "32/90", "12/90", "32/90", "7/90"], 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_known_tableaux(name: str) -> None:
    a, b, p = KNOWN[name]
    found = classical(a, b)
    assert found.consistent
    assert found.order == p


@pytest.mark.parametrize("name", KNOWN)
def test_control_a_changed_weight_loses_the_order(name: str) -> None:
    a, b, p = KNOWN[name]
    changed = classical(a, [Fraction(b[0]) + Fraction(1, 100), *b[1:]])
    assert changed.order < p


def test_scalar_series_prove_order_five_of_butcher() -> None:
    """A method of order 5 for systems has it for scalars, in the prover too."""
    a, b, _ = KNOWN["butcher5"]

    def six_stages(s: Step) -> Weights:
        rows = [Row(now=tuple(map(Fraction, r)), c=sum(map(Fraction, r))) for r in a[1:]]
        return Weights(stages=tuple(rows), b=Row(now=tuple(map(Fraction, b))))

    method = unpublished(six_stages, NOISE_RHO)
    assert prove_order(method).graded == tableau(method).order == 5


@pytest.mark.parametrize("name", ["deis_rho_ab1", "taylor_2", "unipc_1"])
def test_only_runge_kutta_methods_have_a_tableau(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got history or derivatives"):
        tableau(entry(name))
