r"""D(x, σ) = c_skip x + c_out F(c_in x, c_noise) as EDM's pickles hold it, for noise x = x₀ + σ n.

    EDM     c_skip = s²/(σ²+s²), c_out = σs/√(σ²+s²), c_in = 1/√(σ²+s²), c_noise = log(σ)/4
    VP      1, −σ, 1/√(σ²+1), (M−1) t(σ)  with  ∫β = ½ β_d t² + β_min t = log(1+σ²)
    VE      1,  σ, 1,          log(σ/2)
    iDDPM   1, −σ, 1/√(σ²+1), M−1−j  with u_j the stored level nearest to σ; F has more channels

Class vectors (B, label_dim) are zero where none are given. Everything is in the dtype of x and
smooth in σ, but for iDDPM's nearest level.

Source: Karras et al. 2022, table 1 and appendix C (arXiv:2206.00364).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from experiments.checkpoints.layers import one_of
from experiments.checkpoints.unet import DhariwalUNet, SongUNet
from experiments.networks import EDMScaling

BACKBONES: dict[str, type[nn.Module]] = {"SongUNet": SongUNet, "DhariwalUNet": DhariwalUNet}

Levels = tuple[Tensor | float, Tensor, Tensor | float, Tensor]


class Denoising(nn.Module, ABC):
    """D(x, σ) over a backbone F."""

    backbone = "DhariwalUNet"
    outputs = 1

    def __init__(
        self,
        *,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        model_type: str | None = None,
        **model: Any,
    ) -> None:
        super().__init__()
        kind = model_type or self.backbone
        one_of("model_type", kind, *BACKBONES)
        self.channels, self.label_dim = img_channels, label_dim
        self.model = BACKBONES[kind](
            img_resolution=img_resolution,
            in_channels=img_channels,
            out_channels=img_channels * self.outputs,
            label_dim=label_dim,
            **model,
        )

    def of(self, classes: Tensor) -> Tensor:
        """The class vectors (B, label_dim) of classes (B,)."""
        return one_hot(classes, self.label_dim).float()

    @abstractmethod
    def levels(self, sigma: Tensor) -> Levels:
        """c_skip, c_out, c_in, c_noise at σ, (B, 1, 1, 1)."""

    def forward(self, x: Tensor, sigma: Tensor, classes: Tensor | None = None) -> Tensor:
        """The data prediction at x, (B, C, H, W), and σ > 0, () or (B,)."""
        skip, out, into, noise = self.levels(sigma.expand(len(x))[:, None, None, None])
        if classes is None and self.label_dim:
            classes = x.new_zeros(1, self.label_dim)
        F = self.model(into * x, noise.flatten(), classes)[:, : self.channels]
        return skip * x + out * F


class EDMPrecond(Denoising):
    """EDM's own."""

    def __init__(
        self,
        *,
        sigma_min: float = 0.0,
        sigma_max: float = float("inf"),
        sigma_data: float = 0.5,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self.scaling = EDMScaling(float(sigma_data))

    def levels(self, sigma: Tensor) -> Levels:
        """Those of ``EDMScaling``."""
        c = self.scaling
        return c.skip(sigma), c.out(sigma), c.into(sigma), c.noise(sigma)


class VPPrecond(Denoising):
    """A network of noise, trained on VP's continuous time."""

    backbone = "SongUNet"

    def __init__(
        self,
        *,
        beta_d: float = 19.9,
        beta_min: float = 0.1,
        M: int = 1000,
        epsilon_t: float = 1e-5,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self.beta_d, self.beta_min, self.M = beta_d, beta_min, M

    def levels(self, sigma: Tensor) -> Levels:
        """The root t of ½ β_d t² + β_min t = B, free of cancellation, times M − 1."""
        B = torch.log1p(sigma**2)
        t = 2 * B / (self.beta_min + (self.beta_min**2 + 2 * self.beta_d * B).sqrt())
        return 1.0, -sigma, (sigma**2 + 1).rsqrt(), (self.M - 1) * t


class VEPrecond(Denoising):
    """A network of −noise that sees x unscaled."""

    backbone = "SongUNet"

    def __init__(self, *, sigma_min: float = 0.02, sigma_max: float = 100.0, **rest: Any) -> None:
        super().__init__(**rest)

    def levels(self, sigma: Tensor) -> Levels:
        """1, σ, 1, log(σ/2)."""
        return 1.0, sigma, 1.0, (sigma / 2).log()


class iDDPMPrecond(Denoising):
    """A network of noise (and of variances, which are dropped), trained at M + 1 stored levels."""

    outputs = 2

    def __init__(
        self, *, C_1: float = 0.001, C_2: float = 0.008, M: int = 1000, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self.M = M
        angle = torch.arange(M + 1, dtype=torch.float64) * torch.pi / (2 * M * (C_2 + 1))
        kept = (angle.sin() ** 2)[:-1] / (angle.sin() ** 2)[1:]
        # u_{j−1}² + 1 = (u_j² + 1)/max(ᾱ_{j−1}/ᾱ_j, C_1), from u_M = 0
        growth = kept.clamp(min=C_1).log().neg().flip(0).cumsum(0).flip(0)
        u = torch.cat([growth.expm1().sqrt(), growth.new_zeros(1)])
        self.register_buffer("u", u.float())

    def levels(self, sigma: Tensor) -> Levels:
        """The index of the stored level nearest to σ, counted from the noisiest."""
        u = cast(Tensor, self.u).to(sigma.dtype)
        nearest = (sigma - u).abs().argmin(dim=-1, keepdim=True)
        return 1.0, -sigma, (sigma**2 + 1).rsqrt(), (self.M - 1 - nearest).to(sigma.dtype)


PRECONDITIONED: dict[str, type[Denoising]] = {
    kind.__name__: kind for kind in (EDMPrecond, VPPrecond, VEPrecond, iDDPMPrecond)
}
"""The networks of EDM's pickles by their class."""
