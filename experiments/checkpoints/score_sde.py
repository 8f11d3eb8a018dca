r"""score_sde's networks ddpm and ncsnpp, whose state dicts fit those of the authors' .pth files.

A network maps (B, C, H, W) and labels (B,) to (B, C, H, W): labels are times (positional) or noise
levels σ (fourier). The modules lie in one list ``all_modules`` in the order of use, which is also
the order of the moving averages in a checkpoint. Blocks of each level, down then up:

    ddpm      residual blocks, then a resampling layer
    ncsnpp    residual blocks, then one that resamples inside ("biggan")

with an optional pyramid of images at the input and at the output. What the authors' own code
cannot run (ncsnpp with blocks of ddpm, ``progressive`` residual) is refused. ``scale_by_sigma``
divides the result by σ, which makes a score; at positional labels σ is the trained level there,
interpolated geometrically. Dropout is left out; every activation is x/(1 + e^{−x}).

Source: Song et al. 2021 (arXiv:2011.13456), Ho et al. 2020 (arXiv:2006.11239).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from experiments.checkpoints.layers import conv, norm, one_of
from experiments.checkpoints.score_sde_layers import (
    Attention,
    Combine,
    Projection,
    Residual,
    Resized,
    Smoothed,
    positional,
    resizing,
)


class ScoreSDE(nn.Module):
    """ddpm and ncsnpp, with the arguments of score_sde's ``config.model`` and ``config.data``."""

    def __init__(
        self,
        *,
        name: str,
        image_size: int,
        num_channels: int,
        nf: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        attn_resolutions: Sequence[int],
        resamp_with_conv: bool = True,
        conditional: bool = True,
        centered: bool = False,
        scale_by_sigma: bool = False,
        sigma_min: float = 0.01,
        sigma_max: float = 50.0,
        num_scales: int = 1000,
        fir: bool = False,
        fir_kernel: Sequence[float] = (1, 3, 3, 1),
        skip_rescale: bool = False,
        resblock_type: str = "ddpm",
        progressive: str = "none",
        progressive_input: str = "none",
        progressive_combine: str = "sum",
        embedding_type: str = "positional",
        fourier_scale: float = 16.0,
        nonlinearity: str = "swish",
        normalization: str = "GroupNorm",
    ) -> None:
        super().__init__()
        one_of("name", name, "ddpm", "ncsnpp")
        one_of("nonlinearity", nonlinearity, "swish")
        one_of("normalization", normalization, "GroupNorm")
        one_of("resblock_type", resblock_type, "ddpm" if name == "ddpm" else "biggan")
        one_of("progressive", progressive, "none", "output_skip")
        one_of("progressive_input", progressive_input, "none", "input_skip", "residual")
        one_of("progressive_combine", progressive_combine, "sum", "cat")
        one_of("embedding_type", embedding_type, "positional", "fourier")
        ladder = torch.linspace(
            math.log(sigma_max), math.log(sigma_min), num_scales, dtype=torch.float64
        )
        self.register_buffer("sigmas", ladder.exp())
        self.nf, self.conditional, self.centered = nf, conditional, centered
        self.scale_by_sigma = scale_by_sigma
        self.fourier = name == "ncsnpp" and embedding_type == "fourier"
        self.into, self.out = progressive_input, progressive
        self.levels, self.repeats = len(ch_mult), num_res_blocks
        sides = [image_size // 2**i for i in range(self.levels)]
        self.attended = [side in attn_resolutions for side in sides]
        self.biggan, self.root = name == "ncsnpp", math.sqrt(2) if skip_rescale else 1.0
        taps = fir_kernel if fir else None
        self.smaller, self.larger = resizing(taps, up=False), resizing(taps, up=True)
        emb, least = 4 * nf if conditional else 0, 1 if name == "ddpm" else 4
        found: list[nn.Module] = []

        def block(i: int, o: int, resize: nn.Module | None = None) -> None:
            rest: Any = {"emb": emb, "root": self.root, "least": least, "linear": not self.biggan}
            found.append(Residual(i, o, resize=resize, **rest))

        def attention(channels: int) -> None:
            found.append(Attention(channels, root=self.root, least=least))

        def halve(width: int, up: bool) -> None:
            plain = self.larger if up else self.smaller
            if self.biggan:
                block(width, width, plain)
            else:
                found.append(Resized(width, width, up=up) if resamp_with_conv else plain)

        if self.fourier:
            found.append(Projection(nf, fourier_scale))
        if conditional:
            found += [nn.Linear(2 * nf if self.fourier else nf, emb), nn.Linear(emb, emb)]
        found.append(conv(num_channels, nf, 3))
        width, image, skips = nf, num_channels, [nf]
        for level, mult in enumerate(ch_mult):
            for _ in range(num_res_blocks):
                block(width, nf * mult)
                width = nf * mult
                if self.attended[level]:
                    attention(width)
                skips.append(width)
            if level < self.levels - 1:
                halve(width, up=False)
                if self.into == "input_skip":
                    found.append(Combine(image, width, progressive_combine))
                    width *= 2 if progressive_combine == "cat" else 1
                elif self.into == "residual":
                    found.append(
                        Smoothed(image, width, taps) if taps else Resized(image, width, up=False)
                    )
                    image = width
                skips.append(width)
        block(width, width)
        attention(width)
        block(width, width)
        for level in reversed(range(self.levels)):
            for _ in range(num_res_blocks + 1):
                block(width + skips.pop(), nf * ch_mult[level])
                width = nf * ch_mult[level]
            if self.attended[level]:
                attention(width)
            if self.out == "output_skip":
                found += [norm(width, 1e-6, least), conv(width, num_channels, 3)]
            if level:
                halve(width, up=True)
        if self.out != "output_skip":
            found += [norm(width, 1e-6, least), conv(width, num_channels, 3)]
        self.all_modules = nn.ModuleList(found)

    def forward(self, x: Tensor, label: Tensor, classes: Tensor | None = None) -> Tensor:
        """The network at x and the labels."""
        parts = iter(self.all_modules)

        def take() -> nn.Module:
            return next(parts)

        sigma = label if self.fourier else self._trained(label)
        emb = take()(label) if self.fourier else positional(label, self.nf)
        if self.conditional:
            emb = take()(emb)
            emb = take()(silu(emb))
        x = x if self.centered else 2 * x - 1
        image = x
        hs = [take()(x)]
        for level in range(self.levels):
            for _ in range(self.repeats):
                h = take()(hs[-1], emb)
                hs.append(take()(h) if self.attended[level] else h)
            if level < self.levels - 1:
                h = take()(hs[-1], emb) if self.biggan else take()(hs[-1])
                if self.into == "input_skip":
                    image = self.smaller(image)
                    h = take()(image, h)
                elif self.into == "residual":
                    h = image = (take()(image) + h) / self.root
                hs.append(h)
        h = take()(hs[-1], emb)
        h = take()(h)
        h = take()(h, emb)
        pyramid: Tensor | None = None
        for level in reversed(range(self.levels)):
            for _ in range(self.repeats + 1):
                h = take()(torch.cat([h, hs.pop()], dim=1), emb)
            if self.attended[level]:
                h = take()(h)
            if self.out == "output_skip":
                shown = take()
                seen = take()(silu(shown(h)))
                pyramid = seen if pyramid is None else self.larger(pyramid) + seen
            if level:
                h = take()(h, emb) if self.biggan else take()(h)
        if self.out == "output_skip":
            h = cast(Tensor, pyramid)
        else:
            last = take()
            h = take()(silu(last(h)))
        return h / sigma[:, None, None, None] if self.scale_by_sigma else h

    def _trained(self, label: Tensor) -> Tensor:
        """σ_max (σ_min/σ_max)^{label/(n−1)}: the stored levels at whole labels."""
        ladder = cast(Tensor, self.sigmas)
        rate = (ladder[-1] / ladder[0]).log() / (len(ladder) - 1)
        return (ladder[0] * (rate * label.double()).exp()).to(label.dtype)
