r"""The probability flow of one Gaussian in closed form, at any pair of levels.

    Σ = U diag(λ) Uᵀ + f (I − U Uᵀ),     c = α² λ + σ²,     c⊥ = α² f + σ²,     r = x_T − α_T m
    x_t = α_t m + U diag(√(c_t/c_T)) Uᵀ r + √(c⊥_t/c⊥_T) (r − U Uᵀ r)

The flow is the identity in the coordinates (x − α m)/√c. T is the start and t the end; neither has
to be the noisier one. Nothing is divided by α, and only the start's c must not be zero: α_T = 0
(pure noise) and σ_t = 0 (data) are ordinary arguments.

Source: Wang & Vastola, arXiv 2412.09726, for α² + σ² = 1 and for α = 1; any (α, σ) derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gaussian_score.flow import Level, Scalar, check_level, check_points, column


@dataclass(frozen=True, eq=False)
class GaussianFlow:
    r"""N(m, Σ) and its exact flow from start = (α_T, σ_T) to end = (α_t, σ_t).

    Methods take x of shape (B, D), compute in the wider of x's and the parameters' dtype, and
    answer in that of x.

    Attributes:
        mean: m, (D,).
        eigenvalues: λ, (R,), not negative; Σ's own, in which the floor has its share.
        basis: U, (D, R), orthonormal columns.
        floor: f, the variance across U, not negative.

    Raises:
        ValueError: shapes, signs or U are wrong, a level is not finite or is (0, 0), or the start
            law has a direction of zero variance, from which there is no flow.
    """

    mean: Tensor
    eigenvalues: Tensor
    basis: Tensor
    floor: float = 0.0

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
        if not 0 <= self.floor < math.inf:
            raise ValueError(f"floor is {self.floor}; a finite number >= 0 is allowed")
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

    @property
    def dim(self) -> int:
        """D, the number of coordinates."""
        return len(self.mean)

    def flow(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """End point x_t, shape (B, D), of the trajectory that passes x at `start`."""
        return self._filtered(x, start[0], end[0], *self._ratios(start, end))

    def denoised(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """E[x₀ | x_t] = m + U diag(α_t λ/√(c_t c_T)) Uᵀ r + .., shape (B, D), for x at `start`."""
        modes, across = self._ratios(start, end)
        after, after_across = self._deviations(end)
        # the deviation is 0 only where the variance is 0, and there the coefficient is 0
        modes = modes * end[0] * self.eigenvalues / torch.where(after > 0, after, 1) ** 2
        across = across * end[0] * self.floor / (after_across or 1) ** 2
        return self._filtered(x, start[0], 1, modes, across)

    def log_det(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """½ Σ log(c_t/c_T) + ½ (D − R) log(c⊥_t/c⊥_T), the same for every x, (B,).

        It is −∞ where the end law has a direction of zero variance.
        """
        check_points(x, self.dim)
        modes, across = self._ratios(start, end)
        log_det = modes.log().sum()
        if self._rest:
            log_det = log_det + self._rest * (math.log(across) if across else -math.inf)
        return log_det.to(x).expand(len(x))

    def from_noise(self, *, start: Level, end: Level) -> GaussianFlow:
        """The Gaussian that x_t follows where x_T ~ N(0, σ_T² I), as a law of data.

        Its mean is the end point of x_T = 0, its variances are σ_T² c_t/c_T: not α_t m and c_t,
        which x_t has where x_T ~ N(α_T m, C_T).
        """
        modes, across = self._ratios(start, end)
        mean = self.flow(torch.zeros_like(self.mean)[None], start=start, end=end)[0]
        floor = (start[1] * across) ** 2 if self._rest else 0.0
        return replace(self, mean=mean, eigenvalues=(start[1] * modes) ** 2, floor=floor)

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """log N(x; α m, C), C = α² Σ + σ² I, (B,)."""
        a, _, c, across = self._variances(x, alpha, sigma)
        t, rest = self._split(x, a)
        minus_twice = (t * t / c + c.log()).sum(-1) + self.dim * math.log(2 * math.pi)
        if self._rest:
            minus_twice = minus_twice + (rest * rest / across).sum(-1)
            minus_twice = minus_twice + self._rest * across.log().squeeze(-1)
        return (-0.5 * minus_twice).to(x.dtype)

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """−C⁻¹ (x − α m), (B, D)."""
        a, _, c, across = self._variances(x, alpha, sigma)
        return self._filtered(x, a, 0, -1 / c, -1 / across)

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """E[n|x] = σ C⁻¹ (x − α m), (B, D)."""
        a, s, c, across = self._variances(x, alpha, sigma)
        return self._filtered(x, a, 0, s / c, s / across)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """E[x₀|x] = m + α Σ C⁻¹ (x − α m), (B, D)."""
        a, _, c, across = self._variances(x, alpha, sigma)
        return self._filtered(x, a, 1, a * self.eigenvalues.to(c) / c, a * self.floor / across)

    @property
    def _rest(self) -> int:
        """D − R, the number of directions across U."""
        return self.dim - len(self.eigenvalues)

    def _filtered(
        self, x: Tensor, alpha: Scalar, share: float, modes: Tensor, across: Scalar
    ) -> Tensor:
        """share m + U diag(modes) Uᵀ r + across (r − U Uᵀ r), r = x − α m, (B, D)."""
        t, rest = self._split(x, alpha)
        y = share * self.mean.to(t) + (modes.to(t) * t) @ self.basis.to(t).mT
        return (y + across * rest if self._rest else y).to(x.dtype)

    def _split(self, x: Tensor, alpha: Scalar) -> tuple[Tensor, Tensor]:
        """Uᵀ r, (B, R), and r − U Uᵀ r, (B, D)."""
        check_points(x, self.dim)
        r = x.to(torch.promote_types(x.dtype, self.mean.dtype))
        r = r - alpha * self.mean.to(r)
        basis = self.basis.to(r)
        t = r @ basis
        return t, r - t @ basis.mT if self._rest else torch.zeros_like(r)

    def _variances(
        self, x: Tensor, alpha: Scalar, sigma: Scalar
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """α and σ, () or (B, 1); c, (R,) or (B, R); c⊥, () or (B, 1)."""
        dtype = torch.promote_types(x.dtype, self.mean.dtype)
        a, s = column("alpha", alpha, x, dtype), column("sigma", sigma, x, dtype)
        c = a * a * self.eigenvalues.to(a) + s * s
        across = a * a * self.floor + s * s
        if not ((c > 0).all() and ((across > 0).all() or not self._rest)):
            raise ValueError(
                f"(alpha, sigma) is {(alpha, sigma)}, where the law has a direction of zero "
                "variance; sigma > 0 is allowed"
            )
        return a, s, c, across

    def _deviations(self, level: Level) -> tuple[Tensor, float]:
        """√c of each mode, (R,), and √c⊥, with no overflow or underflow in the squares."""
        check_level(level)
        alpha, sigma = level
        spread = alpha * self.eigenvalues.sqrt()
        across = math.hypot(alpha * math.sqrt(self.floor), sigma)
        return torch.hypot(spread, torch.full_like(spread, sigma)), across

    def _ratios(self, start: Level, end: Level) -> tuple[Tensor, float]:
        """√(c_t/c_T) of each mode, (R,), and √(c⊥_t/c⊥_T)."""
        (before, before_across), (after, after_across) = map(self._deviations, (start, end))
        if (before == 0).any() or (self._rest and before_across == 0):
            raise ValueError(
                f"start is {start}, where the law has a direction of zero variance; "
                "sigma > 0 is allowed"
            )
        return after / before, after_across / before_across if self._rest else 1.0
