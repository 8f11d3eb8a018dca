r"""Forms with noise: SDEs whose marginals are those of the probability-flow ODE.

    du = (L u + K N) dτ + s(τ) dW,     L u + K N = u' of the flow + ½ s² ∇ log p,   ∇ log p = −ε/ρ,

where u = x/α.  Over the fraction c of a step the noise alone makes a Gaussian of variance

    V(c) = ∫₀ᶜ [χ(τ_n+θh)/χ(τ_n+ch)]² s² h dθ,

whose root is ``deviation``.  ``theory/forms.py`` derives both.  With the noise switched off each
is a form of the ODE: DATA_LAMBDA and NOISE_LAMBDA bit for bit, and ER the data prediction in ρ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import factorial
from typing import Any, ClassVar, Literal, Self

from solvers.field import Field, Scalar, total
from solvers.form import Form, KernelForm, Moments, Reading
from solvers.options import Amount, Option, Real
from solvers.point import Point


@dataclass(frozen=True)
class DataSDE(Form):
    """u = x/α, τ = λ, L = −(1+η), K = 1, N = (1+η) D, s² = 2ηρ²; at η = 0 DATA_LAMBDA."""

    options: ClassVar[tuple[Option, ...]] = (Option("eta", 1, kind="amount", per_step=False),)

    eta: Any = 1

    def speed(self, F: Field) -> Scalar:
        """1 + η."""
        return 1 + F.number(self.eta)

    def scale(self, p: Point) -> Scalar:
        """α."""
        return p.alpha

    def read(self, p: Point) -> Reading:
        """(1+η) D."""
        zero = p.F.lift(0)
        return Reading("data", zero, self.speed(p.F), zero)

    def coefficients(self, p: Point) -> tuple[Scalar, Scalar, Scalar]:
        """(−(1+η), 1, 0)."""
        return -self.speed(p.F), p.F.lift(1), p.F.lift(0)

    def moments(self, c: Scalar, start: Point, h: Scalar) -> Moments:
        """φ_k(−(1+η)ch)."""
        F, z = start.F, c * h * -self.speed(start.F)
        return lambda k: F.phi(k, z)

    def deviation(self, c: Scalar, start: Point, h: Scalar) -> Scalar:
        """ρ(c) √(1 − e^{−2ηch})."""
        F = start.F
        kept = F.expm1(c * h * F.number(self.eta) * -2)
        return self.end(c, start, h).rho * F.sqrt(-kept)


@dataclass(frozen=True)
class DataSA(DataSDE):
    """The same by SA-Solver's τ, η = τ²."""

    options: ClassVar[tuple[Option, ...]] = (Option("tau", 1, kind="amount", per_step=False),)

    def with_options(self, **values: Any) -> Self:
        """η = τ², exactly."""
        return replace(self, eta=Fraction(values["tau"]) ** 2)


@dataclass(frozen=True)
class NoiseSDE(DataSDE):
    """The same SDE with ε: u = x/σ, τ = λ, L = K = 1, N = −(1+η) ε; at η = 0 NOISE_LAMBDA."""

    def scale(self, p: Point) -> Scalar:
        """σ."""
        return p.sigma

    def read(self, p: Point) -> Reading:
        """−(1+η) ε."""
        zero = p.F.lift(0)
        return Reading("noise", zero, -self.speed(p.F), zero)

    def coefficients(self, p: Point) -> tuple[Scalar, Scalar, Scalar]:
        """(1, 1, 0)."""
        return p.F.lift(1), p.F.lift(1), p.F.lift(0)

    def moments(self, c: Scalar, start: Point, h: Scalar) -> Moments:
        """φ_k(ch)."""
        F, z = start.F, c * h
        return lambda k: F.phi(k, z)

    def deviation(self, c: Scalar, start: Point, h: Scalar) -> Scalar:
        """√(η (e^{2ch} − 1))."""
        F = start.F
        return F.sqrt(F.expm1(c * h * 2) * F.number(self.eta))


NoiseScale = Literal["default", "ode", "sde"]
RECTANGLES = 100
"""Points of the published integrals."""


