r"""Reference trajectories of any mixture, each with an estimate of its own error.

The flow obeys dx = D dα + ε dσ along any path of levels (α, σ), with D = E[x₀|x] and ε = E[n|x].
Here the path is σ = E − E₀, α = 1 − E/E₁ in the clock log E, which has no singular end: E = E₁ is
pure noise and E = E₀ is clean data (E₀ = 0 where the data are not reached). The state is whitened,

    y = (x − α m)/√(α² τ + σ²),    τ = tr Σ / D,

so that y is of order one everywhere and hardly moves while the law is nearly Gaussian.

Nothing is shared with `mixture`, `trajectory` or `transport`. Source: derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from gaussian_score.oracle import Oracle

__all__ = ["Oracle", "Reference", "reference_flow"]

Floats = NDArray[np.float64]
Level = tuple[float, float]

EPS = float(np.finfo(np.float64).eps)
TOLERANCES = (1e-10, 1e-13)  # of the two integrations; DOP853 goes no lower than 100 ε


@dataclass(frozen=True)
class Reference:
    """End points of the flow.

    Attributes:
        x: (B, D).
        error: estimate of the largest error among the coordinates of each point, (B,).
        source: how x was found.
    """

    x: Floats
    error: Floats
    source: str


def reference_flow(
    weights: ArrayLike,
    means: ArrayLike,
    covs: ArrayLike,
    x_start: ArrayLike,
    start: Level,
    end: Level,
) -> Reference:
    """Carry x_start, (B, D), from start = (α, σ) to `end` along the flow of the mixture.

    D = 1: conservation of the CDF at 30 digits. K = 1: the closed form. Otherwise DOP853, run
    twice; the difference of the two runs, plus rounding, is the error of the finer one.

    Raises:
        ValueError: the arguments are not a mixture, points and levels for it, or σ = 0 at a
            level where a component is singular.
    """
    w, mu, s = (np.asarray(a, dtype=np.float64) for a in (weights, means, covs))
    x = np.asarray(x_start, dtype=np.float64)
    if mu.ndim != 2 or w.shape != mu.shape[:1] or s.shape != (*mu.shape, mu.shape[1]):
        raise ValueError(
            f"weights, means, covs have shapes {w.shape}, {mu.shape}, {s.shape}; "
            "(K,), (K, D), (K, D, D) are allowed"
        )
    if x.ndim != 2 or x.shape[1] != mu.shape[1]:
        raise ValueError(f"x_start has shape {x.shape}; (B, {mu.shape[1]}) is allowed")
    for name, a in (("weights", w), ("means", mu), ("covs", s), ("x_start", x)):
        if not np.isfinite(a).all():
            raise ValueError(f"{name} is {a}; finite numbers are allowed")
    if (w < 0).any() or abs(w.sum() - 1) > 10 * len(w) * EPS:
        raise ValueError(f"weights are {w}; numbers >= 0 of sum 1 are allowed")
    for name, level in (("start", start), ("end", end)):
        if not (np.isfinite(level).all() and min(level) >= 0 and any(level)):
            raise ValueError(f"{name} is {level}; finite, not negative, not (0, 0) is allowed")
    if mu.shape[1] == 1:
        oracle = Oracle(w.tolist(), mu.tolist(), s.tolist(), 30)
        ends = np.array([float(oracle.flow_x(p, start, end)) for p in x[:, 0].tolist()])
        return Reference(ends[:, None], EPS * np.abs(ends), "CDF conservation, 30 digits")
    variances, bases = np.linalg.eigh(s)
    rounding = 10 * mu.shape[1] * EPS * np.abs(variances).max()
    if np.abs(s - s.mT).max() > rounding or variances.min() < -rounding:
        raise ValueError(f"covs are {s}; symmetric positive semidefinite matrices are allowed")
    for name, level in (("start", start), ("end", end)):
        if level[1] == 0 and (name == "start" or len(w) > 1) and variances.min() <= rounding:
            raise ValueError(f"{name} is {level} and a component singular; sigma > 0 is allowed")
    variances = np.maximum(variances, 0)
    if len(w) == 1:
        return _one_gaussian(mu[0], variances[0], bases[0], x, start, end, rounding)
    return _integrated(w, mu, variances, bases, x, start, end)


def _one_gaussian(
    mean: Floats,
    variances: Floats,
    basis: Floats,
    x: Floats,
    start: Level,
    end: Level,
    rounding: float,
) -> Reference:
    """α m + U √(c_end/c_start) Uᵀ (x − α m), c = α² λ + σ², with λ known to `rounding`."""
    r = (x - start[0] * mean) @ basis
    ratio, moved = (
        np.sqrt((end[0] ** 2 * v + end[1] ** 2) / (start[0] ** 2 * v + start[1] ** 2))
        for v in (variances, variances + rounding)
    )
    ends = end[0] * mean + (ratio * r) @ basis.T
    size = np.abs(x).max(1) + abs(start[0]) * np.abs(mean).max()
    error = np.abs((moved - ratio) * r).sum(1) + 10 * len(mean) * EPS * (
        size * ratio.max() + np.abs(ends).max(1) + abs(end[0]) * np.abs(mean).max()
    )
    return Reference(ends, error, "closed form of one Gaussian")


def _integrated(
    w: Floats, mu: Floats, variances: Floats, bases: Floats, x: Floats, start: Level, end: Level
) -> Reference:
    """Integrate dy/d log E at two tolerances."""
    count, d = mu.shape
    mean = w @ mu
    shift = mu - mean
    tau = (w @ (variances.sum(1) + (shift**2).sum(1))) / d
    data = 0.0 if start[1] and end[1] else np.sqrt(variances.min())
    noise = 10 * np.sqrt(tau) or 1.0
    # all components side by side: two matrix products per evaluation
    joined = bases.transpose(1, 0, 2).reshape(d, count * d)
    offset = np.einsum("kd,kdr->kr", shift, bases).reshape(count * d)
    with np.errstate(divide="ignore"):
        log_w = np.log(w)

    def scale(level: Level) -> float:
        return float(np.sqrt(level[0] ** 2 * tau + level[1] ** 2))

    def clock(level: Level) -> float:
        return float(np.log((level[1] + level[0] * data) / (level[0] + level[1] / noise)))

    def velocity(log_e: float, flat: Floats) -> Floats:
        e = np.exp(log_e)
        alpha, sigma, d_alpha, d_sigma = 1 - e / noise, e - data, -e / noise, e
        size = scale((alpha, sigma))
        y = flat.reshape(x.shape)
        t = ((size * y) @ joined - alpha * offset).reshape(-1, count, d)
        c = alpha**2 * variances + sigma**2
        logits = log_w - 0.5 * ((t * t / c).sum(2) + np.log(c).sum(1))
        gamma = np.exp(logits - logits.max(1, keepdims=True))
        gamma /= gamma.sum(1, keepdims=True)
        t *= gamma[:, :, None] * ((d_alpha * alpha * variances + d_sigma * sigma) / c)
        dx = d_alpha * gamma @ shift + t.reshape(-1, count * d) @ joined.T
        growth = (alpha * d_alpha * tau + sigma * d_sigma) / size**2
        return (dx / size - growth * y).ravel()

    y0 = ((x - start[0] * mean) / scale(start)).ravel()
    span = (clock(start), clock(end))
    ends = []
    for tolerance in TOLERANCES:
        run = solve_ivp(velocity, span, y0, "DOP853", [span[1]], rtol=tolerance, atol=tolerance)
        if not run.success:
            raise ArithmeticError(f"DOP853 stopped between {start} and {end}: {run.message}")
        ends.append(run.y[:, 0].reshape(x.shape))
    coarse, fine = ends
    x_end = end[0] * mean + scale(end) * fine
    error = scale(end) * np.abs(fine - coarse).max(1)
    error += 100 * EPS * (scale(end) + np.abs(x_end).max(1) + abs(end[0]) * np.abs(mu).max())
    return Reference(x_end, error, f"DOP853 at {TOLERANCES[0]:g} and {TOLERANCES[1]:g}")
