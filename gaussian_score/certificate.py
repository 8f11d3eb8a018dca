r"""How far a mixture is from its Gaussian at noise ρ: a rigorous bound, and the level it allows.

With p_ρ = Σ_k w_k N(a_k, A_k), a_k = μ_k − m, A_k = S_k + ρ² I, and g_ρ = N(0, C) of the same
covariance C = Σ + ρ² I, in coordinates where C = I:

    KL(p_ρ ‖ g_ρ) ≤ log(1 + χ²),
    1 + χ² = Σ_ij w_i w_j √(|P_i| |P_j| / |M|) exp(½ bᵀ M⁻¹ b − ½ a_iᵀ b_i − ½ a_jᵀ b_j),
    P_k = A_k⁻¹,   b_k = P_k a_k,   b = b_i + b_j,   M = P_i + P_j − I,

and χ² = ∞ where some M is not positive definite. Any sampler started from g_ρ in place of p_ρ
ends in a law whose KL from what it would have been is no larger (data processing).

Source: derived in this project; a Gaussian integral.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def log1p_chi2(weights: ArrayLike, means: ArrayLike, covs: ArrayLike, rho: float) -> float:
    """log(1 + χ²(p_ρ ‖ g_ρ)) ≥ KL(p_ρ ‖ g_ρ) in nats; `inf` where the integral diverges.

    Args:
        weights: w, (K,), not negative, sum 1.
        means: μ, (K, D).
        covs: S, (K, D, D), symmetric positive semidefinite.
        rho: noise level σ/α, positive.

    Raises:
        ValueError: an argument is outside these sets.
    """
    w, a, s = _law(weights, means, covs)
    if not (math.isfinite(rho) and rho > 0):
        raise ValueError(f"rho is {rho}; a finite level > 0 is allowed")
    eye = np.eye(a.shape[1])
    total = np.einsum("k,kij->ij", w, s + a[:, :, None] * a[:, None, :]) + rho**2 * eye
    variances, basis = np.linalg.eigh(total)
    whiten = basis / np.sqrt(variances)
    a = a @ whiten
    p = np.linalg.inv(whiten.T @ (s + rho**2 * eye) @ whiten)
    b = np.einsum("kij,kj->ki", p, a)
    half = 0.5 * np.linalg.slogdet(p)[1] - 0.5 * (a * b).sum(1)
    exponents, pairs = [], []
    for k in range(len(w)):  # the pairs (k, k), (k, k + 1), .. at once; K²D² numbers could be many
        m, both = p[k] + p[k:] - eye, b[k] + b[k:]
        if np.linalg.eigvalsh(m).min() <= 0:
            return math.inf
        solved = np.linalg.solve(m, both[:, :, None])[:, :, 0]
        exponents.append(
            half[k] + half[k:] - 0.5 * np.linalg.slogdet(m)[1] + 0.5 * (both * solved).sum(1)
        )
        pairs.append(w[k] * w[k:] * np.where(np.arange(len(w) - k) > 0, 2, 1))
    exponent, pair = np.concatenate(exponents), np.concatenate(pairs)
    top = float(exponent.max())
    if top > 1:
        return max(0.0, top + math.log(pair @ np.exp(exponent - top)))
    # the pairs' weights sum to 1, so this is exact and keeps the digits of a small χ²
    return max(0.0, math.log1p(pair @ np.expm1(exponent)))


def skip_level(
    weights: ArrayLike,
    means: ArrayLike,
    covs: ArrayLike,
    tolerance: float,
    rho_max: float,
    rho_min: float,
) -> float:
    """Smallest ρ in [ρ_min, ρ_max] with log(1 + χ²) ≤ tolerance, from above to 1e-3 relative.

    χ² does not increase with ρ (both laws are convolved with the same noise), so bisection in
    log ρ is legal, and the bound holds at the level returned.

    Raises:
        ValueError: as `log1p_chi2`; tolerance ≤ 0; not 0 < ρ_min < ρ_max; or the bound exceeds
            the tolerance even at ρ_max.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}; a number of nats > 0 is allowed")
    if not 0 < rho_min < rho_max < math.inf:
        raise ValueError(f"rho_min, rho_max are {rho_min}, {rho_max}; 0 < min < max is allowed")
    bound = log1p_chi2(weights, means, covs, rho_max)
    if bound > tolerance:
        raise ValueError(
            f"rho_max is {rho_max}, where the bound is {bound:.3g} nat; a level where it is at "
            f"most tolerance = {tolerance:.3g} is allowed"
        )
    if log1p_chi2(weights, means, covs, rho_min) <= tolerance:
        return rho_min
    low, high = rho_min, rho_max
    while high > 1.001 * low:
        middle = math.sqrt(low * high)
        if log1p_chi2(weights, means, covs, middle) <= tolerance:
            high = middle
        else:
            low = middle
    return high


def _law(weights: ArrayLike, means: ArrayLike, covs: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Components of positive weight, their means centred."""
    w, mu, s = (np.asarray(a, dtype=np.float64) for a in (weights, means, covs))
    k, d = mu.shape if mu.ndim == 2 else (0, 0)
    if not mu.size or w.shape != (k,) or s.shape != (k, d, d):
        raise ValueError(
            f"weights, means, covs have shapes {w.shape}, {mu.shape}, {s.shape}; "
            "(K,), (K, D), (K, D, D) are allowed"
        )
    for name, values in (("weights", w), ("means", mu), ("covs", s)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} is {values}; finite numbers are allowed")
    eps = float(np.finfo(np.float64).eps)
    if (w < 0).any() or abs(w.sum() - 1) > 10 * k * eps:
        raise ValueError(f"weights are {w}; numbers >= 0 of sum 1 are allowed")
    rounding = 10 * d * eps * np.abs(s).max()
    lowest = np.linalg.eigvalsh(s).min()
    if np.abs(s - s.mT).max() > rounding or lowest < -rounding:
        raise ValueError(
            f"covs have the eigenvalue {lowest:.6g} or are not symmetric; "
            "symmetric positive semidefinite matrices are allowed"
        )
    keep = w > 0
    return w[keep], mu[keep] - w @ mu, s[keep]
