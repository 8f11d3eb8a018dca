"""What torch lacks to differentiate diffusers' UNet in forward mode, which Taylor methods need.

Its derivative of a group norm takes contiguous tensors alone, and of attention there is one for
the plain formula alone. Values are not changed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


def prepare(module: nn.Module) -> None:
    """Group norms are given contiguous tensors from now on."""
    for part in module.modules():
        if isinstance(part, nn.GroupNorm):
            part.register_forward_pre_hook(_contiguous)


def plain_attention() -> AbstractContextManager[Any]:
    """Attention by its formula, not by a fused kernel."""
    return sdpa_kernel(SDPBackend.MATH)


def _contiguous(_: nn.Module, given: Any) -> Any:
    return tuple(x.contiguous() for x in given)
