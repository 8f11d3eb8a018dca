r"""How far a mixture is from its Gaussian at noise ρ: a rigorous bound, and the level it allows.

With p_ρ = Σ_k w_k N(a_k, A_k) and a Gaussian g that is N(0, I) in the coordinates of `whitened`,
P_k = A_k⁻¹ = I − F_k:

    KL(p_ρ ‖ g) ≤ log(1 + χ²),      1 + χ² = Σ_ij w_i w_j exp(a_iᵀa_j + f_ij),
    f_ij = ½ a_iᵀF_j a_i + ½ a_jᵀF_i a_j + ½ cᵀM⁻¹c + ½ log|I + M⁻¹F_i F_j|,
    c = F_i a_j + F_j a_i,   M = P_i + P_j − I,

and χ² = ∞ where some M is not positive definite. g is the matched Gaussian, for which Σ w a = 0,
or any other. Any sampler started from g in place of p_ρ ends in a law whose KL from what it would
have been is no larger (data processing), and as large for a flow, which is a bijection.

Source: derived in this project; a Gaussian integral, written so that no digits of a small χ² go.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaussian_score.divergence import relative_entropy
from gaussian_score.whitened import Centred, Gaussian, Whitened, log_det1p

Floats = NDArray[np.float64]
BLOCK = 2**21  # numbers in a stack of M: 16 MB
SMALL = 0.15  # of |F|: below it M⁻¹ F_i F_j is in reach of the series of log_det1p


def log1p_chi2(
    weights: ArrayLike,
    means: ArrayLike,
    covs: ArrayLike,
    rho: float,
    *,
    against: Gaussian | None = None,
) -> float:
    """log(1 + χ²(p_ρ ‖ g)) ≥ KL(p_ρ ‖ g) in nats; `inf` where the integral diverges.

    Args:
        weights: w, (K,), not negative, sum 1.
        means: μ, (K, D).
        covs: S, (K, D, D), symmetric positive semidefinite.
        rho: noise level σ/α, positive.
        against: g at that level; by default N(m, Σ + ρ² I). `jumped` gives that of a start
            from N(0, ρ_start² I).

    Raises:
        ValueError: an argument is outside these sets.
    """
    return bound(Centred.read(weights, means, covs), rho, against=against)


def bound(law: Centred, rho: float, *, against: Gaussian | None = None) -> float:
    """`log1p_chi2` of a law that has been read."""
    parts = law.whitened(rho, against)
    w, a = parts.weights, parts.a
    products, rests, pairs = [], [], []
    step = max(1, BLOCK // (a.shape[1] + 1) ** 2)
    for i in range(len(w)):
        for start in range(i, len(w), step):
            j = slice(start, min(start + step, len(w)))
            rest = _rests(parts, i, j)
            if rest is None:
                return math.inf
            products.append(a[j] @ a[i])
            rests.append(rest)
            pairs.append(w[i] * w[j] * np.where(np.arange(j.start, j.stop) > i, 2, 1))
    product, rest, pair = map(np.concatenate, (products, rests, pairs))
    exponent = product + rest
    top = float(exponent.max())
    if not top < 1:
        return top + math.log(pair @ np.exp(exponent - top)) if top < math.inf else math.inf
    # the weights sum to 1 and Σ w w product = |Σ w a|², which is 0 for the matched Gaussian:
    # what is left has no terms of the order of a product, however small it is itself
    centre = w @ a
    return max(0.0, math.log1p(centre @ centre + pair @ (rest + _exp2(exponent))))


def _exp2(x: Floats) -> Floats:
    """exp(x) − 1 − x, to all digits."""
    near = np.zeros_like(x)
    for k in range(12, 1, -1):  # 0.1¹¹/12! is far below ε
        near = x / k * (1 + near)
    return np.where(np.abs(x) < 0.1, x * near, np.expm1(x) - x)


def _rests(parts: Whitened, i: int, j: slice) -> Floats | None:
    """f_ij for a block of j; None where an M is not positive definite."""
    a, f = parts.a, parts.f
    d = a.shape[1]
    fi, fj = f[i], f[j]
    c = fj @ a[i] + a[j] @ fi
    m = np.eye(d) - fi - fj
    # the factor's last row solves for c beside M's own: |L⁻¹c|² = cᵀM⁻¹c, whatever the corner
    bordered = np.zeros((len(c), d + 1, d + 1))
    bordered[:, :d, :d], bordered[:, d, :d], bordered[:, d, d] = m, c, 1e300
    try:
        factor = np.linalg.cholesky(bordered)
    except np.linalg.LinAlgError:
        return None
    if (f * f).sum((1, 2)).max() < SMALL**2:
        log_det = 0.5 * log_det1p(np.linalg.solve(m, fi @ fj))
    else:
        diagonal = np.diagonal(factor, axis1=1, axis2=2)[:, :d]
        log_det = parts.half_log_det[i] + parts.half_log_det[j] - np.log(diagonal).sum(1)
    squares = (factor[:, d, :d] ** 2).sum(1)
    crossed = np.einsum("jde,d,e->j", fj, a[i], a[i]) + ((a[j] @ fi) * a[j]).sum(1)
    return 0.5 * (crossed + squares) + log_det


def skip_level(
    weights: ArrayLike,
    means: ArrayLike,
    covs: ArrayLike,
    tolerance: float,
    rho_max: float,
    rho_min: float,
    *,
    progress: Callable[[float, float], None] | None = None,
) -> float:
    """Smallest ρ in [ρ_min, ρ_max] with log(1 + χ²) ≤ tolerance, from above to 1e-3 relative.

    χ² against the matched Gaussian does not increase with ρ (both laws are convolved with the
    same noise), so bisection in log ρ is legal, and the bound holds at the level returned.
    `progress` is told each level tried, and its bound.

    Raises:
        ValueError: as `log1p_chi2`; tolerance ≤ 0; not 0 < ρ_min < ρ_max; or the bound exceeds
            the tolerance even at ρ_max.
    """
    law = Centred.read(weights, means, covs)

    def value(rho: float) -> float:
        found = bound(law, rho)
        if progress is not None:
            progress(rho, found)
        return found

    return lowest_level(value, tolerance, rho_max, rho_min)


def lowest_level(
    value: Callable[[float], float], tolerance: float, rho_max: float, rho_min: float
) -> float:
    """Smallest ρ in [ρ_min, ρ_max] with value(ρ) ≤ tolerance, by bisection to 1e-3 relative.

    Raises:
        ValueError: tolerance ≤ 0; not 0 < ρ_min < ρ_max; value(ρ_max) exceeds the tolerance.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}; a number of nats > 0 is allowed")
    if not 0 < rho_min < rho_max < math.inf:
        raise ValueError(f"rho_min, rho_max are {rho_min}, {rho_max}; 0 < min < max is allowed")
    highest = value(rho_max)
    if not highest <= tolerance:
        raise ValueError(
            f"rho_max is {rho_max}, where the bound is {highest:.3g} nat; a level where it is at "
            f"most tolerance = {tolerance:.3g} is allowed"
        )
    if value(rho_min) <= tolerance:
        return rho_min
    low, high = rho_min, rho_max
    while high > 1.001 * low:
        middle = math.sqrt(low * high)
        if value(middle) <= tolerance:
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True)
class Tighter:
    """The smaller of two bounds of K = KL(p_ρ ‖ g_ρ), in nats.

    Attributes:
        value: min(chi2, K + 4 errors).
        source: "chi2", which is rigorous, or "entropy", which holds to four standard errors.
        chi2: log(1 + χ²).
        entropy: K.
        error: the standard error of K.
    """

    value: float
    source: str
    chi2: float
    entropy: float
    error: float


