r"""Generic right-hand sides along their exact flow: the symbols in which orders are proved.

With y = χ u the form u' = L u + K N + G becomes y' = κ(τ) N (G's contribution is exact and drops
out), κ = χ K, and the exact solution is y(c) = y + h Σ_k h^k c^{k+1} m_{k+1}(c) N^{(k)}, where m_k
are the moments of κ.  Off the flow, at distance δ,

    N(τ_n + ch, y(c) + δ) = Σ_i (ch)^i/i! [ g_i + J_i δ + H_i δ²/2 + Q_i δ³/6 + .. ],

g_i, J_i, H_i, Q_i the i-th total derivatives of N, N_y, N_yy, N_yyy along the flow.  For a general
scalar non-autonomous problem these are algebraically independent: each brings in a new jet of N.
So an identity in them is an identity for all smooth problems (scalar ones; for systems see
``theory.order``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from typing import Any

from solvers.field import Exact, Scalar, total
from solvers.form import Form
from solvers.forms import ConstantForm, NoiseT, Whitened
from solvers.riemann import LeftSum
from solvers.series import Series
from solvers.stochastic import ER
from solvers.weights import Row, Weight

LETTERS = "gJHQ"
"""N and its derivatives with respect to y."""


def jet_symbols(n: int) -> list[str]:
    """Those that can reach h^n: δ is O(h²), and the update multiplies by h once more."""
    return [
        f"{letter}{i}"
        for order, letter in enumerate(LETTERS)
        for i in range(max(0, n - 2 * order))
    ]


@dataclass(frozen=True)
class Kernel:
    """ξ_m and κ_m: φ₀(c) = Σ ξ_m (ch)^m/m!, κ(τ_n + θh) = Σ κ_m (θh)^m/m!; named or numbers."""

    xi: tuple[str | int, ...]
    kappa: tuple[str | int, ...]
    points: int | None = None
    """Of the left sums that the weights have in place of integrals."""

    @property
    def symbols(self) -> list[str]:
        """Names among the coefficients."""
        return list(dict.fromkeys(s for s in (*self.xi, *self.kappa) if isinstance(s, str)))


def kernel_of(form: Form | None, n: int) -> Kernel:
    """The kernel of a form up to h^n; of every form at once for None, where K = 1 at the start.

    L constant: ξ_m = L^m, κ_m = (−L)^m.  NOISE_T: ξ = 1, κ free.  Elsewhere both are free, which
    proves more than is needed; K at the start is 1 there, since N may be measured in its units.
    """
    generic_xi = (1, *(f"xi{m}" for m in range(1, n + 1)))
    generic_kappa = tuple(f"kappa{m}" for m in range(1, n + 1))
    if isinstance(form, ConstantForm | Whitened):
        L = form.L if isinstance(form, ConstantForm) else 0
        return Kernel(tuple(L**m for m in range(n + 1)), tuple((-L) ** m for m in range(n + 1)))
    if isinstance(form, ER) and form.rectangles:
        raise ValueError(
            "options.integrals: got 'rectangle', sums that leave order 1; 'accurate' is allowed"
            " in a proof"
        )
    if isinstance(form, LeftSum):
        return replace(kernel_of(form.base, n), points=form.points)
    if isinstance(form, NoiseT):
        return Kernel((1, *(0,) * n), ("kappa0", *generic_kappa))
    return Kernel(generic_xi, (1, *generic_kappa))


@cache
def mean(p: int, points: int | None) -> Fraction:
    """∫₀¹ θ^p dθ, or its left sum."""
    if points is None:
        return Fraction(1, p + 1)
    return Fraction(sum(m**p for m in range(points)), points ** (p + 1))


@dataclass(frozen=True)
class Nodes:
    """Earlier nodes, as fractions of h, and other clocks: symbols of the grid.

    ``graded``: τ_{n+k} = T(kε) with a smooth T, so ratios tend to 1; T's coefficients are symbols.
    Otherwise the ratios h_{n−j}/h are independent parameters: any fixed sequence of ratios.  Where
    a method takes roots of them the parameters are these roots: ratio_j = root_j^``roots``.
    """

    graded: bool
    memory: int
    clocks: tuple[str, ...]
    """Without the form's own."""
    roots: int = 1

    def parameters(self) -> list[str]:
        """Ratios, or their roots."""
        return [] if self.graded else [self.parameter(j) for j in range(1, self.memory + 1)]

    def parameter(self, j: int) -> str:
        """The name of ratio_j or of its root."""
        return f"ratio{j}" if self.roots == 1 else f"root{j}"

    def symbols(self, n: int) -> list[str]:
        """Grading, and the other clocks' derivatives."""
        grading = [f"T{k}" for k in range(2, n + 2)] if self.graded and self.memory else []
        return grading + [f"{c}{k}" for c in self.clocks for k in range(2, n + 2)]


