r"""The uniform law on a sphere of radius a in Rⁿ and its exact flow: data on a curved manifold.

With ν = n/2, q = α a r/σ², ₀F₁(ν; q²/4) = Γ(ν) (q/2)^{1−ν} I_{ν−1}(q), A = I_ν(q)/I_{ν−1}(q):

    p(x) = (2π σ²)^{−ν} exp(−(r² + α² a²)/(2 σ²)) ₀F₁(ν; q²/4),      D = a A(q) x/r
    R(r) = Pr(‖x‖ ≤ r) = ∫₀^r p_R,       p_R(r) = 2 π^ν r^{n−1} p(x)/Γ(ν)

R is the noncentral χ² law of r²/σ², here by Gauss's rule over the 40 nats next to r in which its
tail lies; q = 0 (α = 0, pure noise) is an ordinary case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import gammaln, ive
from torch import Tensor
from torch.autograd import Function

from gaussian_score.conserved import Floats
from gaussian_score.flow import Level, Scalar, check_level, check_points, column
from gaussian_score.radial import Radial, RadialTails, check_dim, chi_bracket

LARGEST = 256
"""Dimensions beyond it leave the range of scipy's Bessel functions."""


@dataclass(frozen=True)
class Sphere(Radial):
    """The uniform law on ‖x₀‖ = radius in `dim` dimensions, 2 to 256; no flow at σ = 0.

    The flow is right to a few ulp of log R or log(1 − R). Predictions can be differentiated six
    times, backward or forward.
    """

    radius: float
    dim: int

    def __post_init__(self) -> None:
        check_dim(self.dim)
        if self.dim > LARGEST:
            raise ValueError(f"dim is {self.dim}; at most {LARGEST} is allowed")
        if not 0 < self.radius < math.inf:
            raise ValueError(f"radius is {self.radius}; a finite number > 0 is allowed")

    def tails(self, level: Level) -> RadialTails:
        """log ‖x‖ at (α, σ), σ > 0."""
        check_level(level)
        alpha, sigma = level
        if sigma == 0:
            raise ValueError(
                f"(alpha, sigma) is {level}, where the law has zero variance along the radius; "
                "sigma > 0 is allowed"
            )
        return SphereTails(self.dim, sigma, alpha * self.radius / sigma)

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """log p(x), (B,); σ > 0."""
        x64, a, s, q2 = self._reduced(x, alpha, sigma)
        small = q2 < 1
        q = torch.where(small, 1.0, q2).sqrt()
        r = x64.square().sum(1, keepdim=True).sqrt() if not small.all() else q
        # −(r² + α²a²)/2σ² + q = −(r − αa)²/2σ²
        square = ((r - a * self.radius) / s) ** 2
        flat = (x64.square().sum(1, keepdim=True) + (a * self.radius) ** 2) / s**2
        near = _log_series(q2, self.dim) - 0.5 * flat
        far = _bessel(q, self.dim)[1] - 0.5 * square
        constant = self.dim * (0.5 * math.log(2 * math.pi) + s.log())
        return (torch.where(small, near, far) - constant)[:, 0].to(x.dtype)

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x), (B, D); σ > 0."""
        return -self.noise(x, alpha, sigma) / column("sigma", sigma, x, x.dtype)

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """E[n|x] = (x − α D)/σ, (B, D); σ > 0."""
        x64, a, s, q2 = self._reduced(x, alpha, sigma)
        return ((x64 - a * self._data(x64, a, s, q2)) / s).to(x.dtype)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """E[x₀|x], (B, D); σ > 0."""
        return self._data(*self._reduced(x, alpha, sigma)).to(x.dtype)

    def _data(self, x: Tensor, a: Tensor, s: Tensor, q2: Tensor) -> Tensor:
        """a A(q) x/r = (α a²/σ²) (A(q)/q) x."""
        small = q2 < 1
        q = torch.where(small, 1.0, q2).sqrt()
        gain = torch.where(small, _small_ratio(q2, self.dim), _bessel(q, self.dim)[0] / q)
        return a * (self.radius / s) ** 2 * gain * x

    def _reduced(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> tuple[Tensor, ...]:
        """x, α and σ in float64, and q²."""
        check_points(x, self.dim)
        a, s = (
            column(name, level, x, torch.float64)
            for name, level in (("alpha", alpha), ("sigma", sigma))
        )
        if not (s > 0).all():
            raise ValueError(f"sigma is {sigma}; a number > 0 is allowed")
        x64 = x.double()
        return x64, a, s, (a * self.radius / s**2 * x64).square().sum(1, keepdim=True)


DERIVATIVES = 6


class _Fixed(Function):
    """q, A(q) and log(e^{−q} ₀F₁(ν; q²/4)) as numbers without a derivative."""

    @staticmethod
    def forward(q: Tensor, dim: int) -> Any:
        numbers = q.detach().cpu().numpy()
        values = (ratio(numbers, dim), log_bessel(numbers, dim))
        return q.detach().clone(), *(torch.from_numpy(v).to(q) for v in values)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return None, None, None


def _bessel(q: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """A(q) and log(e^{−q} ₀F₁(ν; q²/4)), q ≥ 1, with DERIVATIVES derivatives in any mode.

    Taylor polynomials at q₀ = q, from q A' = q (1 − A²) − (n − 1) A and (log ₀F₁)' = A.
    """
    origin, value, log_value = _Fixed.apply(q, dim)  # pyright: ignore[reportGeneralTypeIssues]
    a, squares = [value], []
    for k in range(DERIVATIVES):
        squares.append(float(k == 0) - sum(a[i] * a[k - i] for i in range(k + 1)))
        before = squares[k - 1] if k else 0.0
        a.append((squares[k] + (before - (dim - 1 + k) * a[k]) / origin) / (k + 1))
    step = q - origin  # zero, but for its derivatives
    total, log_total = torch.zeros_like(q), torch.zeros_like(q)
    for k in range(DERIVATIVES, -1, -1):
        total = total * step + a[k]
        log_total = log_total * step + (a[k] - float(k == 0)) / (k + 1)
    return total, log_value + log_total * step


def _small_ratio(q2: Any, dim: int) -> Any:
    """A(q)/q = 1/(n + q²/(n + 2 + q²/(n + 4 + ..))), for q ≤ 1."""
    fraction = 0.0
    for k in range(10, -1, -1):
        fraction = q2 / (dim + 2 * k + fraction) if k else 1 / (dim + fraction)
    return fraction


def _log_series(q2: Any, dim: int) -> Any:
    """log ₀F₁(n/2; q²/4) for q ≤ 1."""
    series = 0 * q2
    for k in range(10, 0, -1):
        series = q2 / (2 * k * (dim + 2 * k - 2)) * (1 + series)
    return torch.log1p(series) if isinstance(series, Tensor) else np.log1p(series)


def ratio(q: Floats, dim: int) -> Floats:
    """A(q), q ≥ 0."""
    large = np.maximum(q, 1)
    whole = ive(dim / 2, large) / ive(dim / 2 - 1, large)
    return np.where(q < 1, q * _small_ratio(np.minimum(q, 1) ** 2, dim), whole)


def log_bessel(q: Floats, dim: int) -> Floats:
    """log(e^{−q} ₀F₁(n/2; q²/4)), q ≥ 0."""
    order, large = dim / 2 - 1, np.maximum(q, 1)
    whole = gammaln(dim / 2) - order * np.log(large / 2) + np.log(ive(order, large))
    return np.where(q < 1, _log_series(np.minimum(q, 1) ** 2, dim) - q, whole)


NODES, SHARES = (a.astype(np.float64) for a in np.polynomial.legendre.leggauss(48))
"""Gauss-Legendre on [−1, 1]."""
NATS = 40.0
"""What is left out of a tail is e^{−40} of it."""


@dataclass(frozen=True)
class SphereTails(RadialTails):
    """The law of u = log r, r = σ t, where t has the density of |c e + n|, c = α a/σ."""

    dim: int
    scale: float
    centre: float

    def tail(self, u: Floats, side: int) -> tuple[Floats, Floats]:
        """log R or log(1 − R), and the log of its derivative in u or −u."""
        t, c, n = np.exp(side * u) / self.scale, self.centre, self.dim
        log_e = log_bessel(c * t, n)
        constant = (1 - n / 2) * math.log(2) - gammaln(n / 2)
        log_p = constant + (n - 1) * np.log(t) - 0.5 * (t - c) ** 2 + log_e
        # t p_R is log-concave, with curvature −½ or more: it falls by 40 nats within `reach`
        slope = side * ((n - 1) / t - (t - c) + c * (ratio(c * t, n) - 1))
        whole = slope < -5  # nearly all mass is here: the other side's tail is the one in use
        slope = np.where(whole, 1.0, slope)
        reach = 2 * NATS / (slope + np.hypot(slope, math.sqrt(NATS)))
        if side == 1:
            reach = np.minimum(reach, t)
        step = reach[..., None] * (NODES + 1) / 2
        moved = t[..., None] - side * step
        # log p_R(moved) − log p_R(t), without its large squares
        change = (n - 1) * np.log(moved / t[..., None]) + side * step * (t - c)[..., None]
        change += -0.5 * step**2 + log_bessel(c * moved, n) - log_e[..., None]
        change[whole] = 0.0
        log_width = np.where(whole, -log_p, np.log(reach / 2 * (np.exp(change) @ SHARES)))
        return log_p + log_width, np.log(t) - log_width

    def bracket(self, log_mass: Floats, side: int) -> tuple[Floats, Floats]:
        """r lies between σ‖n‖ and α a + σ‖n‖ in law."""
        low, high = chi_bracket(self.dim, log_mass, side)
        shift = math.log(self.scale)
        if side == 1:
            return low + shift, np.logaddexp(math.log(self.centre or 1e-300), high) + shift
        return -np.logaddexp(math.log(self.centre or 1e-300), -low) - shift, high - shift
