r"""Independent blocks in orthogonal subspaces, then any rotation, shift and scale.

    z = (z₁, z₂, ..) independent          each block flows by itself
    x₀ = m + k Q z, QᵀQ = I               x_t = α m + k Q z_t,   z at (α, σ/k)

Isotropic noise keeps blocks independent and looks the same in every orthonormal basis; under a
general linear map it does not, and no flow is known there. Tensor grids of means are products of
lines; means on a line times a Gaussian across it is `along`.

Source: derived here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gaussian_score.flow import Flow, Level, Scalar, check_level, check_points
from gaussian_score.trajectory import GaussianFlow


@dataclass(frozen=True)
class Product:
    """The law of (z₁, z₂, ..), independent z_i with the laws `blocks`; D = Σ D_i."""

    blocks: Sequence[Flow]

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError(f"blocks is {self.blocks}; one law or more is allowed")

    @property
    def dim(self) -> int:
        """D."""
        return sum(block.dim for block in self.blocks)

    def flow(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """Each block's own flow, (B, D)."""
        return torch.cat(self._each(x, lambda b, z: b.flow(z, start=start, end=end)), 1)

    def log_det(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """The sum over blocks, (B,)."""
        return _sum(self._each(x, lambda b, z: b.log_det(z, start=start, end=end)))

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """The sum over blocks, (B,)."""
        return _sum(self._each(x, lambda b, z: b.log_density(z, alpha, sigma)))

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x), (B, D)."""
        return torch.cat(self._each(x, lambda b, z: b.score(z, alpha, sigma)), 1)

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """E[n|x], (B, D)."""
        return torch.cat(self._each(x, lambda b, z: b.noise(z, alpha, sigma)), 1)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """E[x₀|x], (B, D)."""
        return torch.cat(self._each(x, lambda b, z: b.denoise(z, alpha, sigma)), 1)

    def _each(self, x: Tensor, f: Callable[[Flow, Tensor], Tensor]) -> list[Tensor]:
        check_points(x, self.dim)
        parts = x.split([block.dim for block in self.blocks], dim=1)
        return [f(block, z) for block, z in zip(self.blocks, parts, strict=True)]


@dataclass(frozen=True, eq=False)
class Moved:
    """The law of x₀ = m + k Q z, z with the law `law`.

    Attributes:
        law: of z, in D dimensions.
        basis: Q, (D, D), orthogonal; None is the identity.
        shift: m, (D,); None is 0.
        scale: k > 0.

    Raises:
        ValueError: a parameter has another shape, Q is not orthogonal or k not positive.
    """

    law: Flow
    basis: Tensor | None = None
    shift: Tensor | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        d = self.law.dim
        for name, part, shape in (("basis", self.basis, (d, d)), ("shift", self.shift, (d,))):
            if part is not None and (tuple(part.shape) != shape or not part.isfinite().all()):
                raise ValueError(f"{name} is {part}; finite numbers of shape {shape} are allowed")
        if self.basis is not None:
            skew = float((self.basis.mT @ self.basis - torch.eye(d).to(self.basis)).abs().max())
            if skew > 10 * d * torch.finfo(self.basis.dtype).eps:
                raise ValueError(
                    f"basis misses QᵀQ = I by {skew:.3g}; an orthogonal matrix is allowed"
                )
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale is {self.scale}; a finite number > 0 is allowed")

    @property
    def dim(self) -> int:
        """D."""
        return self.law.dim

    def flow(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """α_t m + k Q z_t, (B, D)."""
        check_level(end)
        z = self.law.flow(
            self._inward(x, start[0]), start=self._level(start), end=self._level(end)
        )
        return self._outward(z, end[0]).to(x.dtype)

    def log_det(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """That of z: the map to z has the same determinant at both ends, (B,)."""
        z = self._inward(x, start[0])
        log_det = self.law.log_det(z, start=self._level(start), end=self._level(end))
        return log_det.to(x.dtype)

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """That of z, less D log k, (B,)."""
        z = self._inward(x, alpha)
        log_p = self.law.log_density(z, alpha, sigma / self.scale) - self.dim * math.log(
            self.scale
        )
        return log_p.to(x.dtype)

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """Q ∇ log p_z/k, (B, D)."""
        score = self.law.score(self._inward(x, alpha), alpha, sigma / self.scale)
        return (self._turned(score) / self.scale).to(x.dtype)

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """Q E[n|z], (B, D)."""
        noise = self.law.noise(self._inward(x, alpha), alpha, sigma / self.scale)
        return self._turned(noise).to(x.dtype)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """m + k Q E[z₀|z], (B, D)."""
        data = self.law.denoise(self._inward(x, alpha), alpha, sigma / self.scale)
        return self._outward(data, 1.0).to(x.dtype)

    def _level(self, level: Level) -> Level:
        return level[0], level[1] / self.scale

    def _inward(self, x: Tensor, alpha: Scalar) -> Tensor:
        """z = Qᵀ (x − α m)/k in float64."""
        check_points(x, self.dim)
        z = x.double()
        if self.shift is not None:
            z = z - _beside(alpha, z) * self.shift.to(z)
        if self.basis is not None:
            z = z @ self.basis.to(z)
        return z / self.scale

    def _outward(self, z: Tensor, alpha: float) -> Tensor:
        """α m + k Q z."""
        y = self.scale * self._turned(z)
        return y if self.shift is None else y + alpha * self.shift.to(y)

    def _turned(self, z: Tensor) -> Tensor:
        return z if self.basis is None else z @ self.basis.to(z).mT


def along(line: Flow, mean: Tensor, basis: Tensor, variances: Tensor) -> Moved:
    """m + Q (s, g): s with the law `line` along the first column of Q, g ~ N(0, diag(variances)).

    mean (D,), basis (D, D) orthogonal, variances (D − 1,). The line must be an eigendirection of
    the common covariance, as it is here: any other separating direction turns with σ.
    """
    d = len(variances)
    across = GaussianFlow(torch.zeros(d).to(variances), variances, torch.eye(d).to(variances))
    return Moved(Product((line, across)), basis, mean)


def _sum(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum(0)


def _beside(alpha: Any, z: Tensor) -> Tensor:
    """α as a number or a column."""
    a = torch.as_tensor(alpha, dtype=z.dtype, device=z.device)
    return a[:, None] if a.ndim else a
