r"""Rooted trees: the order conditions of Runge-Kutta methods, Φ(t) = 1/γ(t) for all trees t.

A tree is the sorted tuple of its root's subtrees; ``()`` is the single vertex.  With the tableau
that a weight function becomes at h L = 0, K = 1, one step is off by

    numerical − exact = Σ_t h^{|t|} (Φ(t) − 1/γ(t)) F(t)/σ(t),

F(t) the elementary differentials of a system y' = f(y).  This says nothing that ``theory.order``
does not prove up to order 4, and it says it by other means, so the two check each other.

Why scalar jets decide up to order 4 and no further: of F(t) a scalar non-autonomous problem keeps,
for every vertex with children, how many of them are leaves and how many are not.  Up to order 4
these data tell the trees apart.  At order 5 J₀J₁g₁ and J₁J₀g₁, that is [[τ,[τ]]] and [τ,[[τ]]],
become one number, so there are methods of order 5 for scalars and 4 for systems.

Source: Butcher 2016, "Numerical Methods for Ordinary Differential Equations", sections 300-318
(316: scalar problems).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import sympy

from solvers.advance import bind
from solvers.field import RATIONAL, Field, Scalar, total
from solvers.forms import NOISE_RHO
from solvers.gridstep import Uniform
from solvers.method import Entry, Weights, rows
from theory.fields import Poly
from theory.order import prove_order
from theory.proved import Finding, claim

Tree = tuple["Tree", ...]
LEAF: Tree = ()
HIGHEST = 5
"""Conditions are checked up to here: 17 trees."""


# --- trees --------------------------------------------------------------------------------------


def derivative(sum_of_trees: Counter[Tree]) -> Counter[Tree]:
    """d/dt along y' = f of Σ n F(t): a leaf is added to every vertex in turn."""
    out: Counter[Tree] = Counter()
    for t, n in sum_of_trees.items():
        for g in _grown(t):
            out[g] += n
    return out


def _grown(t: Tree) -> list[Tree]:
    inner = [_root(*t[:i], g, *t[i + 1 :]) for i, s in enumerate(t) for g in _grown(s)]
    return [_root(*t, LEAF), *inner]


def _root(*subtrees: Tree) -> Tree:
    return tuple(sorted(subtrees))


@cache
def trees(order: int) -> tuple[Tree, ...]:
    """All rooted trees with this many vertices: 1, 1, 2, 4, 9, .."""
    if order == 1:
        return (LEAF,)
    return tuple(sorted(derivative(Counter(trees(order - 1)))))


def order(t: Tree) -> int:
    """|t|, the number of vertices."""
    return 1 + sum(map(order, t))


def density(t: Tree) -> int:
    """γ(t) = |t| Π γ(subtrees)."""
    return order(t) * math.prod(map(density, t))


def symmetry(t: Tree) -> int:
    """σ(t) = Π m! σ(s)^m over the subtrees s, each m times there."""
    return math.prod(math.factorial(m) * symmetry(s) ** m for s, m in Counter(t).items())


def printed(t: Tree) -> str:
    """τ for the single vertex, [..] around the subtrees otherwise."""
    return f"[{','.join(map(printed, t))}]" if t else "τ"


def scalar_class(t: Tree) -> tuple[tuple[int, int], ...]:
    """(leaves, others) among the children of every vertex with children: what scalars see of t."""
    below = [v for s in t for v in scalar_class(s)]
    leaves = t.count(LEAF)
    return tuple(sorted([(leaves, len(t) - leaves), *below])) if t else ()


# --- tableaux -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tableau:
    """a_{ij}, b_j, c_i; the first stage is the start."""

    a: tuple[tuple[Scalar, ...], ...]
    b: tuple[Scalar, ...]
    c: tuple[Scalar, ...]
    F: Field

    def stage(self, i: int, t: Tree) -> Scalar:
        """Π_s Σ_j a_{ij} Φ_j(s) over the subtrees s."""
        one = self.F.lift(1)
        return math.prod((self._sum(self.a[i], s) for s in t), start=one)

    def weight(self, t: Tree) -> Scalar:
        """Φ(t) = Σ_i b_i Φ_i(t)."""
        return self._sum(self.b, t)

    def _sum(self, row: Sequence[Scalar], t: Tree) -> Scalar:
        terms = (w * self.stage(j, t) for j, w in enumerate(row))
        return total([self.F.lift(0), *terms])

    def defect(self, t: Tree) -> Scalar:
        """Φ(t) − 1/γ(t)."""
        return self.weight(t) - Fraction(1, density(t))

    @property
    def consistent(self) -> bool:
        """c_i = Σ_j a_{ij}: then autonomous problems decide."""
        sums = (total([self.F.lift(0), *row]) for row in self.a)
        return all(c == s for c, s in zip(self.c, sums, strict=True))

    @property
    def order(self) -> int:
        """The largest p whose trees all satisfy their condition, at most ``HIGHEST``."""
        broken = (p for p in range(1, HIGHEST + 1) for t in trees(p) if self.defect(t) != 0)
        return next(broken, HIGHEST + 1) - 1


