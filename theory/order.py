r"""The exact order of a weight function.

``prove_order`` evaluates the function itself, over exact series in h, on the generic problem of
``theory.jets``.  The order p is the power at which the defect of one step with exact history,
c_{p+1} h^{p+1} + .., is not identically zero; the claim is never read.  Scalar problems decide for
systems up to order 4 (with L a multiple of the identity): the words in g, J, H that a defect
contains up to h^4, g₃, J₀g₂, J₁g₁, J₀J₀g₁, need no commutation.  From h^5 on J₀J₁g₁ and J₁J₀g₁
merge, so order 5 needs rooted trees (Butcher, Numerical Methods for ODEs, section 316).  Methods
with exact history and no stage but a predicted end, UniPC among them, are decided at every order:
the end is off by g's alone, so no word up to the first that matters holds two J's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import Any

import sympy

from solvers.advance import weights
from solvers.field import Scalar
from solvers.float64 import Float64
from solvers.form import Form
from solvers.gridstep import Uniform
from solvers.method import Entry, Weights
from theory.fields import ring
from theory.jets import JetStep, Kernel, Nodes, kernel_of, symbols_of
from theory.leading import LeadingError, leading_error

HIGHEST = 6
"""Orders are sought up to here."""


@dataclass(frozen=True)
class OrderProof:
    """What was proved of one method in one form."""

    graded: int
    """On grids whose step ratios tend to 1."""
    any_grid: int
    """On any fixed sequence of step ratios."""
    plain_start: int
    """Graded, with the warm-up of rising order."""
    leading: LeadingError
    """On graded grids."""
    evaluations: int
    memory: int
    derivatives: int


class _Recorder(Float64):
    """Notes the irrational constants and the roots a function asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.roots = 1

    def irrational(self, name: str, value: Any) -> Scalar:
        self.names.add(name)
        return super().irrational(name, value)

    def pow(self, x: Scalar, q: Fraction) -> Scalar:
        self.roots = lcm(self.roots, q.denominator)
        return super().pow(x, q)


@dataclass(frozen=True, eq=False)
class _Probe(Uniform):
    """Notes the clocks."""

    clocks: set[str] = field(default_factory=set)

    def ratio(self, j: int = 1, clock: str | None = None) -> Scalar:
        if clock:
            self.clocks.add(clock)
        return super().ratio(j, clock)

    def at(self, fraction: Any, clock: str) -> Scalar:
        self.clocks.add(clock)
        return super().at(fraction, clock)


@dataclass(frozen=True)
class _Structure:
    """What a function uses, found by asking once on a uniform grid."""

    memory: int
    evaluations: int
    derivatives: int
    carries: bool
    parameters: tuple[str, ...]
    clocks: tuple[str, ...]
    roots: int
    """The least common denominator of the powers it takes."""


def _structure(entry: Entry, q: int | None, options: Mapping[str, Any]) -> _Structure:
    recorder = _Recorder()
    probe = _Probe(recorder)
    free = [str(v) for v in options.values() if isinstance(v, sympy.Symbol)]
    plain = {
        k: 0.55 + 0.1 * i if isinstance(v, sympy.Symbol) else v
        for i, (k, v) in enumerate(options.items())
    }
    w = weights(entry, probe, q, plain)
    evaluations = len(w.stages) + (w.carry is None)
    names = (*free, *sorted(recorder.names))
    carries = w.carry is not None
    clocks = tuple(sorted(probe.clocks))
    return _Structure(w.memory, evaluations, w.derivatives, carries, names, clocks, recorder.roots)


def over_series(
    entry: Entry,
    q: int | None,
    form: Form | None,
    graded: bool,
    n: int,
    options: Mapping[str, Any],
    more: Sequence[str] = (),
) -> tuple[JetStep, Weights]:
    """The step and the method's weights over series up to h^n; ``more`` symbols for the caller."""
    s = _structure(entry, q, options)
    kernel: Kernel = kernel_of(form, n)
    clocks = tuple(c for c in s.clocks if form is None or c != form.clock)
    nodes = Nodes(graded, s.memory, clocks, s.roots)
    F = ring([*s.parameters, *nodes.parameters()], [*symbols_of(kernel, nodes, n), *more], n)
    step = JetStep(F, kernel, nodes)

    def scalar(value: Any) -> Any:
        if isinstance(value, sympy.Symbol):
            return F.series([step.symbol(value.name)])
        return F.number(value) if isinstance(value, float) else value

    own = {k: scalar(v) for k, v in options.items()}
    return step, entry.fn(step, **({} if q is None else {"q": q}), **own)


def defects(
    step: JetStep, w: Weights, stale: Scalar | None = None
) -> tuple[Scalar, Scalar | None]:
    """Defects of update and carried row; ``stale``: the error of kept evaluations' states."""
    past = [step.value(step.past(j), stale) for j in range(1, step.nodes.memory + 1)]
    now = [step.value(0, stale)]
    carried = None
    for i, row in enumerate(w.stages, 1):
        delta = step.defect(row, now, past)
        carried = delta if i == w.carry else carried
        now.append(step.value(row.c, delta))
    return step.defect(w.b, now, past), carried


def _leading(delta: Scalar) -> int | None:
    """The lowest power with a coefficient that is not identically zero."""
    return next((k for k, c in enumerate(delta.v) if c.v), None)


