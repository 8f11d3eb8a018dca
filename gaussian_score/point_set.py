r"""Averages over a data set that is read in blocks, under weights that tilt towards some point.

    Λ(P, Q) = log Σ_i w_i exp(P · z_i + Q |z_i|²),   z_i = y_i − m,   m = Σ_i w_i y_i
    ∂Λ/∂P = E[z],   ∂Λ/∂Q = E|z|²,   the derivative of (E[z], E|z|²) is Cov[(z, |z|²)]

A running maximum, sum and weighted sums are kept from block to block, so memory does not grow with
the number of points. The covariance is symmetric: applied to a tangent it is the derivative
forward, applied to a cotangent the derivative backward; either is one more pass.

Source: derived here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gaussian_score import arguments

Block = tuple[slice, Tensor, Tensor | float]  # which points, z (n, D), log w (n,)


@dataclass(frozen=True, eq=False)
class PointSet:
    """y = scale · points + shift with weights, read `block` points at a time. Build with `of`.

    Attributes:
        points: (N, ..), of any type: a tensor, a numpy array or a memmap.
        scale: factor of the points.
        shift: added after that.
        log_weights: log w, (N,), float64, or None for 1/N each.
        block: how many points are in memory at once.
        mean: m, (D,), float64.
    """

    points: Any
    scale: float
    shift: float
    log_weights: Tensor | None
    block: int
    mean: Tensor

    @classmethod
    def of(
        cls,
        points: Any,
        *,
        scale: float = 1.0,
        shift: float = 0.0,
        weights: Any = None,
        block: int = 2048,
    ) -> PointSet:
        """Reads every point once, for the mean.

        Raises:
            ValueError: there are no points, one is not finite (the message names the first),
                weights are not a distribution over them, scale or shift is not finite, block < 1.
        """
        shape = tuple(getattr(points, "shape", ()))
        if len(shape) < 2 or not math.prod(shape):
            raise ValueError(
                f"points have shape {shape}; (N, ..) with one point or more is allowed"
            )
        for name, value in (("scale", scale), ("shift", shift)):
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value}; a finite number is allowed")
        if block < 1:
            raise ValueError(f"block is {block}; 1 or more is allowed")
        log_weights = None
        if weights is not None:
            w = arguments.finite("weights", weights)
            arguments.require_shape("weights", w, shape[:1])
            arguments.require_distribution("weights", w)
            # a weight of zero is a logit that no other can reach, and no NaN
            log_weights = w.double().log().clamp(min=-1e300)
        zero = torch.zeros(math.prod(shape[1:]), dtype=torch.float64)
        raw = cls(points, scale, shift, log_weights, block, zero)
        mean = zero
        for here, y, log_w in raw.blocks(zero):
            w = log_w.exp() if isinstance(log_w, Tensor) else torch.full(y.shape[:1], 1.0).to(y)
            part = w @ y  # finite if all of y is
            if not part.isfinite().all() and not (good := y.isfinite().all(1)).all():
                first = here.start + int(good.long().argmin())
                raise ValueError(f"points[{first}] is not finite; finite numbers are allowed")
            mean = mean + part / (1 if isinstance(log_w, Tensor) else len(raw))
        return cls(points, scale, shift, log_weights, block, mean)

    def __len__(self) -> int:
        return self.points.shape[0]

    @property
    def dim(self) -> int:
        """D, the number of coordinates."""
        return len(self.mean)

    @property
    def stored(self) -> torch.dtype:
        """The type of the points as they lie."""
        return _read(self.points, slice(0, 1)).dtype

    def memory(self, batch: int, dtype: torch.dtype) -> int:
        """Bytes that a pass takes at most, beside its arguments and its answer.

        A block of points as they are stored and as numbers, twelve arrays (batch, block) of logits
        and weights, and twelve (batch, D).
        """
        n, size = min(self.block, len(self)), dtype.itemsize
        block = n * self.dim * (self.stored.itemsize + size)
        return block + 12 * size * batch * (n + self.dim)

    def blocks(self, like: Tensor, *others: Tensor | None) -> Iterator[Block]:
        """The points, centred, on the device and in the dtype of `like`.

        A block lies where the last one lay, unless a derivative of `like` or the others, which
        meet the points, is recorded and needs them later.
        """
        shift = (self.shift - self.mean).to(like)
        kept = torch.is_grad_enabled() and any(
            a is not None and a.requires_grad for a in (like, *others)
        )
        size = 0 if kept else min(self.block, len(self))
        room = torch.empty(size, self.dim, dtype=like.dtype, device=like.device)
        for start in range(0, len(self), self.block):
            here = slice(start, min(start + self.block, len(self)))
            part = _read(self.points, here)
            z = part.to(like, copy=True) if kept else room[: len(part)].copy_(part)
            z.mul_(self.scale).add_(shift)
            log_w = -math.log(len(self))
            if self.log_weights is not None:
                lowest = torch.finfo(like.dtype).min / 4
                log_w = self.log_weights[here].clamp(min=lowest).to(like)
            yield here, z, log_w

    def moments(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Λ, (B,), E[z], (B, D), and E|z|², (B,), at P, (B, D), and Q, (B,)."""
        if p.requires_grad or q.requires_grad:
            try:
                return cast(tuple[Tensor, Tensor, Tensor], _Moments.apply(self, p, q))
            except NotImplementedError:  # both modes at once: torch then keeps every block
                pass
        value, _, first, second = self._average(p, q)
        return value, first, second

    def covariance(
        self, at: tuple[Tensor, ...], along: tuple[Tensor | None, Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """Cov[(z, |z|²)] times along = (p, q); at = (P, Q, E[z], E|z|²).

        The tilt t = p · (z − E[z]) + q (|z|² − E|z|²) has mean zero but for rounding, which is
        taken out.
        """
        mean, square = at[2:]
        p, q = along

        def tilt(z: Tensor, squares: Tensor) -> Tensor:
            t = 0.0
            if p is not None:
                t = p @ z.mT - (p * mean).sum(1, keepdim=True)
            if q is not None:
                t = t + q[:, None] * (squares - square[:, None])
            return cast(Tensor, t)

        _, left, first, second = self._average(at[0], at[1], tilt, (*at[2:], p, q))
        return first - left[:, None] * mean, second - left * square

    def largest(self, p: Tensor, q: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k largest of γ_i = w_i exp(P · z_i + Q |z_i|² − Λ) and their i; both (B, k)."""
        best, which = p.new_empty(len(p), 0), torch.empty(len(p), 0).to(p.device, torch.int64)
        top, total = p.new_full((len(p), 1), -math.inf), 0.0
        for here, z, log_w in self.blocks(p, q):
            logits = p @ z.mT + q[:, None] * _squares(z) + log_w
            found, index = logits.topk(min(k, logits.shape[1]), dim=1)
            best, order = torch.cat([best, found], 1).topk(
                min(k, best.shape[1] + found.shape[1]), dim=1
            )
            which = torch.cat([which, index + here.start], 1).gather(1, order)
            total = total * (top - best[:, :1]).exp()
            top = best[:, :1]
            total = total + (logits - top).exp().sum(1, keepdim=True)
        return (best - top).exp() / total, which

    def _average(
        self, p: Tensor, q: Tensor, tilt: Any = None, tilted_by: tuple[Tensor | None, ...] = ()
    ) -> tuple[Tensor, ...]:
        """Λ, then the averages of t, t z and t |z|² with t = tilt(z, |z|²), or 1."""
        top = p.new_full((len(p),), -math.inf)
        sums: list[Tensor] = []
        for _, z, log_w in self.blocks(p, q, *tilted_by):
            squares = _squares(z)
            logits = p @ z.mT + q[:, None] * squares + log_w
            new = torch.maximum(top, logits.detach().amax(1))
            weights = (logits - new[:, None]).exp()
            tilted = weights if tilt is None else weights * tilt(z, squares)
            found = [weights.sum(1), tilted.sum(1), tilted @ z, tilted @ squares]
            if sums:
                keep = (top - new).exp()
                found = [
                    s * (keep[:, None] if s.ndim == 2 else keep) + f
                    for s, f in zip(sums, found, strict=True)
                ]
            top, sums = new, found
        total, left, first, second = sums
        return top + total.log(), left / total, first / total[:, None], second / total


class _Moments(torch.autograd.Function):
    """(Λ, E[z], E|z|²) of (P, Q), whose derivative backward is another pass over the points.

    There is no `jvp`: one of torch's own passes nested inside another would be lost in silence,
    and forward mode keeps nothing, so that the plain pass serves.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(points: PointSet, p: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        value, _, first, second = points._average(p, q)
        return value, first, second

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.points, p, q = inputs
        _, first, second = output
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(p, q, first, second)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        p, q, first, second = ctx.saved_tensors
        value, *others = grads
        on_p, on_q = torch.zeros_like(p), torch.zeros_like(q)
        if value is not None:
            on_p, on_q = value[:, None] * first, value * second
        if any(g is not None for g in others):
            moved = ctx.points.covariance((p, q, first, second), tuple(others))
            on_p, on_q = on_p + moved[0], on_q + moved[1]
        return None, on_p, on_q


def _read(points: Any, here: slice) -> Tensor:
    """Points `here` as they are stored, (n, D)."""
    part = points[here]
    part = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
    return part.reshape(len(part), -1)


def _squares(z: Tensor) -> Tensor:
    """|z|², (n,), with no second array like z."""
    return torch.linalg.vector_norm(z, dim=1).square()
