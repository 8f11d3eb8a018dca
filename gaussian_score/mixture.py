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

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

Scalar = float | Tensor
ArrayLike = Any  # a tensor, or whatever `numpy.array` takes


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    r"""p₀ = Σ_k w_k N(μ_k, U_k diag(l_k) U_kᵀ + f_k (I − U_k U_kᵀ)), evaluated at any (α, σ).

    Build it with `full`, `diagonal`, `isotropic` or `low_rank`, which check their arguments and
    raise ValueError. Tensors keep their dtype; other numbers become float64.

    Methods take x of shape (B, D), and α and σ > 0 as floats, 0-d tensors or (B,) tensors; other
    shapes, non-positive σ and non-finite levels raise ValueError. They compute in the wider of the
    mixture's dtype and x's and answer in that of x. They can be differentiated in x, α and σ,
    backward or forward, any number of times.

    Attributes:
        weights: w, (K,), not negative, sum 1.
        means: μ, (K, D).
        variances: l, (K, R), not negative.
        bases: U, (K, D, R), orthonormal columns; None is the identity (R = D).
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
        weights, means, covs = _law(weights, means, covs=covs)
        k, d = means.shape
        _require_shape("covs", covs, (k, d, d))
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
        weights, means, variances = _law(weights, means, variances=variances)
        _require_shape("variances", variances, tuple(means.shape))
        _require_not_negative("variances", variances)
        return cls(weights, means, variances)

    @classmethod
    def isotropic(
        cls, weights: ArrayLike, means: ArrayLike, variances: ArrayLike
    ) -> GaussianMixture:
        """S_k = variances[k] I: (K,), not negative; zeros give the law of K data points."""
        weights, means, variances = _law(weights, means, variances=variances)
        _require_shape("variances", variances, (len(means),))
        _require_not_negative("variances", variances)
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
        weights, means, bases, eigenvalues, floors = _law(
            weights, means, bases=bases, eigenvalues=eigenvalues, floors=floors
        )
        k, d = means.shape
        rank = min(bases.shape[-1], d) if bases.ndim else 0
        _require_shape("bases", bases, (k, d, rank))
        _require_shape("eigenvalues", eigenvalues, (k, rank))
        _require_shape("floors", floors, (k,))
        _require_not_negative("eigenvalues", eigenvalues)
        _require_not_negative("floors", floors)
        gram = bases.mT @ bases
        skew = float((gram - torch.eye(rank).to(gram)).abs().max()) if rank else 0.0
        if skew > 10 * d * torch.finfo(bases.dtype).eps:
            raise ValueError(f"bases miss UᵀU = I by {skew:.3g}; orthonormal columns are allowed")
        return cls(weights, means, eigenvalues + floors[:, None], bases, floors)

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
        eye = torch.eye(self.dim).to(self.means)
        bases = eye.expand(len(self.means), -1, -1) if self.bases is None else self.bases
        covs = (bases * self.variances[:, None, :]) @ bases.mT
        if self.floors is not None:
            covs = covs + self.floors[:, None, None] * (eye - bases @ bases.mT)
        shift = self.means - self.mean
        return torch.einsum(
            "k,kij->ij", self.weights, covs + shift[:, :, None] * shift[:, None, :]
        )

    def to(
        self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> GaussianMixture:
        """The same mixture with its parameters in another dtype or on another device."""
        parts = {name: part for name, part in vars(self).items() if part is not None}
        return replace(self, **{k: a.to(dtype=dtype, device=device) for k, a in parts.items()})

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """x₀ = μ_k + S_k^½ z with k ~ w and z ~ N(0, I): (n, D), dtype and device of `means`."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        x0 = torch.randn(
            n, self.dim, generator=generator, dtype=self.means.dtype, device=self.means.device
        )
        for k, mean in enumerate(self.means):  # one by one: K n D numbers need not fit in memory
            basis = None if self.bases is None else self.bases[k]
            t, rest = self._split(x0[which == k], basis)
            if rest is not None and self.floors is not None:
                rest = rest * self.floors[k].sqrt()
            x0[which == k] = mean + _join(t * self.variances[k].sqrt(), rest, basis)
        return x0

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """Log density log p(x) = log Σ_k w_k N(x; α μ_k, C_k), shape (B,)."""
        return self._components(x, alpha, sigma)[0].logsumexp(0).to(x.dtype)

    def responsibilities(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """γ_k = w_k N(x; α μ_k, C_k) / p(x), shape (B, K)."""
        return self._components(x, alpha, sigma)[0].softmax(0).mT.to(x.dtype)

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x) = −Σ_k γ_k C_k⁻¹ (x − α μ_k), shape (B, D)."""
        return self._average(x, alpha, sigma, lambda a, s, var: -1 / (a * a * var + s * s))

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """ε = E[n|x] = σ Σ_k γ_k C_k⁻¹ (x − α μ_k) = −σ ∇ log p(x), shape (B, D)."""
        return self._average(x, alpha, sigma, lambda a, s, var: s / (a * a * var + s * s))

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """D = E[x₀|x] = Σ_k γ_k [μ_k + α S_k C_k⁻¹ (x − α μ_k)], shape (B, D)."""
        # not (x + σ² score)/α: that form has no value at α = 0 and loses digits at large σ
        return self._average(
            x, alpha, sigma, lambda a, s, var: a * var / (a * a * var + s * s), means=self.means
        )

    def _components(
        self, x: Tensor, alpha: Scalar, sigma: Scalar
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
        """Logits log(w_k N(x; α μ_k, C_k)), (K, B); t and a, (K, B, ·); α and σ as tensors."""
        if x.ndim != 2 or x.shape[1] != self.dim or not x.is_floating_point():
            raise ValueError(
                f"x has shape {tuple(x.shape)} and dtype {x.dtype}; "
                f"floating point of shape (B, {self.dim}) is allowed"
            )
        dtype = torch.promote_types(x.dtype, self.means.dtype)
        a = _level("alpha", alpha, x, dtype)
        s = _level("sigma", sigma, x, dtype)
        if not (s > 0).all():
            raise ValueError(f"sigma is {float(s.min())}; σ > 0 is allowed")
        t, rest = self._split(x.to(dtype) - a * self.means[:, None, :], self.bases)
        c = a * a * self.variances[:, None, :] + s * s
        q, log_det = (t * t / c).sum(-1), c.log().sum(-1)
        if rest is not None and self.floors is not None:
            c = a * a * self.floors[:, None, None] + s * s
            q = q + (rest * rest / c).sum(-1)
            log_det = log_det + (self.dim - t.shape[-1]) * c.log().sum(-1)
        constant = self.dim * math.log(2 * math.pi)
        logits = self.weights.log()[:, None] - 0.5 * (q + log_det + constant)
        return logits, t, rest, a, s

    def _average(
        self,
        x: Tensor,
        alpha: Scalar,
        sigma: Scalar,
        gain: Callable[[Tensor, Tensor, Tensor], Tensor],
        means: Tensor | None = None,
    ) -> Tensor:
        """Σ_k γ_k [means_k + U_k g(l_k) t + g(f_k) a] with g(var) = gain(α, σ, var)."""
        logits, t, rest, a, s = self._components(x, alpha, sigma)
        gamma = logits.softmax(0)
        t = gamma[..., None] * gain(a, s, self.variances[:, None, :]) * t
        if rest is not None and self.floors is not None:
            rest = gamma[..., None] * gain(a, s, self.floors[:, None, None]) * rest
        mixed = _join(t, rest, self.bases).sum(0)
        if means is not None:
            mixed = mixed + gamma.mT @ means.to(gamma.dtype)
        return mixed.to(x.dtype)

    def _split(self, r: Tensor, bases: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Coordinates t = Uᵀ r and rest a = r − U t; None where nothing is left over."""
        if bases is None:
            return r, None
        t = r @ bases.to(r.dtype)
        return t, None if self.floors is None else r - t @ bases.to(r.dtype).mT


