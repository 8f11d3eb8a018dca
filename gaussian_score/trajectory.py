r"""The probability flow of one Gaussian N(m, U diag(λ) Uᵀ), in closed form at any pair of levels.

    x_t = α_t m + U diag(√(c_t/c_T)) Uᵀ r + (σ_t/σ_T) (r − U Uᵀ r)
    r = x_T − α_T m,   c = α² λ + σ²

The flow is the identity in the coordinates (x − α m)/√c. T is the start and t the end; neither has
to be the noisier one. Nothing is divided by α, and only the start's c must not be zero: α_T = 0
(pure noise) and σ_t = 0 (data) are ordinary arguments.

Source: Wang & Vastola, arXiv 2412.09726, for α² + σ² = 1 and for α = 1; any (α, σ) derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Level = tuple[float, float]


@dataclass(frozen=True, eq=False)
class GaussianFlow:
    r"""Exact flow of N(m, U diag(λ) Uᵀ) from start = (α_T, σ_T) to end = (α_t, σ_t).

    Methods take x of shape (B, D) at `start`, compute in the wider of x's and the parameters'
    dtype, and answer in that of x. Levels are pairs of floats.

    Attributes:
        mean: m, (D,).
        eigenvalues: λ, (R,), not negative; the variance across U is zero.
        basis: U, (D, R), orthonormal columns.

    Raises:
        ValueError: shapes, signs or U are wrong, a level is not finite or is (0, 0), or the start
            law has a direction of zero variance (σ_T = 0 with some λ = 0 or R < D), from which
            there is no flow.
    """

    mean: Tensor
    eigenvalues: Tensor
    basis: Tensor

    def __post_init__(self) -> None:
        for name in ("mean", "eigenvalues", "basis"):
            if not getattr(self, name).isfinite().all():
                raise ValueError(f"{name} is {getattr(self, name)}; finite numbers are allowed")
        d, rank = len(self.mean), len(self.eigenvalues)
        if self.mean.ndim != 1 or self.eigenvalues.ndim != 1 or self.basis.shape != (d, rank):
            shapes = [tuple(a.shape) for a in (self.mean, self.eigenvalues, self.basis)]
            raise ValueError(
                f"mean, eigenvalues and basis have shapes {shapes}; (D,), (R,), (D, R) are allowed"
            )
        if (self.eigenvalues < 0).any():
            raise ValueError(
                f"eigenvalues has the entry {float(self.eigenvalues.min()):.6g}; "
                "0 or more is allowed"
            )
        skew = self.basis.mT @ self.basis - torch.eye(rank).to(self.basis)
        if skew.numel() and skew.abs().max() > 10 * d * torch.finfo(self.basis.dtype).eps:
            raise ValueError(
                f"basis misses UᵀU = I by {float(skew.abs().max()):.3g}; "
                "orthonormal columns are allowed"
            )

    @classmethod
    def from_covariance(
        cls, mean: Tensor | Sequence[float], covariance: Tensor | Sequence[Any]
    ) -> GaussianFlow:
        """The flow of N(mean, covariance) in float64; eigenvalues below zero by rounding become 0.

        A covariance fixes its zero eigenvalues only to rounding ε λ₁, which at σ_t = 0 leaves an
        error of √(ε λ₁)/σ_T across the support; give `eigenvalues` and `basis` where that matters.
        """
        m = torch.as_tensor(mean, dtype=torch.float64)
        cov = torch.as_tensor(covariance, dtype=torch.float64)
        if m.ndim != 1 or cov.shape != (len(m), len(m)):
            raise ValueError(
                f"mean and covariance have shapes {tuple(m.shape)} and {tuple(cov.shape)}; "
                "(D,) and (D, D) are allowed"
            )
        if not cov.isfinite().all():
            raise ValueError(f"covariance is {covariance}; finite numbers are allowed")
        rounding = 10 * len(m) * torch.finfo(cov.dtype).eps * float(cov.abs().max())
        if float((cov - cov.mT).abs().max()) > rounding:
            raise ValueError(
                f"covariance differs from its transpose by {float((cov - cov.mT).abs().max()):.3g}"
                "; a symmetric matrix is allowed"
            )
        eigenvalues, basis = torch.linalg.eigh(0.5 * (cov + cov.mT))
        if float(eigenvalues.min()) < -rounding:
            raise ValueError(
                f"covariance has the eigenvalue {float(eigenvalues.min()):.6g}; "
                "a positive semidefinite matrix is allowed"
            )
        return cls(m, eigenvalues.clamp(min=0), basis)

    def flow(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """End point x_t, shape (B, D), of the trajectory that passes x at `start`."""
        w, rest = self._split(x, start)
        y = end[0] * self.mean + (self._deviation(end) * w) @ self.basis.to(w.dtype).mT
        if rest is not None:
            y = y + end[1] / start[1] * rest
        return y.to(x.dtype)

    def denoised(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """E[x₀ | x_t] = m + U diag(α_t λ/√(c_t c_T)) Uᵀ r, shape (B, D), for x at `start`."""
        w, _ = self._split(x, start)
        deviation = self._deviation(end)
        # the deviation is 0 only where λ = 0, and there the coefficient is 0
        gain = end[0] * self.eigenvalues / torch.where(deviation > 0, deviation, 1)
        return (self.mean + (gain * w) @ self.basis.to(w.dtype).mT).to(x.dtype)

    def log_det(self, *, start: Level, end: Level) -> Tensor:
        """log |∂x_t/∂x_T| = ½ Σ log(c_t/c_T) + (D − R) log(σ_t/σ_T), 0-d, the same for every x.

        It is −∞ where the end law has a direction of zero variance.
        """
        ratio = self._deviation(end) / self._start_deviation(start)
        log_det = ratio.log().sum()
        across = len(self.mean) - len(self.eigenvalues)
        if across:
            log_det = log_det + across * (math.log(end[1] / start[1]) if end[1] else -math.inf)
        return log_det

    def _split(self, x: Tensor, start: Level) -> tuple[Tensor, Tensor | None]:
        """Whitened coordinates Uᵀ r/√c_T, (B, R), and r − U Uᵀ r, (B, D), None where R = D."""
        if x.ndim != 2 or x.shape[1] != len(self.mean) or not x.is_floating_point():
            raise ValueError(
                f"x has shape {tuple(x.shape)} and dtype {x.dtype}; "
                f"floating point of shape (B, {len(self.mean)}) is allowed"
            )
        deviation = self._start_deviation(start)
        r = x - start[0] * self.mean
        basis = self.basis.to(r.dtype)
        t = r @ basis
        rest = r - t @ basis.mT if len(self.eigenvalues) < len(self.mean) else None
        return t / deviation, rest

    def _deviation(self, level: Level) -> Tensor:
        """√c = √(α² λ + σ²) of each mode, (R,), with no overflow or underflow in the squares."""
        alpha, sigma = level
        if not (all(map(math.isfinite, level)) and min(level) >= 0 and any(level)):
            raise ValueError(
                f"(alpha, sigma) is {level}; finite, not negative, not (0, 0) is allowed"
            )
        spread = alpha * self.eigenvalues.sqrt()
        return torch.hypot(spread, torch.full_like(spread, sigma))

    def _start_deviation(self, start: Level) -> Tensor:
        """√c_T, checked to be positive in every direction."""
        deviation = self._deviation(start)
        singular = len(self.eigenvalues) < len(self.mean) or (deviation == 0).any()
        if singular and start[1] == 0:
            raise ValueError(
                f"start is {start}, where the law has a direction of zero variance; "
                "sigma > 0 is allowed"
            )
        return deviation
