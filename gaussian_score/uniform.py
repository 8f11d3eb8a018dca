r"""The uniform law on a line and its exact flow at any pair of levels.

    F(x) = σ/(α (b − a)) [G((x − αa)/σ) − G((x − αb)/σ)],      G(z) = z Φ(z) + φ(z) = ∫Φ
    p(x) = mean over s in [−1, 1] of φ(ζ − w s/2)/σ,    ζ = (x − α (a + b)/2)/σ,  w = α (b − a)/σ

The differences are used where they keep their digits, Gauss's rule in s elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import log_ndtr, ndtri_exp
from torch import Tensor

from gaussian_score.conserved import Floats, Tails, log_mean
from gaussian_score.flow import Level, Scalar, check_level, check_points, column
from gaussian_score.line import OneDimensional
from gaussian_score.transport import log_hazard

NODES, SHARES = np.polynomial.legendre.leggauss(24)
"""Gauss-Legendre on [−1, 1]."""
SMOOTH = 16
"""Below this product of distance and width, both in σ, the window looks smooth: 24 nodes give its
integrals to rounding, where differences of its ends' values would cancel."""


@dataclass(frozen=True)
class Uniform(OneDimensional):
    """The uniform law on [low, high].

    Its flow is computed in float64 to a few ulp of log F; so are its predictions, to rounding of
    the larger of x/α and the law's width.

    Raises:
        ValueError: low >= high, or a point at σ = 0 outside (α low, α high).
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(
                f"low and high are {self.low} and {self.high}; finite low < high is allowed"
            )

    def tails(self, level: Level) -> Tails:
        """Uniform on [α low, α high], plus noise σ."""
        check_level(level)
        alpha, sigma = level
        return UniformTails(alpha * self.low, alpha * self.high, sigma)

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """log p(x), (B,); σ > 0."""
        z, w, _, s = self._reduced(x, alpha, sigma)
        smooth = _smooth(z, w)
        near = (self._logits(z, w) + torch.from_numpy(SHARES / 2).to(z).log()).logsumexp(-1)
        near = near[..., None] - 0.5 * math.log(2 * math.pi)
        right = -torch.where(smooth, z.new_tensor(SMOOTH), z.abs())
        w = torch.where(smooth, 1.0, w)
        near_end, far_end = (torch.special.log_ndtr(right + side * w / 2) for side in (1, -1))
        far = near_end + torch.log(-torch.expm1(far_end - near_end)) - w.log()
        return (torch.where(smooth, near, far) - s.log())[:, 0].to(x.dtype)

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x), (B, 1); σ > 0."""
        return -self.noise(x, alpha, sigma) / column("sigma", sigma, x, x.dtype)

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """E[n|x], (B, 1); σ > 0."""
        z, w, _, _ = self._reduced(x, alpha, sigma)
        smooth = _smooth(z, w)
        return torch.where(smooth, z - w / 2 * self._place(z, w), self._edge(z, w)).to(x.dtype)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """E[x₀|x], (B, 1); σ > 0."""
        z, w, a, s = self._reduced(x, alpha, sigma)
        smooth = _smooth(z, w)
        near = (self.low + self.high) / 2 + (self.high - self.low) / 2 * self._place(z, w)
        far = (x.to(z.dtype) - s * self._edge(z, w)) / torch.where(a > 0, a, 1.0)
        return torch.where(smooth, near, far).to(x.dtype)

    def _reduced(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> tuple[Tensor, ...]:
        """ζ and w, (B, 1), α and σ."""
        check_points(x, 1)
        a, s = (
            column(name, level, x, torch.float64)
            for name, level in (("alpha", alpha), ("sigma", sigma))
        )
        if not (s > 0).all():
            raise ValueError(f"sigma is {sigma}; a number > 0 is allowed")
        z = (x.double() - a * (self.low + self.high) / 2) / s
        return z, (a * (self.high - self.low) / s).expand_as(z), a, s

    @staticmethod
    def _logits(z: Tensor, w: Tensor) -> Tensor:
        """−½ (ζ − w s/2)² at the nodes, (B, 24)."""
        return -0.5 * (z - w / 2 * torch.from_numpy(NODES).to(z)) ** 2

    @classmethod
    def _place(cls, z: Tensor, w: Tensor) -> Tensor:
        """The mean of s, (B, 1), by quadrature."""
        nodes, shares = (torch.from_numpy(a).to(z) for a in (NODES, SHARES))
        return ((cls._logits(z, w) + shares.log()).softmax(-1) @ nodes)[..., None]

    @staticmethod
    def _edge(z: Tensor, w: Tensor) -> Tensor:
        """E[n|x] = sign(ζ) (φ(z₊) − φ(z₋))/(Φ(z₊) − Φ(z₋)), z± = −|ζ| ± w/2, from the ends."""
        smooth = _smooth(z, w)
        z = torch.where(smooth, 0.5 * SMOOTH, z)
        w = torch.where(smooth, 4.0, w)
        near, far = -z.abs() + w / 2, -z.abs() - w / 2
        hazard = torch.where(
            near > 0,
            torch.exp(-0.5 * near.clamp(min=0) ** 2 - torch.special.log_ndtr(near.clamp(min=0)))
            / math.sqrt(2 * math.pi),
            math.sqrt(2 / math.pi) / torch.special.erfcx(-near.clamp(max=0) / math.sqrt(2)),
        )
        log_ratio = torch.special.log_ndtr(far) - torch.special.log_ndtr(near)
        quotient = torch.expm1(-z.abs() * w) / torch.expm1(log_ratio)
        return torch.sign(z) * hazard * quotient


def _smooth(z: Tensor, w: Tensor) -> Tensor:
    return (z.abs() * w <= SMOOTH) & (w <= 4)


@dataclass(frozen=True)
class UniformTails(Tails):
    """F of the uniform law on [low, high] plus noise σ; low = high is the noise alone."""

    low: float
    high: float
    sigma: float

    def tail(self, u: Floats, side: int) -> tuple[Floats, Floats]:
        """log F and log p/F, from differences of G or, where they cancel, by quadrature of Φ."""
        low, high = (self.low, self.high) if side == 1 else (-self.high, -self.low)
        with np.errstate(divide="ignore", invalid="ignore"):
            if not self.sigma:
                share = np.clip((u - low) / (high - low), 0, 1)
                return np.log(share), np.where(share < 1, -np.log(u - low), -np.inf)
            right, left = (u - low) / self.sigma, (u - high) / self.sigma
            width = right - left if self.low < self.high else np.zeros_like(u)
            z = right[..., None] - width[..., None] * (NODES + 1) / 2
            parts = log_ndtr(z)
            near = log_mean(parts, SHARES / 2)
            rates = log_hazard(z) + parts - near[..., None]
            near_rate = log_mean(rates, SHARES / 2)
            (top, top_ratio), (bottom, bottom_ratio) = _iterated(right), _iterated(left)
            rest = np.log(-np.expm1(bottom - top))
            far = top + rest - np.log(width)
            log_p = np.log(-np.expm1(bottom + bottom_ratio - top - top_ratio))
            far_rate = top_ratio + log_p - rest
        smooth = (np.abs(right + left) / 2 * width <= SMOOTH) & (width <= 4)
        log_mass, rate = np.where(smooth, near, far), np.where(smooth, near_rate, far_rate)
        return log_mass, rate - math.log(self.sigma)

    def bracket(self, log_mass: Floats, side: int) -> tuple[Floats, Floats]:
        """x₀ lies in [low, high], so u within that of the noise's own quantile."""
        low, high = (self.low, self.high) if side == 1 else (-self.high, -self.low)
        z = ndtri_exp(log_mass)
        margin = 1e-9 * (1 + np.abs(z))
        return low + self.sigma * (z - margin), high + self.sigma * (z + margin)


def _iterated(z: Floats) -> tuple[Floats, Floats]:
    """log G(z) and log Φ(z)/G(z), G = zΦ + φ, with no cancellation between the two."""
    right, left = np.maximum(z, 0), np.minimum(z, 0)
    phi = np.exp(-0.5 * np.minimum(right, 40) ** 2) / math.sqrt(2 * math.pi)
    ahead = np.log(right + phi / np.exp(log_ndtr(right)))  # G/Φ
    mills = np.exp(-log_hazard(np.maximum(left, -20)))
    # G/φ = 1 + z Φ/φ = 1/z² − 3/z⁴ + 15/z⁶ .., of which eight terms do beyond −20
    inverse = 1 / np.minimum(left, -20) ** 2
    series = np.ones_like(z)
    for k in range(17, 1, -2):
        series = 1 - k * inverse * series
    far_mills = -(1 - inverse * series) / np.minimum(left, -20)  # Φ/φ from G/φ
    behind = np.where(
        left > -20,
        np.log1p(np.maximum(left, -20) * mills) - np.log(mills),
        np.log(inverse * series / far_mills),
    )
    ratio = np.where(z > 0, ahead, behind)
    return log_ndtr(z) + ratio, -ratio
