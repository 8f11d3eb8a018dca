r"""A mixture at noise ρ, in coordinates where a Gaussian beside it is standard.

With p₀ = Σ_k w_k N(μ_k, S_k) of covariance Σ, a Gaussian N(m', C') and any W with Wᵀ C' W = I:

    z = Wᵀ(v − m'),   a_k = Wᵀ(μ_k − m'),   A_k = Wᵀ(S_k + ρ² I) W = I + E_k,
    P_k = A_k⁻¹ = I − F_k,   F_k = E_k A_k⁻¹.

For the matched Gaussian, m' = m and C' = Σ + ρ² I, E_k = Wᵀ(S_k − Σ) W never sees ρ² I, so that
a_k = O(1/ρ) and E_k, F_k = O(1/ρ²) keep all their digits where p_ρ is nearly Gaussian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, covariance): (D,) and (D, D)."""

    mean: Floats
    covariance: Floats


@dataclass(frozen=True, eq=False)
class Centred:
    """A mixture that has been checked; components of weight zero are gone.

    Attributes:
        weights: w, (K,), positive, sum 1.
        mean: m, (D,).
        offsets: μ_k − m, (K, D).
        covs: S_k, (K, D, D).
        excess: Uᵀ (S_k − Σ) U, (K, D, D).
        eigenvalues: λ of Σ, (D,), not negative.
        basis: U of Σ = U diag(λ) Uᵀ, (D, D).
    """

    weights: Floats
    mean: Floats
    offsets: Floats
    covs: Floats
    excess: Floats
    eigenvalues: Floats
    basis: Floats

    @classmethod
    def read(cls, weights: ArrayLike, means: ArrayLike, covs: ArrayLike) -> Centred:
        """From w, (K,), μ, (K, D), and S, (K, D, D).

        Raises:
            ValueError: shapes differ, a number is not finite, weights are negative or do not sum
                to 1, a covariance is not symmetric positive semidefinite up to rounding.
        """
        w, mu, s = (np.asarray(a, dtype=np.float64) for a in (weights, means, covs))
        k, d = mu.shape if mu.ndim == 2 else (0, 0)
        if not mu.size or w.shape != (k,) or s.shape != (k, d, d):
            raise ValueError(
                f"weights, means, covs have shapes {w.shape}, {mu.shape}, {s.shape}; "
                "(K,), (K, D), (K, D, D) are allowed"
            )
        for name, values in (("weights", w), ("means", mu), ("covs", s)):
            if not np.isfinite(values).all():
                raise ValueError(f"{name} is {values}; finite numbers are allowed")
        if (w < 0).any() or abs(w.sum() - 1) > 10 * k * EPS:
            raise ValueError(f"weights are {w}; numbers >= 0 of sum 1 are allowed")
        rounding = 10 * d * EPS * np.abs(s).max()
        lowest = np.linalg.eigvalsh(s).min()
        if np.abs(s - s.mT).max() > rounding or lowest < -rounding:
            raise ValueError(
                f"covs have the eigenvalue {lowest:.6g} or are not symmetric; "
                "symmetric positive semidefinite matrices are allowed"
            )
        keep = w > 0
        w, mu, s = w[keep], mu[keep], s[keep]
        mean = w @ mu
        a = mu - mean
        total = np.einsum("k,kij->ij", w, s) + (w[:, None] * a).T @ a
        eigenvalues, basis = np.linalg.eigh(total)
        excess = basis.T @ (s - total) @ basis
        return cls(w, mean, a, s, excess, eigenvalues.clip(min=0), basis)

    @property
    def covariance(self) -> Floats:
        """Σ, (D, D)."""
        return (self.basis * self.eigenvalues) @ self.basis.T

    def matched(self, rho: float) -> Gaussian:
        """N(m, Σ + ρ² I)."""
        return Gaussian(self.mean, self.covariance + rho**2 * np.eye(len(self.mean)))

    def jumped(self, rho_start: float, rho: float) -> Gaussian:
        """The law at ρ of the flow of N(m, Σ) started from N(0, ρ_start² I) at ρ_start.

        With ψ = √((ρ² + λ)/(ρ_start² + λ)): mean m − U ψ Uᵀ m, variances ψ² ρ_start².
        """
        _level("rho_start", rho_start)
        square = (_level("rho", rho) ** 2 + self.eigenvalues) / (rho_start**2 + self.eigenvalues)
        mean = self.mean - self.basis @ (np.sqrt(square) * (self.mean @ self.basis))
        return Gaussian(mean, (self.basis * (square * rho_start**2)) @ self.basis.T)

    def whitened(self, rho: float, against: Gaussian | None = None) -> Whitened:
        """The components at ρ where `against`, by default the matched Gaussian, is standard."""
        rho = _level("rho", rho)
        if against is None:
            variances = self.eigenvalues + rho**2
            scale = 1 / np.sqrt(variances)
            a = (self.offsets @ self.basis) * scale
            return Whitened.of(
                self.weights, a, self.excess * scale[:, None] * scale, self.basis * scale
            )
        variances, basis = np.linalg.eigh(against.covariance)
        if not variances[0] > 0:
            raise ValueError(
                f"the Gaussian has the variance {variances[0]:.6g}; positive ones are allowed"
            )
        w = basis / np.sqrt(variances)
        a = (self.offsets + (self.mean - against.mean)) @ w
        e = w.T @ (self.covs + rho**2 * np.eye(len(w)) - against.covariance) @ w
        return Whitened.of(self.weights, a, e, w)