@dataclass(frozen=True, eq=False)
class JetStep:
    """A step as a weight function sees it, over exact series in h (``solvers.method.Step``)."""

    F: Series
    kernel: Kernel
    nodes: Nodes
    index: int = 50
    steps: int = 100
    memo: dict[Any, Any] = field(default_factory=dict)

    @property
    def h(self) -> Scalar:
        """The series variable."""
        return self.F.variable(self.F.zero)

    def named(self, s: str | int) -> Scalar:
        """A kernel coefficient in the ring."""
        return self.F.series([self.symbol(s) if isinstance(s, str) else self.F.C.lift(s)])

    def symbol(self, name: str) -> Scalar:
        """A symbol of the coefficients."""
        return self.F.C.symbol(name)  # type: ignore[attr-defined]

    def xi(self, c: Weight) -> Scalar:
        """φ₀(c) = 1/χ at c."""
        z = self.h * c
        return total(
            self.named(x) * z**m / math.factorial(m) for m, x in enumerate(self.kernel.xi)
        )

    def moment(self, k: int, c: Weight, points: int | None = None) -> Scalar:
        """c^k m_k(c) = ∫₀ᶜ κ(θ) θ^{k−1}/(k−1)! dθ, or its left sum of this many points."""
        h, c = self.h, self.F.lift(1) * c
        return total(
            self.named(x)
            * h**m
            * c ** (m + k)
            * mean(m + k - 1, points)
            / (math.factorial(m) * math.factorial(k - 1))
            for m, x in enumerate(self.kernel.kappa)
        )

    def phi(self, k: int, c: Weight = 1) -> Scalar:
        """φ_k(c) = ξ(c) m_k(c)."""
        key = ("phi", k, c.v if isinstance(c, Scalar) else c)
        if key not in self.memo:
            moment = self.moment(k, c, self.kernel.points) if k else self.F.lift(1)
            self.memo[key] = self.xi(c) * self._over(moment, c, k)
        return self.memo[key]

    def time(self, c: Weight = 1) -> float | None:
        """Of no schedule."""
        return None

    def _over(self, x: Scalar, c: Weight, k: int) -> Scalar:
        return x if isinstance(c, int) and c == 1 else x / (self.F.lift(1) * c) ** k

    def past(self, j: int) -> Scalar:
        """(τ_{n−j} − τ_n)/h."""
        if j == 0:
            return self.F.lift(0)
        if not 0 < j <= self.nodes.memory:
            raise ValueError(f"past: got {j}; 1..{self.nodes.memory} is allowed")
        if ("past", j) not in self.memo:
            self.memo["past", j] = (
                self._graded(j)
                if self.nodes.graded
                else -total(self._fixed(i) for i in range(1, j + 1))
            )
        return self.memo["past", j]

    def _fixed(self, j: int) -> Scalar:
        """ratio_j, a parameter or a power of one."""
        return self.F.series([self.symbol(self.nodes.parameter(j))]) ** self.nodes.roots

    def _graded(self, j: int) -> Scalar:
        """T(−jε)/T(ε), T(ε) = ε + T₂ε²/2! + .., as a series in h = T(ε)."""
        F = self.F
        T = [self.symbol(f"T{k}") / math.factorial(k) for k in range(2, F.n + 2)]
        back = F.series([F.C.lift(-j), *(t * (-j) ** k for k, t in enumerate(T, 2))])
        forth = F.series([F.one, *T])
        inverse = F.lift(0)
        for _ in range(F.n + 1):  # ε = h / (T(ε)/ε), a contraction in powers of h
            inverse = self.h / F.compose(forth, inverse)
        return F.compose(back / forth, inverse)

    def ratio(self, j: int = 1, clock: str | None = None) -> Scalar:
        """h_{n−j}/h_n, in another clock through its derivatives."""
        if clock not in self.nodes.clocks:  # the form's own
            return self.past(j - 1) - self.past(j)
        return (
            self.other(self.past(j - 1), clock) - self.other(self.past(j), clock)
        ) / self.other(self.F.lift(1), clock)

    def other(self, theta: Scalar, clock: str) -> Scalar:
        """[s(τ_n + θh) − s(τ_n)]/(h s') = θ + s₂ h θ²/2! + .. ."""
        return theta + total(
            self.F.series([self.symbol(f"{clock}{k}")])
            * self.h ** (k - 1)
            * theta**k
            / math.factorial(k)
            for k in range(2, self.F.n + 2)
        )

    def at(self, fraction: Weight, clock: str) -> Scalar:
        """c with s(c) = fraction s(1), by iteration in powers of h."""
        if clock not in self.nodes.clocks:
            return self.F.lift(1) * fraction
        goal = self.other(self.F.lift(1), clock) * fraction
        c = goal
        for _ in range(self.F.n + 1):
            c = c + goal - self.other(c, clock)
        return c

    def exact(self, c: Weight) -> Scalar:
        """(y(c) − y)/h = Σ_k h^k c^{k+1} m_{k+1}(c) g_k."""
        return total(
            self.h**k * self.moment(k + 1, c) * self.F.series([self.symbol(f"g{k}")])
            for k in range(self.F.n)
        )

    def value(self, c: Weight, delta: Scalar | None = None) -> Scalar:
        """N at c, a distance δ off the flow."""
        z, F = self.h * c, self.F
        power, out = F.lift(1), F.lift(0)
        for order, letter in enumerate(LETTERS):
            for i in range(max(0, F.n - 2 * order)):
                jet = F.series([self.symbol(f"{letter}{i}")])
                out = out + jet * z**i * power / (math.factorial(i) * math.factorial(order))
            if delta is None:
                break
            power = power * delta
        return out

    def defect(self, row: Row, now: Sequence[Scalar], past: Sequence[Scalar]) -> Scalar:
        """y(row) − y(c), as a series in h."""
        F = self.F
        terms = [w * N for w, N in zip(row.now, now, strict=False) if not _zero(w)]
        terms += [w * N for w, N in zip(row.past, past, strict=False) if not _zero(w)]
        terms += [
            w * self.h**k * F.series([self.symbol(f"g{k}")])
            for k, w in enumerate(row.d, 1)
            if k < F.n
        ]
        increment = total(terms) / self.xi(row.c)
        return self.h * (increment - self.exact(row.c))


def _zero(w: Scalar | Exact) -> bool:
    return not isinstance(w, Scalar) and w == 0


def symbols_of(kernel: Kernel, nodes: Nodes, n: int) -> list[str]:
    """All symbols of a proof up to h^n."""
    return [*jet_symbols(n), *kernel.symbols, *nodes.symbols(n)]
