r"""Mixtures on a line, point masses among them, and their exact flow at any pair of levels.

    F(x) = Σ_k w_k Φ((x − α μ_k)/√(α² s_k + σ²)),      F_end(x_end) = F_start(x_start)

Everything is in the scale of x, so that α = 0 (pure noise) is an ordinary level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gaussian_score.conserved import Floats, Tails, conserve
from gaussian_score.flow import Level, MixturePredictions, check_level, check_points
from gaussian_score.mixture import GaussianMixture
from gaussian_score.transport import MixtureTails, mixture_law


class OneDimensional(ABC):
    """Flow and log derivative from the tails of the law; x of shape (B, 1)."""

    dim = 1

    @abstractmethod
    def tails(self, level: Level) -> Tails:
        """The law of x at (α, σ)."""

    def flow(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """F_end⁻¹(F_start(x)), (B, 1)."""
        return self._carry(x, start, end)[0]

    def log_det(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """log p_start(x) − log p_end(x_t), (B,)."""
        return self._carry(x, start, end)[1][:, 0]

    def _carry(self, x: Tensor, start: Level, end: Level) -> tuple[Tensor, Tensor]:
        check_points(x, 1)
        points = x.detach().double().cpu().numpy()
        moved, ratio = conserve(self.tails(start), self.tails(end), points)
        return torch.from_numpy(moved).to(x), torch.from_numpy(ratio).to(x)


@dataclass(frozen=True)
class Line(MixturePredictions, OneDimensional):
    """The mixture Σ_k w_k N(μ_k, s_k) on a line; zero variances are point masses.

    Its flow is computed in float64, its predictions are those of `GaussianMixture`.

    Attributes:
        weights: w, K numbers, not negative, sum 1.
        means: μ, K numbers.
        variances: s, K numbers, not negative.

    Raises:
        ValueError: a parameter is outside these sets, or a flow begins or ends where a component
            has zero variance and F jumps.
    """

    weights: Sequence[float]
    means: Sequence[float]
    variances: Sequence[float]

    def __post_init__(self) -> None:
        _ = self._law

    @cached_property
    def _law(self) -> tuple[Floats, ...]:
        return mixture_law(self.weights, self.means, self.variances)

    @cached_property
    def mixture(self) -> GaussianMixture:
        """The same law in torch, float64."""
        w, mu, s = self._law
        return GaussianMixture.isotropic(w, mu[:, None], s)

    def tails(self, level: Level) -> Tails:
        """Means α μ_k and deviations √(α² s_k + σ²)."""
        check_level(level)
        alpha, sigma = level
        w, mu, s = self._law
        deviations = np.hypot(alpha * np.sqrt(s), sigma)
        if not deviations.all():
            raise ValueError(
                f"(alpha, sigma) is {level}, where a component has zero variance; "
                "sigma > 0 is allowed"
            )
        return MixtureTails(w, alpha * mu, deviations)


def two_point(a: float) -> Line:
    """½ (δ_{−a} + δ_a), whose D is a tanh(α a x/σ²); x = 0 is the separatrix."""
    return Line((0.5, 0.5), (-a, a), (0, 0))