@dataclass(frozen=True, eq=False)
class Whitened:
    """Components in z; see the module.

    Attributes:
        weights: w, (K,).
        a: means, (K, D).
        e: E, (K, D, D).
        f: F, (K, D, D).
        half_log_det: ½ log|P_k|, (K,).
        transform: W, (D, D).
    """

    weights: Floats
    a: Floats
    e: Floats
    f: Floats
    half_log_det: Floats
    transform: Floats

    @classmethod
    def of(cls, weights: Floats, a: Floats, e: Floats, transform: Floats) -> Whitened:
        """From w, a, E and W."""
        f = np.linalg.solve(np.eye(e.shape[-1]) + e, e)
        return cls(weights, a, e, 0.5 * (f + f.mT), -0.5 * log_det1p(e), transform)

    def log_ratios(self, z: Floats) -> Floats:
        """log of N(z; a_k, A_k)/N(z; 0, I), (K, N) for z of shape (N, D).

        = ½ log|P| + ½ zᵀ F z + (z − ½ a)ᵀ P a: no large numbers are subtracted.
        """
        rows = []
        for a, f, log_det in zip(self.a, self.f, self.half_log_det, strict=True):
            quadratic = 0.5 * np.einsum("nd,nd->n", z @ f, z)
            rows.append(log_det + quadratic + (z - 0.5 * a) @ (a - f @ a))
        return np.array(rows)

    def slope(self, z: Floats, gamma: Floats) -> Floats:
        """Σ_k γ_k ∇ log ratio_k = Σ_k γ_k (F_k z + P_k a_k), (N, D), for γ of shape (K, N)."""
        out = np.zeros_like(z)
        for share, a, f in zip(gamma, self.a, self.f, strict=True):
            out += share[:, None] * (z @ f + (a - f @ a))
        return out


def log_det1p(x: ArrayLike) -> Floats:
    """log|I + X| for a stack of X, to all digits where X is small: by tr X − ½ tr X² + ⅓ tr X³ ..

    Up to a norm of 0.02 eight terms leave less than ε; beyond, factors lose no more than that.
    """
    x = np.asarray(x, dtype=np.float64)
    small = np.sqrt((x * x).sum((-2, -1))) < 0.02
    out = np.empty(x.shape[:-2])
    if not small.all():
        out[~small] = np.linalg.slogdet(np.eye(x.shape[-1]) + x[~small])[1]
    if small.any():
        y = x[small]
        y2 = y @ y
        powers = [np.broadcast_to(np.eye(x.shape[-1]), y.shape), y, y2, y2 @ y, y2 @ y2]
        out[small] = sum(
            (-1) ** (k - 1) / k * (powers[k // 2] * powers[k - k // 2].mT).sum((-2, -1))
            for k in range(8, 0, -1)
        )
    return out


def _level(name: str, rho: float) -> float:
    if not (math.isfinite(rho) and rho > 0):
        raise ValueError(f"{name} is {rho}; a finite level > 0 is allowed")
    return float(rho)
