"""The canonical forms by name: what u, its clock and N are, and which L, K and G follow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from solvers.each import vector
from solvers.field import Field, Scalar
from solvers.form import Form, KernelForm, Moments, Reading, root
from solvers.point import Point


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
class Fitted(Form):
    """A form whose coefficients are measured: on the data, or on a model."""

    statistics: Any = None

    def with_statistics(self, statistics: Any) -> Self:
        """The form for these data."""
        return replace(self, statistics=statistics)

    def needed(self, what: str) -> Any:
        """The statistics; ``ValueError`` where there are none."""
        if self.statistics is None:
            raise ValueError(f"statistics: got None; {self.name} needs {what}")
        return self.statistics


@dataclass(frozen=True)
class GaussianPart(Fitted):
    """Shared by the forms that treat the Gaussian of the data's moments exactly.

    Its denoiser per coordinate is D_G = m + g (x/α − m), g = v/(v+ρ²).
    """

    def _moments(self, F: Field) -> tuple[Scalar, Scalar]:
        known: Statistics = self.needed("the data's moments")
        return vector(F, known.mean), vector(F, known.variances)


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
        """√(α² v + σ²) = α √(v+ρ²), which α = 0 has, too."""
        return root(p.alpha * p.alpha * self._moments(p.F)[1] + p.sigma * p.sigma)

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
