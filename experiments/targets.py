r"""What a backbone predicts: D = c_skip x + c_out F, where F of the true D is the target.

    target    F at x = x₀ + σ n             c_skip              c_out
    edm       (x₀ − c_skip x)/c_out         s²/(σ² + s²)        σ s/√(σ² + s²)
    eps       n                             1                   −σ
    x0        x₀                            0                   1
    v         (n − σ x₀)/√(1 + σ²)          1/(1 + σ²)          −σ/√(1 + σ²)
    flow      n − x₀                        1/(1 + σ)           −σ/(1 + σ)

σ is that of x/α: v is α n − σ x₀ of a variance-preserving schedule, flow the velocity of rectified
flow. All five are the same D in exact arithmetic; they differ in what a backbone that is slightly
wrong does, and in the weight 1/c_out² of the loss, with which |F − target|² is not weighted.
Every F is given c_in x with c_in = 1/√(σ² + s²).

Sources: Karras et al. 2022 (edm), Ho et al. 2020 (eps, x0), Salimans & Ho 2022 (v), Liu et al.
2023 (flow).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.networks import EDMScaling


@dataclass(frozen=True)
class Noise(EDMScaling):
    """F = n."""

    def skip(self, sigma: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(sigma)

    def out(self, sigma: Tensor) -> Tensor:
        """−σ."""
        return -sigma


@dataclass(frozen=True)
class Data(EDMScaling):
    """F = x₀."""

    def skip(self, sigma: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(sigma)

    def out(self, sigma: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(sigma)


@dataclass(frozen=True)
class V(EDMScaling):
    """F = (n − σ x₀)/√(1 + σ²)."""

    def skip(self, sigma: Tensor) -> Tensor:
        """1/(1 + σ²)."""
        return 1 / (1 + sigma**2)

    def out(self, sigma: Tensor) -> Tensor:
        """−σ/√(1 + σ²)."""
        return -sigma * (1 + sigma**2).rsqrt()


@dataclass(frozen=True)
class Flow(EDMScaling):
    """F = n − x₀."""

    def skip(self, sigma: Tensor) -> Tensor:
        """1/(1 + σ)."""
        return 1 / (1 + sigma)

    def out(self, sigma: Tensor) -> Tensor:
        """−σ/(1 + σ)."""
        return -sigma / (1 + sigma)


TARGETS: dict[str, type[EDMScaling]] = {
    "edm": EDMScaling,
    "eps": Noise,
    "x0": Data,
    "v": V,
    "flow": Flow,
}
