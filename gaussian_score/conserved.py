r"""Flows along one coordinate, by conservation of the mass on either side of a point.

    F_end(u_end) = F_start(u_start),        du_end/du_start = F'_start(u_start)/F'_end(u_end)

The equation is solved for log F where F ≤ ½ and for log(1 − F) elsewhere, so that a tail of any
size keeps its relative accuracy; the masses being equal, the derivative is the quotient of the
slopes of these logarithms, in which no large numbers cancel.

Source: derived here. F obeys ∂_σ F = σ ∂_u p, and u obeys du/dσ = −σ (log p)', at α = 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


class Tails(ABC):
    """The law of one coordinate u at one level, seen from its tails."""

    resolution: ClassVar[float] = 0.0
    """u is wanted to a few ε max(|u|, resolution)."""

    @abstractmethod
    def tail(self, u: Floats, side: int) -> tuple[Floats, Floats]:
        """For side 1: log F(u) and log (log F)'(u); for side −1 the same of 1 − F(−u)."""

    @abstractmethod
    def bracket(self, log_mass: Floats, side: int) -> tuple[Floats, Floats]:
        """Two values of u between which `tail` has this logarithm."""


def conserve(start: Tails, end: Tails, u: Floats, *, name: str = "x") -> tuple[Floats, Floats]:
    """u_end and log du_end/du, each of the shape of u.

    The error is a few ulp of the logarithm of the mass: a few ulp of u_end, times
    p_start(u)/p_end(u_end) where that is large, beside a separatrix.

    Raises:
        ValueError: u is not finite, or so far out that no mass is left.
    """
    if not np.isfinite(u).all():
        raise ValueError(f"{name} is {u[~np.isfinite(u)][0]}; finite numbers are allowed")
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        (below, rise), (above, fall) = start.tail(u, 1), start.tail(-u, -1)
    left = below <= above
    log_mass, steepness = np.where(left, below, above), np.where(left, rise, fall)
    if not np.isfinite(log_mass).all():
        raise ValueError(
            f"{name} is {u[~np.isfinite(log_mass)][0]}; points inside the law's support, whose "
            "distance in deviations has a square, are allowed"
        )
    moved, ratio = np.empty_like(u), np.empty_like(u)
    for side, here in ((1, left), (-1, ~left)):
        tail = partial(end.tail, side=side)
        low, high = end.bracket(log_mass[here], side)
        root = invert(tail, log_mass[here], low, high, end.resolution)
        moved[here], ratio[here] = side * root, steepness[here] - tail(root)[1]
    return moved, ratio


def invert(
    tail: Callable[[Floats], tuple[Floats, Floats]],
    target: Floats,
    low: Floats,
    high: Floats,
    resolution: float = 0.0,
) -> Floats:
    """u with log F(u) = target, by Newton steps inside a bracket that every step shrinks."""
    u, step = 0.5 * (low + high), high - low
    done = np.zeros(u.shape, dtype=bool)
    while not done.all():
        log_mass, log_slope = tail(u)
        excess = log_mass - target
        done |= np.abs(excess) <= 2 * EPS * (1 - target)
        low, high = np.where(excess < 0, u, low), np.where(excess > 0, u, high)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            # not finite between far modes, where the slope underflows
            newton = excess * np.exp(-log_slope)
            goal = u - newton
        # a step that is not half of the last one has met a plateau of F: bisect
        good = (goal >= low) & (goal <= high) & (np.abs(newton) <= 0.5 * np.abs(step))
        goal = np.where(good, goal, 0.5 * (low + high))
        step = np.where(done, 0.0, goal - u)
        u = u + step
        done |= np.abs(step) <= EPS * np.maximum(np.abs(u), resolution)
    return u


def log_mean(logs: Floats, weights: Floats) -> Floats:
    """log Σ_k w_k e^{logs_k} along the last axis."""
    return np.asarray(logsumexp(logs, b=weights, axis=-1))
