r"""The exact order of a weight function.

``prove_order`` evaluates the function itself, over exact series in h, on the generic problem of
``theory.jets``.  The order p is the power at which the defect of one step with exact history,
c_{p+1} h^{p+1} + .., is not identically zero; the claim is never read.  Scalar problems decide for
systems up to order 4 (with L a multiple of the identity): the words in g, J, H that a defect
contains up to h^4, g₃, J₀g₂, J₁g₁, J₀J₀g₁, need no commutation.  From h^5 on J₀J₁g₁ and J₁J₀g₁
merge, so order 5 needs rooted trees (Butcher, Numerical Methods for ODEs, section 316).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy

from solvers.field import Scalar, total
from solvers.float64 import FLOAT64, Float64
from solvers.forms import Form
from solvers.gridstep import Uniform
from solvers.method import Entry, Weights
from solvers.plan import weights
from theory.fields import ring
from theory.jets import JetStep, Kernel, Nodes, kernel_of, symbols_of

HIGHEST = 6
"""Orders are sought up to here."""


@dataclass(frozen=True)
class LeadingError:
    """Σ coefficient × word: the factor of h^{p+1} in numerical − exact, words in N and its derivatives."""

    power: int
    terms: tuple[tuple[str, sympy.Expr], ...]

    def __str__(self) -> str:
        parts = []
        for word, coefficient in self.terms:
            text = str(coefficient)
            parts.append(f"({text}) {word}" if coefficient.is_Add else f"{text} {word}")
        return f"h^{self.power} [{' + '.join(parts)}]".replace("+ -", "- ")


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


class _Recorder(Float64):
    """Notes the irrational constants a function asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def irrational(self, name: str, value: Any) -> Scalar:
        self.names.add(name)
        return super().irrational(name, value)


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
    carry: int | None
    parameters: tuple[str, ...]
    clocks: tuple[str, ...]


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
    return _Structure(w.memory, evaluations, w.carry, names, tuple(sorted(probe.clocks)))


def _jets(
    entry: Entry,
    q: int | None,
    form: Form | None,
    graded: bool,
    n: int,
    options: Mapping[str, Any],
) -> tuple[JetStep, Weights]:
    """The step and the method's weights over series up to h^n."""
    s = _structure(entry, q, options)
    kernel: Kernel = kernel_of(form, n)
    nodes = Nodes(graded, s.memory, s.clocks)
    F = ring([*s.parameters, *nodes.parameters()], symbols_of(kernel, nodes, n), n)
    step = JetStep(F, kernel, nodes)
    bound = {
        k: F.series([step.symbol(str(v))]) if isinstance(v, sympy.Symbol) else v
        for k, v in options.items()
    }
    fixed = {k: F.number(v) if isinstance(v, float) else v for k, v in bound.items()}
    return step, entry.fn(step, **({} if q is None else {"q": q}), **fixed)


def _defects(
    step: JetStep, w: Weights, stale: Scalar | None = None
) -> tuple[Scalar, Scalar | None]:
    """Defects of the update and of the carried row; ``stale`` is the error of kept evaluations' states."""
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
        step, w = _jets(entry, q, form, graded, n, options)
        update, carried = _defects(step, w)
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
            update, _ = _defects(step, w, off)
            return reach - 1, update.v[reach]
    raise ArithmeticError(
        f"{entry.name}: no defect up to h^{HIGHEST + 1}; the order is above {HIGHEST}"
    )


def prove_order(
    entry: Entry, form: Form | None = None, *, generic: bool = False, **options: Any
) -> OrderProof:
    """The order of a method, in its own form, in another one, or with ``generic`` in all at once.

    Options may be SymPy symbols: then the order holds for all but special values of them.
    """
    where = (
        None
        if generic
        else form or entry.form({k: v for k, v in options.items() if isinstance(v, str)})
    )
    own = {k: v for k, v in options.items() if not isinstance(v, sympy.Symbol)}
    free = {k: v for k, v in options.items() if isinstance(v, sympy.Symbol)}
    for key, value in free.items():
        if key not in entry.options:
            raise ValueError(
                f"options.{key}: got {value!r}; {entry.name} takes {', '.join(entry.options)}"
            )
    resolved = {**entry.resolve(own), **free}
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
        LeadingError(graded + 1, words(coefficient, kernel_of(where, graded + 1))),
        structure.evaluations,
        structure.memory,
    )


def plain_start(
    entry: Entry, q: int | None, form: Form | None, options: Mapping[str, Any], order: int
) -> int:
    """With the warm-up: one step of order k is off by h^{k+1} once, so the whole is no better."""
    if q is None:
        return order
    for n in range(_structure(entry, q, options).memory):
        r = max(r for r in range(1, q + 1) if _structure(entry, r, options).memory <= n)
        local, _ = step_order(entry, r, form, True, options)
        order = min(order, local + 1)
    return order


NAMES = {"g": "N", "J": "N_u", "H": "N_uu", "Q": "N_uuu"}


def words(coefficient: Scalar, kernel: Kernel) -> tuple[tuple[str, sympy.Expr], ...]:
    """The polynomial grouped by words in N; kernel and grid symbols go to the coefficients.

    J_i here is a derivative of N_y = N_u ξ along the flow; at L ≠ 0 it is rewritten in N_u's.
    """
    expression = coefficient.v.as_expr()
    jets = sorted(
        (s for s in expression.free_symbols if s.name[0] in NAMES and s.name[1:].isdigit()),
        key=lambda s: s.name,
    )
    expression = expression.subs(_unwhiten(jets, kernel), simultaneous=True)
    poly = sympy.Poly(expression, *jets) if jets else None
    if poly is None:
        return (("1", expression),)
    out = []
    for powers, c in poly.terms():
        letters = [_word(s.name) for s, e in zip(jets, powers, strict=True) for _ in range(e)]
        out.append(
            (" ".join(sorted(letters, key=lambda t: (-len(t.split("_")), t))), sympy.factor(c))
        )
    return tuple(sorted(out, key=lambda t: (len(t[0].split()), t[0])))


def _word(name: str) -> str:
    """g2 -> N'', J1 -> (N_u)'."""
    base, i = NAMES[name[0]], int(name[1:])
    return base + "'" * i if name[0] == "g" or not i else f"({base})" + "'" * i


def _unwhiten(jets: list[sympy.Symbol], kernel: Kernel) -> dict[sympy.Symbol, sympy.Expr]:
    """J_k = Σ binomial(k, i) ξ_{k−i} (N_u)^{(i)}, since ∂/∂y = ξ ∂/∂u; likewise for H with ξ²."""
    xi = [sympy.Symbol(x) if isinstance(x, str) else sympy.Integer(x) for x in kernel.xi]
    out = {}
    for s in jets:
        order = "gJHQ".index(s.name[0])
        k = int(s.name[1:])
        if order == 0 or k == 0:
            continue
        series = [sympy.Integer(1)] + [sympy.Integer(0)] * k
        for _ in range(order):
            series = [
                sum(sympy.binomial(m, i) * xi[m - i] * series[i] for i in range(m + 1))
                for m in range(k + 1)
            ]
        out[s] = sum(
            sympy.binomial(k, i) * series[k - i] * sympy.Symbol(f"{s.name[0]}{i}")
            for i in range(k + 1)
        )
    return out


__all__ = [
    "FLOAT64",
    "LeadingError",
    "OrderProof",
    "plain_start",
    "prove_order",
    "step_order",
    "total",
    "words",
]