@dataclass(frozen=True)
class ER(KernelForm):
    """u = x/α, τ = ρ, L = φ'/φ, K = −φ'/φ, N = D, V = ρ(c)² − φ₀(c)²ρ²; φ a function of ρ.

    φ = ρ is the ODE, ρ² the reverse SDE, ρ (e^{ρ^0.3} + 10) the published default.
    """

    options: ClassVar[tuple[Option, ...]] = (
        Option("phi", "default", ("default", "ode", "sde"), "choice", per_step=False),
        Option("as_published", False, kind="flag", per_step=False),
        Option("integrals", None, ("accurate", "rectangle"), "choice", per_step=False),
    )

    phi: NoiseScale = "default"
    as_published: bool = False
    integrals: Literal["accurate", "rectangle"] | None = None
    """None: what ``as_published`` says."""

    @property
    def rectangles(self) -> bool:
        """Whether φ₂ and φ₃ come from the published sums; they leave the method's order at 1."""
        return self.integrals == "rectangle" or (self.as_published and self.integrals is None)

    def amount(self, p: Point) -> Scalar:
        """φ(ρ)/ρ."""
        if self.phi == "default":
            return p.F.exp(_root(p)) + 10
        return p.rho if self.phi == "sde" else p.F.lift(1)

    def scale(self, p: Point) -> Scalar:
        """α."""
        return p.alpha

    def read(self, p: Point) -> Reading:
        """D."""
        return Reading("data", p.F.lift(0), p.F.lift(1), p.F.lift(0))

    def coefficients(self, p: Point) -> tuple[Scalar, Scalar, Scalar]:
        """(φ'/φ, −φ'/φ, 0)."""
        L = self.kernel(p) / p.rho
        return L, -L, p.F.lift(0)

    def transfer(self, p: Point, end: Point) -> Scalar:
        """φ(end)/φ(p)."""
        return end.rho / p.rho * self.amount(end) / self.amount(p)

    def kernel(self, p: Point) -> Scalar:
        """K dρ/dλ = ρφ'/φ."""
        F = p.F
        if self.phi == "default":
            s = _root(p)
            return 1 + s * F.exp(s) * Fraction(3, 10) / (F.exp(s) + 10)
        return F.lift(2 if self.phi == "sde" else 1)

    def moments(self, c: Scalar, start: Point, h: Scalar) -> Moments:
        """Integrals in λ; as published c^k h φ_k = c^{k−1}/(k−1)! − ∫₀ᶜ y(θ) θ^{k−2}/(k−2)! dθ.

        y is φ at c over φ at θ, and the integral 100 rectangles, as high as their later ends.
        """
        exact = super().moments(c, start, h)
        if not self.rectangles:
            return exact
        end = self.end(c, start, h)
        thetas = [c * Fraction(j, RECTANGLES) for j in range(1, RECTANGLES + 1)]
        heights = [self.transfer(self.end(t, start, h), end) for t in thetas]

        def phi(k: int) -> Scalar:
            if k < 2:
                return exact(k)
            area = total(y * t ** (k - 2) for t, y in zip(thetas, heights, strict=True))
            area = area * c / (RECTANGLES * factorial(k - 2))
            return (c ** (k - 1) / factorial(k - 1) - area) / (c**k * h)

        return phi

    def deviation(self, c: Scalar, start: Point, h: Scalar) -> Scalar:
        """√(ρ(c)² − φ₀(c)²ρ²), exactly 0 for the ODE."""
        end = self.end(c, start, h)
        kept = self.amount(end) / self.amount(start)
        return end.rho * start.F.sqrt(1 - kept * kept)


def _root(p: Point) -> Scalar:
    """ρ^0.3."""
    return p.F.exp(p.lam * Fraction(-3, 10))


DATA_SDE = DataSDE("DATA_SDE", "lam")
DATA_SA = DataSA("DATA_SA", "lam")
NOISE_SDE = NoiseSDE("NOISE_SDE", "lam")
ER_SDE = ER("ER_SDE", "rho")

NOISY: dict[str, Form] = {f.name: f for f in (DATA_SDE, DATA_SA, NOISE_SDE, ER_SDE)}


# --- noise between steps: rules by which a step begins higher or ends lower in ρ ----------------


def ancestral(a: Scalar, b: Scalar, steps: int, *, eta: Amount = 1) -> tuple[Scalar, Scalar, Any]:
    """To √(ρ'² − ρ_up²), then up by ρ_up = ηρ' √(1 − ρ'²/ρ²)."""
    if eta == 0:
        return a, b, 1
    kept = 1 - eta * eta * (1 - b * b / (a * a))
    if not kept > 0:
        raise ValueError(
            f"options.eta: got {float(eta)}; less than {float(1 / a.F.sqrt(1 - b * b / (a * a)))},"
            f" where the step to rho = {float(b)} keeps some of its noise, is allowed"
        )
    return a, b * a.F.sqrt(kept), 1


def churn(
    a: Scalar,
    b: Scalar,
    steps: int,
    *,
    s_churn: Amount = 0,
    s_tmin: Amount = 0,
    s_tmax: Amount | None = None,
    s_noise: Real = 1,
) -> tuple[Scalar, Scalar, Any]:
    """Up to ρ (1 + γ), γ = min(S_churn/steps, √2 − 1) for S_tmin <= ρ <= S_tmax."""
    if s_churn == 0 or a < s_tmin or (s_tmax is not None and a > s_tmax):
        return a, b, 1
    most, gamma = a.F.sqrt(a.F.lift(2)) - 1, a.F.lift(1) * s_churn / steps
    return a * (1 + (gamma if gamma < most else most)), b, s_noise
