"""A training's folder as a model for solvers, of a class or of none."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from experiments.folder import Folder
from experiments.networks import Learned, Preconditioned


def load_trained(folder: str | Path, label: int | Tensor | None = None) -> Learned:
    """The averaged network of a training's folder, on every schedule.

    Args:
        folder: what `train` wrote; a training under way counts.
        label: the class that it is asked for, or one a sample, (B,); None: no class, which is
            the unconditional model of `solvers.guidance.Guided`.

    Raises:
        ValueError: a file is missing, damaged or of another training, or no such class.
    """
    place = Folder(Path(folder))
    net, card = place.trained(), place.card()
    count = len(card["data"].get("classes", ())) if place.training().labels else 0
    return Learned(Labelled(net.requires_grad_(False), count, label))


def with_label(model: Learned, label: int | Tensor | None) -> Learned:
    """A model of `load_trained` with the same weights and another class."""
    bound = cast(Labelled, model.net)
    return Learned(Labelled(bound.net, bound.count, label))


class Labelled(nn.Module):
    """D(x, σ) for fixed labels out of 0 .. count − 1."""

    def __init__(self, net: Preconditioned, count: int, label: int | Tensor | None) -> None:
        super().__init__()
        self.net, self.count = net, count
        if label is None and not count:
            self.label = None
            return
        found = torch.as_tensor(count if label is None else label)
        integral = not found.is_floating_point() and found.dtype != torch.bool and found.dim() < 2
        if label is not None and not (integral and 0 <= found.min() and found.max() < count):
            allowed = f"classes 0 to {count - 1}" if count else "None (it knows no classes)"
            raise ValueError(f"label is {label}; {allowed} or None is allowed")
        self.register_buffer("label", found.long(), persistent=False)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The data prediction."""
        if self.label is None:
            return self.net(x, sigma)
        if self.label.dim() and len(self.label) != len(x):
            raise ValueError(
                f"label has {len(self.label)} entries; {len(x)}, one a sample, are allowed"
            )
        return self.net(x, sigma, self.label.expand(len(x)))
