"""A network with what it is asked for: a class or text for every sample, images of one shape."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


class Conditioned(nn.Module):
    """(x, level) to the module's answer for one condition, or for one a sample of the batch.

    Raises:
        ValueError: x of another shape, or of another number of samples than the condition.
    """

    def __init__(
        self, module: nn.Module, shape: tuple[int, int, int], condition: Tensor | None
    ) -> None:
        super().__init__()
        self.module, self.shape = module, shape
        like = next(module.parameters())
        self.register_buffer(
            "condition", None if condition is None else condition.to(like.device), persistent=False
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """The answer at x, (B, C, H, W), and the level, () or (B,)."""
        if x.shape[1:] != self.shape:
            allowed = ", ".join(map(str, self.shape))
            raise ValueError(f"x: got {list(x.shape)}; [B, {allowed}] is allowed")
        c = cast(Tensor | None, self.condition)
        if c is None:
            return self.module(x, level)
        if len(c) not in (1, len(x)):
            raise ValueError(
                f"condition: got {len(c)} entries; {len(x)}, one a sample, are allowed"
            )
        return self.module(x, level, c.expand(len(x), *c.shape[1:]))


def classes(label: int | Tensor, count: int) -> Tensor:
    """Classes as int64 (1,) or (B,).

    Raises:
        ValueError: one that is not among 0..count−1, or no whole numbers.
    """
    found = torch.as_tensor(label)
    whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
    inside = whole and found.dim() < 2 and found.numel() > 0
    if not (inside and 0 <= int(found.min()) and int(found.max()) < count):
        got = label if isinstance(label, int) else _said(found)
        allowed = f"0 to {count - 1} is allowed" if count else "it has no classes"
        raise ValueError(f"label: got {got}; {allowed}")
    return found.long().reshape(-1)


def texts(context: Tensor, width: int) -> Tensor:
    """Text embeddings (B, L, C) of C = ``width`` numbers.

    Raises:
        ValueError: another shape or dtype, or a network that takes no text.
    """
    if not width:
        raise ValueError("context: got embeddings; the network takes none, so None is allowed")
    fits = isinstance(context, Tensor) and context.dim() == 3 and context.shape[2] == width
    if not (fits and context.is_floating_point()):
        raise ValueError(f"context: got {_said(context)}; floats [B, L, {width}] are allowed")
    return context


def _said(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{list(value.shape)} of {value.dtype}" if value.dim() > 1 else f"{value.tolist()}"
    return repr(value)
