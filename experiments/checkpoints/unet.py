r"""U-Nets of EDM's pickles: SongUNet (DDPM++ and NCSN++) and DhariwalUNet (ADM).

Names and shapes of parameters and buffers are the authors', so their state dicts fit. A network
maps (B, C, H, W), noise labels (B,) and class vectors (B, label_dim) to (B, C', H, W). Every
operation is smooth and has a forward derivative; dropout acts in training alone and is left out.

Sources: Karras et al. 2022 (arXiv:2206.00364), Song et al. 2021 (arXiv:2011.13456), Dhariwal and
Nichol 2021 (arXiv:2105.05233).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from experiments.checkpoints.ladder import Block, Ladder, Parts
from experiments.checkpoints.layers import Fourier, Positional, conv, norm, one_of
from experiments.checkpoints.resampling import ConvDown, Resample


class SongUNet(Ladder):
    """DDPM++ (positional, standard) and NCSN++ (fourier, residual); Song et al. 2021."""

    everywhere = False

    def __init__(
        self,
        *,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        embedding_type: str = "positional",
        channel_mult_noise: int = 1,
        encoder_type: str = "standard",
        decoder_type: str = "standard",
        resample_filter: Sequence[float] = (1, 1),
        dropout: float = 0.0,
        label_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        one_of("embedding_type", embedding_type, "positional", "fourier")
        one_of("encoder_type", encoder_type, "standard", "skip", "residual")
        one_of("decoder_type", decoder_type, "standard", "skip")
        self.emb, noise = model_channels * channel_mult_emb, model_channels * channel_mult_noise
        self.taps, self.encoder, self.decoder = resample_filter, encoder_type, decoder_type
        self.channels, self.outputs = in_channels, out_channels
        self.widths = [model_channels * mult for mult in channel_mult]
        self.map_noise = (
            Positional(noise, endpoint=True) if embedding_type == "positional" else Fourier(noise)
        )
        self.map_label = nn.Linear(label_dim, noise) if label_dim else None
        self.map_augment = nn.Linear(augment_dim, noise, bias=False) if augment_dim else None
        self.map_layer0 = nn.Linear(noise, self.emb)
        self.map_layer1 = nn.Linear(self.emb, self.emb)
        self.lay(
            channels=in_channels,
            width=model_channels,
            widths=self.widths,
            side=img_resolution,
            num_blocks=num_blocks,
            attend_at=attn_resolutions,
        )

    def block(
        self,
        inward: int,
        outward: int,
        *,
        attention: bool = False,
        up: bool = False,
        down: bool = False,
    ) -> Block:
        """Of one head at most, added noise level, and variance kept by 1/√2."""
        return Block(
            inward,
            outward,
            emb=self.emb,
            heads=int(attention),
            up=up,
            down=down,
            taps=self.taps,
            project=True,
            adaptive=False,
            rescale=math.sqrt(0.5),
            eps=1e-6,
        )

    def joined(self, level: int, width: int) -> Parts:
        """A convolution of the smaller image, or of what was made of it."""
        if self.encoder == "skip":
            yield "aux_down", Resample(self.taps, up=False)
            yield "aux_skip", conv(self.channels, width, 1)
        if self.encoder == "residual":
            before = self.channels if level == 1 else self.widths[level - 2]
            yield "aux_residual", ConvDown(before, width, 3, taps=self.taps)

    def shown(self, level: int, width: int) -> Parts:
        """The image at the end, or a sum over all levels."""
        if self.decoder == "skip" and level < len(self.widths) - 1:
            yield "aux_up", Resample(self.taps, up=True)
        if self.decoder == "skip" or level == 0:
            yield "aux_norm", norm(width, 1e-6)
            yield "aux_conv", conv(width, self.outputs, 3)

    def forward(self, x: Tensor, noise: Tensor, classes: Tensor | None = None) -> Tensor:
        """F at x and the noise labels."""
        emb = self.map_noise(noise)
        emb = emb.roll(emb.shape[1] // 2, dims=1)  # sin before cos
        if self.map_label is not None and classes is not None:
            emb = emb + self.map_label(classes * math.sqrt(self.map_label.in_features))
        emb = silu(self.map_layer1(silu(self.map_layer0(emb))))

        skips: list[Tensor] = []
        aux = x
        for name, part in self.enc.items():
            if name.endswith("aux_down"):
                aux = part(aux)
            elif name.endswith("aux_skip"):
                x = skips[-1] = x + part(aux)
            elif name.endswith("aux_residual"):
                x = skips[-1] = aux = (x + part(aux)) / math.sqrt(2)
            else:
                x = part(x, emb) if isinstance(part, Block) else part(x)
                skips.append(x)

        out: Tensor | None = None
        for name, part in self.dec.items():
            if name.endswith("aux_up"):
                out = part(out)
            elif name.endswith("aux_norm"):
                aux = part(x)
            elif name.endswith("aux_conv"):
                aux = part(silu(aux))
                out = aux if out is None else aux + out
            else:
                x = part(torch.cat([x, skips.pop()], dim=1) if "_block" in name else x, emb)
        return cast(Tensor, out)


class DhariwalUNet(Ladder):
    """ADM; Dhariwal and Nichol 2021. Attention has one head for 64 channels."""

    def __init__(
        self,
        *,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.0,
        label_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.emb = emb = model_channels * channel_mult_emb
        self.map_noise = Positional(model_channels, endpoint=False)
        self.map_augment = (
            nn.Linear(augment_dim, model_channels, bias=False) if augment_dim else None
        )
        self.map_layer0, self.map_layer1 = nn.Linear(model_channels, emb), nn.Linear(emb, emb)
        self.map_label = nn.Linear(label_dim, emb, bias=False) if label_dim else None
        width = self.lay(
            channels=in_channels,
            width=model_channels * channel_mult[0],
            widths=[model_channels * mult for mult in channel_mult],
            side=img_resolution,
            num_blocks=num_blocks,
            attend_at=attn_resolutions,
        )
        self.out_norm, self.out_conv = norm(width, 1e-5), conv(width, out_channels, 3)

    def block(
        self,
        inward: int,
        outward: int,
        *,
        attention: bool = False,
        up: bool = False,
        down: bool = False,
    ) -> Block:
        """The noise level as scale and shift."""
        heads = outward // 64 if attention else 0
        return Block(inward, outward, emb=self.emb, heads=heads, up=up, down=down)

    def forward(self, x: Tensor, noise: Tensor, classes: Tensor | None = None) -> Tensor:
        """F at x and the noise labels."""
        emb = self.map_layer1(silu(self.map_layer0(self.map_noise(noise))))
        if self.map_label is not None and classes is not None:
            emb = emb + self.map_label(classes)
        emb = silu(emb)
        skips: list[Tensor] = []
        for part in self.enc.values():
            x = part(x, emb) if isinstance(part, Block) else part(x)
            skips.append(x)
        for name, part in self.dec.items():
            x = part(torch.cat([x, skips.pop()], dim=1) if "_block" in name else x, emb)
        return self.out_conv(silu(self.out_norm(x)))
