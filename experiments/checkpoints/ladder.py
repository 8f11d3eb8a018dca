"""Residual blocks by levels, down and up: what SongUNet and DhariwalUNet are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn.functional import silu

from experiments.checkpoints.layers import attended, conv, norm
from experiments.checkpoints.resampling import Resample, ResampledConv


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
        return self.proj(attended(q, k, v).reshape(x.shape)) + x


Parts = Iterator[tuple[str, nn.Module]]


class Ladder(nn.Module, ABC):
    """Encoder and decoder by levels, "16x16_block0" and so on, in the order of use.

    Down: a block that halves the size, then ``num_blocks``; up: two blocks at the bottom or one
    that doubles the size, then ``num_blocks`` + 1, each of which is given what the encoder left.
    """

    def lay(
        self,
        *,
        channels: int,
        width: int,
        widths: Sequence[int],
        side: int,
        num_blocks: int,
        attend_at: Sequence[int],
    ) -> int:
        """Make ``enc`` and ``dec``; the last width."""
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        skips = [width]
        for level, wide in enumerate(widths):
            size = side >> level
            at = f"{size}x{size}_"
            if level == 0:
                self.enc[at + "conv"] = conv(channels, width, 3)
            else:
                self.enc[at + "down"] = self.block(width, width, down=True)
                self.enc.update({at + name: part for name, part in self.joined(level, width)})
                skips.append(width)
            for i in range(num_blocks):
                self.enc[f"{at}block{i}"] = self.block(width, wide, attention=size in attend_at)
                width = wide
                skips.append(width)
        for level, wide in reversed(list(enumerate(widths))):
            size = side >> level
            at = f"{size}x{size}_"
            if level == len(widths) - 1:
                self.dec[at + "in0"] = self.block(width, width, attention=True)
                self.dec[at + "in1"] = self.block(width, width)
            else:
                self.dec[at + "up"] = self.block(width, width, up=True)
            for i in range(num_blocks + 1):
                attention = size in attend_at and (i == num_blocks or self.everywhere)
                block = self.block(width + skips.pop(), wide, attention=attention)
                self.dec[f"{at}block{i}"], width = block, wide
            self.dec.update({at + name: part for name, part in self.shown(level, width)})
        return width

    everywhere = True
    """Whether attention follows every block of the decoder, or a level's last."""

    @abstractmethod
    def block(
        self,
        inward: int,
        outward: int,
        *,
        attention: bool = False,
        up: bool = False,
        down: bool = False,
    ) -> Block:
        """A block of this network."""

    def joined(self, level: int, width: int) -> Parts:
        """What brings a pyramid of images into the encoder at a level."""
        yield from ()

    def shown(self, level: int, width: int) -> Parts:
        """What makes images of the decoder's features at a level."""
        yield from ()
