r"""Gaussian mixtures with every quantity of the path x = α x₀ + σ n in closed form.

    p₀ = Σ_k w_k N(μ_k, S_k),        S_k = U_k diag(l_k) U_kᵀ + f_k (I − U_k U_kᵀ)
    p  = Σ_k w_k N(α μ_k, C_k),      C_k = α² S_k + σ² I

With r = x − α μ_k, t = U_kᵀ r and the rest a = r − U_k t, the split form

    C_k⁻¹ r = U_k t / (α² l_k + σ²) + a / (α² f_k + σ²)

loses no more than rounding x does, at any σ; a noise level costs one diagonal scaling because U_k
is found once. Everything is in the scale of x, so that α = 0 (pure noise) is an ordinary argument.

Source: Wang & Vastola, arXiv 2412.09726, for mixture scores; the split form is derived here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gaussian_score import arguments
from gaussian_score.arguments import ArrayLike, Scalar
from gaussian_score.components import Components, components, join, split
from gaussian_score.frozen_level import FrozenLevel


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    r"""p₀ = Σ_k w_k N(μ_k, U_k diag(l_k) U_kᵀ + f_k (I − U_k U_kᵀ)), evaluated at any (α, σ).

    Build it with `full`, `diagonal`, `isotropic`, `low_rank` or `shared`, which check their
    arguments and raise ValueError. Tensors keep their dtype; other numbers become float64.

    Methods take x of shape (B, D), and α and σ > 0 as floats, 0-d tensors or (B,) tensors; other
    shapes, non-positive σ and non-finite levels raise ValueError. They compute in the wider of the
    mixture's dtype and x's and answer in that of x. They can be differentiated in x, α and σ,
    backward or forward, any number of times.

    Attributes:
        weights: w, (K,), not negative, sum 1.
        means: μ, (K, D).
        variances: l, (K, R), not negative.
        bases: U, (K, D, R), orthonormal columns; (1, D, R) where one serves all components; None
            is the identity (R = D).
        floors: f, (K,); None where U leaves nothing over (R = D).
    """

    weights: Tensor
    means: Tensor
    variances: Tensor
    bases: Tensor | None = None
    floors: Tensor | None = None

    @classmethod
    def full(cls, weights: ArrayLike, means: ArrayLike, covs: ArrayLike) -> GaussianMixture:
        """S_k = covs[k]: (K, D, D), symmetric and positive semidefinite up to rounding."""
        weights, means, covs = arguments.law(weights, means, covs=covs)
        k, d = means.shape
        arguments.require_shape("covs", covs, (k, d, d))
        rounding = 10 * d * torch.finfo(covs.dtype).eps * covs.abs().amax((1, 2))
        asymmetry = (covs - covs.mT).abs().amax((1, 2))
        if (asymmetry > rounding).any():
            k = int((asymmetry - rounding).argmax())
            raise ValueError(
                f"covs[{k}] differs from its transpose by {float(asymmetry[k]):.3g}; "
                "a symmetric matrix is allowed"
            )
        variances, bases = torch.linalg.eigh(0.5 * (covs + covs.mT).double())
        lowest = variances.amin(1)
        if (lowest < -rounding).any():
            k = int((lowest + rounding).argmin())
            raise ValueError(
                f"covs[{k}] has the eigenvalue {float(lowest[k]):.6g}; "
                "a positive semidefinite matrix is allowed"
            )
        return cls(weights, means, variances.clamp(min=0).to(covs), bases.to(covs))

    @classmethod
    def diagonal(
        cls, weights: ArrayLike, means: ArrayLike, variances: ArrayLike
    ) -> GaussianMixture:
        """S_k = diag(variances[k]): (K, D), not negative."""
        weights, means, variances = arguments.law(weights, means, variances=variances)
        arguments.require_shape("variances", variances, tuple(means.shape))
        arguments.require_not_negative("variances", variances)
        return cls(weights, means, variances)

    @classmethod
    def isotropic(
        cls, weights: ArrayLike, means: ArrayLike, variances: ArrayLike
    ) -> GaussianMixture:
        """S_k = variances[k] I: (K,), not negative; zeros give the law of K data points."""
        weights, means, variances = arguments.law(weights, means, variances=variances)
        arguments.require_shape("variances", variances, (len(means),))
        arguments.require_not_negative("variances", variances)
        return cls(weights, means, variances[:, None].expand(means.shape))

    @classmethod
    def low_rank(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        bases: ArrayLike,
        eigenvalues: ArrayLike,
        floors: ArrayLike,
    ) -> GaussianMixture:
        """S_k = U_k diag(λ_k) U_kᵀ + f_k I: bases (K, D, R), eigenvalues (K, R), floors (K,)."""
        weights, means, bases, eigenvalues, floors = arguments.law(
            weights, means, bases=bases, eigenvalues=eigenvalues, floors=floors
        )
        k, d = means.shape
        rank = min(bases.shape[-1], d) if bases.ndim else 0
        arguments.require_shape("bases", bases, (k, d, rank))
        arguments.require_shape("eigenvalues", eigenvalues, (k, rank))
        arguments.require_shape("floors", floors, (k,))
        arguments.require_not_negative("eigenvalues", eigenvalues)
        arguments.require_not_negative("floors", floors)
        arguments.require_orthonormal("bases", bases)
        return cls(weights, means, eigenvalues + floors[:, None], bases, floors)

    @classmethod
    def shared(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        basis: ArrayLike,
        variances: ArrayLike,
        floors: ArrayLike,
    ) -> GaussianMixture:
        """S_k = U diag(l_k) Uᵀ + f_k (I − U Uᵀ): basis (D, R), variances (K, R), floors (K,).

        One U for all components, stored and multiplied by once.
        """
        weights, means, basis, variances, floors = arguments.law(
            weights, means, basis=basis, variances=variances, floors=floors
        )
        k, d = means.shape
        rank = min(basis.shape[-1], d) if basis.ndim else 0
        arguments.require_shape("basis", basis, (d, rank))
        arguments.require_shape("variances", variances, (k, rank))
        arguments.require_shape("floors", floors, (k,))
        arguments.require_not_negative("variances", variances)
        arguments.require_not_negative("floors", floors)
        arguments.require_orthonormal("basis", basis)
        return cls(weights, means, variances, basis[None], floors if rank < d else None)

    @property
    def dim(self) -> int:
        """D, the number of coordinates."""
        return self.means.shape[1]

    @property
    def mean(self) -> Tensor:
        """Mean m = Σ_k w_k μ_k of the data, shape (D,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """Covariance Σ = Σ_k w_k [S_k + (μ_k − m)(μ_k − m)ᵀ] of the data, shape (D, D)."""
        shift = self.means - self.mean
        total = (self.weights * shift.mT) @ shift
        if self.bases is None:
            return total + (self.weights @ self.variances).diag()
        groups = len(self.bases)
        excess = self.variances if self.floors is None else self.variances - self.floors[:, None]
        scale = (self.weights[:, None] * excess).view(groups, -1, excess.shape[1]).sum(1)
        for basis, along in zip(self.bases, scale, strict=True):
            total = total + (basis * along) @ basis.mT
        if self.floors is not None:
            total = total + self.weights @ self.floors * torch.eye(self.dim).to(total)
        return total

    def to(
        self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> GaussianMixture:
        """The same mixture with its parameters in another dtype or on another device."""
        parts = {name: part for name, part in vars(self).items() if part is not None}
        return replace(self, **{k: a.to(dtype=dtype, device=device) for k, a in parts.items()})

    def at(self, alpha: float, sigma: float) -> FrozenLevel:
        """The law at one level, its K precision matrices (K, D, D) computed once and for all."""
        return FrozenLevel.of(self, alpha, sigma)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """x₀ = μ_k + S_k^½ z with k ~ w and z ~ N(0, I): (n, D), dtype and device of `means`."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        x0 = torch.randn(
            n, self.dim, generator=generator, dtype=self.means.dtype, device=self.means.device
        )
        for k, mean in enumerate(self.means):  # one by one: K n D numbers need not fit in memory
            basis = None if self.bases is None else self.bases[k % len(self.bases)]
            t, *rest = split(x0[which == k], basis, across=self.floors is not None)
            if self.floors is not None:
                rest = [rest[0] * self.floors[k].sqrt()]
            x0[which == k] = mean + join((t * self.variances[k].sqrt(), *rest), basis)
        return x0

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """Log density log p(x) = log Σ_k w_k N(x; α μ_k, C_k), shape (B,)."""
        return self._components(x, alpha, sigma)[0].logits.logsumexp(0).to(x.dtype)

    def responsibilities(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """γ_k = w_k N(x; α μ_k, C_k) / p(x), shape (B, K)."""
        return self._components(x, alpha, sigma)[0].logits.softmax(0).mT.to(x.dtype)

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x) = −Σ_k γ_k C_k⁻¹ (x − α μ_k), shape (B, D)."""
        found, *_ = self._components(x, alpha, sigma)
        return found.mix(-found.logits.softmax(0)).to(x.dtype)

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """ε = E[n|x] = σ Σ_k γ_k C_k⁻¹ (x − α μ_k) = −σ ∇ log p(x), shape (B, D)."""
        found, _, s = self._components(x, alpha, sigma)
        return (s * found.mix(found.logits.softmax(0))).to(x.dtype)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """D = E[x₀|x] = Σ_k γ_k [μ_k + α S_k C_k⁻¹ (x − α μ_k)], shape (B, D)."""
        # not (x + σ² score)/α: that form has no value at α = 0 and loses digits at large σ
        found, a, _ = self._components(x, alpha, sigma)
        gamma = found.logits.softmax(0)
        mixed = gamma.mT @ self.means.to(gamma.dtype) + a * found.mix(gamma, by_variance=True)
        return mixed.to(x.dtype)

    def score_jvp(self, x: Tensor, v: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇s v = Σ_k γ_k [(s_k · v) s_k − C_k⁻¹ v] − (s · v) s with s_k = −C_k⁻¹ r, shape (B, D).

        v is (B, D); one pass over the components, no differentiation.
        """
        found, *_ = self._components(x, alpha, sigma, v)
        gamma, tilt = _tilt(found)
        return -found.mix(tilt, gamma).to(x.dtype)

    def denoise_jvp(self, x: Tensor, v: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇D v = (α/σ²) Cov[x₀|x] v = Σ_k γ_k [((s_k − s) · v) D_k + α S_k C_k⁻¹ v], (B, D).

        v is (B, D); one pass over the components, no differentiation.
        """
        found, a, _ = self._components(x, alpha, sigma, v)
        gamma, tilt = _tilt(found)
        # Σ tilt = 0, so that only the distances between the means matter
        spread = tilt.mT @ (self.means - self.mean).to(gamma.dtype)
        return (spread + a * found.mix(tilt, gamma, by_variance=True)).to(x.dtype)

    def _components(
        self, x: Tensor, alpha: Scalar, sigma: Scalar, v: Tensor | None = None
    ) -> tuple[Components, Tensor, Tensor]:
        """The components at x, in the wider dtype; α and σ as tensors beside x."""
        arguments.points("x", x, self.dim)
        dtype = torch.promote_types(x.dtype, self.means.dtype)
        a, s = arguments.levels(alpha, sigma, x, dtype)
        if v is not None:
            arguments.points("v", v, self.dim)
            v = v.to(dtype)
        wide = self if self.means.dtype is dtype else self.to(dtype=dtype)
        return components(wide, x.to(dtype), a, s, v), a, s


def _tilt(found: Components) -> tuple[Tensor, Tensor]:
    """γ_k, and its derivative γ_k (s_k − s) · v along the tangent; (K, B)."""
    gamma, slopes = found.logits.softmax(0), found.slopes
    return gamma, gamma * (slopes - (gamma * slopes).sum(0))
