r"""The weak order of a stochastic method on Gaussian data, proved over exact series.

There N = A(τ) y + .. is linear (y = χ u, as in ``theory.jets``), y' = κ N with noise of variance
∫S, and second moments close:

    V' = 2κA V + S,     Ψ' = κA Ψ,     Cov(y(c), y(d)) = V(c) Ψ(d)/Ψ(c)  for c before d.

The rows of a step are linear forms in y₀, y₋₁, .. and the step's noise.  From the exact joint law
the update's variance is off by h^a, and what later steps look back at, the covariances with
earlier states and the moments of a kept evaluation's state, by h^b.  Only the first error is
passed on; the others are made anew in each step and enter the next variance multiplied by h.  The
mean follows the drift's scheme, of order p.  So the weak order is min(p, a − 1, b) or more.

A, S, V and κ are symbols: this holds for all Gaussian data, forms, schedules and amounts of noise.
A rule that adds noise between steps keeps every marginal exactly, of any data; there S = 0.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from solvers.advance import bind
from solvers.field import Scalar, total
from solvers.float64 import FLOAT64
from solvers.method import Entry, Row, entry
from solvers.weights import Weight, Weights
from theory.jets import JetStep
from theory.order import bound, over_series, prove_order
from theory.proved import Finding, claim

Linear = list[Scalar]
"""Coefficients of y₀, y₋₁, .. and of the step's noise."""
LONG, SHORT = 1000, Fraction(1, 1000)
"""Number and relative size of the steps at which noise rules are looked at."""
THIRD = ("er_sde_3", "sde_dpm_solver_pp_3m", "sa_solver_2", "sa_solver_3")
"""Methods whose drift has order 3 or 4."""


@dataclass(frozen=True)
class WeakProof:
    """What was proved of one method."""

    order: int
    """min(mean, variance, looked_back)."""
    mean: int
    """p."""
    variance: int
    """a − 1, no more than p; 0 if noise between steps does not keep the marginals."""
    looked_back: int
    """b, no more than p."""


@dataclass(frozen=True, eq=False)
class Process:
    """The exact moments around one step, as series in its h."""

    step: JetStep
    noise: bool

    def _taylor(self, terms: Sequence[Scalar]) -> Scalar:
        """Σ terms_m z^m/m!."""
        return self.step.F.series([x / math.factorial(m) for m, x in enumerate(terms)])

    def _named(self, letter: str) -> Scalar:
        return self._taylor([self.step.symbol(s) for s in named(letter, self.step.F.n)])

    @cached_property
    def slope(self) -> Scalar:
        """A."""
        return self._named("A")

    @cached_property
    def gained(self) -> Scalar:
        """∫₀ S."""
        F = self.step.F
        return F.integrate(self._named("S"), F.zero) if self.noise else F.lift(0)

    @cached_property
    def transfer(self) -> Scalar:
        """Ψ, from the start of the step."""
        F = self.step.F
        kappa = self._taylor([self.step.named(s).v[0] for s in self.step.kernel.kappa])
        psi = F.lift(1)
        for _ in range(F.n):
            psi = F.integrate(self.slope * kappa * psi, F.one)
        return psi

    @cached_property
    def variance(self) -> Scalar:
        """V = Ψ² (V(0) + ∫₀ S/Ψ²)."""
        F, square = self.step.F, self.transfer * self.transfer
        density = self._named("S") / square if self.noise else F.lift(0)
        return square * F.integrate(density, self.step.symbol("V"))

    def at(self, f: Scalar, c: Weight) -> Scalar:
        """A function of time at the fraction c of the step."""
        return self.step.F.compose(f, self.step.h * c)

    @cached_property
    def nodes(self) -> list[Weight]:
        """Where y₀, y₋₁, .. lie."""
        return [0, *(self.step.past(j) for j in range(1, self.step.nodes.memory + 1))]

    def joint(self, i: int, j: int) -> Scalar:
        """Cov(y_{−i}, y_{−j}); after the last of them comes the step's noise."""
        older, newer = max(i, j), min(i, j)
        if older < len(self.nodes):
            c, d = self.nodes[older], self.nodes[newer]
            passed_on = self.at(self.transfer, d) / self.at(self.transfer, c)
            return self.at(self.variance, c) * passed_on
        return self.at(self.gained, 1) if i == j else self.step.F.lift(0)

    def covariance(self, x: Linear, y: Linear) -> Scalar:
        """Of two linear forms."""
        return total(a * b * self.joint(i, j) for i, a in enumerate(x) for j, b in enumerate(y))

    def unit(self, i: int) -> Linear:
        """y_{−i}."""
        return [self.step.F.lift(int(i == j)) for j in range(len(self.nodes) + 1)]

    def rows(self, w: Weights) -> Iterator[Linear]:
        """The results of the stages and of the update."""
        past = [self._times(x, self.unit(j)) for j, x in enumerate(self.nodes)]
        now, back = past[:1], past[1:]
        for row in w.rows:
            y = self._row(row, now, back)
            now.append(self._times(row.c, y))
            yield y

    def _times(self, c: Weight, y: Linear) -> Linear:
        """N at c."""
        return [self.at(self.slope, c) * a for a in y]

    def _row(self, row: Row, now: Sequence[Linear], back: Sequence[Linear]) -> Linear:
        if row.noise != 0 and row.c != 1:
            raise ValueError(f"c: got {row.c} in a row with noise; 1, the step's end, is allowed")
        factor, y = self.step.h / self.step.xi(row.c), self.unit(0)
        terms = [*zip(row.now, now, strict=False), *zip(row.past, back, strict=False)]
        for weight, N in terms:
            y = [a + factor * weight * b for a, b in zip(y, N, strict=True)]
        return [*y[:-1], y[-1] + row.noise]


