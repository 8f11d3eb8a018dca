r"""The probability flow of a one-dimensional mixture, exact by conservation of the CDF.

    F_ρ(v) = Σ_k w_k Φ((v − μ_k)/√(s_k + ρ²)),      F_{ρ_end}(v_end) = F_{ρ_start}(v_start)

where v = x/α, ρ = σ/α and s_k are variances: F is constant along dv/dρ = −ρ ∂_v log p_ρ.

Source: the conservation law is derived in this project; it holds for any one-dimensional law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erfcx, log_ndtr, ndtri_exp

from gaussian_score.conserved import EPS, Floats, Tails, conserve, log_mean


def transport(
    weights: ArrayLike,
    means: ArrayLike,
    variances: ArrayLike,
    v: ArrayLike,
    rho_start: float,
    rho_end: float,
) -> Floats:
    """v_end with F_{ρ_end}(v_end) = F_{ρ_start}(v), in float64, of the shape of v.

    The error is a few ulp of log F: a few ulp of v_end, times p_start(v)/p_end(v_end) where that
    is large, beside a separatrix.

    Args:
        weights: w, (K,), not negative, sum 1.
        means: μ, (K,).
        variances: s, (K,), not negative.
        v: points at ρ_start, any shape.
        rho_start: noise level of v, 0 or more.
        rho_end: noise level of the result, 0 or more.

    Raises:
        ValueError: an argument is outside these sets, or a level is zero where a component has
            zero variance, so that F jumps.
    """
    w, mu, s = mixture_law(weights, means, variances)
    points = np.asarray(v, dtype=np.float64)
    for name, rho in (("rho_start", rho_start), ("rho_end", rho_end)):
        if not (np.isfinite(rho) and rho >= 0 and (s + rho**2 > 0).all()):
            raise ValueError(
                f"{name} is {rho}; a finite level >= 0, or > 0 where a variance is 0, is allowed"
            )
    start, end = (MixtureTails(w, mu, np.sqrt(s + rho**2)) for rho in (rho_start, rho_end))
    return conserve(start, end, points, name="v")[0]


@dataclass(frozen=True, eq=False)
class MixtureTails(Tails):
    """Σ_k w_k Φ((u − m_k)/d_k), each (K,), d > 0."""

    weights: Floats
    means: Floats
    deviations: Floats

    def tail(self, u: Floats, side: int) -> tuple[Floats, Floats]:
        """log Σ_k w_k Φ(z_k), and the mean of φ(z_k)/(d_k Φ(z_k)) by the parts w_k Φ(z_k)."""
        z = (u[..., None] - side * self.means) / self.deviations
        parts = log_ndtr(z)
        log_mass = log_mean(parts, self.weights)
        rates = log_hazard(z) - np.log(self.deviations) + parts - log_mass[..., None]
        return log_mass, log_mean(rates, self.weights)

    def bracket(self, log_mass: Floats, side: int) -> tuple[Floats, Floats]:
        """F lies between the components' Φ, so u between their quantiles."""
        z = ndtri_exp(log_mass)[..., None]
        margin = 1e-9 * (1 + np.abs(z))  # scipy gives them to 1e-12
        places = side * self.means
        low, high = (places + self.deviations * (z + m) for m in (-margin, margin))
        return low.min(-1), high.max(-1)


def log_hazard(z: Floats) -> Floats:
    """log φ(z)/Φ(z); its parts alone lose all digits beyond z = −1e8."""
    right = np.maximum(z, 0)
    beyond = -0.5 * np.minimum(right, 1e150) ** 2 - 0.5 * math.log(2 * math.pi) - log_ndtr(right)
    left = 0.5 * math.log(2 / math.pi) - np.log(erfcx(-np.minimum(z, 0) / math.sqrt(2)))
    return np.where(z > 0, beyond, left)


def mixture_law(weights: ArrayLike, means: ArrayLike, variances: ArrayLike) -> tuple[Floats, ...]:
    """w, μ and s of a one-dimensional mixture as float64 arrays (K,), checked."""
    w, mu, s = (np.asarray(a, dtype=np.float64) for a in (weights, means, variances))
    if w.ndim != 1 or not w.size or not w.shape == mu.shape == s.shape:
        raise ValueError(
            f"weights, means and variances have shapes {w.shape}, {mu.shape} and {s.shape}; "
            "three times (K,) is allowed"
        )
    for name, values in (("weights", w), ("means", mu), ("variances", s)):
        if not np.isfinite(values).all() or (name != "means" and (values < 0).any()):
            sign = "" if name == "means" else ", not negative"
            raise ValueError(f"{name} is {values}; finite{sign} numbers are allowed")
    if abs(w.sum() - 1) > 10 * w.size * EPS:
        raise ValueError(f"weights sum to {w.sum():.17g}; 1 up to rounding is allowed")
    return w, mu, s