def step_order(
    entry: Entry, q: int | None, form: Form | None, graded: bool, options: Mapping[str, Any]
) -> tuple[int, Any]:
    """The order of the step of this q, and its defect's leading coefficient (a polynomial)."""
    for n in range(2, HIGHEST + 2):
        step, w = over_series(entry, q, form, graded, n, options)
        update, carried = defects(step, w)
        order = _leading(update)
        if w.carry is None:
            if order is not None:
                return order - 1, update.v[order]
            continue
        assert carried is not None
        predicted = _leading(carried)
        if predicted is None:
            continue
        reach = predicted + 1  # a kept evaluation is off by h^predicted and enters with weight h
        if order is not None and order < reach:
            return order - 1, update.v[order]
        if reach <= n:
            # ratios tend to 1, so earlier predictions were off by the same leading coefficient
            off = step.h**predicted * carried.v[predicted]
            update, _ = defects(step, w, off)
            return reach - 1, update.v[reach]
    raise ArithmeticError(
        f"{entry.name}: no defect up to h^{HIGHEST + 1}; the order is above {HIGHEST}"
    )


def bound(entry: Entry, options: Mapping[str, Any]) -> dict[str, Any]:
    """All keyword arguments but ``q``; the caller's may be SymPy symbols."""
    free = {k: v for k, v in options.items() if isinstance(v, sympy.Symbol)}
    for key, value in free.items():
        if key not in entry.options:
            raise ValueError(
                f"options.{key}: got {value!r}; {entry.name} takes {', '.join(entry.options)}"
            )
    return {**entry.resolve({k: v for k, v in options.items() if k not in free}), **free}


def local_error(entry: Entry, form: Form | None, n: int, **options: Any) -> Scalar:
    """Numerical − exact after one step with exact history, a series up to h^n."""
    error, _ = defects(*over_series(entry, entry.q, form, True, n, bound(entry, options)))
    return error


def prove_order(
    entry: Entry, form: Form | None = None, *, generic: bool = False, **options: Any
) -> OrderProof:
    """The order of a method, in its own form, in another one, or with ``generic`` in all at once.

    Options may be SymPy symbols: then the order holds for all but special values of them.
    """
    where = None if generic else form or entry.form(options)
    resolved = bound(entry, options)
    q = entry.q
    graded, coefficient = step_order(entry, q, where, True, resolved)
    structure = _structure(entry, q, resolved)
    any_grid = graded
    if structure.memory or structure.clocks:
        any_grid, _ = step_order(entry, q, where, False, resolved)
    return OrderProof(
        graded,
        any_grid,
        plain_start(entry, q, where, resolved, graded),
        leading_error(graded + 1, coefficient, kernel_of(where, graded + 1)),
        structure.evaluations,
        structure.memory,
        structure.derivatives,
    )


@dataclass(frozen=True)
class StepProof:
    """One step of order parameter q with exact history."""

    order: int
    leading: LeadingError


def prove_step(
    entry: Entry,
    q: int | None,
    form: Form,
    *,
    graded: bool,
    uncorrected: bool = False,
    **options: Any,
) -> StepProof:
    """The step's order and leading error; on any grid the coefficients hold ratio1, ratio2, .. .

    ``uncorrected``: of the last step of a method that carries an evaluation, which ends with the
    row that was evaluated and is of one order less (but taken only once).
    """
    given = bound(entry, options)
    structure = _structure(entry, q, given)
    if uncorrected and structure.carries:
        for n in range(2, HIGHEST + 2):
            _, carried = defects(*over_series(entry, q, form, graded, n, given))
            assert carried is not None
            power = _leading(carried)
            if power is not None:
                kernel = kernel_of(form, power)
                error = leading_error(power, carried.v[power], kernel, structure.roots)
                return StepProof(power - 1, error)
    order, coefficient = step_order(entry, q, form, graded, given)
    kernel = kernel_of(form, order + 1)
    return StepProof(order, leading_error(order + 1, coefficient, kernel, structure.roots))


def order_at(entry: Entry, n: int, options: Mapping[str, Any], steps: int) -> int | None:
    """The order parameter of step n in a run from a plain start.

    What n earlier values allow; a ladder's own of that many steps.
    """
    if entry.q is None:
        return None
    if entry.ladder:
        return entry.ladder(steps, **entry.part(entry.ladder, options))[n]
    return _allowed(entry, n, entry.q, bound(entry, options))


def _allowed(entry: Entry, n: int, q: int, options: Mapping[str, Any]) -> int:
    """The largest order parameter that asks for n earlier values or fewer."""
    fits = [r for r in range(1, q + 1) if _structure(entry, r, options).memory <= n]
    if not fits:
        raise ValueError(
            f"q: got a {entry.name} that looks back at q = 1; only larger q are allowed to"
        )
    return max(fits)


def plain_start(
    entry: Entry, q: int | None, form: Form | None, options: Mapping[str, Any], order: int
) -> int:
    """With the warm-up: one step of order k is off by h^{k+1} once, so the whole is no better."""
    memory = _structure(entry, q, options).memory
    if q is None and memory:
        raise ValueError(
            f"q: got a {entry.name} without it; a function that looks back must take q"
        )
    for n in range(memory if q is not None else 0):
        r = _allowed(entry, n, q or 1, options)
        local, _ = step_order(entry, r, form, True, options)
        order = min(order, local + 1)
    return order
