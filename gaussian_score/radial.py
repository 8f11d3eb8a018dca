r"""Rotation-invariant laws about 0 in Rⁿ, n ≥ 2, and their exact flow: concentric Gaussians.

    x_end = x r_end/r,    R_end(r_end) = R_start(r),    R(r) = Pr(‖x‖ ≤ r)
    log |∂x_end/∂x| = (n − 1) log(r_end/r) + log dr_end/dr

The score is radial, so that the flow keeps directions and the mass of every ball. For the law
Σ_k w_k N(0, s_k I), with c_k = α² s_k + σ² and P the regularised lower incomplete gamma function,

    R(r) = Σ_k w_k P(n/2, r²/(2 c_k))

Everything is in the scale of x, so that α = 0 (pure noise) is an ordinary level.

Source: derived here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.special import gammainc, gammaincc, gammaln
from torch import Tensor

from gaussian_score.conserved import Floats, Tails, conserve, log_mean
from gaussian_score.flow import Level, MixturePredictions, check_level, check_points
from gaussian_score.mixture import GaussianMixture
from gaussian_score.transport import mixture_law

NEAREST = 1e-100
"""Points nearer to 0 than this, in deviations, move by the same factor as those at it."""


class RadialTails(Tails):
    """The law of u = log r."""

    resolution = 1.0
    dim: int
    scale: float
    """A lower bound of the deviation along every axis."""


class Radial(ABC):
    """Flow and log determinant from the mass of balls."""

    dim: int

    @abstractmethod
    def tails(self, level: Level) -> RadialTails:
        """The law of log ‖x‖ at (α, σ)."""

    def flow(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """x r_end/r, (B, D)."""
        u, moved, _ = self._carry(x, start, end)
        return (x.double() * torch.from_numpy(np.exp(moved - u)).to(x.device)[:, None]).to(x.dtype)

    def log_det(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """D log(r_end/r) + log du_end/du, u = log r, (B,)."""
        u, moved, ratio = self._carry(x, start, end)
        return torch.from_numpy(self.dim * (moved - u) + ratio).to(x)

    def _carry(self, x: Tensor, start: Level, end: Level) -> tuple[Floats, Floats, Floats]:
        """log r, log r_end and log du_end/du."""
        check_points(x, self.dim)
        before, after = self.tails(start), self.tails(end)
        r = torch.linalg.vector_norm(x.detach().double(), dim=1).cpu().numpy()
        u = np.log(np.maximum(r, NEAREST * before.scale))
        return u, *conserve(before, after, u, name="log ‖x‖")


@dataclass(frozen=True)
class Concentric(MixturePredictions, Radial):
    """Σ_k w_k N(0, s_k I) in `dim` ≥ 2 dimensions; its predictions are those of `GaussianMixture`.

    Attributes:
        weights: w, K numbers, not negative, sum 1.
        variances: s, K numbers, not negative; of each coordinate.
        dim: n.

    Raises:
        ValueError: a parameter is outside these sets, or a flow begins or ends where a component
            has zero variance.
    """

    weights: Sequence[float]
    variances: Sequence[float]
    dim: int

    def __post_init__(self) -> None:
        check_dim(self.dim)
        _ = self._law

    @cached_property
    def _law(self) -> tuple[Floats, ...]:
        return mixture_law(self.weights, np.zeros(len(self.variances)), self.variances)

    @cached_property
    def mixture(self) -> GaussianMixture:
        """The same law in torch, float64."""
        w, _, s = self._law
        return GaussianMixture.isotropic(w, np.zeros((len(w), self.dim)), s)

    def tails(self, level: Level) -> RadialTails:
        """Components of deviation √c_k."""
        check_level(level)
        w, _, s = self._law
        deviations = np.hypot(level[0] * np.sqrt(s), level[1])
        if not deviations.all():
            raise ValueError(
                f"(alpha, sigma) is {level}, where a component has zero variance; "
                "sigma > 0 is allowed"
            )
        return ConcentricTails(self.dim, float(deviations.min()), w, deviations)


@dataclass(frozen=True, eq=False)
class ConcentricTails(RadialTails):
    """Σ_k w_k P(n/2, y_k), y_k = e^{2u}/(2 d_k²); weights and deviations (K,), d > 0."""

    dim: int
    scale: float
    weights: Floats
    deviations: Floats

    def tail(self, u: Floats, side: int) -> tuple[Floats, Floats]:
        """log Σ_k w_k P_k or log Σ_k w_k (1 − P_k), and the log of its derivative in u or −u."""
        log_y = 2 * (side * u[..., None] - np.log(self.deviations)) - math.log(2)
        parts, rates = (_log_lower if side == 1 else _log_upper)(self.dim / 2, log_y)
        log_mass = log_mean(parts, self.weights)
        rates = rates + parts - log_mass[..., None]
        return log_mass, log_mean(rates, self.weights) + math.log(2)

    def bracket(self, log_mass: Floats, side: int) -> tuple[Floats, Floats]:
        """R lies between the components' R_k, so r between their quantiles."""
        low, high = chi_bracket(self.dim, log_mass, side)
        near, far = np.log(self.deviations.min()), np.log(self.deviations.max())
        return (low + near, high + far) if side == 1 else (low - far, high - near)


