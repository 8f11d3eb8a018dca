r"""The probability flow of a one-dimensional mixture, exact by conservation of the CDF.

    F_ρ(v) = Σ_k w_k Φ((v − μ_k)/√(s_k + ρ²)),      F_{ρ_end}(v_end) = F_{ρ_start}(v_start)

where v = x/α, ρ = σ/α and s_k are variances: F is constant along dv/dρ = −ρ ∂_v log p_ρ. The
equation is solved for log F where F ≤ ½ (the other side is its mirror image), so that a tail
of any size keeps its relative accuracy.

Source: the conservation law is derived in this project; it holds for any one-dimensional law.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfcx, log_ndtr, logsumexp, ndtri_exp

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


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
    w, mu, s = _law(weights, means, variances)
    points = np.asarray(v, dtype=np.float64)
    if not np.isfinite(points).all():
        raise ValueError(f"v is {v}; finite numbers are allowed")
    for name, rho in (("rho_start", rho_start), ("rho_end", rho_end)):
        if not (np.isfinite(rho) and rho >= 0 and (s + rho**2 > 0).all()):
            raise ValueError(
                f"{name} is {rho}; a finite level >= 0, or > 0 where a variance is 0, is allowed"
            )
    start, end = np.sqrt(s + rho_start**2), np.sqrt(s + rho_end**2)
    below, above = (_log_cdf(a * points, w, a * mu, start) for a in (1, -1))
    tail, side = np.minimum(below, above), np.where(below <= above, 1.0, -1.0)
    if not np.isfinite(tail).all():
        raise ValueError(f"v is {v}; points whose distance in deviations has a square are allowed")
    return side * _quantile(tail, w, side[..., None] * mu, end)


def _law(weights: ArrayLike, means: ArrayLike, variances: ArrayLike) -> tuple[Floats, ...]:
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


def _log_cdf(v: Floats, w: Floats, mu: Floats, deviation: Floats) -> Floats:
    """Log F(v) = log Σ_k w_k Φ(z_k), z_k = (v − μ_k)/d_k; v of shape S, mu (K,) or S + (K,)."""
    return np.asarray(logsumexp(log_ndtr((v[..., None] - mu) / deviation), b=w, axis=-1))


def _slope(v: Floats, log_cdf: Floats, w: Floats, mu: Floats, deviation: Floats) -> Floats:
    """(log F)'(v): the mean of φ(z_k)/(d_k Φ(z_k)) by the components' shares w_k Φ(z_k)/F of F."""
    z = (v[..., None] - mu) / deviation
    mills = math.sqrt(2 / math.pi) / erfcx(-z / math.sqrt(2))  # φ/Φ; p/F is lost beyond z = 1e8
    return (w * np.exp(log_ndtr(z) - log_cdf[..., None]) * mills / deviation).sum(-1)


def _quantile(target: Floats, w: Floats, mu: Floats, deviation: Floats) -> Floats:
    """u with log F(u) = target, by Newton steps inside a bracket that every step shrinks."""
    # F lies between the components' own Φ, hence u between their quantiles, which scipy gives to
    # 1e-12
    z = ndtri_exp(target)[..., None]
    margin = 1e-9 * (1 + np.abs(z))
    low = (mu + deviation * (z - margin)).min(-1)
    high = (mu + deviation * (z + margin)).max(-1)
    u, step = 0.5 * (low + high), high - low
    done = np.zeros(u.shape, dtype=bool)
    while not done.all():
        log_cdf = _log_cdf(u, w, mu, deviation)
        excess = log_cdf - target
        done |= np.abs(excess) <= 2 * EPS * (1 - target)
        low, high = np.where(excess < 0, u, low), np.where(excess > 0, u, high)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            # not finite between far modes, where the slope underflows
            newton = excess / _slope(u, log_cdf, w, mu, deviation)
            goal = u - newton
        # a step that is not half of the last one has met a plateau of F: bisect
        good = (goal >= low) & (goal <= high) & (np.abs(newton) <= 0.5 * np.abs(step))
        goal = np.where(good, goal, 0.5 * (low + high))
        step = np.where(done, 0.0, goal - u)
        u = u + step
        done |= np.abs(step) <= EPS * np.abs(u)
    return u
