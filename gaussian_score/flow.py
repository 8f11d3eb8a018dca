r"""What a law with a known probability flow offers, at any pair of levels (α, σ).

    dx = D dα + ε dσ,    D = E[x₀|x],    ε = E[n|x] = −σ ∇ log p

The flow carries the law at `start` to the law at `end`, whatever path joins the levels. Every
other law q at `start` is carried too: log q_t(x_t) = log q_T(x_T) − log |∂x_t/∂x_T|.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from gaussian_score.mixture import GaussianMixture

Level = tuple[float, float]
"""(α, σ), finite, not negative, not (0, 0)."""
Scalar = float | Tensor
"""A level in a prediction: a number, a 0-d tensor or a tensor of shape (B,)."""


class Flow(Protocol):
    """A law in D dimensions, its predictions and its flow.

    Points x have shape (B, D) and a floating dtype, which results keep; the arithmetic is in
    float64 or wider than x. Wrong shapes and levels, and levels where the law has no variance in
    some direction, raise ValueError.
    """

    @property
    def dim(self) -> int:
        """D, the number of coordinates."""
        ...

    def flow(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """End point, (B, D), of the trajectory that passes x at `start`."""
        ...

    def log_det(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """log |∂x_t/∂x_T| at x, (B,)."""
        ...

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """log p(x), (B,)."""
        ...

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x), (B, D)."""
        ...

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """ε, (B, D)."""
        ...

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """D = E[x₀|x], (B, D)."""
        ...


class MixturePredictions(ABC):
    """Predictions of a law that is a `GaussianMixture`; σ > 0."""

    @property
    @abstractmethod
    def mixture(self) -> GaussianMixture:
        """The same law."""

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """log p(x), (B,)."""
        return self.mixture.to(device=x.device).log_density(x, alpha, sigma)

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x), (B, D)."""
        return self.mixture.to(device=x.device).score(x, alpha, sigma)

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """E[n|x], (B, D)."""
        return self.mixture.to(device=x.device).noise(x, alpha, sigma)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """E[x₀|x], (B, D)."""
        return self.mixture.to(device=x.device).denoise(x, alpha, sigma)


def carried_log_density(
    law: Flow,
    log_density: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    start: Level,
    end: Level,
) -> Tensor:
    """log q_t(x), (B,), where x_T with density `log_density`, (B, D) -> (B,), flowed to `end`."""
    origin = law.flow(x, start=end, end=start)
    return log_density(origin) + law.log_det(x, start=end, end=start)


def check_points(x: Tensor, dim: int) -> None:
    """x of shape (B, dim), floating and finite."""
    if x.ndim != 2 or x.shape[1] != dim or not x.is_floating_point():
        raise ValueError(
            f"x has shape {tuple(x.shape)} and dtype {x.dtype}; "
            f"floating point of shape (B, {dim}) is allowed"
        )


def check_level(level: Level) -> None:
    """One end of a flow."""
    if not (all(map(math.isfinite, level)) and min(level) >= 0 and any(level)):
        raise ValueError(f"(alpha, sigma) is {level}; finite, not negative, not (0, 0) is allowed")


def column(name: str, level: Scalar, x: Tensor, dtype: torch.dtype) -> Tensor:
    """The level of a prediction beside x, as a 0-d or (B, 1) tensor of `dtype`."""
    value = torch.as_tensor(level, dtype=dtype, device=x.device)
    if value.ndim and value.shape != x.shape[:1]:
        raise ValueError(f"{name} has shape {tuple(value.shape)}; () or ({len(x)},) is allowed")
    if not (value.isfinite() & (value >= 0)).all():
        raise ValueError(f"{name} is {level}; a finite number >= 0 is allowed")
    return value[:, None] if value.ndim else value
