r"""A one-dimensional Gaussian mixture over any field, and its exact flow to many digits.

p_ρ = Σ_k w_k N(m_k, V_k), V_k = s_k² + ρ², in v = x/α:

    ε(v, ρ) = ρ Σ_k γ_k (v − m_k)/V_k,  γ_k ∝ w_k V_k^{−1/2} e^{−(v−m_k)²/(2V_k)},  D = v − ρ ε,

and the flow keeps the value of the distribution function, F_ρ(v) = Σ_k w_k Φ((v−m_k)/√V_k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath

from solvers.field import Field, Scalar, total
from solvers.form import Form
from solvers.ops import Call
from solvers.schedules import Schedule
from solvers.series import series_over
from theory.fields import GUARD


@dataclass(frozen=True)
class Mixture:
    """Weights, means and variances s_k², as exact numbers."""

    weights: tuple[Fraction, ...]
    means: tuple[Fraction, ...]
    variances: tuple[Fraction, ...]

    @property
    def mean(self) -> Fraction:
        """Of the data."""
        return sum((w * m for w, m in zip(self.weights, self.means, strict=True)), Fraction(0))

    @property
    def variance(self) -> Fraction:
        """Of the data."""
        parts = zip(self.weights, self.means, self.variances, strict=True)
        return sum((w * (s + (m - self.mean) ** 2) for w, m, s in parts), Fraction(0))

    def predictions(self, v: Scalar, rho: Scalar) -> tuple[Scalar, Scalar]:
        """ε and D at v = x/α, ρ = σ/α; any scalars with exp and sqrt, series included."""
        F = v.F if v.F.contains(rho.F) or v.F is rho.F else rho.F
        zero = F.lift(0)
        densities, pulls, shrunk = [], [], []
        for w, m, s in zip(self.weights, self.means, self.variances, strict=True):
            V, away = zero + rho * rho + s, v - m
            densities.append(F.exp(away * away / V / -2) / F.sqrt(V) * w)
            pulls.append(away / V)
            shrunk.append(m + away * s / V)
        norm = total(densities)
        noise = total(d * p for d, p in zip(densities, pulls, strict=True)) * rho / norm
        return noise, total(d * p for d, p in zip(densities, shrunk, strict=True)) / norm


@dataclass(frozen=True)
class Analytic:
    """The mixture as a run's model (``solvers.step.Model``); states are scalars."""

    mixture: Mixture

    def predict(self, kind: str, x: Scalar, call: Call) -> Scalar:
        """The exact noise or data prediction."""
        return self._at(kind, x, call.alpha, call.sigma)

    def _at(self, kind: str, x: Scalar, alpha: Scalar, sigma: Scalar) -> Scalar:
        noise, data = self.mixture.predictions(x / alpha, sigma / alpha)
        return noise if kind == "noise" else data

    def reading(self, schedule: Schedule, form: Form, tau: Scalar, u: Scalar) -> Scalar:
        """N(τ, u); any scalars, series included."""
        p = form.point(schedule, tau.F, tau)
        r = form.read(p)
        P = self._at(r.kind, form.scale(p) * u + form.shift(p), p.alpha, p.sigma)
        return r.p_weight * P + r.u_weight * u + r.constant

    def path(self, schedule: Schedule, form: Form, tau: Scalar, u: Scalar, order: int) -> Scalar:
        """The solution through u as a series in time, term by term from u' = L u + K N + G."""
        terms = [u]
        for k in range(order):
            S = series_over(u.F, k)  # no longer than the term that is wanted
            clock, state = S.variable(tau), S.series(terms)
            L, K, G = form.coefficients(form.point(schedule, S, clock))
            slope = L * state + K * self.reading(schedule, form, clock, state) + G
            terms.append(slope.v[k] / (k + 1))
        return series_over(u.F, order).series(terms)

    def derivatives(
        self, schedule: Schedule, form: Form, tau: Scalar, u: Scalar, count: int
    ) -> Sequence[Scalar]:
        """N^{(k)} = k! N_k along the solution through u."""
        S = series_over(u.F, count)
        path = self.path(schedule, form, tau, u, count)
        N = self.reading(schedule, form, S.variable(tau), path)
        return [N.v[k] * math.factorial(k) for k in range(count + 1)]


def flow(mixture: Mixture, v: Any, rho_start: Any, rho_end: Any, digits: int = 50) -> Any:
    """The exact v at ρ_end of the trajectory through v at ρ_start: F_end(v') = F_start(v).

    Newton on the smaller tail, from the affine guess of equal standardised distance.
    """
    ctx = mpmath.mp.clone()
    ctx.dps = digits + GUARD
    v, a, b = (ctx.mpf(x) for x in (v, rho_start, rho_end))
    numbers = [
        (ctx.mpf(w.numerator) / w.denominator, ctx.mpf(m.numerator) / m.denominator,
         ctx.mpf(s.numerator) / s.denominator)
        for w, m, s in zip(mixture.weights, mixture.means, mixture.variances, strict=True)
    ]  # fmt: skip

    def tail(x: Any, rho: Any, side: int) -> Any:
        return sum(
            w * ctx.erfc(side * (x - m) / ctx.sqrt(2 * (s + rho * rho))) for w, m, s in numbers
        )

    def density(x: Any, rho: Any) -> Any:
        return sum(
            w
            * ctx.exp(-((x - m) ** 2) / (2 * (s + rho * rho)))
            / ctx.sqrt(2 * ctx.pi * (s + rho * rho))
            for w, m, s in numbers
        )

    side = 1 if tail(v, a, 1) < tail(v, a, -1) else -1
    goal = tail(v, a, side)
    spread = max(s for _, _, s in numbers)
    reach = 45 * ctx.sqrt(spread + b * b)
    low, high = min(m for _, m, _ in numbers) - reach, max(m for _, m, _ in numbers) + reach
    mean = ctx.mpf(mixture.mean.numerator) / mixture.mean.denominator
    x = mean + (v - mean) * ctx.sqrt((spread + b * b) / (spread + a * a))
    for _ in range(400):
        excess = tail(x, b, side) - goal
        low, high = (x, high) if (excess > 0) == (side == 1) else (low, x)
        step = side * excess / (2 * density(x, b))
        new = x + step if low < x + step < high else (low + high) / 2
        if abs(new - x) <= ctx.mpf(10) ** (-digits - GUARD // 2) * (1 + abs(new)):
            return new
        x = new
    raise ArithmeticError(f"flow: no convergence from v = {v} at rho = {a} to rho = {b}")


def density(mixture: Mixture, v: Scalar, rho: Scalar) -> Scalar:
    """p_ρ(v) without the factor (2π)^{−1/2}."""
    F: Field = v.F
    parts = zip(mixture.weights, mixture.means, mixture.variances, strict=True)
    return total(
        F.exp((v - m) * (v - m) / (rho * rho + s) / -2) / F.sqrt(rho * rho + s) * w
        for w, m, s in parts
    )
