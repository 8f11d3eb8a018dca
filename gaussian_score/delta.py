r"""The law of a data set itself, Σ_i w_i δ(y_i), seen through x = α x₀ + σ n; of any size.

    p = Σ_i w_i N(α y_i, c I),   c = α² f + σ²,   γ_i ∝ w_i exp(−|x − α y_i|²/2c)

f = 0 is the data set, f > 0 a Gaussian kernel of that variance round each point. With the points
centred, z_i = y_i − m, and u = x − α m, everything follows from Λ = log Σ_i w_i exp(P · z_i +
Q |z_i|²) and its derivatives, which `point_set` streams over the points:

    P = α u/c,   Q = −α²/2c,   log p = Λ − |u|²/2c − (D/2) log 2πc,
    score = (α E[z] − u)/c,   D = E[x₀|x] = m + E[z] + (α f/c)(u − α E[z])

Source: Wang & Vastola, arXiv 2412.09726, for the score of a data set; the rest is derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gaussian_score import arguments
from gaussian_score.arguments import Scalar
from gaussian_score.point_set import PointSet


@dataclass(frozen=True, eq=False)
class DeltaMixture:
    """Σ_i w_i N(y_i, f I) over a set of points, evaluated at any (α, σ). Build it with `of`.

    Methods take x of shape (B, D), and α and σ > 0 as `GaussianMixture` does. They compute in the
    wider of x's and the points' dtype (x's, where points are integers) on x's device, and answer
    in that of x. They can be differentiated in x, α and σ, backward or forward: a first derivative
    is one more pass over the points and takes no more memory; a second one backward keeps every
    block.

    A score is 4 B N D flops, and at most `memory(B)` bytes whatever N is. Logits lose ε |u| |z|/c,
    what rounding of x costs γ anyway; log p loses ε |u|²/c, so take it in float64 at small σ.

    Attributes:
        points: y and w.
        variance: f, not negative.
    """

    points: PointSet
    variance: float = 0.0

    @classmethod
    def of(
        cls,
        points: Any,
        *,
        scale: float = 1.0,
        shift: float = 0.0,
        weights: Any = None,
        variance: float = 0.0,
        block: int = 2048,
    ) -> DeltaMixture:
        """y = scale · points + shift, read once for the mean and `block` at a time ever after.

        Args:
            points: (N, ..), flattened to (N, D): a tensor, a numpy array or a memmap, of any type;
                bytes become numbers in [-1, 1] by scale = 1/127.5, shift = −1.
            scale: a number.
            shift: a number.
            weights: w, (N,), not negative, sum 1; None is 1/N each.
            variance: f, 0 or more.
            block: how many points are in memory at once.

        Raises:
            ValueError: there are no points, one is not finite, or another argument is outside
                these sets.
        """
        if not (math.isfinite(variance) and variance >= 0):
            raise ValueError(f"variance is {variance}; a finite number >= 0 is allowed")
        read = PointSet.of(points, scale=scale, shift=shift, weights=weights, block=block)
        return cls(read, variance)

    @property
    def dim(self) -> int:
        """D, the number of coordinates."""
        return self.points.dim

    @property
    def mean(self) -> Tensor:
        """Mean m = Σ_i w_i y_i, shape (D,), float64."""
        return self.points.mean

    def memory(self, batch: int, dtype: torch.dtype = torch.float32) -> int:
        """Bytes that a method takes at most for `batch` points x, however many the law has."""
        return self.points.memory(batch, dtype)

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """Log density log p(x), shape (B,)."""
        e = _Exponent.of(self, x, alpha, sigma)
        value, *_ = self.points.moments(e.p, e.q)
        shell = (e.u * e.u / e.c + (2 * math.pi * e.c).log()).sum(1)
        return (value - 0.5 * shell).to(x.dtype)

    def responsibilities(
        self, x: Tensor, alpha: Scalar, sigma: Scalar, *, top: int
    ) -> tuple[Tensor, Tensor]:
        """The `top` largest γ_i, falling, and which points they are; both (B, min(top, N))."""
        if top < 1:
            raise ValueError(f"top is {top}; 1 or more is allowed")
        e = _Exponent.of(self, x, alpha, sigma)
        gamma, which = self.points.largest(e.p, e.q, top)
        return gamma.to(x.dtype), which

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x) = (α E[z] − u)/c, shape (B, D)."""
        e = _Exponent.of(self, x, alpha, sigma)
        return ((e.a * self.points.moments(e.p, e.q)[1] - e.u) / e.c).to(x.dtype)

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """ε = E[n|x] = σ (u − α E[z])/c = −σ ∇ log p(x), shape (B, D)."""
        e = _Exponent.of(self, x, alpha, sigma)
        return (e.s * (e.u - e.a * self.points.moments(e.p, e.q)[1]) / e.c).to(x.dtype)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """D = E[x₀|x], shape (B, D); without a variance Σ_i γ_i y_i."""
        e = _Exponent.of(self, x, alpha, sigma)
        z = self.points.moments(e.p, e.q)[1]
        return (self.mean.to(z) + z + e.a * self.variance / e.c * (e.u - e.a * z)).to(x.dtype)

    def score_jvp(self, x: Tensor, v: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇s v = (α ∇E[z] v − v)/c with ∇E[z] v = (α/c) Cov_γ[z] v, shape (B, D).

        v is (B, D); two passes over the points, no differentiation.
        """
        e = _Exponent.of(self, x, alpha, sigma)
        return ((e.a * self._moved(e, v) - v) / e.c).to(x.dtype)

    def denoise_jvp(self, x: Tensor, v: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇D v = ∇E[z] v + (α f/c)(v − α ∇E[z] v), (B, D); two passes, no differentiation."""
        e = _Exponent.of(self, x, alpha, sigma)
        z = self._moved(e, v)
        return (z + e.a * self.variance / e.c * (v - e.a * z)).to(x.dtype)

    def _moved(self, e: _Exponent, v: Tensor) -> Tensor:
        """∇E[z] v = (α/c) Cov_γ[z] v."""
        arguments.points("v", v, self.dim)
        _, first, second = self.points.moments(e.p, e.q)
        return self.points.covariance((e.p, e.q, first, second), (e.a / e.c * v, None))[0]


@dataclass(frozen=True)
class _Exponent:
    """x in the law's terms: u, (B, D), α, σ and c, () or (B, 1), and P, (B, D), Q, (B,)."""

    u: Tensor
    a: Tensor
    s: Tensor
    c: Tensor

    @classmethod
    def of(cls, law: DeltaMixture, x: Tensor, alpha: Scalar, sigma: Scalar) -> _Exponent:
        arguments.points("x", x, law.dim)
        stored = law.points.stored
        dtype = torch.promote_types(x.dtype, stored) if stored.is_floating_point else x.dtype
        a, s = arguments.levels(alpha, sigma, x, dtype)
        u = x.to(dtype) - a * law.mean.to(device=x.device, dtype=dtype)
        return cls(u, a, s, a * a * law.variance + s * s)

    @property
    def p(self) -> Tensor:
        return self.a / self.c * self.u

    @property
    def q(self) -> Tensor:
        return (-self.a * self.a / (2 * self.c)).expand(len(self.u), 1)[:, 0]
