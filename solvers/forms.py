r"""Canonical forms of the probability-flow ODE:  u'(τ) = L(τ) u + K(τ) N(τ, u) + G(τ).

With χ(τ) = exp(−∫L), the exact update over the fraction c of a step h is

    u(c) = φ₀(c) u + h Σ_k h^k c^{k+1} φ_{k+1}(c) N^{(k)} + h γ(c),     φ₀(c) = χ(τ_n)/χ(τ_n+ch),
    φ_k(c) = c^{−k} ∫₀ᶜ [χ(τ_n+θh)/χ(τ_n+ch)] K(τ_n+θh) θ^{k−1}/(k−1)! dθ,
    γ(c) = ∫₀ᶜ [χ(τ_n+θh)/χ(τ_n+ch)] G(τ_n+θh) dθ.

A method sees φ_k(c) only.  For constant L and K = 1 they are φ_k(c h L); elsewhere they are
integrals in λ, split at the schedule's knots and where an interval is longer than 2.
``docs/notation.md`` has the letters; ``theory/forms.py`` derives every row of the table below.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from solvers.each import vector
from solvers.field import Field, Scalar, total
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

    name: str
    clock: str

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
class ConstantForm(Form):
    """L a constant (0, 1 or −1), K = 1, G = 0."""

    L: int
    of: Literal["x", "x/alpha", "x/sigma"]
    N: Literal["noise", "-noise", "data", "dx"]

    def scale(self, p: Point) -> Scalar:
        """1, α or σ."""
        if self.of == "x":
            return p.F.lift(1)
        return p.alpha if self.of == "x/alpha" else p.sigma

    def read(self, p: Point) -> Reading:
        """ε, −ε, D, or dx/dτ = (log α)' x − σ λ' ε with ' = d/dτ."""
        F = p.F
        zero, one = F.lift(0), F.lift(1)
        if self.N == "data":
            return Reading("data", zero, one, zero)
        if self.N == "noise":
            return Reading("noise", zero, one, zero)
        if self.N == "-noise":
            return Reading("noise", zero, -one, zero)
        s = p.schedule
        if p.silent:  # dx/dt = (σ'/σ) x + (α' − α σ'/σ) D at α = 0
            return Reading("data", p.rate(s.sigma) / p.sigma, p.rate(s.alpha), zero)
        drift, speed = p.rate(s.log_alpha), p.rate(s.lam)
        if self.clock == "lam":
            drift, speed = drift / speed, one
        return Reading("noise", drift, -p.sigma * speed, zero)

    def coefficients(self, p: Point) -> tuple[Scalar, Scalar, Scalar]:
        """(L, 1, 0)."""
        return p.F.lift(self.L), p.F.lift(1), p.F.lift(0)

    def moments(self, c: Scalar, start: Point, h: Scalar) -> Moments:
        """φ_k(c h L)."""
        F, z = start.F, c * h * self.L
        if self.L == 0:
            return lambda k: F.lift(1) / math.factorial(k)
        return lambda k: F.phi(k, z)


@dataclass(frozen=True)
class KernelForm(Form):
    """L, K functions of the clock: φ_k by quadrature in λ."""

    @abstractmethod
    def transfer(self, p: Point, end: Point) -> Scalar:
        """χ(p)/χ(end) = exp ∫_p^end L dτ."""

    @abstractmethod
    def kernel(self, p: Point) -> Scalar:
        """K dτ/dλ."""

    def moments(self, c: Scalar, start: Point, h: Scalar) -> Moments:
        """∫ [χ(p)/χ(end)] K θ^{k−1}/(k−1)! dτ over the step, in λ, divided by c^k h."""
        F, end, tau = start.F, self.end(c, start, h), self.tau(start)
        stops = panels(start, end)
        nodes: list[tuple[Scalar, Scalar]] = []
        for a, b in itertools.pairwise(stops):
            for lam, weight in F.rule(a, b):
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


def panels(start: Point, end: Point) -> list[Scalar]:
    """λ from start to end, cut at the knots between and into pieces of length 2 at most."""
    F, a, b = start.F, start.lam, end.lam
    low, high = sorted((float(a), float(b)))
    cuts = sorted(k for k in start.schedule.knots if low + 1e-12 < k < high - 1e-12)
    stops = [a, *(F.number(k) for k in (cuts if a < b else reversed(cuts))), b]
    out = [a]
    for p, q in itertools.pairwise(stops):
        n = max(1, math.ceil(abs(float(q) - float(p)) / PANEL))
        out += [p + (q - p) * i / n for i in range(1, n)] + [q]
    return out


@dataclass(frozen=True)
class NoiseT(KernelForm):
    """u = x/α, τ = t, L = 0, K = ρ'(t), N = ε: a polynomial in t under the kernel dρ."""

    def scale(self, p: Point) -> Scalar:
        """α."""
        return p.alpha

    def read(self, p: Point) -> Reading:
        """ε."""
        return Reading("noise", p.F.lift(0), p.F.lift(1), p.F.lift(0))

    def coefficients(self, p: Point) -> tuple[Scalar, Scalar, Scalar]:
        """(0, −ρ λ'(t), 0)."""
        return p.F.lift(0), -p.rho * p.rate(p.schedule.lam), p.F.lift(0)

    def transfer(self, p: Point, end: Point) -> Scalar:
        """1."""
        return p.F.lift(1)

    def kernel(self, p: Point) -> Scalar:
        """dρ/dλ = −ρ."""
        return -p.rho


