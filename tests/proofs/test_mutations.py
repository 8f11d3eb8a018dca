"""Every coefficient of every method matters: changed by 1% the proved order is lost.

A coefficient is changed alone, which breaks the row's sum, and against its neighbour,
which keeps it; a stage's place c is changed too, and one that is 0 at h L = 0 becomes 1%.  What
survives is what the order does not ask for:

* order 1 asks for the sum of the update's weights and for nothing of the stages;
* order 2 asks only for the sums of the stages that the update uses, and for nothing of the others;
* order 3 asks for all that methods with up to three stages have.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import pytest

from solvers.advance import bind
from solvers.field import Scalar
from solvers.float64 import FLOAT64
from solvers.gridstep import Uniform
from solvers.method import Entry, Row, Variant, Weights, rows
from solvers.series import Series
from tests.proofs.test_orders import ORDERS
from theory.order import bound, prove_order, step_order

PERCENT = Fraction(1, 100)


@dataclass(frozen=True)
class Mutation:
    """One change in one row; the update is the last row."""

    row: int
    part: str
    place: int
    kept_sum: bool = False

    def __str__(self) -> str:
        way = " against its neighbour" if self.kept_sum else ""
        return f"row {self.row} {self.part}[{self.place}]{way}"

    def of(self, w: Weights) -> Weights:
        """The changed weights, exempt from the row check: the prover alone must notice."""
        changed = list(w.rows)
        changed[self.row] = self._row(changed[self.row])
        return replace(w, stages=tuple(changed[:-1]), b=changed[-1], consistent=False)

    def _row(self, row: Row) -> Row:
        if self.part == "c":
            return replace(row, c=row.c * (1 + PERCENT))
        if self.part == "d":
            return replace(row, d=_changed(row.d, self.place, None))
        weights = (*row.now, *row.past)
        partner = (self.place + 1) % len(weights) if self.kept_sum else None
        weights = _changed(weights, self.place, partner)
        return replace(row, now=weights[: len(row.now)], past=weights[len(row.now) :])


def _changed(weights: tuple[Any, ...], place: int, partner: int | None) -> tuple[Any, ...]:
    out = list(weights)
    change = PERCENT if _vanishes(out[place]) else out[place] * PERCENT
    out[place] = out[place] + change
    if partner is not None:
        out[partner] = out[partner] - change
    return tuple(out)


def _vanishes(w: Any) -> bool:
    """At h = 0: a percent of such a weight would only be a percent of h."""
    return w == 0 or (isinstance(w, Scalar) and isinstance(w.F, Series) and w.v[0] == 0)


def mutations(w: Weights) -> Iterator[Mutation]:
    """All of them."""
    for i, row in enumerate(w.rows):
        entries = len(row.now) + len(row.past)
        for place in range(entries):
            yield Mutation(i, "weight", place)
            if entries > 1:
                yield Mutation(i, "weight", place, kept_sum=True)
        yield from (Mutation(i, "d", place) for place in range(len(row.d)))
        yield Mutation(i, "c", 0)


def mutant(e: Entry, mutation: Mutation) -> Entry:
    """The entry with a changed weight function."""
    fn: Callable[..., Weights] = e.fn

    @functools.wraps(fn)
    def changed(*args: Any, **options: Any) -> Weights:
        return mutation.of(fn(*args, **options))

    return replace(e, fn=changed)


def order_of(e: Entry, options: dict[str, Any]) -> int:
    """0 where the weights are refused: an update, or a carried stage, that ends elsewhere."""
    try:
        return _order_of(e, options)
    except ValueError as error:
        if not str(error).startswith(("c: got", "carry: got")):
            raise
        return 0


def _order_of(e: Entry, options: dict[str, Any]) -> int:
    return step_order(e, e.q, e.form(options), True, bound(e, options))[0]


def needed(order: int, mutation: Mutation, w: Weights) -> bool:
    """Whether this order asks for what the mutation breaks."""
    if mutation.part == "c" and mutation.row + 1 == w.carry:
        return True
    if mutation.row == len(w.stages):
        return order >= (2 if mutation.kept_sum else 1)
    # a stage off by h^k moves the update by h^{k+1}, or h^{k+2} through another stage
    used = w.b.now[mutation.row + 1] != 0
    return order >= 2 + mutation.kept_sum + (not used)


def uniform(e: Entry, variant: Variant) -> Weights:
    """The weights on a uniform grid at h L = 0."""
    q = {} if e.q is None else {"q": e.q}
    own = {k: bind(FLOAT64, v) for k, v in e.resolve(variant.options).items()}
    return e.fn(Uniform(FLOAT64), **q, **own)


CASES = list(rows())


@pytest.mark.parametrize(
    ("e", "variant"), CASES, ids=[f"{e.name} {dict(v.options)}" for e, v in CASES]
)
def test_every_coefficient_matters(e: Entry, variant: Variant) -> None:
    options, w = dict(variant.options), uniform(e, variant)
    proved = order_of(e, options)
    survived = {str(m) for m in mutations(w) if order_of(mutant(e, m), options) >= proved}
    assert survived == {str(m) for m in mutations(w) if not needed(proved, m, w)}


def test_what_survives_is_short() -> None:
    """The recursive difference, what was published wrongly, and predictors better than asked for.

    A corrector of the predictor's own order asks for a predictor of one order less.
    """
    cases = [(e, v, order_of(e, dict(v.options))) for e, v in CASES]
    surviving = {
        f"{e.name} {dict(v.options)}"
        for e, v, proved in cases
        if e.name in ORDERS
        and not all(needed(proved, m, uniform(e, v)) for m in mutations(uniform(e, v)))
    }
    recursive = {
        f"{e.name} {dict(v.options)}"
        for e, v, proved in cases
        if e.family.startswith("scire") and proved == 1
    }
    assert surviving == recursive | {
        "scire_v1_3 {'phi1': 'fd'}",
        "scire_v2_3 {'phi1': 'fd'}",
        "scire_v1_3h {}",
        "scire_v2_3h {}",
        "unipc_2 {'as_published': True, 'variant': 'vary_coeff'}",
        "unipc_3 {'as_published': True, 'variant': 'vary_coeff'}",
        "deis_t_ab3 {'as_published': True}",
        "deis_t_ab3 {'as_published': True, 'points': 16}",
        "deis_rho_ab3 {'as_published': True, 'points': 16}",
        "dpm_solver_v3_2 {'corrector': 'full'}",
        "dpm_solver_v3_2 {'corrector': 'full', 'c_pseudo': True}",
        "dpm_solver_v3_3 {'corrector': 'full', 'c_pseudo': True}",
        "res_3s {'c3': 0.75, 'as_published': True}",
    }


def test_the_row_check_catches_broken_sums_before_the_prover() -> None:
    e, variant = next((e, v) for e, v in CASES if e.name == "dpm_solver_pp_2m")

    def checked(*args: Any, **options: Any) -> Weights:
        return replace(Mutation(0, "weight", 0).of(e.fn(*args, **options)), consistent=True)

    with pytest.raises(ValueError, match="weights: got a sum of"):
        prove_order(replace(e, fn=functools.wraps(e.fn)(checked)), **variant.options)


def test_control_no_change_changes_nothing() -> None:
    for e, variant in CASES[:8]:
        same = replace(e, fn=functools.wraps(e.fn)(lambda *a, fn=e.fn, **k: fn(*a, **k)))
        assert order_of(same, dict(variant.options)) == order_of(e, dict(variant.options))