def tighter(
    weights: ArrayLike,
    means: ArrayLike,
    covs: ArrayLike,
    rho: float,
    *,
    samples: int = 2**14,
    seed: int = 0,
) -> Tighter:
    """log(1 + χ²) or K itself with its error, whichever is smaller.

    χ² weighs a rare mode by 1/g where it lies, K by the logarithm alone: with weights of 1e-3 the
    first can be a hundred times the second, and infinite.

    Raises:
        ValueError: as `log1p_chi2`.
    """
    chi2 = log1p_chi2(weights, means, covs, rho)
    k = relative_entropy(weights, means, covs, rho, samples=samples, seed=seed)
    above = k.value + 4 * k.error
    source = "entropy" if above < chi2 else "chi2"
    return Tighter(min(chi2, above), source, chi2, k.value, k.error)


def total_variation(kl: float, *, log1p_chi2: float = math.inf) -> float:
    """TV ≤ min(√(KL/2), ½√χ², 1), of the landing law and of whatever a sampler makes of it.

    Source: Pinsker; Cauchy-Schwarz.
    """
    half = 0.5 * math.sqrt(math.expm1(log1p_chi2)) if log1p_chi2 < 700 else math.inf
    return min(1.0, math.sqrt(max(kl, 0.0) / 2), half)


def wasserstein(kl: float, rho: float, largest: float) -> float:
    """W₂(p_ρ, g_ρ) ≤ √(2 (ρ² + λ₁) KL), at the landing level; λ₁ the largest variance of the data.

    Source: Talagrand's inequality for g_ρ.
    """
    return math.sqrt(2 * (rho**2 + largest) * max(kl, 0.0))


def prior_mismatch(eigenvalues: ArrayLike, mean: ArrayLike, rho: float) -> float:
    """KL(N(m, Σ + ρ² I) ‖ N(0, ρ² I)) = ½ [|m|²/ρ² + Σ_k (λ_k/ρ² − log(1 + λ_k/ρ²))], in nats."""
    share = np.asarray(eigenvalues, dtype=np.float64) / rho**2
    m = np.asarray(mean, dtype=np.float64)
    return 0.5 * float(m @ m / rho**2 + (share - np.log1p(share)).sum())
