"""A network in short products, compiled, in another layout: what changes its speed.

With bf16 its convolutions and matrix products are rounded to 8 bits and everything around them,
the scaling by the noise level above all, keeps the network's own dtype.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from experiments.sampling.job import Job


class Mixed(nn.Module):
    """The module under autocast to bfloat16; in everything else it is the module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        """The module's answer, in the dtype of x."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.module(x, *rest).to(x.dtype)

    def __getattr__(self, name: str) -> Any:
        """The module's own attributes."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def tune(module: nn.Module, job: Job) -> nn.Module:
    """The network as the job asks for it."""
    if job.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if job.precision == "bf16":
        module = Mixed(module)
    return torch.compile(module) if job.compile else module  # type: ignore[return-value]
