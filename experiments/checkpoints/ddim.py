r"""The U-Net of the DDIM paper's code (CIFAR-10, CelebA, LSUN), in the authors' names.

It maps (B, C, H, W) and times (B,) to the noise. A level has residual blocks, each with attention
where the level's side is one of ``attn_resolutions``, and a resampling layer; up is as down with
one block more.

Sources: Song et al. 2020 (arXiv:2010.02502), Ho et al. 2020 (arXiv:2006.11239).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, silu

from experiments.checkpoints.layers import attended, conv, norm, one_of
from experiments.checkpoints.score_sde_layers import positional


class Residual(nn.Module):
    """skip(x) + W₂ silu(norm(W₁ silu(norm x) + noise level))."""

    def __init__(self, inward: int, outward: int, emb: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(inward, 1e-6, 1), conv(inward, outward, 3)
        self.temb_proj = nn.Linear(emb, outward)
        self.norm2, self.conv2 = norm(outward, 1e-6, 1), conv(outward, outward, 3)
        self.nin_shortcut = nn.Identity() if inward == outward else conv(inward, outward, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """The block at x, (B, C, H, W), and the embedded time, (B, emb)."""
        h = self.conv1(silu(self.norm1(x))) + self.temb_proj(silu(emb))[:, :, None, None]
        return self.nin_shortcut(x) + self.conv2(silu(self.norm2(h)))


class Attention(nn.Module):
    """X + W softmax(qᵀk/√c) v over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels, 1e-6, 1)
        self.q, self.k, self.v = (conv(channels, channels, 1) for _ in range(3))
        self.proj_out = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """X with what the pixels read from each other."""
        h = self.norm(x)
        q, k, v = (f(h).flatten(2) for f in (self.q, self.k, self.v))
        return x + self.proj_out(attended(q, k, v).reshape(x.shape))


class Resampled(nn.Module):
    """Half or twice the size, with a convolution of kernel three or without."""

    def __init__(self, channels: int, *, up: bool, learned: bool) -> None:
        super().__init__()
        self.up, stride, padding = up, *((1, 1) if up else (2, 0))
        if learned:
            self.conv = nn.Conv2d(channels, channels, 3, stride, padding)
        self.learned = learned

    def forward(self, x: Tensor) -> Tensor:
        """X at the other size."""
        if self.up:
            wide = interpolate(x, scale_factor=2.0, mode="nearest")
            return self.conv(wide) if self.learned else wide
        return self.conv(pad(x, (0, 1, 0, 1))) if self.learned else avg_pool2d(x, 2)


class Level(nn.Module):
    """Blocks of one size, each with attention or without, and what leads to the next size."""

    def __init__(
        self,
        pairs: Sequence[tuple[int, int]],
        emb: int,
        *,
        attention: bool,
        end: dict[str, nn.Module],
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(Residual(i, o, emb) for i, o in pairs)
        self.attn = nn.ModuleList(Attention(o) for _, o in pairs if attention)
        self.ends = list(end)
        for name, part in end.items():
            self.add_module(name, part)

    def at(self, i: int, x: Tensor, emb: Tensor) -> Tensor:
        """The block i, and what follows it."""
        h = self.block[i](x, emb)
        return self.attn[i](h) if len(self.attn) else h

    def left(self, x: Tensor) -> Iterator[Tensor]:
        """X at the next size, if there is one."""
        for name in self.ends:
            yield getattr(self, name)(x)


class Middle(nn.Module):
    """Two blocks with attention between them."""

    def __init__(self, width: int, emb: int) -> None:
        super().__init__()
        self.block_1, self.block_2 = Residual(width, width, emb), Residual(width, width, emb)
        self.attn_1 = Attention(width)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Both at x."""
        return self.block_2(self.attn_1(self.block_1(x, emb)), emb)


class DDIM(nn.Module):
    """The network, by the arguments of the authors' ``config.model``."""

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        out_ch: int,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        attn_resolutions: Sequence[int],
        resamp_with_conv: bool = True,
        type: str = "simple",
    ) -> None:
        super().__init__()
        one_of("type", type, "simple")
        self.ch, self.repeats, emb = ch, num_res_blocks, 4 * ch
        sides = [image_size >> level for level in range(len(ch_mult))]
        widths = [ch * mult for mult in ch_mult]
        self.temb = nn.ModuleDict(
            {"dense": nn.Sequential(nn.Linear(ch, emb), nn.Linear(emb, emb))}
        )
        self.conv_in = conv(in_channels, ch, 3)

        def level(pairs: Sequence[tuple[int, int]], side: int, way: str) -> Level:
            width = pairs[-1][1]
            learned = Resampled(width, up=way == "up", learned=resamp_with_conv)
            end: dict[str, nn.Module] = {f"{way}sample": learned} if way else {}
            return Level(pairs, emb, attention=side in attn_resolutions, end=end)

        downs, ups, skips, last = [], [], [ch], len(widths) - 1
        for i, (side, width) in enumerate(zip(sides, widths, strict=True)):
            inward = [skips[-1], *[width] * (num_res_blocks - 1)]
            downs.append(level([(n, width) for n in inward], side, "down" if i < last else ""))
            skips += [width] * (num_res_blocks + (i < last))
        self.down, self.mid = nn.ModuleList(downs), Middle(widths[-1], emb)
        before = widths[-1]
        for i, (side, width) in reversed(list(enumerate(zip(sides, widths, strict=True)))):
            inward = [before, *[width] * num_res_blocks]
            pairs = [(n + skips.pop(), width) for n in inward]
            ups.append(level(pairs, side, "up" if i else ""))
            before = width
        self.up = nn.ModuleList(ups[::-1])
        self.norm_out, self.conv_out = norm(before, 1e-6, 1), conv(before, out_ch, 3)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """The noise prediction at x and the times ``label``."""
        first, second = cast(nn.ModuleList, self.temb["dense"])
        emb = second(silu(first(positional(label.expand(len(x)), self.ch))))
        hs = [self.conv_in(x)]
        for down in cast(Sequence[Level], self.down):
            for i in range(self.repeats):
                hs.append(down.at(i, hs[-1], emb))
            hs += down.left(hs[-1])
        h = self.mid(hs[-1], emb)
        for up in cast(Sequence[Level], self.up[::-1]):
            for i in range(self.repeats + 1):
                h = up.at(i, torch.cat([h, hs.pop()], dim=1), emb)
            h = next(up.left(h), h)
        return self.conv_out(silu(self.norm_out(h)))
