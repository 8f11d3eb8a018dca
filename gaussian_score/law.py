"""What every law of this package answers."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from gaussian_score.arguments import Scalar


class Law(Protocol):
    """A law of data, seen through x = α x₀ + σ n; x is (B, D), α and σ floats, () or (B,)."""

    @property
    def dim(self) -> int:
        """D."""
        ...

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """Log density log p(x), (B,)."""
        ...

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x), (B, D)."""
        ...

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """ε = E[n|x], (B, D)."""
        ...

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """D = E[x₀|x], (B, D)."""
        ...
