"""What a weight function sees of a step, and what it returns: rows of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from solvers.field import Exact, Field, Scalar, total

Weight = Scalar | Exact


class Step(Protocol):
    """All that a method may know about one step, made by a plan or by the prover.

    Fractions c and θ are of the step h in the form's clock; 0 is its start, 1 its end.
    """

    @property
    def F(self) -> Field:
        """Whose scalars the weights are."""
        ...

    @property
    def index(self) -> int:
        """Of this step, from 0."""
        ...

    @property
    def steps(self) -> int:
        """Of the whole grid."""
        ...

    def phi(self, k: int, c: Weight = 1) -> Scalar:
        """φ_k(c) of the form."""
        ...

    def time(self, c: Weight = 1) -> float | None:
        """The schedule's t at c, for rules that choose by it; None in a proof."""
        ...

    def past(self, j: int) -> Scalar:
        """(τ_{n−j} − τ_n)/h, negative."""
        ...

    def ratio(self, j: int = 1, clock: str | None = None) -> Scalar:
        """h_{n−j}/h_n, in the form's clock or in the named one."""
        ...

    def at(self, fraction: Weight, clock: str) -> Scalar:
        """The fraction c of the point that lies at this fraction in the named clock."""
        ...


@dataclass(frozen=True)
class Row:
    """u(c) = φ₀(c) u + h [Σ now_j N_j + Σ past_j N_{−j} + Σ d_k h^k N^{(k)}]."""

    now: tuple[Any, ...] = ()
    """Weights of this step's evaluations N₀, N₁, ..."""
    past: tuple[Any, ...] = ()
    """Weights of N₋₁, N₋₂, ..."""
    d: tuple[Any, ...] = ()
    """Weights of h^k N^{(k)} at the start, k = 1, 2, ..."""
    c: Any = 1
    """Where the result lies."""
    noise: Any = 0
    """Multiple of the form's exact noise deviation over [0, c]; one ξ a step."""


@dataclass(frozen=True)
class Weights:
    """One step: the stages, whose results are evaluated in order, and the update."""

    b: Row
    stages: tuple[Row, ...] = ()
    carry: int | None = None
    """This evaluation (1 = first stage) is the next step's N₀; None: evaluate at the new point."""
    low: Row | None = None
    """Embedded update of lower order."""
    consistent: bool = True
    """Whether every row integrates a constant N exactly; False only as published."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Stages, then the update."""
        return (*self.stages, self.b)

    @property
    def memory(self) -> int:
        """Past evaluations used."""
        return max(len(row.past) for row in self.rows)

    @property
    def derivatives(self) -> int:
        """Total derivatives used."""
        return max(len(row.d) for row in self.rows)


def lagrange(F: Field, nodes: Sequence[Weight]) -> list[list[Weight]]:
    """Coefficients, constant first, of the polynomials ℓ_j with ℓ_j(x_m) = [j = m]."""
    bases: list[list[Weight]] = []
    for j, xj in enumerate(nodes):
        basis: list[Weight] = [F.lift(1)]
        for m, xm in enumerate(nodes):
            if m != j:
                scale = 1 / (F.lift(1) * (xj - xm))
                up, stay = [0, *basis], [*(b * xm for b in basis), 0]
                basis = [(p - q) * scale for p, q in zip(up, stay, strict=True)]
        bases.append(basis)
    return bases


def interpolate(s: Step, c: Weight, nodes: Sequence[Weight]) -> tuple[Scalar, ...]:
    """∫₀ᶜ of the polynomial with N_j at x_j, ``nodes``:  Σ b_j x_j^k = k! c^{k+1} φ_{k+1}(c).

    Exact for N polynomial of degree < len(nodes) in the form's clock (Lagrange's basis).
    """
    moments = [s.phi(k + 1, c) * c ** (k + 1) * math.factorial(k) for k in range(len(nodes))]
    return tuple(
        total(b * moment for b, moment in zip(basis, moments, strict=True))
        for basis in lagrange(s.F, nodes)
    )