def _weights(entry: Entry, F: Field, options: Mapping[str, Any]) -> Weights:
    q = {} if entry.q is None else {"q": entry.q}
    own = {k: bind(F, v) for k, v in entry.resolve(options).items()}
    return entry.fn(Uniform(F), **q, **own)


def tableau(entry: Entry, F: Field = RATIONAL, **options: Any) -> Tableau:
    """The tableau of a one-step method, read off its weight function at h L = 0 and K = 1."""
    w = _weights(entry, F, options)
    if w.memory or w.derivatives or w.carry is not None:
        raise ValueError(
            f"{entry.name}: got history or derivatives; a Runge-Kutta method has none"
        )

    def lifted(now: Sequence[Any]) -> tuple[Scalar, ...]:
        return tuple(F.lift(1) * x for x in now)

    a = ((), *(lifted(row.now) for row in w.stages))
    return Tableau(a, lifted(w.b.now), lifted([0, *(row.c for row in w.stages)]), F)


EXACT = Poly(["phi1_inf"], [])
"""Q(φ₁(∞)): the rational numbers and the registry's one irrational constant."""

Case = tuple[Entry, Mapping[str, Any]]


def one_step() -> list[Case]:
    """The rows of the table of orders that are Runge-Kutta methods."""
    found: list[Case] = []
    for e, variant in rows():
        w = _weights(e, EXACT, variant.options)
        if not w.memory and not w.derivatives and w.carry is None:
            found.append((e, variant.options))
    return found


# --- the same proved twice ----------------------------------------------------------------------


def differentials(word: Sequence[str]) -> Counter[Tree]:
    """A word in g_i and J_i as elementary differentials: J_i v hangs v on the root of D^i f."""
    head, *rest = word
    jet = Counter([LEAF])
    for _ in range(int(head[1:])):
        jet = derivative(jet)
    if head[0] == "g":
        return jet
    out: Counter[Tree] = Counter()
    for t, n in jet.items():
        for s, m in differentials(rest).items():
            out[_root(*t, s)] += n * m
    return out


@claim
def scalar_jets_suffice(*, highest: int = 4) -> Finding:
    """Up to order 4 scalar problems tell all trees apart; of the 9 trees of order 5 they see 8."""
    seen = {p: len({scalar_class(t) for t in trees(p)}) for p in range(1, 6)}
    apart = all(seen[p] == len(trees(p)) for p in range(1, highest + 1))
    merged = scalar_class(((LEAF, (LEAF,)),)) == scalar_class((LEAF, ((LEAF,),)))
    detail = ", ".join(f"order {p}: {n} of {len(trees(p))}" for p, n in seen.items())
    return apart and seen[5] == 8 and merged, detail


@claim
def orders_agree(*, read: Callable[..., Tableau] = tableau) -> Finding:
    """Trees and scalar series give every one-step method in ρ the same order."""
    found: list[str] = []
    same = True
    for e, options in one_step():
        by_trees = read(e, EXACT, **options)
        by_series = prove_order(e, NOISE_RHO, **options).graded
        same = same and by_trees.consistent and by_trees.order == by_series <= 4
        found.append(f"{e.name} {by_trees.order}/{by_series}")
    return same, ", ".join(found)


@claim
def leading_errors_agree(*, read: Callable[..., Tableau] = tableau) -> Finding:
    """For orders up to 3, Σ c word of the series is Σ (Φ − 1/γ)/σ F of the trees, term by term."""
    compared = 0
    for e, options in one_step():
        by_trees, leading = (
            read(e, EXACT, **options),
            prove_order(e, NOISE_RHO, **options).leading,
        )
        if leading.power > 4:
            continue
        by_series: dict[Tree, Any] = dict.fromkeys(trees(leading.power), 0)
        for word, c in leading.terms:
            for t, n in differentials(word).items():
                by_series[t] += c * n
        for t, c in by_series.items():
            defect = by_trees.defect(t).v.as_expr()
            if sympy.simplify(c - defect / symmetry(t)) != 0:
                return False, f"{e.name} {dict(options)}: {printed(t)} has {c}"
        compared += len(by_series)
    return compared > 0, f"{compared} trees compared"


CLAIMS = (scalar_jets_suffice, orders_agree, leading_errors_agree)
