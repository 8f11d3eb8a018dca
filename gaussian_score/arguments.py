"""What every law checks about its arguments: one line that names the value and what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Scalar = float | Tensor
ArrayLike = Any  # a tensor, or whatever `numpy.array` takes


def points(name: str, x: Tensor, dim: int) -> None:
    """x is floating point of shape (B, D), or ValueError."""
    if x.ndim != 2 or x.shape[1] != dim or not x.is_floating_point():
        raise ValueError(
            f"{name} has shape {tuple(x.shape)} and dtype {x.dtype}; "
            f"floating point of shape (B, {dim}) is allowed"
        )


def levels(alpha: Scalar, sigma: Scalar, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """α and σ > 0 as 0-d or (B, 1) tensors beside x."""
    a, s = (_level(name, v, x, dtype) for name, v in (("alpha", alpha), ("sigma", sigma)))
    if not (s > 0).all():
        raise ValueError(f"sigma is {float(s.min())}; σ > 0 is allowed")
    return a, s


def law(weights: ArrayLike, means: ArrayLike, **others: ArrayLike) -> tuple[Tensor, ...]:
    """The arguments as finite tensors of one dtype, w and μ checked."""
    arguments = {
        name: finite(name, value)
        for name, value in {"weights": weights, "means": means, **others}.items()
    }
    w, mu = arguments["weights"], arguments["means"]
    if w.ndim != 1 or mu.ndim != 2 or len(w) != len(mu) or not mu.numel():
        raise ValueError(
            f"weights and means have shapes {tuple(w.shape)} and {tuple(mu.shape)}; "
            "(K,) and (K, D) are allowed"
        )
    require_distribution("weights", w)
    dtype = mu.dtype
    for tensor in arguments.values():
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype=dtype, device=mu.device) for tensor in arguments.values())


def finite(name: str, value: ArrayLike) -> Tensor:
    """A floating tensor as it is, other numbers as float64; finite."""
    known = isinstance(value, Tensor) and value.is_floating_point()
    tensor = value if known else torch.from_numpy(np.array(value, dtype=np.float64))
    if not tensor.isfinite().all():
        raise ValueError(f"{name} is {value}; finite numbers are allowed")
    return tensor


def require_distribution(name: str, w: Tensor) -> None:
    """Not negative, of sum 1 up to rounding."""
    require_not_negative(name, w)
    rounding = 10 * len(w) * torch.finfo(w.dtype).eps
    total = float(w.double().sum())
    if abs(total - 1) > rounding:
        raise ValueError(f"{name} sum to {total:.9g}; 1 within {rounding:.2g} is allowed")


def require_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Exactly this shape."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; {shape} is allowed")


def require_not_negative(name: str, tensor: Tensor) -> None:
    """No entry below zero."""
    if (tensor < 0).any():
        raise ValueError(f"{name} has the entry {float(tensor.min()):.6g}; 0 or more is allowed")


def require_orthonormal(name: str, bases: Tensor) -> None:
    """UᵀU = I up to rounding, for each of the bases (.., D, R)."""
    d, rank = bases.shape[-2:]
    gram = bases.mT @ bases
    skew = float((gram - torch.eye(rank).to(gram)).abs().max()) if rank else 0.0
    if skew > 10 * d * torch.finfo(bases.dtype).eps:
        raise ValueError(f"{name} miss UᵀU = I by {skew:.3g}; orthonormal columns are allowed")


def _level(name: str, value: Scalar, x: Tensor, dtype: torch.dtype) -> Tensor:
    level = torch.as_tensor(value, dtype=dtype, device=x.device)
    if level.ndim and level.shape != x.shape[:1]:
        raise ValueError(
            f"{name} has shape {tuple(level.shape)}; () or ({x.shape[0]},) is allowed"
        )
    if not level.isfinite().all():
        raise ValueError(f"{name} is {value}; a finite number is allowed")
    return level[:, None] if level.ndim else level
