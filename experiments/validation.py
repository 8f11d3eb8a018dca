"""The squared error of a denoiser at fixed noise levels, on fixed images with fixed noise."""

from __future__ import annotations

import torch

from experiments.datamodules import Part
from experiments.networks import Preconditioned

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 80.0)
"""σ at which the averaged network's error is measured for every row."""
VALIDATED = 128
"""Validation images in each."""


def denoising_errors(
    net: Preconditioned, part: Part, *, null: int = 0, count: int = VALIDATED, seed: int = 0
) -> dict[str, float]:
    """E|D(x₀ + σ n, σ) − x₀|² a pixel at LEVELS, with the same images and noise on every call.

    ``null`` is the label for no class, where the network takes labels.
    """
    device = next(net.parameters()).device
    x0, labels = part[slice(0, count)]
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(device)
    x0, given = x0.to(device), None
    if null and labels is not None:
        given = labels.to(device)
    found = {}
    with torch.no_grad():
        for level in LEVELS:
            sigma = torch.tensor(level, device=device)
            miss = net(x0 + sigma * noise, sigma, given) - x0
            found[str(level)] = float(miss.square().mean())
    return found
