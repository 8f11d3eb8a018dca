r"""Canonical forms of the probability-flow ODE:  u'(τ) = L(τ) u + K(τ) N(τ, u) + G(τ).

With χ(τ) = exp(−∫L), the exact update over the fraction c of a step h is

    u(c) = φ₀(c) u + h Σ_k h^k c^{k+1} φ_{k+1}(c) N^{(k)} + h γ(c),     φ₀(c) = χ(τ_n)/χ(τ_n+ch),
    φ_k(c) = c^{−k} ∫₀ᶜ [χ(τ_n+θh)/χ(τ_n+ch)] K(τ_n+θh) θ^{k−1}/(k−1)! dθ,
    γ(c) = ∫₀ᶜ [χ(τ_n+θh)/χ(τ_n+ch)] G(τ_n+θh) dθ.

A method sees φ_k(c) only.  For constant L and K = 1 they are φ_k(c h L); elsewhere they are
integrals in λ, split at the schedule's knots and where an interval is longer than 2.
``docs/notation.md`` has the letters, ``solvers.forms`` the table, ``theory.forms`` its proofs.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from solvers.field import Field, Scalar, total
from solvers.options import Option
from solvers.point import Point
from solvers.schedules import Schedule

Prediction = Literal["noise", "data"]
Moments = Callable[[int], Scalar]
"""k -> φ_k(c) of one step and one c."""

PANEL = 2
"""Longest panel of the quadrature in λ: the integrands are analytic within π/2 of the axis."""


@dataclass(frozen=True)
class Reading:
    """N = u_weight u + p_weight P + constant, where P is the model's noise or data prediction."""

    kind: Prediction
    u_weight: Scalar
    p_weight: Scalar
    constant: Scalar


@dataclass(frozen=True)
class Form(ABC):
    """What a form is: a clock, x = scale u + shift, N from the model, and its φ-functions."""

    options: ClassVar[tuple[Option, ...]] = ()
    """What a caller may set."""

    name: str
    clock: str

    def with_options(self, **values: Any) -> Self:
        """The form with these options."""
        return replace(self, **values)

    def places(self, points: tuple[Point, ...]) -> tuple[Point, ...]:
        """The nodes of a run, moved to where the form is known."""
        return points

    def tau(self, p: Point) -> Scalar:
        """The clock at p: t, ρ, λ, the ratio 1/ρ, or log ρ."""
        return clock(self.clock, p)

    def point(self, schedule: Schedule, F: Field, tau: Scalar) -> Point:
        """The inverse of ``tau``."""
        return place(self.clock, schedule, F, tau)

    @abstractmethod
    def scale(self, p: Point) -> Scalar:
        """x = scale u + shift."""

    def shift(self, p: Point) -> Scalar:
        """x = scale u + shift."""
        return p.F.lift(0)

    @abstractmethod
    def read(self, p: Point) -> Reading:
        """N from the state and the model's prediction at p."""

    @abstractmethod
    def coefficients(self, p: Point) -> tuple[Scalar, Scalar, Scalar]:
        """L, K and G at p."""

    @abstractmethod
    def moments(self, c: Scalar, start: Point, h: Scalar) -> Moments:
        """k -> φ_k(c) of the step h that begins at ``start``."""

    def force(self, c: Scalar, start: Point, h: Scalar) -> Scalar:
        """γ(c)."""
        return start.F.lift(0)

    def deviation(self, c: Scalar, start: Point, h: Scalar) -> Scalar:
        """Standard deviation of u(c) from the form's own noise; 0 for an ODE."""
        return start.F.lift(0)

    def end(self, c: Scalar, start: Point, h: Scalar) -> Point:
        """The point at the fraction c."""
        return self.point(start.schedule, start.F, self.tau(start) + c * h)


def clock(name: str, p: Point) -> Scalar:
    """The value of the named clock at p."""
    if name == "snr":
        return p.F.exp(p.lam)
    return -p.lam if name == "log_rho" else getattr(p, name)


def place(name: str, schedule: Schedule, F: Field, value: Scalar) -> Point:
    """The point where the named clock has this value."""
    if name in ("t", "rho", "lam"):
        return Point(schedule, F, name, value)
    return Point(schedule, F, "lam", F.log(value) if name == "snr" else -value)


@dataclass(frozen=True)
class KernelForm(Form):
    """L, K functions of the clock: φ_k by quadrature in λ."""

    @abstractmethod
    def transfer(self, p: Point, end: Point) -> Scalar:
        """χ(p)/χ(end) = exp ∫_p^end L dτ."""

    @abstractmethod
    def kernel(self, p: Point) -> Scalar:
        """K dτ/dλ."""

    def rule(self, start: Point, end: Point) -> list[tuple[Scalar, Scalar]]:
        """Nodes and weights in λ of the integrals over a step."""
        return quadrature(start, end)

    def moments(self, c: Scalar, start: Point, h: Scalar) -> Moments:
        """∫ [χ(p)/χ(end)] K θ^{k−1}/(k−1)! dτ over the step, in λ, divided by c^k h."""
        F, end, tau = start.F, self.end(c, start, h), self.tau(start)
        nodes: list[tuple[Scalar, Scalar]] = []
        for lam, weight in self.rule(start, end):
            p = Point(start.schedule, F, "lam", lam)
            density = self.transfer(p, end) * self.kernel(p) * weight
            nodes.append(((self.tau(p) - tau) / h, density))

        def phi(k: int) -> Scalar:
            if k == 0:
                return self.transfer(start, end)
            moment = total(density * fraction ** (k - 1) for fraction, density in nodes)
            return moment / (c**k * h * math.factorial(k - 1))

        return phi


def root(x: Scalar) -> Scalar:
    """√x in the field of x, which may be one value per coordinate."""
    return x.F.sqrt(x)


def quadrature(
    start: Point, end: Point, knots: Iterable[float] | None = None
) -> list[tuple[Scalar, Scalar]]:
    """Gauss-Legendre nodes and weights in λ from start to end, on the pieces of ``panels``."""
    pieces = itertools.pairwise(panels(start, end, knots))
    return [node for a, b in pieces for node in start.F.rule(a, b)]


def panels(start: Point, end: Point, knots: Iterable[float] | None = None) -> list[Scalar]:
    """λ from start to end, cut at the knots between and into pieces of length 2 at most.

    The knots are the schedule's unless others are given.
    """
    F, a, b = start.F, start.lam, end.lam
    low, high = sorted((float(a), float(b)))
    knots = start.schedule.knots if knots is None else knots
    cuts = sorted(k for k in knots if low + 1e-12 < k < high - 1e-12)
    stops = [a, *(F.number(k) for k in (cuts if a < b else reversed(cuts))), b]
    out = [a]
    for p, q in itertools.pairwise(stops):
        n = max(1, math.ceil(abs(float(q) - float(p)) / PANEL))
        out += [p + (q - p) * i / n for i in range(1, n)] + [q]
    return out