@dataclass(frozen=True)
class Statistics:
    """Mean and variances of the data, one value a coordinate (eigenbasis of the covariance)."""

    mean: tuple[float, ...]
    variances: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.variances) or not self.mean:
            raise ValueError(
                f"statistics: got {len(self.mean)} means and {len(self.variances)} variances;"
                " one of each a coordinate is allowed"
            )
        named = {"mean": self.mean, "variances": self.variances}
        for name, i, x in ((n, i, x) for n, values in named.items() for i, x in enumerate(values)):
            if isinstance(x, float):  # pyright: ignore  (proofs put symbols here)
                if not math.isfinite(x) or (name == "variances" and x < 0):
                    allowed = "finite means and finite variances >= 0 are allowed"
                    raise ValueError(f"statistics.{name}[{i}]: got {x!r}; {allowed}")


@dataclass(frozen=True)
class GaussianPart(Form):
    """Shared by the forms that treat the Gaussian of the data's moments exactly.

    Its denoiser per coordinate is D_G = m + g (x/α − m), g = v/(v+ρ²).
    """

    statistics: Statistics | None = None

    def with_statistics(self, statistics: Statistics) -> Form:
        """The form for these data."""
        return replace(self, statistics=statistics)

    def _moments(self, F: Field) -> tuple[Scalar, Scalar]:
        if self.statistics is None:
            raise ValueError(f"statistics: got None; {self.name} needs the data's moments")
        return vector(F, self.statistics.mean), vector(F, self.statistics.variances)


@dataclass(frozen=True)
class GaussianLambda(GaussianPart, KernelForm):
    """u = x/α, τ = λ, L = −ρ²/(v+ρ²), K = 1, N = D − D_G, G = −L m; per coordinate."""

    def scale(self, p: Point) -> Scalar:
        """α."""
        return p.alpha

    def read(self, p: Point) -> Reading:
        """N = D − m − g (u − m)."""
        m, v = self._moments(p.F)
        g = v / (v + p.rho * p.rho)
        return Reading("data", -g, p.F.lift(1), (g - 1) * m)

    def coefficients(self, p: Point) -> tuple[Scalar, Scalar, Scalar]:
        """L = g − 1 with g = v/(v+ρ²)."""
        m, v = self._moments(p.F)
        L = v / (v + p.rho * p.rho) - 1
        return L, p.F.lift(1), -L * m

    def transfer(self, p: Point, end: Point) -> Scalar:
        """√((v+ρ_end²)/(v+ρ²)): the Gaussian's own flow."""
        _, v = self._moments(p.F)
        return root((v + end.rho * end.rho) / (v + p.rho * p.rho))

    def kernel(self, p: Point) -> Scalar:
        """1."""
        return p.F.lift(1)

    def force(self, c: Scalar, start: Point, h: Scalar) -> Scalar:
        """γ = m (1 − φ₀)/h, since u = m is a solution without N."""
        m, _ = self._moments(start.F)
        return m * (1 - self.transfer(start, self.end(c, start, h))) / h


@dataclass(frozen=True)
class Whitened(GaussianPart):
    """u = (x/α − m)/√(v+ρ²), τ = log ρ, L = 0, K = 1, N = −(D − D_G)/√(v+ρ²); per coordinate.

    A step without evaluations leaves u alone: that is analytical teleportation.
    """

    def _width(self, p: Point) -> Scalar:
        return root(self._moments(p.F)[1] + p.rho * p.rho)

    def scale(self, p: Point) -> Scalar:
        """α √(v+ρ²)."""
        return p.alpha * self._width(p)

    def shift(self, p: Point) -> Scalar:
        """α m."""
        return p.alpha * self._moments(p.F)[0]

    def read(self, p: Point) -> Reading:
        """−D/√(v+ρ²) + g u + m/√(v+ρ²)."""
        m, v = self._moments(p.F)
        width = self._width(p)
        return Reading("data", v / (v + p.rho * p.rho), -1 / width, m / width)

    def coefficients(self, p: Point) -> tuple[Scalar, Scalar, Scalar]:
        """(0, 1, 0)."""
        return p.F.lift(0), p.F.lift(1), p.F.lift(0)

    def moments(self, c: Scalar, start: Point, h: Scalar) -> Moments:
        """1/k!."""
        return lambda k: start.F.lift(1) / math.factorial(k)


NOISE_RHO = ConstantForm("NOISE_RHO", "rho", 0, "x/alpha", "noise")
NOISE_LAMBDA = ConstantForm("NOISE_LAMBDA", "lam", 1, "x/sigma", "-noise")
DATA_LAMBDA = ConstantForm("DATA_LAMBDA", "lam", -1, "x/alpha", "data")
DATA_SNR = ConstantForm("DATA_SNR", "snr", 0, "x/sigma", "data")
VELOCITY_T = ConstantForm("VELOCITY_T", "t", 0, "x", "dx")
STATE_LAMBDA = ConstantForm("STATE_LAMBDA", "lam", 0, "x", "dx")
NOISE_T = NoiseT("NOISE_T", "t")
GAUSSIAN_LAMBDA = GaussianLambda("GAUSSIAN_LAMBDA", "lam")
GAUSSIAN = Whitened("GAUSSIAN", "log_rho")

FORMS: dict[str, Form] = {
    f.name: f
    for f in (
        NOISE_RHO,
        NOISE_LAMBDA,
        DATA_LAMBDA,
        DATA_SNR,
        VELOCITY_T,
        STATE_LAMBDA,
        NOISE_T,
        GAUSSIAN_LAMBDA,
        GAUSSIAN,
    )
}
