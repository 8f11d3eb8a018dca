r"""Score networks in EDM's preconditioning, and what they are trained with.

    D(x, σ) = c_skip x + c_out F(c_in x, c_noise),
    c_skip = s²/(σ² + s²),    c_out = σ s/√(σ² + s²),    c_in = 1/√(σ² + s²),    c_noise = log(σ)/4

with s the standard deviation of the data. F then sees and predicts numbers of size one at every
noise level, and F = 0 is the denoiser of N(0, s² I). The loss weighs |D − x₀|² by 1/c_out², so
that every level asks F for the same accuracy.

Noise levels are those of x/α: σ/α of any schedule. Everything is smooth in x and in σ.

Source: Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models".
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from solvers.denoiser import Denoiser


@dataclass(frozen=True)
class EDMScaling:
    """The four functions of σ for data of standard deviation ``deviation``, and the weight."""

    deviation: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.deviation) and self.deviation > 0):
            raise ValueError(f"deviation is {self.deviation}; a finite number > 0 is allowed")

    def skip(self, sigma: Tensor) -> Tensor:
        """c_skip = s²/(σ² + s²)."""
        return self.deviation**2 / (sigma**2 + self.deviation**2)

    def out(self, sigma: Tensor) -> Tensor:
        """c_out = σ s/√(σ² + s²)."""
        return sigma * self.deviation * self.into(sigma)

    def into(self, sigma: Tensor) -> Tensor:
        """c_in = 1/√(σ² + s²)."""
        return (sigma**2 + self.deviation**2).rsqrt()

    def noise(self, sigma: Tensor) -> Tensor:
        """c_noise = log(σ)/4."""
        return sigma.log() / 4

    def weight(self, sigma: Tensor) -> Tensor:
        """1/c_out², the weight of |D − x₀|² in the loss."""
        return self.out(sigma) ** -2

    def base(self, x: Tensor, sigma: Tensor) -> Tensor:
        """c_skip x, the prediction where F = 0; σ has as many dimensions as x, (B, 1, ..)."""
        return self.skip(sigma) * x

    def seen(self, x: Tensor, sigma: Tensor) -> Tensor:
        """c_in x, what F is given."""
        return self.into(sigma) * x


class Scaling(Protocol):
    """What stands around a backbone: D = base + c_out F(seen, c_noise), loss weight 1/c_out²."""

    def base(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The prediction where F = 0; σ has as many dimensions as x, (B, 1, ..)."""
        ...

    def seen(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What F is given of x."""
        ...

    def out(self, sigma: Tensor) -> Tensor:
        """c_out."""
        ...

    def noise(self, sigma: Tensor) -> Tensor:
        """c_noise."""
        ...

    def weight(self, sigma: Tensor) -> Tensor:
        """1/c_out²."""
        ...


@dataclass(frozen=True)
class LogNormal:
    """Noise levels for training: log σ ~ N(mean, deviation²); EDM's are −1.2 and 1.2."""

    mean: float = -1.2
    deviation: float = 1.2

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0 < self.deviation < math.inf):
            raise ValueError(
                f"mean, deviation are {self.mean}, {self.deviation}; a finite number and a finite"
                " number > 0 are allowed"
            )

    def sample(self, n: int, *, generator: torch.Generator) -> Tensor:
        """n levels σ, (n,), float32 on the CPU."""
        return (self.mean + self.deviation * torch.randn(n, generator=generator)).exp()


