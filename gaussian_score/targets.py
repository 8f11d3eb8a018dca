"""Named mixtures as plain data: the laws on which solvers are measured.

A target unpacks into the arguments of everything here that takes a mixture:
`GaussianMixture.full(*target("ring"))`, `Oracle(*target("two_bumps"), digits=50)`.
"""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import NamedTuple

Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]


class Target(NamedTuple):
    """Σ_k w_k N(μ_k, S_k): weights (K,), means (K, D), covs (K, D, D)."""

    weights: Vector
    means: tuple[Vector, ...]
    covs: tuple[Matrix, ...]


def target(name: str) -> Target:
    """The target of that name.

    Raises:
        ValueError: there is none; the message gives the nearest names.
    """
    if name not in TARGETS:
        near = get_close_matches(name, TARGETS, n=3, cutoff=0.4) or list(TARGETS)
        raise ValueError(f"target is {name!r}; nearest: {', '.join(near)}")
    return TARGETS[name]


def _scaled_identity(dim: int, variance: float) -> Matrix:
    return tuple(tuple(variance * (i == j) for j in range(dim)) for i in range(dim))


def _reflected(eigenvalues: Vector) -> Matrix:
    """U diag(λ) U with the reflection U = I − 2 v vᵀ/9, v = (1, 2, 2)."""
    v = (1, 2, 2)
    u = [[(9 * (i == j) - 2 * v[i] * v[j]) / 9 for j in range(3)] for i in range(3)]
    return tuple(
        tuple(sum(u[i][k] * eigenvalues[k] * u[k][j] for k in range(3)) for j in range(3))
        for i in range(3)
    )


_CIRCLE = tuple(
    (2 * math.cos(2 * math.pi * k / 8), 2 * math.sin(2 * math.pi * k / 8)) for k in range(8)
)

TARGETS = {
    # linear problem: every error is an error of the method's linear part
    "one_gaussian": Target((1.0,), ((0.5, -1.0, 0.25),), (_reflected((4.0, 0.25, 0.01)),)),
    # one dimension, symmetric: the flow is known by its CDF and v = 0 is a separatrix
    "two_bumps": Target((0.5, 0.5), ((-1.5,), (1.5,)), (((0.04,),), ((0.04,),))),
    # eight equal modes on a circle of radius 2: no closed form
    "ring": Target((0.125,) * 8, _CIRCLE, (_scaled_identity(2, 0.04),) * 8),
    # variances over three decades along different axes
    "anisotropic": Target(
        (0.2, 0.3, 0.5),
        ((1.0, 0.0, -0.5), (-0.8, 1.2, 0.3), (0.1, -0.9, 0.4)),
        (_reflected((2.0, 0.1, 0.002)), _reflected((0.01, 1.0, 0.05)), _scaled_identity(3, 0.15)),
    ),
    # unequal modes 50 standard deviations apart: responsibilities switch abruptly
    "far_modes": Target((0.8, 0.2), ((1.0, 0.0), (-4.0, 0.0)), (_scaled_identity(2, 0.01),) * 2),
}