def check_dim(dim: int) -> None:
    """n ≥ 2."""
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 2:
        raise ValueError(f"dim is {dim}; an integer >= 2 is allowed")


def chi_bracket(dim: int, log_mass: Floats, side: int) -> tuple[Floats, Floats]:
    """Bounds of the u at which a standard normal in R^dim has this log mass of ‖n‖ ≤ e^u.

    For side −1, of the −u at which it has this log mass of ‖n‖ ≥ e^u. By Alzer's inequality

        (1 − e^{−δy})^a ≤ P(a, y) ≤ (1 − e^{−y})^a,    δ = Γ(a + 1)^{−1/a},  a = dim/2 ≥ 1

    Source: Alzer 1997, Math. Comp. 66.
    """
    a = dim / 2
    delta = math.exp(-gammaln(a + 1) / a)
    with np.errstate(divide="ignore"):
        if side == 1:
            log_root = log_mass / a
            small = np.exp(log_root)
            log_y = np.where(log_root < -40, log_root, np.log(-np.log1p(-small)))
        else:
            missing = -np.log(-np.expm1(np.log1p(-np.exp(log_mass)) / a))
            log_y = np.log(np.where(log_mass < -40, math.log(a) - log_mass, missing))
    margin = 1e-9
    low = 0.5 * (math.log(2) + log_y) - margin
    high = low - 0.5 * math.log(delta) + 2 * margin
    return (low, high) if side == 1 else (-high, -low)


TINY = 1e-250
"""Incomplete gamma functions below this are summed from their own series."""


def _log_lower(a: float, log_y: Floats) -> tuple[Floats, Floats]:
    """log P(a, y) and log d(log P)/d(log y)."""
    y = np.exp(log_y)
    p = gammainc(a, y)
    far = p < TINY
    # P = y^a e^{−y}/Γ(a) × (1 + y/(a + 1) + y²/((a + 1)(a + 2)) + ..)/a, with y far below a
    series = np.ones_like(y[far])
    for k in range(200 * far.any(), 0, -1):
        series = 1 + y[far] / (a + k) * series
    return _logs(a, log_y, y, p, far, math.log(a) - np.log(series))


def _log_upper(a: float, log_y: Floats) -> tuple[Floats, Floats]:
    """log Q(a, y), Q = 1 − P, and log −d(log Q)/d(log y)."""
    y = np.exp(log_y)
    q = gammaincc(a, y)
    far = q < TINY
    # Q = y^a e^{−y}/Γ(a)/f, Legendre's fraction f = y + 1 − a − 1(1 − a)/(y + 3 − a − ..)
    fraction = np.zeros_like(y[far])
    for k in range(200 * far.any(), 0, -1):
        fraction = k * (k - a) / (y[far] + 2 * k + 1 - a - fraction)
    return _logs(a, log_y, y, q, far, np.log(y[far] + 1 - a - fraction))


def _logs(
    a: float, log_y: Floats, y: Floats, share: Floats, far: Any, far_rate: Floats
) -> tuple[Floats, Floats]:
    """log share and the log of y^a e^{−y}/Γ(a)/share, which is given where share is too small."""
    kernel = a * log_y - y - gammaln(a)
    log_share = np.log(np.where(far, 1.0, share))
    rate = kernel - log_share
    log_share[far], rate[far] = kernel[far] - far_rate, far_rate
    return log_share, rate
