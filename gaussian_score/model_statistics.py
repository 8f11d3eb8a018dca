r"""The empirical model statistics of DPM-Solver-v3 for a mixture's exact score.

In z = x/α at τ = e^{−2λ}, u = e^{−λ} ε = z − E[x₀|x]; per coordinate, m and c² the data's mean and
variance, g = τ/(c²+τ) the slope of the regression of u on z, and δ what it leaves of ε:

    δ = E(ε − e^λ g (z − m))²,    l = E ∂u/∂z = E ε² = g + δ,    f = u − l z,
    E f = −l m,    Var f = τ δ + (c²+τ)(l − g)²,    s = ½ (log Var f)',    b = (E f)' − s E f.

So l and s follow from δ, a mean of squares that loses no digits where the law is nearly Gaussian.
With l = E ε² the variance is l²(c²+τ) − l τ (``theory.model_statistics`` proves it); in this form
it holds for every l. Source: Zheng et al. 2023 for the definitions; the rest is derived here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
Delta = Callable[[NDArray[np.inexact]], NDArray[np.inexact]]
"""δ of λ, (n,) -> (n, D); λ may be complex, which gives derivatives to all digits."""

# By D: standard deviations beyond which the tail is below the error; the largest difference from
# the sum over every second point, whose square is about the error, and where points run out
REACH, SETTLED, UNSETTLED = (9.5, 8.5, 7.0), (1e-7, 1e-6, 1e-4), 1e-3
POINTS, BLOCK = 1 << 21, 1 << 14  # at most in a sum; at a time
TINY = 1e-24  # of ε²
STEP = 1e-30  # imaginary step of derivatives
NOTHING = 1e-26  # of the data's variance: a smaller Var f counts as none


@dataclass(frozen=True)
class Excess:
    """δ, and in how many dimensions it is an integral; 0 is a closed form."""

    delta: Delta
    dimensions: int

    def __call__(self, lam: NDArray[np.inexact]) -> NDArray[np.inexact]:
        """At λ, (n,): (n, D)."""
        return self.delta(lam)


def excess(weights: ArrayLike, means: ArrayLike, covs: ArrayLike) -> Excess:
    """δ of the mixture with weights (K,), means (K, D), covs (K, D, D).

    One Gaussian has a closed form. A mixture whose coordinates are independent (diagonal covs) is
    taken coordinate by coordinate; any other in D <= 3 by quadrature on product grids.

    Raises:
        ValueError: another mixture in D > 3; or, when evaluated, one that needs too many points.
    """
    w, m, c = (np.asarray(a, dtype=np.float64) for a in (weights, means, covs))
    w, m, c = w[w > 0], m[w > 0], c[w > 0]
    if len(w) == 1:
        return Excess(_gaussian(c[0]), 0)
    lines = _independent(w, m, c)
    if lines is not None:
        parts = [_line(*line) for line in lines]
        return Excess(lambda lam: np.concatenate([part(lam) for part in parts], axis=1), 1)
    if m.shape[1] > 3:
        raise ValueError(
            f"the coordinates of {len(w)} components in {m.shape[1]} dimensions depend on each"
            " other; D <= 3, one Gaussian or independent coordinates are allowed"
        )
    law = _Law.of(w, m, c)
    return Excess(lambda lam: np.array([law.excess(x) for x in lam]), m.shape[1])


def moments(
    excess: Delta, variance: ArrayLike, lam: NDArray[np.inexact], l: ArrayLike | None = None
) -> tuple[NDArray[np.inexact], NDArray[np.inexact]]:
    """The statistic l and Var f at λ, (n,): each (n, D); ``l``, (n, D) or less, overrides E ε²."""
    tau, c2 = np.exp(-2 * lam)[:, None], np.asarray(variance, dtype=np.float64)
    g, delta = tau / (c2 + tau), excess(lam)
    own = g + delta if l is None else np.broadcast_to(np.asarray(l), delta.shape)
    return own, tau * delta + (c2 + tau) * (own - g) ** 2


def statistics(
    excess: Delta,
    mean: ArrayLike,
    variance: ArrayLike,
    lam: ArrayLike,
    l: ArrayLike | None = None,
) -> tuple[Floats, Floats, Floats]:
    """The statistics l, s, b at λ, (n,): each (n, D).

    A coordinate without Var f is Gaussian: every s is as good, and s = 0.
    """
    m, c2 = (np.asarray(a, dtype=np.float64) for a in (mean, variance))
    at, var = moments(excess, c2, np.asarray(lam, dtype=np.float64) + 1j * STEP, l)
    varies = var.real > NOTHING * c2
    s = np.divide(var.imag / STEP, 2 * var.real, out=np.zeros(var.shape), where=varies)
    return at.real, s, m * (s * at.real - at.imag / STEP)


def _gaussian(cov: Floats) -> Delta:
    """Σ_k U²_ik (h_k − g_i)²/h_k with h_k = τ/(e_k+τ): l = Σ U² h less its harmonic mean g."""
    values, basis = np.linalg.eigh(cov)
    share, own = basis**2, np.diag(cov)[:, None]

    def delta(lam: NDArray[np.inexact]) -> NDArray[np.inexact]:
        tau = np.exp(-2 * lam)[:, None, None]
        terms = tau * (own - values) ** 2 / ((values + tau) * (own + tau) ** 2)
        return (share * terms).sum(2)

    return delta


Line = tuple[Floats, Floats, Floats]
"""Weights, means and variances of a law on the line, each (J,)."""


def _independent(w: Floats, m: Floats, c: Floats) -> list[Line] | None:
    """The law of every coordinate, if the joint law is their product."""
    diagonal = np.diagonal(c, axis1=1, axis2=2)
    if (c != diagonal[:, :, None] * np.eye(m.shape[1])).any():
        return None
    lines: list[Line] = []
    joint = np.ones(len(w))
    for i in range(m.shape[1]):
        pairs = np.stack([m[:, i], diagonal[:, i]], 1)
        kinds, which = np.unique(pairs, axis=0, return_inverse=True)
        share = 1.0 * np.bincount(which.ravel(), weights=w)
        joint *= share[which.ravel()]
        lines.append((share, kinds[:, 0], kinds[:, 1]))
    cells, cell = np.unique(np.concatenate([m, diagonal], 1), axis=0, return_inverse=True)
    mass = np.bincount(cell.ravel(), weights=w)[cell.ravel()]
    whole = reduce(lambda n, line: min(n * len(line[0]), len(w) + 1), lines, 1) == len(cells)
    rounding = 1e-12
    return lines if whole and bool((abs(mass - joint) <= rounding * joint).all()) else None


def _line(w: Floats, m: Floats, v: Floats) -> Delta:
    """Of one coordinate alone."""
    if len(w) == 1:
        return lambda lam: np.zeros((len(lam), 1), dtype=lam.dtype)
    law = _Law.of(w, m[:, None], v[:, None, None])
    return lambda lam: np.array([law.excess(x) for x in lam])


@dataclass(frozen=True, eq=False)
class _Law:
    """Weights (K,), means (K, D), eigenvalues (K, D), eigenvectors (K, D, D); marginals (D,)."""

    weights: Floats
    means: Floats
    values: Floats
    bases: Floats
    mean: Floats
    variance: Floats

    @classmethod
    def of(cls, w: Floats, m: Floats, c: Floats) -> _Law:
        values, bases = np.linalg.eigh(c)
        mean = w @ m
        variance = w @ (np.diagonal(c, axis1=1, axis2=2) + (m - mean) ** 2)
        return cls(w, m, values.clip(0), bases, mean, variance)

    def excess(self, lam: complex) -> NDArray[np.inexact]:
        """Trapezoid sums in each component's own coordinates, refined until they settle."""
        tau = np.exp(-2 * lam)
        spread = np.sqrt(self.values + tau.real)
        shortest = spread.min()
        fine = np.minimum(0.7, shortest / spread)  # no component falls between two points
        while True:
            reach = REACH[len(self.mean) - 1]
            sizes = 2 * np.ceil(reach / fine / 2).astype(int)  # even, so every second point fits
            if np.prod(2 * sizes + 1, axis=1, dtype=float).max() > POINTS:
                raise ValueError(
                    f"the mixture needs more than {POINTS} points of quadrature at"
                    f" lam = {float(np.real(lam)):.4g}; wider or fewer components are allowed"
                )
            both = sum(
                w * self._sums(k, tau, n)
                for k, (w, n) in enumerate(zip(self.weights, sizes, strict=True))
            )
            value, coarse = both  # type: ignore[misc]
            gap, size = abs(value - coarse), abs(value)
            last = np.prod(3 * sizes + 1, axis=1, dtype=float).max() > POINTS
            enough = UNSETTLED if last else SETTLED[len(gap) - 1]
            if (gap <= enough * size + TINY).all():
                return value
            fine = 0.7 * fine

    def _sums(self, k: int, tau: complex, sizes: NDArray[np.int_]) -> NDArray[np.inexact]:
        """E_k of (ε − ε_G)², with all points and with every second one: (2, D)."""
        reach = REACH[len(sizes) - 1]
        (x, p), *rest = (_axis(n, reach) for n in sizes)
        inside = reduce(_outer, (r for _, r in rest), np.ones((2, 1)))
        width = inside.shape[1]
        inner = np.array(np.meshgrid(*(y for y, _ in rest), indexing="ij"))
        inner = inner.reshape(len(rest), width)
        rows = max(1, BLOCK // width)
        total = np.zeros((2, len(self.mean)), dtype=np.result_type(tau, float))
        for i in range(0, len(x), rows):
            some = x[i : i + rows]
            xi = np.vstack([np.repeat(some, width), np.tile(inner, len(some))])
            near = (xi**2).sum(0) <= reach**2
            share = _outer(p[:, i : i + rows], inside)[:, near]
            total += share @ self._square(k, tau, xi[:, near]).T
        return total

    def _square(self, k: int, tau: complex, xi: Floats) -> NDArray[np.inexact]:
        """(ε − ε_G)² at z = m_k + U_k √(e_k+τ) ξ: (D, P)."""
        mean, variance = self.mean[:, None], self.variance[:, None]
        z = self.bases[k] @ (xi * np.sqrt(self.values[k] + tau)[:, None])
        z += self.means[k][:, None]
        q = (z - mean) / (variance + tau)
        logits, pulls = [], []
        for w, m, e, U in zip(self.weights, self.means, self.values, self.bases, strict=True):
            away, spread, m = U.T @ (z - m[:, None]), e + tau, m[:, None]
            logits.append(np.log(w) - np.log(spread).sum() / 2 - (1 / spread / 2) @ away**2)
            # C⁻¹(z − m_k) − q, without the difference of its two terms
            rest = U.T @ (variance * q + mean - m) - e[:, None] * (U.T @ q)
            pulls.append(U @ (rest / spread[:, None]))
        top = reduce(np.maximum, (x.real for x in logits))
        gamma = [np.exp(x - top) for x in logits]
        pull = np.add.reduce([g * p for g, p in zip(gamma, pulls, strict=True)])
        return tau * (pull / np.add.reduce(gamma)) ** 2


def _outer(a: Floats, b: Floats) -> Floats:
    """Products of the weights in both rows: (2, m), (2, n) -> (2, m n)."""
    return (a[:, :, None] * b[:, None, :]).reshape(2, -1)


def _axis(n: int, reach: float) -> tuple[Floats, Floats]:
    """Points −reach..reach, and the standard normal's weights on all and on every second."""
    x = reach * np.arange(-n, n + 1) / n
    p = np.exp(-(x**2) / 2)
    half = np.where(np.arange(-n, n + 1) % 2, 0, p)
    return x, np.stack([p / p.sum(), half / half.sum()])


def marginals(weights: ArrayLike, means: ArrayLike, covs: ArrayLike) -> tuple[Floats, Floats]:
    """The data's mean and variances by coordinate, each (D,)."""
    w, m, c = (np.asarray(a, dtype=np.float64) for a in (weights, means, covs))
    mean = w @ m
    return mean, w @ (np.diagonal(c, axis1=1, axis2=2) + (m - mean) ** 2)