class Preconditioned(nn.Module):
    """D(x, σ) of a backbone F(x, c_noise, labels) that maps (B, ..), (B,), (B,) to (B, ..)."""

    def __init__(self, backbone: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.backbone, self.scaling = backbone, scaling

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """The data prediction at x = x₀ + σ n, (B, ..), with σ > 0, () or (B,)."""
        c, level = self.scaling, sigma.expand(len(x))
        s = level.reshape(-1, *[1] * (x.dim() - 1))
        given = () if labels is None else (labels,)
        return c.base(x, s) + c.out(s) * self.backbone(c.seen(x, s), c.noise(level), *given)


def edm_loss(
    model: Preconditioned,
    x0: Tensor,
    sigma: Tensor,
    noise: Tensor,
    labels: Tensor | None = None,
) -> Tensor:
    """E weight(σ) (D(x₀ + σ n, σ) − x₀)² over samples and coordinates, a 0-d tensor."""
    s = sigma.reshape(-1, *[1] * (x0.dim() - 1))
    miss = model(x0 + s * noise, sigma, labels) - x0
    return (model.scaling.weight(s) * miss.square()).mean()


class FourierFeatures(nn.Module):
    """cos and sin of 2π f_k c with fixed f_k ~ N(0, bandwidth²): (B,) -> (B, count)."""

    def __init__(self, count: int, bandwidth: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * bandwidth * torch.randn(count // 2))

    def forward(self, c: Tensor) -> Tensor:
        """√2 cos and √2 sin, so that their mean square is one."""
        angle = c[:, None] * cast(Tensor, self.frequencies)
        return math.sqrt(2) * torch.cat([angle.cos(), angle.sin()], dim=1)


class _Block(nn.Module):
    """h + W₂ silu((1 + scale) norm(W₁ h) + shift), scale and shift linear in the features of σ."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.modulation = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor, features: Tensor) -> Tensor:
        scale, shift = self.modulation(features).chunk(2, dim=1)
        inner = nn.functional.silu((1 + scale) * self.norm(self.first(h)) + shift)
        return h + self.second(inner)


class ResidualMLP(nn.Module):
    """A smooth network for vectors of D coordinates: ``depth`` residual blocks, F = 0 at first.

    With ``classes`` = K it takes labels 0..K, the last of which stands for no class.
    """

    def __init__(self, dim: int, *, width: int = 256, depth: int = 3, classes: int = 0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            FourierFeatures(64),
            nn.Linear(64, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
        )
        self.enter = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.leave = nn.Linear(width, dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.classes = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, x: Tensor, c: Tensor, labels: Tensor | None = None) -> Tensor:
        """F at x, (B, D), c_noise, (B,), and labels, (B,)."""
        features, h = self.features(c), self.enter(x)
        if self.classes is not None:
            features = features + self.classes(labels)
        for block in self.blocks:
            h = block(h, features)
        return self.leave(h)


@dataclass(frozen=True)
class Learned(Denoiser):
    """A trained D(x, σ) on every schedule: asked at x/α and σ/α, in the dtype of its parameters.

    ``denoise`` and ``noise`` make it a law like ``gaussian_score.mixture.GaussianMixture``.

    Raises:
        ValueError: α or σ is not positive; a network has no value at x/α there.
    """

    net: nn.Module

    def double(self) -> Learned:
        """A copy in float64."""
        return Learned(copy.deepcopy(self.net).double())

    def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        """D(x/α, σ/α), (B, ..), in the dtype of x; α and σ are numbers, 0-d or (B,)."""
        dtype = next(self.net.parameters()).dtype
        a, s = (_positive(k, v, x) for k, v in (("alpha", alpha), ("sigma", sigma)))
        whole = a.reshape(-1, *[1] * (x.dim() - 1)) if a.dim() else a
        return self.net((x / whole).to(dtype), (s / a).to(dtype)).to(x.dtype)

    def noise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        """(x − α D)/σ."""
        return (x - alpha * self.denoise(x, alpha, sigma)) / sigma

    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        """The noise or the data prediction."""
        return (self.noise if kind == "noise" else self.denoise)(x, alpha, sigma)


def _positive(name: str, value: Any, like: Tensor) -> Tensor:
    """A level in the dtype and on the device of ``like``; no device is waited for."""
    if isinstance(value, int | float):
        level, low = like.new_full((), value), value
    else:
        given = torch.as_tensor(value)
        level, low = given.to(like), float(given.min()) if given.device.type == "cpu" else 1.0
    if not low > 0:
        raise ValueError(f"{name} is {low}; a number > 0 is allowed")
    return level