def _join(t: Tensor, rest: Tensor | None, bases: Tensor | None) -> Tensor:
    """U t + a."""
    y = t if bases is None else t @ bases.to(t.dtype).mT
    return y if rest is None else y + rest


def _level(name: str, value: Scalar, x: Tensor, dtype: torch.dtype) -> Tensor:
    """α or σ as a 0-d or (B, 1) tensor, finite, beside x."""
    level = torch.as_tensor(value, dtype=dtype, device=x.device)
    if level.ndim and level.shape != x.shape[:1]:
        raise ValueError(
            f"{name} has shape {tuple(level.shape)}; () or ({x.shape[0]},) is allowed"
        )
    if not level.isfinite().all():
        raise ValueError(f"{name} is {value}; a finite number is allowed")
    return level[:, None] if level.ndim else level


def _law(weights: ArrayLike, means: ArrayLike, **others: ArrayLike) -> tuple[Tensor, ...]:
    """The arguments as finite tensors of one dtype, w and μ checked."""
    arguments: dict[str, Tensor] = {}
    for name, value in {"weights": weights, "means": means, **others}.items():
        known = isinstance(value, Tensor) and value.is_floating_point()
        tensor = value if known else torch.from_numpy(np.array(value, dtype=np.float64))
        if not tensor.isfinite().all():
            raise ValueError(f"{name} is {value}; finite numbers are allowed")
        arguments[name] = tensor
    w, mu = arguments["weights"], arguments["means"]
    if w.ndim != 1 or mu.ndim != 2 or len(w) != len(mu) or not mu.numel():
        raise ValueError(
            f"weights and means have shapes {tuple(w.shape)} and {tuple(mu.shape)}; "
            "(K,) and (K, D) are allowed"
        )
    _require_not_negative("weights", w)
    rounding = 10 * len(w) * torch.finfo(w.dtype).eps
    if abs(float(w.double().sum()) - 1) > rounding:
        total = float(w.double().sum())
        raise ValueError(f"weights sum to {total:.9g}; 1 within {rounding:.2g} is allowed")
    dtype = mu.dtype
    for tensor in arguments.values():
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype=dtype, device=mu.device) for tensor in arguments.values())


def _require_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; {shape} is allowed")


def _require_not_negative(name: str, tensor: Tensor) -> None:
    if (tensor < 0).any():
        raise ValueError(f"{name} has the entry {float(tensor.min()):.6g}; 0 or more is allowed")
