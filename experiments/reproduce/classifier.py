r"""Guidance by a classifier of noisy images, as guided-diffusion has it.

    ε ← ε − s σ ∇_x log p(y | x, t),    D ← D + s (σ²/α) ∇_x log p(y | x, t)

The classifier is the first half of ADM's U-Net with attention over all pixels and their mean at
its end; it sees the network's own label of t. Source: Dhariwal and Nichol 2021 (arXiv:2105.05233).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from experiments.checkpoints import stored
from experiments.checkpoints.adm import ADM, norm
from experiments.checkpoints.configured import WIDTHS
from experiments.checkpoints.layers import attended
from experiments.checkpoints.safe import sha256
from experiments.reproduce.recipe import Network
from experiments.sampling.source import Source
from solvers.denoiser import Denoiser
from solvers.denoiser import Network as Predicting

HEAD = 64
"""Channels of a head."""
GROUPS = 32
"""Of the group norms: widths are multiples."""


class Pool(nn.Module):
    """What the mean of all pixels reads from them and from itself, as logits (B, classes)."""

    def __init__(self, pixels: int, channels: int, classes: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(channels, pixels + 1) / channels**0.5)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of features (B, C, H, W)."""
        flat = x.flatten(2)
        flat = torch.cat([flat.mean(2, keepdim=True), flat], dim=2) + self.positional_embedding
        parts = self.qkv_proj(flat).reshape(len(x), 3, -1, HEAD, flat.shape[2])
        q, k, v = (part.flatten(0, 1) for part in parts.unbind(1))
        return self.c_proj(attended(q, k, v).reshape(flat.shape))[:, :, 0]


class Classifier(ADM):
    """(B, 3, side, side) and labels (B,) to logits (B, classes)."""

    def __init__(self, *, side: int, width: int, depth: int, classes: int) -> None:
        super().__init__(
            image_size=side,
            num_channels=width,
            num_res_blocks=depth,
            channel_mult=WIDTHS[side],
            attention_resolutions=(32, 16, 8),
            num_head_channels=HEAD,
            resblock_updown=True,
        )
        del self.output_blocks
        channels = int(width * WIDTHS[side][-1])
        pixels = (side >> len(WIDTHS[side]) - 1) ** 2
        self.out = nn.Sequential(norm(channels), nn.SiLU(), Pool(pixels, channels, classes))

    def forward(self, x: Tensor, label: Tensor, classes: Tensor | None = None) -> Tensor:
        """The logits."""
        emb = self.time_embed(self.embed(label.expand(len(x))))
        h = x
        for parts in (*self.input_blocks, self.middle_block):
            for part in parts.children():
                h = part(h, emb)
        return self.out[2](silu(self.out[0](h)))


def read(file: str | Path, network: Network) -> Classifier:
    """The classifier of guided-diffusion's .pt, for the images of a network.

    Raises:
        ValueError: a file that is missing or damaged, or weights that make no such classifier.
    """
    held = stored.read(Path(file))
    tensors = isinstance(held, Mapping) and all(isinstance(v, Tensor) for v in held.values())
    stem, last = (
        held.get(k, torch.empty(0)) if tensors else torch.empty(0)
        for k in ("input_blocks.0.0.weight", "out.2.c_proj.weight")
    )
    if stem.dim() != 4 or len(stem) % GROUPS or last.dim() != 3:
        raise ValueError(f"--classifier: got {str(file)!r}; {network.classifier} is allowed")
    side, width = network.shape[-1], len(stem)
    depth = sum(f"input_blocks.{i}.0.in_layers.0.weight" in held for i in range(1, 30))
    # Residual blocks: so many a level, and one between two levels.
    levels = len(WIDTHS[side])
    how: dict[str, int] = {"depth": (depth + 1) // levels - 1, "classes": len(last)}
    if how["classes"] != network.classes:
        raise ValueError(
            f"--classifier: got {how['classes']} classes; {network.classes} are allowed"
        )
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        wanted = Classifier(side=side, width=width, **how).state_dict()
    for name in sorted(wanted.keys() | held.keys()):
        got, need = held.get(name), wanted.get(name)
        if got is None or need is None or got.shape != need.shape:
            shown = None if got is None else list(got.shape)
            allowed = "none" if need is None else list(need.shape)
            raise ValueError(f"--classifier: {name} is {shown}; {allowed} is allowed")
    with torch.random.fork_rng(devices=[]):
        made = Classifier(side=side, width=width, **how)
    made.load_state_dict({k: v.float() for k, v in held.items()})
    return made.eval().requires_grad_(False)


class Pair(nn.Module):
    """A network with its classifier, so that both move together."""

    def __init__(self, network: nn.Module, classifier: Classifier) -> None:
        super().__init__()
        self.network, self.classifier = network, classifier

    def forward(self, *inputs: Any) -> Tensor:
        """The network's answer."""
        return self.network(*inputs)


@dataclass(frozen=True)
class Guided(Denoiser):
    """The predictions of a network of classes, moved along the classifier's gradient."""

    model: Predicting
    classifier: Classifier
    classes: Tensor
    scale: float

    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        """The network's prediction, and the gradient at x."""
        free = self.model.at(kind, x, t, alpha, sigma)
        move = self.scale * sigma * self.slope(x, t)
        return free - move if kind == "noise" else free + sigma / alpha * move

    def slope(self, x: Tensor, t: Any) -> Tensor:
        """∇_x log p(y | x, t)."""
        dtype = next(self.classifier.parameters()).dtype
        label = torch.as_tensor(self.model.label(t), dtype=dtype, device=x.device)
        with torch.enable_grad():
            leaf = x.detach().to(dtype).requires_grad_()
            logs = self.classifier(leaf, label).log_softmax(dim=1)
            chosen = logs.gather(1, self.classes.to(x.device)[:, None]).sum()
            (slope,) = torch.autograd.grad(chosen, leaf)
        return slope.to(x)


def guided(file: str | None, scale: float, network: Network) -> Callable[[Source], Source]:
    """A checkpoint to the same with its classifier.

    Raises:
        ValueError: no file, or see `read`.
    """
    if file is None:
        raise ValueError(f"--classifier: got none; {network.classifier} is needed")
    classifier, mark = read(file, network), sha256(Path(file))

    def change(source: Source) -> Source:
        own = source.bind

        def bind(module: nn.Module, condition: Tensor | None) -> Denoiser:
            assert isinstance(module, Pair)
            model = own(module.network, condition)
            assert isinstance(model, Predicting)
            assert condition is not None
            return Guided(model, module.classifier, condition, scale)

        digest = f"{source.digest} classifier {mark} {scale!r}"
        return replace(source, module=Pair(source.module, classifier), bind=bind, digest=digest)

    return change
