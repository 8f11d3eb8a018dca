"""The weak order on Gaussian data is what each row's noise and weights give, and both matter.

Additive noise and a drift scheme of order 2 or more: weak order 2, whatever the number of values.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from solvers.method import Entry, Weights, entry, rows
from tests.proofs.test_orders import spelled
from theory.order import over_series
from theory.weak import Process, louder, named, prove_weak_order

CASES = [(e, dict(v.options)) for e, v in rows() if e.quiet is not None]
LOWER = {
    "er_sde_1 ": 1,
    "euler_ancestral ": 1,
    "edm_churn s_churn=4, s_noise=1.007": 0,
}
"""Frozen evaluations, and noise that is not what the raised level asks for."""
PERCENT = Fraction(1, 100)


@pytest.mark.parametrize(("e", "options"), CASES, ids=[f"{e.name} {o}" for e, o in CASES])
def test_weak_order_is_the_known_one(e: Entry, options: dict[str, Any]) -> None:
    assert prove_weak_order(e, **options).order == LOWER.get(f"{e.name} {spelled(options)}", 2)


def spoilt(e: Entry, options: dict[str, Any]) -> Iterator[Entry]:
    """The method with the noise of one row, or one weight of the update, a percent larger."""
    count = len(plain(e, options).rows)
    for row in range(count):
        yield _changed(e, lambda w, row=row: _noise(w, row))
    yield _changed(e, lambda w: replace(w, b=replace(w.b, now=_grown(w.b.now))))


def plain(e: Entry, options: dict[str, Any]) -> Weights:
    return over_series(e, e.q, None, True, 2, e.resolve(options))[1]


def _noise(w: Weights, row: int) -> Weights:
    changed = list(w.rows)
    changed[row] = replace(changed[row], noise=changed[row].noise * (1 + PERCENT))
    return replace(w, stages=tuple(changed[:-1]), b=changed[-1])


def _grown(weights: tuple[Any, ...]) -> tuple[Any, ...]:
    return (weights[0] * (1 + PERCENT), *weights[1:])


def _changed(e: Entry, change: Any) -> Entry:
    fn = functools.wraps(e.fn)(lambda *a, **k: replace(change(e.fn(*a, **k)), consistent=False))
    return replace(e, fn=fn)


NOISY = [c for c in CASES if c[0].renoise is None]


@pytest.mark.parametrize(("e", "options"), NOISY, ids=[f"{e.name} {o}" for e, o in NOISY])
def test_every_noise_coefficient_matters(e: Entry, options: dict[str, Any]) -> None:
    """A changed update never converges; a changed prediction is looked back at, one order less."""
    right = prove_weak_order(e, **options).order
    *stages, update, weight = (prove_weak_order(m, **options).order for m in spoilt(e, options))
    assert (update, weight) == (0, 0)
    assert all(order < right for order in stages)
    assert len(stages) == len(plain(e, options).stages)


def test_control_no_change_changes_nothing() -> None:
    e = entry("sa_solver_2")
    assert prove_weak_order(louder(e, Fraction(1))) == prove_weak_order(e)
    assert prove_weak_order(louder(e, Fraction(101, 100))) != prove_weak_order(e)


def test_noise_within_a_step_is_refused() -> None:
    """Two noises of one step then have a correlation that is no series in h."""
    e = entry("edm_churn")
    midway = replace(e, renoise=None, fixed={"alpha": Fraction(1, 2)})
    with pytest.raises(ValueError, match=r"c: got 1/2 in a row with noise; 1, .* is allowed"):
        prove_weak_order(louder_stage(midway))


def louder_stage(e: Entry) -> Entry:
    return _changed(e, lambda w: replace(w, stages=tuple(replace(r, noise=1) for r in w.stages)))


def test_the_moments_are_those_of_an_ornstein_uhlenbeck_process() -> None:
    """A, S constant and κ = 1: Ψ = e^{Az} and V(z) = e^{2Az} V + S (e^{2Az} − 1)/(2A)."""
    n = 5
    more = [*named("A", n), *named("S", n), "V"]
    step, _ = over_series(entry("er_sde_2"), 2, None, True, n, {}, more)
    process = Process(step, noise=True)
    a, s, v, fact = 0.3, 0.7, 1.9, 1.0
    values = {"A0": a, "S0": s, "V": v}
    for k in range(n + 1):
        fact *= max(k, 1)
        grown = (2 * a) ** k / fact
        made = s * (2 * a) ** (k - 1) / fact if k else 0.0
        assert number(process.transfer.v[k].v, values) == pytest.approx(a**k / fact)
        assert number(process.variance.v[k].v, values) == pytest.approx(grown * v + made)


def number(polynomial: Any, values: dict[str, float]) -> float:
    """All other symbols are zero."""
    expression = polynomial.as_expr()
    zero = {s: values.get(s.name, 0) for s in expression.free_symbols}
    return float(expression.subs(zero))


def test_the_leading_error_of_frozen_evaluations() -> None:
    """(1 + Ah)² V + S h against the exact: −(A² V + A S) h² at constant A, S and κ = 1."""
    e = entry("er_sde_1")
    more = [*named("A", 2), *named("S", 2), "V"]
    step, w = over_series(e, 1, None, True, 2, {}, more)
    process = Process(step, noise=True)
    (update,) = process.rows(w)
    off = process.covariance(update, update) - process.at(process.variance, 1)
    values = {"A0": 0.3, "S0": 0.7, "V": 1.9}
    assert [number(c.v, values) for c in off.v[:2]] == [0, 0]
    assert number(off.v[2].v, values) == pytest.approx(-(0.09 * 1.9 + 0.3 * 0.7))
