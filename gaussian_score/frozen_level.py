r"""A mixture at one noise level, factorised once.

    score = −Σ_k γ_k P_k r_k,    q_k = r_kᵀ P_k r_k,    P_k = (α² S_k + σ² I)⁻¹,   r_k = x − α μ_k

With the K matrices P_k at hand a score costs one product of B D numbers with each, where the
eigenbases need two, in and out. Against the split form it loses a factor of the condition number
of C_k = P_k⁻¹: q_k is known to ε |r|²/λ_min(C_k), where the split form's error is that of x.

Source: derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gaussian_score import arguments
from gaussian_score.components import slices

if TYPE_CHECKING:
    from gaussian_score.mixture import GaussianMixture


@dataclass(frozen=True, eq=False)
class FrozenLevel:
    """Built by `GaussianMixture.at(alpha, sigma)`; methods take x, (B, D), of the law's dtype.

    They can be differentiated in x, backward or forward, any number of times.

    Attributes:
        sigma: σ.
        log_weights: log w_k − ½ log det(2π C_k), (K,).
        means: α μ, (K, D).
        precisions: P, (K, D, D).
    """

    sigma: float
    log_weights: Tensor
    means: Tensor
    precisions: Tensor

    @classmethod
    def of(cls, law: GaussianMixture, alpha: float, sigma: float) -> FrozenLevel:
        """P_k = U_k diag(1/(α² l_k + σ²)) U_kᵀ + (I − U_k U_kᵀ)/(α² f_k + σ²)."""
        k, d = law.means.shape
        a, s = arguments.levels(alpha, sigma, law.means, law.means.dtype)
        if a.ndim or s.ndim:
            raise ValueError("alpha and sigma have one value a point; one for all is allowed")
        along = a * a * law.variances + s * s
        log_det = along.log().sum(1)
        if law.bases is None:
            precisions = torch.diag_embed(1 / along)
        else:
            across = torch.zeros(k).to(along)
            if law.floors is not None:
                floor = a * a * law.floors + s * s
                across = 1 / floor
                log_det = log_det + (d - along.shape[1]) * floor.log()
            precisions = torch.empty(k, d, d).to(along)
            for i in range(k):  # one by one: no second (K, D, D) array
                basis = law.bases[i % len(law.bases)]
                precisions[i] = (basis * (1 / along[i] - across[i])) @ basis.mT
                precisions[i].diagonal().add_(across[i])
        log_w = law.weights.log() - 0.5 * (log_det + d * math.log(2 * math.pi))
        return cls(float(s), log_w, a * law.means, precisions)

    def log_density(self, x: Tensor) -> Tensor:
        """Log density log p(x), shape (B,)."""
        return self._solve(x)[0].logsumexp(0)

    def responsibilities(self, x: Tensor) -> Tensor:
        """γ_k, shape (B, K)."""
        return self._solve(x)[0].softmax(0).mT

    def score(self, x: Tensor) -> Tensor:
        """∇ log p(x) = −Σ_k γ_k P_k r_k, shape (B, D)."""
        logits, solved = self._solve(x)
        gamma, start = -logits.softmax(0), 0
        total = torch.zeros_like(x)
        for h in solved:
            here = slice(start, start := start + len(h))
            total = total + torch.einsum("kb,kbd->bd", gamma[here], h)
        return total

    def noise(self, x: Tensor) -> Tensor:
        """ε = −σ ∇ log p(x), shape (B, D)."""
        return -self.sigma * self.score(x)

    def _solve(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (K, B), and P_k r_k in blocks of components, (·, B, D)."""
        k, d = self.means.shape
        arguments.points("x", x, d)
        if x.dtype is not self.means.dtype:
            raise ValueError(f"x has dtype {x.dtype}; {self.means.dtype} is allowed")
        logits, solved = [], []
        for block in slices(k, x.numel()):
            r = x - self.means[block, None]
            h = r @ self.precisions[block]
            logits.append(self.log_weights[block, None] - 0.5 * (r * h).sum(-1))
            solved.append(h)
        return torch.cat(logits), solved
