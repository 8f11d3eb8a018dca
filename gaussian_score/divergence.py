r"""KL divergence and relative Fisher information of a mixture and its Gaussian at noise ρ.

With r = p_ρ/g_ρ, in coordinates z where g_ρ = N(0, I) and C = Σ + ρ² I (`whitened`):

    K = E_q H(r),   q = ½ (p + g),   H(r) = 2 (r log r − r + 1)/(1 + r),
    J = E_p |C^{-½} ∇_z log r|² = E_p |s − s_G|².

H ≥ 0 grows like 2 log r, so that rare and narrow modes have a small variance, and a nearly
Gaussian law has small terms instead of terms that cancel. One dimension: trapezoidal sums, whose
error is taken from twice the step. More: draws stratified by g and by the components, with a
standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

from gaussian_score.whitened import EPS, Centred, Whitened

Floats = NDArray[np.float64]
Integrand = Callable[[Floats], Floats]
FAR = 60.0  # of log r: beyond it H = 2 (log r − 1) to all digits, and r would overflow at 709
GRID = 2**21  # points of a trapezoidal sum, at most; a narrower component is sampled


@dataclass(frozen=True)
class Measured:
    """A number in nats (per ρ², for J), and one standard error or a bound of its error."""

    value: float
    error: float


def relative_entropy(
    weights: ArrayLike,
    means: ArrayLike,
    covs: ArrayLike,
    rho: float,
    *,
    samples: int = 2**14,
    seed: int = 0,
) -> Measured:
    """K = KL(p_ρ ‖ g_ρ), g_ρ the matched Gaussian, in nats.

    Args:
        weights: w, (K,), not negative, sum 1.
        means: μ, (K, D).
        covs: S, (K, D, D), symmetric positive semidefinite.
        rho: noise level σ/α, positive.
        samples: draws in all, at least 8 (K + 1), where D > 1.
        seed: of the draws.

    Raises:
        ValueError: an argument is outside these sets.
    """
    parts = Centred.read(weights, means, covs).whitened(rho)

    def integrand(z: Floats) -> Floats:
        log_ratios = parts.log_ratios(z)
        return _convex(parts.weights, log_ratios)

    grid = _grid(parts)
    if grid is not None:
        z, step = grid
        p, g = _densities(parts, z)
        return _trapezoid(0.5 * (p + g) * integrand(z), step)
    shares = np.concatenate([[0.5], 0.5 * parts.weights])
    return _stratified(integrand, _draws(parts, samples, seed, with_gaussian=True), shares)


def relative_fisher(
    weights: ArrayLike,
    means: ArrayLike,
    covs: ArrayLike,
    rho: float,
    *,
    samples: int = 2**14,
    seed: int = 0,
) -> Measured:
    """J = E_p |∇log p_ρ − ∇log g_ρ|² = −2 dK/dρ²; arguments and errors as `relative_entropy`."""
    parts = Centred.read(weights, means, covs).whitened(rho)

    def square(z: Floats) -> Floats:
        """|C^{-½} ∇_z log r|², at which γ are the components' shares of p."""
        gamma = softmax(np.log(parts.weights)[:, None] + parts.log_ratios(z), axis=0)
        slope = parts.slope(z, gamma) @ parts.transform.T
        return (slope * slope).sum(1)

    grid = _grid(parts)
    if grid is not None:
        z, step = grid
        return _trapezoid(_densities(parts, z)[0] * square(z), step)
    draws = _draws(parts, samples, seed, with_gaussian=False)
    return _stratified(square, draws, parts.weights)


def _convex(weights: Floats, log_ratios: Floats) -> Floats:
    """H(r) from the components' log ratios, (K, N), whatever the size of r."""
    t = np.maximum(weights @ np.expm1(np.minimum(log_ratios, FAR)), -1.0)  # r − 1
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = 2 * (np.where(t > -1, (1 + t) * np.log1p(t), 0.0) - t) / (2 + t)
    series = t * t * (0.5 - t * (1 / 6 - t * (1 / 12 - t / 20))) * 2 / (2 + t)
    found = np.where(np.abs(t) < 1e-3, series, middle)
    far = log_ratios.max(0) > FAR
    if far.any():
        total = np.asarray(logsumexp(log_ratios[:, far], axis=0, b=weights[:, None]))
        found[far] = 2 * (total - 1)
    return found


def _densities(parts: Whitened, z: Floats) -> tuple[Floats, Floats]:
    """p and g at z, (N,), in one dimension."""
    log_g = -0.5 * z[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)
    return parts.weights @ np.exp(parts.log_ratios(z) + log_g), np.exp(log_g)


def _grid(parts: Whitened) -> tuple[Floats, float] | None:
    """Points z, (N, 1), over all that p and g weigh, and their step; None where D > 1."""
    if parts.a.shape[1] > 1:
        return None
    mean, deviation = parts.a[:, 0], np.sqrt(1 + parts.e[:, 0, 0])
    low = min(-12.0, float((mean - 12 * deviation).min()))
    high = max(12.0, float((mean + 12 * deviation).max()))
    step = min(1.0, float(deviation.min())) / 16
    count = 2 * math.ceil((high - low) / (2 * step))
    if count >= GRID:
        return None
    return np.asarray(low + step * np.arange(count + 1)[:, None], dtype=np.float64), step


def _trapezoid(values: Floats, step: float) -> Measured:
    fine, coarse = step * values.sum(), 2 * step * values[::2].sum()
    return Measured(float(fine), float(abs(fine - coarse) + 100 * EPS * fine))


def _draws(parts: Whitened, samples: int, seed: int, *, with_gaussian: bool) -> Iterator[Floats]:
    """Points of each stratum: half of the draws by its share, half equally; in pairs ± noise."""
    w, a = parts.weights, parts.a
    shares = np.concatenate([[0.5], 0.5 * w]) if with_gaussian else w
    if samples < 8 * len(shares):
        raise ValueError(f"samples is {samples}; {8 * len(shares)} or more are allowed")
    rng = np.random.default_rng(seed)
    d = a.shape[1]
    roots = np.linalg.cholesky(np.eye(d) + parts.e)
    strata = [(np.zeros(d), None)] if with_gaussian else []
    for share, (mean, root) in zip(shares, [*strata, *zip(a, roots, strict=True)], strict=True):
        half = math.ceil(samples * (share + 1 / len(shares)) / 4)
        noise = rng.standard_normal((half, d))
        noise = noise if root is None else noise @ root.T
        yield np.concatenate([mean + noise, mean - noise])


def _stratified(integrand: Integrand, draws: Iterator[Floats], shares: Floats) -> Measured:
    """Σ share · mean, and the root of Σ share² · variance of the pairs' means / pairs."""
    value = variance = 0.0
    for share, z in zip(shares, draws, strict=True):
        pairs = integrand(z).reshape(2, -1).mean(0)
        value += share * pairs.mean()
        variance += share**2 * pairs.var(ddof=1) / len(pairs)
    return Measured(float(value), math.sqrt(variance))
