r"""An orthonormal basis of R^D in which U, (D, R), comes first:  Q = I − V T Vᵀ  (torch).

Q is the product of the R reflections of Householder's QR of U, so it is held and applied at the
cost of R columns, and is orthogonal to rounding.  Its first R columns are those of U up to sign;
the other D − R span what U leaves over, where all variances are the floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from solvers.denoiser import Denoiser


@dataclass(frozen=True, eq=False)
class Basis:
    """Coordinates y = Qᵀ x of states of any shape with D entries."""

    reflectors: Tensor
    """V, (D, R)."""
    inner: Tensor
    """T, (R, R)."""
    shape: tuple[int, ...]
    """Of one state."""

    @classmethod
    def of(cls, basis: Tensor, shape: Sequence[int] | None = None) -> Basis:
        """Of U, (D, R) with orthonormal columns."""
        d = len(basis)
        shape = (d,) if shape is None else tuple(shape)
        if basis.dim() != 2 or basis.shape[1] > d or torch.Size(shape).numel() != d:
            raise ValueError(
                f"basis: got shape {tuple(basis.shape)} for states {shape};"
                " (D, R) with R <= D, the number of a state's entries, is allowed"
            )
        packed, tau = torch.geqrf(basis)
        v = packed.tril(-1)
        v = v + torch.eye(*v.shape).to(v)
        still = tau == 0  # LAPACK's sign for: no reflection
        v = torch.where(still, 0, v)
        inverse = (v.mT @ v).triu(1) + torch.diag(1 / torch.where(still, 1, tau))
        eye = torch.eye(len(tau)).to(v)
        return cls(v, torch.linalg.solve_triangular(inverse, eye, upper=True), shape)

    def coordinates(self, x: Tensor) -> Tensor:
        """Qᵀ x: (B, *shape) to (B, D)."""
        flat = x.reshape(len(x), -1)
        v, t = self.reflectors.to(x), self.inner.to(x)
        return flat - ((flat @ v) @ t) @ v.mT

    def states(self, y: Tensor) -> Tensor:
        """Q y: (B, D) to (B, *shape)."""
        v, t = self.reflectors.to(y), self.inner.to(y)
        return (y - ((y @ v) @ t.mT) @ v.mT).reshape(len(y), *self.shape)


@dataclass(frozen=True)
class InBasis(Denoiser):
    """A model of states, asked and answering in coordinates of a basis, (B, D)."""

    model: Denoiser
    basis: Basis

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of the model: coordinates change no prediction."""
        return self.model.parts

    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        """The model's prediction at Q x, in coordinates."""
        return self.basis.coordinates(self.model.at(kind, self.basis.states(x), t, alpha, sigma))
