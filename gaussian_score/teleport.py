r"""Analytical teleportation for samplers of any kind: states in, states out.

    jump        x_t = the flow of N(m, Σ) from (α_T, σ_T) to (α_t, σ_t)
    matched     x = α m + (α² Σ + σ² I)^½ ξ:  a draw of that Gaussian, ξ ~ N(0, I)
    corrected   x + α C (D − D_G)/(3 ρ²),  C = Σ + ρ² I,  ρ = σ/α:  one model call D = E[x₀ | x]

The correction is the jump's leading error at high noise; its root mean square is what the first
model call of any sampler says of the error, at no further call. In a plan of `solvers` the same
is done by its own operations; this module is for loops that are not ours.

Source: Wang & Vastola, arXiv 2412.09726, for the jump; the rest is derived in this project.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gaussian_score.flow import Level
from gaussian_score.moments import Moments
from gaussian_score.skip import landing_shift
from gaussian_score.trajectory import GaussianFlow


def jump(x: Tensor, moments: Moments, *, start: Level, end: Level) -> Tensor:
    """Where the Gaussian's flow carries x, (B, ...), from one (α, σ) to another.

    With start = end it is x. Computed in float64, answered in the dtype and on the device of x.

    Raises:
        ValueError: as `GaussianFlow`.
    """
    if start == end:
        return x
    return _flow(moments, x).flow(_rows(x), start=start, end=end).reshape(x.shape).to(x.dtype)


def matched(xi: Tensor, moments: Moments, *, end: Level) -> Tensor:
    """The draw of N(α m, α² Σ + σ² I) that belongs to ξ ~ N(0, I), (B, ...)."""
    alpha, sigma = end
    known = _flow(moments, xi)
    rows = _rows(xi)
    t = rows @ known.basis
    across = (alpha**2 * moments.floor + sigma**2) ** 0.5
    along = (alpha**2 * known.eigenvalues + sigma**2).sqrt() - across
    drawn = alpha * known.mean + across * rows + (along * t) @ known.basis.mT
    return drawn.reshape(xi.shape).to(xi.dtype)


def corrected(x: Tensor, data: Tensor, moments: Moments, *, level: Level) -> Tensor:
    """The landing x, (B, ...), at (α, σ), moved by its leading error; data is D there."""
    return (x + level[0] * _shift(x, data, moments, level).reshape(x.shape)).to(x.dtype)


def landing_error(x: Tensor, data: Tensor, moments: Moments, *, level: Level) -> Tensor:
    """The leading error of the landing x, root mean square over the entries of x/α: (B,)."""
    return _shift(x, data, moments, level).square().mean(1).sqrt()


def _shift(x: Tensor, data: Tensor, moments: Moments, level: Level) -> Tensor:
    """C (D − D_G)/(3 ρ²), (B, D), for x/α."""
    alpha, sigma = level
    known, rho = _flow(moments, x), sigma / alpha
    parts = [_rows(data), known.mean, _rows(x) / alpha]
    d, m, v = (p @ known.basis for p in parts)
    along = landing_shift(d, m, known.eigenvalues, rho, v) @ known.basis.mT
    d, m, v = (p - (p @ known.basis) @ known.basis.mT for p in parts)
    return along + landing_shift(d, m, moments.floor, rho, v)


def _flow(moments: Moments, x: Tensor) -> GaussianFlow:
    parts = (moments.mean, moments.eigenvalues, moments.basis)
    mean, eigenvalues, basis = (torch.tensor(p, device=x.device) for p in parts)
    return GaussianFlow(mean, eigenvalues, basis, moments.floor)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(len(x), -1).double()
