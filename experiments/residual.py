r"""A network that learns only what the Gaussian denoiser of the data's moments lacks.

    D(x, σ) = D_G(x, σ) + c_out(σ) F(c_in (x − m), c_noise),
    D_G = m + U diag(g) Uᵀ (x − m),    g_k = l_k/(l_k + σ²),    l_k = max(λ_k, f),
    c_out² = (1/D) Σ_k (1 − g_k)² λ_k + g_k² σ²,
    c_in = 1/√(σ² + tr Σ/D),    c_noise = log(σ)/4,    weight = 1/c_out².

c_out² is E|x₀ − D_G|²/D, (1/D) Σ_k λ_k σ²/(λ_k + σ²) where f = 0. It needs the law's mean and
covariance alone and is exact for every law that has them, and for eigenvalues cut to their mean,
too; so F is asked for numbers of mean square one at every level, F = 0 is D_G, and a level's loss
is one where F = 0. For Σ = s² I and m = 0 all of this is EDM's preconditioning; else c_out is
smaller than EDM's of the same trace, since λ σ²/(λ + σ²) is concave in λ: what is linear is known
beforehand. At high noise E[x₀|x] − D_G falls as σ⁻² (the third cumulant's share) while c_out tends
to the data's deviation: F → 0 there, and the network inherits the Gaussian's score instead of
learning it.

Where σ² is far above a small λ_k, D_G forgets the direction, and the rare image that has something
there (a corner that is nearly always black) asks F for a number without bound. So D_G takes f for
such variances and misses such an image by no more than |x₀ − m| σ²/(f + σ²) besides the noise.

Source: Wang & Vastola, arXiv 2412.09726, for the Gaussian's share of trained scores; derived here.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from gaussian_score.moments import Moments


class GaussianScaling(nn.Module):
    """The scaling around D_G; x is (B, ..) with D numbers a sample. Buffers are float32.

    ``floor`` is f, the smallest variance that D_G takes a direction to have.
    """

    def __init__(self, moments: Moments, floor: float = 0.0) -> None:
        super().__init__()
        if not moments.trace > 0:
            raise ValueError("moments have no variance; a trace > 0 is allowed")
        self.dim, self.rest = moments.dim, moments.dim - moments.rank
        self.across, self.floor = moments.floor, floor
        self.variance = moments.trace / moments.dim
        for name in ("mean", "eigenvalues", "basis"):
            values = torch.tensor(getattr(moments, name), dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)

    def out(self, sigma: Tensor) -> Tensor:
        """√((1/D) Σ_k (1 − g_k)² λ_k + g_k² σ²)."""
        gains, across = self._gains(sigma)
        square = sigma**2
        values = cast(Tensor, self.eigenvalues)
        modes = (1 - gains) ** 2 * values + gains**2 * square[..., None]
        rest = (1 - across) ** 2 * self.across + across**2 * square
        return ((modes.sum(-1) + self.rest * rest) / self.dim).sqrt()

    def noise(self, sigma: Tensor) -> Tensor:
        """log(σ)/4."""
        return sigma.log() / 4

    def weight(self, sigma: Tensor) -> Tensor:
        """1/c_out²."""
        return self.out(sigma) ** -2

    def base(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D_G; never in the short floats of autocast."""
        with torch.autocast(x.device.type, enabled=False):
            gains, across = self._gains(sigma.reshape(-1))
            r = self._centred(x)
            t = r @ self._basis
            filtered = ((gains - across[:, None]) * t) @ self._basis.mT + across[:, None] * r
            return (filtered + self._mean).reshape(x.shape)

    def seen(self, x: Tensor, sigma: Tensor) -> Tensor:
        """c_in (x − m)."""
        return (sigma**2 + self.variance).rsqrt() * self._centred(x).reshape(x.shape)

    def _gains(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """g of each mode, (.., R), and across the basis, (..)."""
        values, square = cast(Tensor, self.eigenvalues).clamp(min=self.floor), sigma**2
        across = max(self.across, self.floor)
        return values / (values + square[..., None]), across / (across + square)

    def _centred(self, x: Tensor) -> Tensor:
        return x.flatten(1) - self._mean

    @property
    def _mean(self) -> Tensor:
        return cast(Tensor, self.mean)

    @property
    def _basis(self) -> Tensor:
        return cast(Tensor, self.basis)
