"""Parts that go around a model: classifier-free guidance and thresholding of the data prediction.

Each maps a denoiser to a denoiser, so it composes with every method; a plan lists them by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from solvers.denoiser import Denoiser


@dataclass(frozen=True)
class Guided(Denoiser):
    """P = P_u + s (P_c − P_u) of a conditional and an unconditional model; s = 1 is P_c alone.

    The same formula for noise and data predictions, since x = α D + σ ε and the factors have the
    sum 1.  Orders hold as without guidance: the guided flow is as smooth as its two parts.
    Source: Ho and Salimans 2022, "Classifier-Free Diffusion Guidance" (their w is s − 1).
    """

    conditional: Denoiser
    unconditional: Denoiser
    scale: float

    def __post_init__(self) -> None:
        if not _finite(self.scale):
            raise ValueError(f"scale: got {self.scale!r}; a finite number is allowed")
        if self.conditional.parts != self.unconditional.parts:
            raise ValueError(
                f"unconditional: got the parts {list(self.unconditional.parts)};"
                f" those of the conditional model, {list(self.conditional.parts)}, are allowed"
            )

    @property
    def parts(self) -> tuple[str, ...]:
        """guided(s), after the parts of the models."""
        return (*self.conditional.parts, f"guided({float(self.scale)!r})")

    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        """Both models at x: two calls of a network, one evaluation of the guided model."""
        free = self.unconditional.at(kind, x, t, alpha, sigma)
        return free + self.scale * (self.conditional.at(kind, x, t, alpha, sigma) - free)


@dataclass(frozen=True)
class Thresholded(Denoiser):
    """D ← clip(D, −s, s)/s · floor with s = max(quantile of |D|, floor), of each sample apart.

    quantile = 0 has s = floor, which is static thresholding.  The noise prediction follows as
    (x − α D)/σ.  D is not smooth where it is clipped: no order is claimed with it.
    Source: Saharia et al. 2022, "Imagen"; in DPM-Solver++ with the quantile 0.995 and floor 1.
    """

    model: Denoiser
    quantile: float = 0.995
    floor: float = 1.0

    def __post_init__(self) -> None:
        if not _finite(self.quantile) or not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile: got {self.quantile!r}; a number from 0 to 1 is allowed")
        if not _finite(self.floor) or self.floor <= 0:
            raise ValueError(f"floor: got {self.floor!r}; a positive number is allowed")

    @property
    def parts(self) -> tuple[str, ...]:
        """thresholded(quantile, floor), after the parts of the model."""
        own = f"thresholded({float(self.quantile)!r}, {float(self.floor)!r})"
        return (*self.model.parts, own)

    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        """The clipped data prediction, or the noise that belongs to it."""
        D = self.model.at("data", x, t, alpha, sigma)
        if self.quantile == 0:
            D = D.clamp(-self.floor, self.floor)
        else:
            sizes = torch.quantile(D.abs().flatten(1), self.quantile, dim=1)
            s = sizes.clamp_min(self.floor).reshape(-1, *(1,) * (D.dim() - 1))
            D = torch.maximum(torch.minimum(D, s), -s) / s * self.floor
        return D if kind == "data" else (x - alpha * D) / sigma


def _finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)
