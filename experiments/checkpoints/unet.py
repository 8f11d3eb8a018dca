r"""U-Nets of EDM's pickles: SongUNet (DDPM++ and NCSN++) and DhariwalUNet (ADM).

Names and shapes of parameters and buffers are the authors', so their state dicts fit. A network
maps (B, C, H, W), noise labels (B,) and class vectors (B, label_dim) to (B, C', H, W). Every
operation is smooth and has a forward derivative; dropout acts in training alone and is left out.

Resampling by a filter f with ∑f = 1 (outer product of the given taps): down is f at every other
pixel, up is 4f laid at every other pixel.

Sources: Karras et al. 2022 (arXiv:2206.00364), Song et al. 2021 (arXiv:2011.13456), Dhariwal and
Nichol 2021 (arXiv:2105.05233).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, silu


class Resample(nn.Module):
    """Half or twice the size by a filter; no other parameter."""

    def __init__(
        self, taps: Sequence[float], *, up: bool, pad: bool = True, stored: bool = True
    ) -> None:
        super().__init__()
        f = torch.tensor([float(v) for v in taps])
        f = torch.outer(f, f) / f.sum() ** 2
        self.register_buffer("resample_filter", f[None, None], persistent=stored)
        self.up, self.pad = up, (len(taps) - 1) // 2 if pad else 0

    def resampled(self, x: Tensor) -> Tensor:
        """x, (B, C, H, W), at another size."""
        f = cast(Tensor, self.resample_filter).to(x.dtype)
        f = f.expand(x.shape[1], 1, *f.shape[2:])
        if self.up:
            return conv_transpose2d(x, 4 * f, groups=x.shape[1], stride=2, padding=self.pad)
        return conv2d(x, f, groups=x.shape[1], stride=2, padding=self.pad)

    def forward(self, x: Tensor) -> Tensor:
        """X at the other size."""
        return self.resampled(x)


class ResampledConv(Resample):
    """Resample, then a convolution of odd kernel."""

    def __init__(
        self, inward: int, outward: int, kernel: int, *, taps: Sequence[float], up: bool
    ) -> None:
        super().__init__(taps, up=up)
        self.weight, self.bias = _weights(inward, outward, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of the resampled x."""
        padding = self.weight.shape[-1] // 2
        return conv2d(self.resampled(x), self.weight, self.bias, padding=padding)


class ConvDown(Resample):
    """A convolution, then half the size, with all the padding before both."""

    def __init__(
        self, inward: int, outward: int, kernel: int, *, taps: Sequence[float], stored: bool = True
    ) -> None:
        super().__init__(taps, up=False, pad=False, stored=stored)
        self.weight, self.bias = _weights(inward, outward, kernel)
        self.before = kernel // 2 + (len(taps) - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """The resampled convolution of x."""
        x = conv2d(x, self.weight, padding=self.before)
        return self.resampled(x) + self.bias[:, None, None]