def named(letter: str, n: int) -> list[str]:
    """Symbols of a function's derivatives."""
    return [f"{letter}{m}" for m in range(n + 1)]


def prove_weak_order(e: Entry, **options: Any) -> WeakProof:
    """On Gaussian data, on grids whose step ratios tend to 1."""
    mean = prove_order(e, **options).graded
    variance, looked_back = mean, mean
    for n in range(2, mean + 2):  # the lowest errors are found first
        variance, looked_back = (min(mean, x) for x in lowest(e, n, bound(e, options)))
        if max(variance, looked_back) < n:
            break
    if not keeps_marginals(e, options):
        variance = 0
    return WeakProof(min(variance, looked_back), mean, variance, looked_back)


def lowest(e: Entry, n: int, options: Mapping[str, Any]) -> tuple[int, int]:
    """a − 1 and b, from series up to h^n; n where no error shows."""
    more = [*named("A", n), *named("S", n), "V"]
    step, w = over_series(e, e.q, None, True, n, options, more)
    process = Process(step, noise=any(row.noise != 0 for row in w.rows))
    *stages, update = process.rows(w)
    kept = [stages[w.carry - 1]] if w.carry else []
    a = off(process.covariance(update, update) - process.at(process.variance, 1))
    b = [off(x) for x in later(process, update, kept)]
    return a - 1, min(b, default=n)


def later(process: Process, update: Linear, kept: Sequence[Linear]) -> Iterator[Scalar]:
    """Errors of the moments, beside the variance, that later steps use."""
    if not kept and len(process.nodes) == 1:
        return
    whole = process.at(process.transfer, 1)
    for y in (update, *kept):
        for j in range(len(process.nodes)):
            yield process.covariance(y, process.unit(j)) - whole * process.joint(0, j)
    for x in kept:
        for y in (update, x):
            yield process.covariance(x, y) - process.at(process.variance, 1)


def off(x: Scalar) -> int:
    """The power of h at which a series begins, one more than its last if it is zero."""
    return next((k for k, c in enumerate(x.v) if c.v), len(x.v))


def keeps_marginals(e: Entry, options: Mapping[str, Any]) -> bool:
    """Whether the noise rule, if any, adds what the raised level asks for: a scale of 1."""
    if e.renoise is None:
        return True
    own = {k: bind(FLOAT64, v) for k, v in e.part(e.renoise, options).items()}
    levels = [FLOAT64.lift(Fraction(2) ** k) for k in range(-12, 13)]
    return all(e.renoise(x, x * (1 - SHORT), LONG, **own)[2] == 1 for x in levels)


@claim
def weak_order_stops_at_two(*, names: Sequence[str] = THIRD) -> Finding:
    """Higher drift schemes stay at weak order 2: they see a step's noise at its ends alone."""
    proofs = {name: prove_weak_order(entry(name)) for name in names}
    detail = ", ".join(f"{name} {p.order} (drift {p.mean})" for name, p in proofs.items())
    return all((p.order, p.variance) == (2, 2) and p.mean > 2 for p in proofs.values()), detail


@claim
def wrong_noise_never_converges(*, factor: Fraction = Fraction(101, 100)) -> Finding:
    """Noise that is off by a constant factor, S_noise = 1.007 of EDM's churn included: order 0."""
    names = ["er_sde_1", "sde_dpm_solver_pp_2m", "sa_solver_2"]
    found = {name: prove_weak_order(louder(entry(name), factor)).order for name in names}
    stirred = {"s_churn": 4, "s_noise": float(factor)}
    found["edm_churn"] = prove_weak_order(entry("edm_churn"), **stirred).order
    return not any(found.values()), str(found)


def louder(e: Entry, factor: Fraction) -> Entry:
    """The method with its noise multiplied."""

    @functools.wraps(e.fn)
    def changed(*args: Any, **options: Any) -> Weights:
        w = e.fn(*args, **options)
        rows = [replace(row, noise=row.noise * factor) for row in w.rows]
        return replace(w, stages=tuple(rows[:-1]), b=rows[-1])

    return replace(e, fn=changed)


CLAIMS = (weak_order_stops_at_two, wrong_noise_never_converges)
