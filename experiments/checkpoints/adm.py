r"""The U-Net of guided-diffusion (ADM) and improved-diffusion, in the authors' names.

It maps (B, C, H, W), times (B,) and classes (B,) of int64 to (B, C, H, W). Channels beyond C, the
learned variances, are dropped. The blocks of a level, down then up, lie in the flat lists
``input_blocks`` and ``output_blocks``; one that resizes stands at the end of its level, either as
a residual block or as a convolution. Attention is at the sides ``attention_resolutions``.

``use_new_attention_order`` says how the channels of q, k and v are laid: q, k, v of all heads, or
head after head.

Sources: Dhariwal and Nichol 2021 (arXiv:2105.05233), Nichol and Dhariwal 2021 (arXiv:2102.09672).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, silu

from experiments.checkpoints.layers import Positional, attended, conv


def norm(channels: int) -> nn.GroupNorm:
    """32 groups."""
    return nn.GroupNorm(32, channels)


def resized(x: Tensor, way: str) -> Tensor:
    """Twice the size by repeating each pixel ("up"), half by means of four ("down"), or x."""
    if way == "up":
        return interpolate(x, scale_factor=2.0, mode="nearest")
    return avg_pool2d(x, 2) if way == "down" else x


class Residual(nn.Module):
    """skip(x) + W₁ silu(norm(W₀ silu(norm x)) ∘ level), where the level shifts, or also scales."""

    def __init__(
        self, inward: int, outward: int, *, emb: int, adaptive: bool, way: str = ""
    ) -> None:
        super().__init__()
        self.adaptive, self.way = adaptive, way
        self.in_layers = nn.Sequential(norm(inward), nn.SiLU(), conv(inward, outward, 3))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, outward * (1 + adaptive)))
        self.out_layers = nn.Sequential(
            norm(outward), nn.SiLU(), nn.Identity(), conv(outward, outward, 3)
        )
        self.skip_connection = nn.Identity() if inward == outward else conv(inward, outward, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """The block at x, (B, C, H, W), and the embedded time, (B, emb)."""
        h = self.in_layers[2](resized(silu(self.in_layers[0](x)), self.way))
        level = self.emb_layers(emb)[:, :, None, None]
        if self.adaptive:
            scale, shift = level.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = self.out_layers[3](silu(h))
        else:
            h = self.out_layers(h + level)
        return self.skip_connection(resized(x, self.way)) + h


class Attention(nn.Module):
    """X + W softmax(qᵀk/√c) v, per head, over all pixels."""

    def __init__(self, channels: int, *, heads: int, parts_first: bool) -> None:
        super().__init__()
        self.heads, self.parts_first = heads, parts_first
        self.norm = norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """X with what the pixels read from each other."""
        flat = x.flatten(2)
        laid = (len(x), 3, self.heads) if self.parts_first else (len(x), self.heads, 3)
        parts = self.qkv(self.norm(flat)).reshape(*laid, -1, flat.shape[2])
        q, k, v = (part.flatten(0, 1) for part in parts.unbind(1 if self.parts_first else 2))
        return x + self.proj_out(attended(q, k, v).reshape(flat.shape)).reshape(x.shape)


class Down(nn.Module):
    """Half the size by a convolution of stride two."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """X at half the size."""
        return self.op(x)


class Up(nn.Module):
    """Twice the size, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv(channels, channels, 3)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """X at twice the size."""
        return self.conv(resized(x, "up"))


class Stem(nn.Conv2d):
    """The first convolution, which the time does not reach."""

    def forward(self, input: Tensor, emb: Tensor | None = None) -> Tensor:
        """The features of an image."""
        return super().forward(input)


class ADM(nn.Module):
    """The network, by the arguments of the authors' ``create_model``."""

    def __init__(
        self,
        *,
        image_size: int,
        num_channels: int,
        num_res_blocks: int,
        channel_mult: Sequence[float],
        attention_resolutions: Sequence[int],
        num_heads: int = 4,
        num_head_channels: int = -1,
        num_heads_upsample: int = -1,
        use_scale_shift_norm: bool = True,
        resblock_updown: bool = False,
        use_new_attention_order: bool = False,
        learn_sigma: bool = False,
        num_classes: int = 0,
        channels: int = 3,
    ) -> None:
        super().__init__()
        emb, self.channels = 4 * num_channels, channels
        self.needs_class = bool(num_classes)
        self.embed = Positional(num_channels, endpoint=False)
        self.time_embed = nn.Sequential(
            nn.Linear(num_channels, emb), nn.SiLU(), nn.Linear(emb, emb)
        )
        if num_classes:
            self.label_emb = nn.Embedding(num_classes, emb)

        def block(inward: int, outward: int, way: str = "") -> Residual:
            return Residual(inward, outward, emb=emb, adaptive=use_scale_shift_norm, way=way)

        def attention(width: int, heads: int) -> Attention:
            heads = heads if num_head_channels == -1 else width // num_head_channels
            return Attention(width, heads=heads, parts_first=use_new_attention_order)

        def move(width: int, way: str) -> nn.Module:
            if resblock_updown:
                return block(width, width, way)
            return Up(width) if way == "up" else Down(width)

        widths = [int(num_channels * mult) for mult in channel_mult]
        sides = [image_size >> level for level in range(len(widths))]
        width, self.input_blocks = widths[0], nn.ModuleList()
        self.input_blocks.append(nn.ModuleList([Stem(channels, width, 3, padding=1)]))
        skips = [width]
        for level, (side, wide) in enumerate(zip(sides, widths, strict=True)):
            for _ in range(num_res_blocks):
                parts: list[nn.Module] = [block(width, wide)]
                width = wide
                if side in attention_resolutions:
                    parts.append(attention(width, num_heads))
                self.input_blocks.append(nn.ModuleList(parts))
                skips.append(width)
            if level < len(widths) - 1:
                self.input_blocks.append(nn.ModuleList([move(width, "down")]))
                skips.append(width)
        middle = (block(width, width), attention(width, num_heads), block(width, width))
        self.middle_block = nn.ModuleList(middle)
        self.output_blocks = nn.ModuleList()
        upward = num_heads if num_heads_upsample == -1 else num_heads_upsample
        for level in reversed(range(len(widths))):
            for i in range(num_res_blocks + 1):
                parts = [block(width + skips.pop(), widths[level])]
                width = widths[level]
                if sides[level] in attention_resolutions:
                    parts.append(attention(width, upward))
                if level and i == num_res_blocks:
                    parts.append(move(width, "up"))
                self.output_blocks.append(nn.ModuleList(parts))
        outputs = channels * (1 + learn_sigma)
        self.out = nn.Sequential(norm(width), nn.SiLU(), conv(width, outputs, 3))

    def of(self, classes: Tensor) -> Tensor:
        """The classes."""
        return classes

    def forward(self, x: Tensor, label: Tensor, classes: Tensor | None = None) -> Tensor:
        """The prediction at x and the times ``label``, () or (B,)."""
        emb = self.time_embed(self.embed(label.expand(len(x))))
        if classes is not None:
            emb = emb + self.label_emb(classes)
        h, hs = x, []
        for parts in self.input_blocks:
            h = _through(parts, h, emb)
            hs.append(h)
        h = _through(self.middle_block, h, emb)
        for parts in self.output_blocks:
            h = _through(parts, torch.cat([h, hs.pop()], dim=1), emb)
        return self.out(h)[:, : self.channels]


def _through(parts: nn.Module, h: Tensor, emb: Tensor) -> Tensor:
    for part in parts.children():
        h = part(h, emb)
    return h