def _weights(inward: int, outward: int, kernel: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of a convolution, drawn as torch draws them."""
    drawn = nn.Conv2d(inward, outward, kernel)
    return nn.Parameter(drawn.weight), nn.Parameter(cast(Tensor, drawn.bias))


def conv(inward: int, outward: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(inward, outward, kernel, padding=kernel // 2)


def norm(channels: int, eps: float, least: int = 4) -> nn.GroupNorm:
    """Groups of ``least`` channels or more, at most 32 of them."""
    return nn.GroupNorm(min(32, channels // least), channels, eps=eps)


class Block(nn.Module):
    """A residual block with the noise level added or as scale and shift, and attention.

    h = W₁ silu(norm(W₀ silu(norm x)) ∘ noise level), then s (skip(x) + h), then the same s with
    attention over the pixels.
    """

    def __init__(
        self,
        inward: int,
        outward: int,
        *,
        emb: int,
        heads: int = 0,
        up: bool = False,
        down: bool = False,
        taps: Sequence[float] = (1, 1),
        project: bool = False,
        adaptive: bool = True,
        rescale: float = 1.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.out_channels, self.heads = outward, heads
        self.adaptive, self.rescale = adaptive, rescale
        moved = up or down
        self.norm0 = norm(inward, eps)
        self.conv0 = (
            ResampledConv(inward, outward, 3, taps=taps, up=up)
            if moved
            else conv(inward, outward, 3)
        )
        self.affine = nn.Linear(emb, outward * (2 if adaptive else 1))
        self.norm1 = norm(outward, eps)
        self.conv1 = conv(outward, outward, 3)
        self.skip: nn.Module | None = None
        if moved and (project or inward != outward):
            self.skip = ResampledConv(inward, outward, 1, taps=taps, up=up)
        elif moved:
            self.skip = Resample(taps, up=up)
        elif inward != outward:
            self.skip = conv(inward, outward, 1)
        if heads:
            self.norm2 = norm(outward, eps)
            self.qkv = conv(outward, 3 * outward, 1)
            self.proj = conv(outward, outward, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """H at x, (B, C, H, W), and the embedded noise level, (B, emb)."""
        h = self.conv0(silu(self.norm0(x)))
        level = self.affine(emb)[:, :, None, None]
        if self.adaptive:
            scale, shift = level.chunk(2, dim=1)
            h = silu(shift + self.norm1(h) * (scale + 1))
        else:
            h = silu(self.norm1(h + level))
        h = self.conv1(h) + (x if self.skip is None else self.skip(x))
        h = h * self.rescale
        return self._attended(h) * self.rescale if self.heads else h

    def _attended(self, x: Tensor) -> Tensor:
        """X + W softmax(qᵀk/√c) v, per head, over all pixels; q, k, v alternate by channel."""
        parts = self.qkv(self.norm2(x))
        q, k, v = parts.reshape(len(x) * self.heads, -1, 3, x[0, 0].numel()).unbind(2)
        weights = torch.einsum("ncq,nck->nqk", q, k / math.sqrt(k.shape[1])).softmax(dim=2)
        return self.proj(torch.einsum("nqk,nck->ncq", weights, v).reshape(x.shape)) + x


class Positional(nn.Module):
    """Cos and sin of c 10000^{−k/K}, k < n/2; K = n/2, or n/2 − 1 with ``endpoint``."""

    def __init__(self, channels: int, *, endpoint: bool) -> None:
        super().__init__()
        half = channels // 2
        powers = torch.arange(half, dtype=torch.float32) / (half - (1 if endpoint else 0))
        self.register_buffer("rates", (1 / 10000) ** powers, persistent=False)

    def forward(self, c: Tensor) -> Tensor:
        """(B,) to (B, channels)."""
        angle = torch.outer(c, cast(Tensor, self.rates).to(c.dtype))
        return torch.cat([angle.cos(), angle.sin()], dim=1)


class Fourier(nn.Module):
    """Cos and sin of 2π f_k c with stored f_k."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 16 * torch.randn(channels // 2))

    def forward(self, c: Tensor) -> Tensor:
        """(B,) to (B, channels)."""
        angle = torch.outer(c, (2 * math.pi * cast(Tensor, self.freqs)).to(c.dtype))
        return torch.cat([angle.cos(), angle.sin()], dim=1)


class SongUNet(nn.Module):
    """DDPM++ (positional, standard) and NCSN++ (fourier, residual); Song et al. 2021."""

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
        emb, noise = model_channels * channel_mult_emb, model_channels * channel_mult_noise
        taps, levels = resample_filter, list(enumerate(channel_mult))

        def block(i: int, o: int, attention: bool = False, **moved: bool) -> Block:
            heads, root = int(attention), math.sqrt(0.5)
            rest = {"project": True, "adaptive": False, "rescale": root, "eps": 1e-6}
            return Block(i, o, emb=emb, heads=heads, taps=taps, **rest, **moved)  # pyright: ignore

        self.map_noise = (
            Positional(noise, endpoint=True) if embedding_type == "positional" else Fourier(noise)
        )
        self.map_label = nn.Linear(label_dim, noise) if label_dim else None
        self.map_augment = nn.Linear(augment_dim, noise, bias=False) if augment_dim else None
        self.map_layer0, self.map_layer1 = nn.Linear(noise, emb), nn.Linear(emb, emb)

        self.enc = nn.ModuleDict()
        width, aux, skips = model_channels, in_channels, [model_channels]
        for level, mult in levels:
            side = img_resolution >> level
            at = f"{side}x{side}_"
            if level == 0:
                self.enc[at + "conv"] = conv(in_channels, width, 3)
            else:
                self.enc[at + "down"] = block(width, width, down=True)
                skips.append(width)
                if encoder_type == "skip":
                    self.enc[at + "aux_down"] = Resample(taps, up=False)
                    self.enc[at + "aux_skip"] = conv(aux, width, 1)
                if encoder_type == "residual":
                    self.enc[at + "aux_residual"] = ConvDown(aux, width, 3, taps=taps)
                    aux = width
            for i in range(num_blocks):
                before, width = width, model_channels * mult
                self.enc[f"{at}block{i}"] = block(before, width, side in attn_resolutions)
                skips.append(width)

        self.dec = nn.ModuleDict()
        for level, mult in reversed(levels):
            side = img_resolution >> level
            at = f"{side}x{side}_"
            if level == len(levels) - 1:
                self.dec[at + "in0"] = block(width, width, True)
                self.dec[at + "in1"] = block(width, width)
            else:
                self.dec[at + "up"] = block(width, width, up=True)
            for i in range(num_blocks + 1):
                before, width = width + skips.pop(), model_channels * mult
                attention = i == num_blocks and side in attn_resolutions
                self.dec[f"{at}block{i}"] = block(before, width, attention)
            if decoder_type == "skip" or level == 0:
                if decoder_type == "skip" and level < len(levels) - 1:
                    self.dec[at + "aux_up"] = Resample(taps, up=True)
                self.dec[at + "aux_norm"] = norm(width, 1e-6)
                self.dec[at + "aux_conv"] = conv(width, out_channels, 3)

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


class DhariwalUNet(nn.Module):
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
        emb, levels = model_channels * channel_mult_emb, list(enumerate(channel_mult))

        def block(i: int, o: int, attention: bool = False, up: bool = False, down: bool = False):
            return Block(i, o, emb=emb, heads=o // 64 if attention else 0, up=up, down=down)

        self.map_noise = Positional(model_channels, endpoint=False)
        self.map_augment = (
            nn.Linear(augment_dim, model_channels, bias=False) if augment_dim else None
        )
        self.map_layer0, self.map_layer1 = nn.Linear(model_channels, emb), nn.Linear(emb, emb)
        self.map_label = nn.Linear(label_dim, emb, bias=False) if label_dim else None

        self.enc = nn.ModuleDict()
        width = model_channels * channel_mult[0]
        skips = [width]
        for level, mult in levels:
            side = img_resolution >> level
            at = f"{side}x{side}_"
            if level == 0:
                self.enc[at + "conv"] = conv(in_channels, width, 3)
            else:
                self.enc[at + "down"] = block(width, width, down=True)
                skips.append(width)
            for i in range(num_blocks):
                before, width = width, model_channels * mult
                self.enc[f"{at}block{i}"] = block(before, width, side in attn_resolutions)
                skips.append(width)

        self.dec = nn.ModuleDict()
        for level, mult in reversed(levels):
            side = img_resolution >> level
            at = f"{side}x{side}_"
            if level == len(levels) - 1:
                self.dec[at + "in0"] = block(width, width, True)
                self.dec[at + "in1"] = block(width, width)
            else:
                self.dec[at + "up"] = block(width, width, up=True)
            for i in range(num_blocks + 1):
                before, width = width + skips.pop(), model_channels * mult
                self.dec[f"{at}block{i}"] = block(before, width, side in attn_resolutions)
        self.out_norm, self.out_conv = norm(width, 1e-5), conv(width, out_channels, 3)

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


def one_of(name: str, value: str, *allowed: str) -> None:
    """Raise ``ValueError`` unless the value is allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: got {value!r}; {', '.join(allowed)} are allowed")
