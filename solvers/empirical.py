r"""The form of DPM-Solver-v3: statistics of the model say what is linear in it and how it drifts.

    u = x/α, τ = λ:    u' = −l u − f,    f = e^{−λ} ε − l u,    N = e^{−S} (f − M),

so L = −l, K = −e^S and G = −M, for any functions l, S and M of λ, one value a coordinate.  With
S = ∫s and M' = s M + b the derivative N' = e^{−S} (f' − s f − b) is small where s and b are the
regression of f' on f.  The paper's g, anchored at λ_s, is e^{S_s} (N + a constant); here the
constants of both integrals are chosen once, so nothing is ever re-anchored.

Source: Zheng et al. 2023, "DPM-Solver-v3", whose f, g, l, s and b these are; M = e^S ∫e^{−S} b.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Protocol, Self

from solvers.each import vector
from solvers.field import Exact, Scalar, total
from solvers.form import KernelForm, Reading, quadrature
from solvers.forms import Fitted, Statistics
from solvers.options import Option
from solvers.point import Point

Function = Callable[[Point], Scalar]
"""Of λ: a number, or one a coordinate."""
Rule = list[tuple[Scalar, Scalar]]
"""Nodes and weights in λ."""


class ModelStatistics(Protocol):
    """What the form asks of l, L = ∫l, S and M, and where it may ask."""

    @property
    def l(self) -> Function:
        """What f leaves out of e^{−λ} ε, a multiple of u."""
        ...

    @property
    def L(self) -> Function:
        """Its integral; the constant does not matter."""
        ...

    @property
    def S(self) -> Function:
        """log of the scale of f's residual."""
        ...

    @property
    def M(self) -> Function:
        """What is taken from f."""
        ...

    def places(self, points: tuple[Point, ...]) -> tuple[Point, ...]:
        """The nodes of a run, moved where they must lie."""
        ...

    def rule(self, start: Point, end: Point) -> Rule:
        """The quadrature of a step."""
        ...


class Source(Protocol):
    """Statistics that have not been integrated: a table, or a closed form."""

    def integrated(self, how: str) -> ModelStatistics:
        """By the option ``integrals``: "accurate" or "table"."""
        ...


def no_table() -> NoReturn:
    """What statistics without nodes say to integrals="table"."""
    raise ValueError(
        "options.integrals: got 'table'; 'accurate' is allowed with statistics that are no table"
    )


class Smoothly:
    """Where functions are known everywhere."""

    def integrated(self, how: str) -> Self:
        """Itself."""
        return self if how == "accurate" else no_table()

    def places(self, points: tuple[Point, ...]) -> tuple[Point, ...]:
        """Where they are."""
        return points

    def rule(self, start: Point, end: Point) -> Rule:
        """Gauss's; the schedule's knots are none of theirs."""
        return quadrature(start, end, ())


@dataclass(frozen=True)
class Matched(Smoothly):
    """Of the Gaussian with the data's moments: l = ρ²/(v+ρ²), s = 0, M = E f = −l m.

    Its f does not depend on x, so every s is as good; zero is the guard's choice.
    """

    moments: Statistics

    def l(self, p: Point) -> Scalar:
        """ρ²/(v+ρ²)."""
        square = p.rho * p.rho
        return square / (vector(p.F, self.moments.variances) + square)

    def L(self, p: Point) -> Scalar:
        """−½ log(v+ρ²)."""
        spread = vector(p.F, self.moments.variances) + p.rho * p.rho
        return spread.F.log(spread) / -2

    def S(self, p: Point) -> Scalar:
        """0."""
        return p.F.lift(0)

    def M(self, p: Point) -> Scalar:
        """−l m."""
        return -self.l(p) * vector(p.F, self.moments.mean)


@dataclass(frozen=True)
class Fading(Matched):
    """The same with S = log l: s falls from 0 in noise to −2 in data, as for smooth laws."""

    def S(self, p: Point) -> Scalar:
        """log l."""
        l = self.l(p)
        return l.F.log(l)


@dataclass(frozen=True)
class Constant(Smoothly):
    """Constant l and s, b = 0: (1, 0) is data prediction, (0, −1) noise prediction."""

    linear: Exact
    drift: Exact

    def l(self, p: Point) -> Scalar:
        """The number l."""
        return p.F.lift(self.linear)

    def L(self, p: Point) -> Scalar:
        """The product l λ."""
        return p.lam * self.linear

    def S(self, p: Point) -> Scalar:
        """The product s λ."""
        return p.lam * self.drift

    def M(self, p: Point) -> Scalar:
        """0."""
        return p.F.lift(0)


DATA, NOISE = Constant(1, 0), Constant(0, -1)


@dataclass(frozen=True)
class Empirical(Fitted, KernelForm):
    """u = x/α, τ = λ, L = −l, K = −e^S, N = e^{−S}(e^{−λ} ε − l u − M), G = −M; a coordinate."""

    options: ClassVar[tuple[Option, ...]] = (
        Option("integrals", "accurate", ("accurate", "table"), "choice", per_step=False),
    )

    integrals: str = "accurate"

    def with_statistics(self, statistics: Any) -> Self:
        """For these; the data's moments alone stand for their Gaussian's."""
        source = Matched(statistics) if isinstance(statistics, Statistics) else statistics
        return super().with_statistics(source.integrated(self.integrals))

    def places(self, points: tuple[Point, ...]) -> tuple[Point, ...]:
        """The nodes where the statistics hold; a point with α = 0 is left out."""
        first = int(points[0].silent)
        return (*points[:first], *self._known.places(points[first:]))

    @property
    def _known(self) -> ModelStatistics:
        return self.needed("model statistics")

    def scale(self, p: Point) -> Scalar:
        """α."""
        return p.alpha

    def read(self, p: Point) -> Reading:
        """N = e^{−S} (ρ ε − l u − M)."""
        known, S = self._known, self._known.S(p)
        unit = S.F.exp(-S)
        return Reading("noise", -unit * known.l(p), unit * p.rho, -unit * known.M(p))

    def coefficients(self, p: Point) -> tuple[Scalar, Scalar, Scalar]:
        """(−l, −e^S, −M)."""
        return -self._known.l(p), self.kernel(p), -self._known.M(p)

    def transfer(self, p: Point, end: Point) -> Scalar:
        """e^{L(p) − L(end)}."""
        gained = self._known.L(p) - self._known.L(end)
        return gained.F.exp(gained)

    def kernel(self, p: Point) -> Scalar:
        """−e^S."""
        S = self._known.S(p)
        return -S.F.exp(S)

    def rule(self, start: Point, end: Point) -> Rule:
        """That of the statistics."""
        return self._known.rule(start, end)

    def force(self, c: Scalar, start: Point, h: Scalar) -> Scalar:
        """γ(c) = −∫ e^{L − L_end} M dλ/h."""
        end, M = self.end(c, start, h), self._known.M
        nodes = [
            (Point(start.schedule, start.F, "lam", lam), w) for lam, w in self.rule(start, end)
        ]
        return -total(self.transfer(p, end) * M(p) * w for p, w in nodes) / h


EMS = Empirical("EMS", "lam")
