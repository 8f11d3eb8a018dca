r"""Score networks of galaxies (galaxygrad's ``.eqx`` files): a mixer over patches, in torch.

    t = log(1 + σ²),    a = 1/√(1 + σ²),    D(x, σ) = x + σ² a s(a x, t)

for x = x₀ + σ n, where s(x_t, t) is the score of x_t = e^{−t/2} x₀ + √(1 − e^{−t}) n, which is the
process dx = −x/2 dt + dW. A level is the channel t/t₁ beside the image. The mixers have ReLUs, so
the flow has kinks: no method is of an order above two on it, however fine the steps.

A file is a plain sequence of numpy arrays in the order of the network's parts, then t₁. Its sizes
follow from their shapes.

Sources: galaxygrad 0.1.9 on PyPI, whose files they are; Tolstikhin et al. 2021
(arXiv:2105.01601) for the mixer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from experiments.checkpoints.layers import one_of

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
HEAD = ("enter.weight", "enter.bias", "leave.weight", "leave.bias")
BLOCK = tuple(
    f"{part}.{name}"
    for part in ("patches.0", "patches.2", "channels.0", "channels.2", "norm1", "norm2")
    for name in ("weight", "bias")
)
TAIL = ("norm.weight", "norm.bias")
LEVELS = (math.sqrt(math.expm1(0.01)), math.sqrt(math.expm1(10.0)))
"""σ of the times between which the networks are used."""
RANGE = (0.0, 10 * math.log(2))
"""Of 10 log(1 + f), which the networks see, for fluxes f from 0 to 1."""

ACTIVATIONS = ("relu", "softplus")


class Kink(nn.Module):
    """max(x, 0), or log(1 + e^{20x})/20, which is within 0.035 of it and smooth."""

    def __init__(self, name: str) -> None:
        super().__init__()
        one_of("activation", name, *ACTIVATIONS)
        self.smooth = name == "softplus"

    def forward(self, x: Tensor) -> Tensor:
        """Of every number."""
        return softplus(x, beta=20.0, threshold=1e3) if self.smooth else x.relu()


class Mixer(nn.Module):
    """h + mix over patches of norm h, then h + mix over channels of norm h; (B, C, P)."""

    def __init__(self, width: int, count: int, inner: int, wide: int, activation: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm([width, count]), nn.LayerNorm([count, width])
        self.patches = _two_layers(count, inner, activation)
        self.channels = _two_layers(width, wide, activation)

    def forward(self, h: Tensor) -> Tensor:
        """The block at h."""
        h = h + self.patches(self.norm1(h))
        h = h.transpose(1, 2)
        return (h + self.channels(self.norm2(h))).transpose(1, 2)


def _two_layers(width: int, inner: int, activation: str) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, inner), Kink(activation), nn.Linear(inner, width))


class GalaxyScore(nn.Module):
    """D(x, σ) of a score network; (B, channels, side, side) and σ, () or (B,)."""

    def __init__(
        self,
        *,
        side: int,
        patch: int,
        width: int,
        mix_patches: int,
        mix_channels: int,
        blocks: int,
        t1: float,
        channels: int = 1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        count, self.t1 = (side // patch) ** 2, t1
        self.enter = nn.Conv2d(channels + 1, width, patch, stride=patch)
        self.leave = nn.ConvTranspose2d(width, channels, patch, stride=patch)
        self.blocks = nn.ModuleList(
            Mixer(width, count, mix_patches, mix_channels, activation) for _ in range(blocks)
        )
        self.norm = nn.LayerNorm([width, count])

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """S at x_t and t, (B,)."""
        level = (t / self.t1)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        h = self.enter(torch.cat([x, level], dim=1))
        flat = h.flatten(2)
        for block in self.blocks:
            flat = block(flat)
        return self.leave(self.norm(flat).reshape(h.shape))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The data prediction."""
        level = sigma.expand(len(x))
        s = level[:, None, None, None] ** 2
        a = (1 + s).rsqrt()
        return x + s * a * self.score(a * x, torch.log1p(level**2))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and weights of a .eqx.

    Raises:
        ValueError: the file is missing, damaged, or holds other arrays than such a network.
    """
    try:
        leaves = list(_arrays(path))
    except OSError as error:
        raise ValueError(
            f"FILE: got {str(path)!r} ({error.strerror}); a .eqx is allowed"
        ) from None
    except (ValueError, SyntaxError, EOFError, RecursionError):
        raise ValueError(
            f"FILE: got {str(path)!r}; a .eqx of arrays of floats is allowed"
        ) from None
    blocks, rest = divmod(len(leaves) - len(HEAD) - len(TAIL) - 1, len(BLOCK))
    first = leaves[0].shape if leaves else ()
    if rest or blocks < 1 or len(first) != 4 or leaves[-1].size != 1:
        raise ValueError(
            f"FILE: got {str(path)!r} of {len(leaves)} arrays; those of a score network of"
            " galaxies are allowed"
        )
    names = [*HEAD, *(f"blocks.{i}.{name}" for i in range(blocks) for name in BLOCK), *TAIL]
    state = {k: torch.from_numpy(v.copy()) for k, v in zip(names, leaves, strict=False)}
    count = state["blocks.0.patches.0.weight"].shape[-1]
    arguments = {
        "side": first[2] * math.isqrt(count),
        "patch": first[2],
        "width": first[0],
        "mix_patches": len(state["blocks.0.patches.0.weight"]),
        "mix_channels": len(state["blocks.0.channels.0.weight"]),
        "blocks": blocks,
        "t1": float(leaves[-1]),
        "channels": first[1] - 1,
    }
    # Equinox lays a transposed convolution as (out, in, kernel), its kernel turned round.
    state["leave.weight"] = state["leave.weight"].transpose(0, 1).flip(2, 3).contiguous()
    for name in HEAD[1::2]:
        state[name] = state[name].flatten()
    return arguments, state


def _arrays(path: Path) -> Iterator[np.ndarray[Any, Any]]:
    """Arrays as ``np.save`` lays them one after the other; nothing of a claimed size is made."""
    with path.open("rb") as file:
        size = path.stat().st_size
        while file.tell() < size:
            header = HEADERS.get(np.lib.format.read_magic(file))
            if header is None:
                raise ValueError("another version of the format")
            shape, fortran, dtype = header(file)
            count = math.prod(shape)
            if fortran or dtype not in (np.float32, np.float64) or len(shape) > 4:
                raise ValueError("no floats in C order")
            data = file.read(count * dtype.itemsize if count * dtype.itemsize <= size else 0)
            yield np.frombuffer(data, dtype, count).reshape(shape)
