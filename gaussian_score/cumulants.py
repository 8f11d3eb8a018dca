r"""Cumulants of a mixture, and the leading laws of its distance from its Gaussian.

Noise adds a second cumulant only, so that p_ρ has those of the data. In the eigenbasis of Σ, with
c_k = ρ² + λ_k, P = diag(1/c), y_k = (x − m)_k/c_k, w_k = (x − m)_k/√c_k and E_i = S_i − Σ:

    κ₃ = Σ_i w_i (aaa + 3 sym aE)_i,     κ₄ = Σ_i w_i (aaaa + 6 sym aaE + 3 sym EE)_i,
    s − s_G = ½ P κ₃[yy − P] + O(ρ⁻⁵)                                            at fixed w,
    δ_k = ⅙ √c_k Σ_ij κ₃,kij (w_i w_j − δ_ij) [R_D(c_i, c_j, c_k) − R_D(c'_i, c'_j, c'_k)],
    J ≃ ½ |κ₃|²_{P²,P,P} + ⅙ |κ₄|²_{P²,P,P,P},     K ≃ |κ₃|²_P/12 + |κ₄|²_P/48,

where |κ|²_{A,B,..} = κ_ij.. κ_i'j'.. A_ii' B_jj' .., R_D is Carlson's integral, δ the exact flow
minus the jump from c' (nothing from c' = ∞), J and K as in `divergence`.

Source: derived in this project (Edgeworth's expansion); proofs in `theory.teleportation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import elliprd

from gaussian_score.whitened import Centred

Floats = NDArray[np.float64]
LARGEST = 24  # D⁴ numbers of 8 bytes: 2.7 MB


@dataclass(frozen=True, eq=False)
class Cumulants:
    """κ₃ and κ₄ of a law in a few dimensions, in the eigenbasis of its covariance.

    Points x have shape (B, D), in the law's own coordinates; results too. Noise levels are ρ > 0.

    Attributes:
        mean: m, (D,).
        eigenvalues: λ, (D,).
        basis: U, (D, D).
        third: κ₃, (D, D, D).
        fourth: κ₄, (D, D, D, D).
    """

    mean: Floats
    eigenvalues: Floats
    basis: Floats
    third: Floats
    fourth: Floats

    @classmethod
    def of(cls, weights: ArrayLike, means: ArrayLike, covs: ArrayLike) -> Cumulants:
        """Of Σ_k w_k N(μ_k, S_k).

        Raises:
            ValueError: as `Centred.read`; or D > 24, beyond which use `cumulant_norms`.
        """
        law = Centred.read(weights, means, covs)
        d = len(law.mean)
        if d > LARGEST:
            raise ValueError(f"means have {d} coordinates; {LARGEST} or fewer are allowed")
        a, e, w = law.offsets @ law.basis, law.excess, law.weights
        third = np.einsum("n,ni,nj,nk->ijk", w, a, a, a)
        ae = np.einsum("n,ni,njk->ijk", w, a, e)
        third += ae + ae.transpose(1, 0, 2) + ae.transpose(1, 2, 0)
        fourth = np.einsum("n,ni,nj,nk,nl->ijkl", w, a, a, a, a)
        aae, ee = (np.einsum("n,nij,nkl->ijkl", w, left, e) for left in (_outer(a), e))
        for order in ((0, 1, 2, 3), (0, 2, 1, 3), (0, 2, 3, 1)):
            fourth += (aae + aae.transpose(2, 3, 0, 1) + ee).transpose(order)
        return cls(law.mean, law.eigenvalues, law.basis, third, fourth)

    def score(self, x: Floats, rho: float, *, terms: int = 1) -> Floats:
        """s − s_G at x, (B, D): the leading term, or with terms = 2 also the next, O(ρ⁻⁵).

        The next: ⅙ P κ₄[yyy − 3 sym yP] + ½ P (κ₃[PBP] − B P q), B = κ₃[y], q = κ₃[yy − P].
        """
        p = 1 / (self.eigenvalues + rho**2)
        y = (x - self.mean) @ self.basis * p
        k3, k4 = self.third, self.fourth
        q = np.einsum("ijk,bj,bk->bi", k3, y, y) - np.einsum("ijj,j->i", k3, p)
        out = 0.5 * p * q
        if terms == 2:
            b = np.einsum("ijk,bk->bij", k3, y)
            cubic = np.einsum("ijkl,bj,bk,bl->bi", k4, y, y, y)
            cubic -= 3 * np.einsum("ijkk,k,bj->bi", k4, p, y)
            pair = np.einsum("ijk,j,bjk,k->bi", k3, p, b, p) - np.einsum("bij,j,bj->bi", b, p, q)
            out = out + p * (cubic / 6 + 0.5 * pair)
        return out @ self.basis.T

    def displacement(self, w: Floats, rho: float, rho_start: float = math.inf) -> Floats:
        """δ, the exact flow's end at ρ minus the jump's, for w, (B, D), that the jump keeps.

        w are whitened coordinates in the eigenbasis: the jump lands on m + U (√c w).
        """
        c = self.eigenvalues + rho**2
        kernel = _carlson(c)
        if math.isfinite(rho_start):
            kernel = kernel - _carlson(self.eigenvalues + rho_start**2)
        weighted = self.third * kernel
        square = np.einsum("kij,bi,bj->bk", weighted, w, w) - np.einsum("kii->k", weighted)
        return np.sqrt(c) / 6 * square @ self.basis.T

    def fisher(self, rho: float) -> float:
        """J to its leading terms of both orders."""
        p = 1 / (self.eigenvalues + rho**2)
        return norm(self.third, p * p, p, p) / 2 + norm(self.fourth, p * p, p, p, p) / 6

    def entropy(self, rho: float) -> float:
        """K to its leading terms of both orders, in nats."""
        p = 1 / (self.eigenvalues + rho**2)
        return norm(self.third, p, p, p) / 12 + norm(self.fourth, p, p, p, p) / 48


def norm(kappa: Floats, *diagonals: Floats) -> float:
    """|κ|²_{A,B,..} for diagonal A, B, ..: Σ κ²_ij.. A_i B_j .."""
    squares = kappa**2
    for diagonal in reversed(diagonals):
        squares = squares @ diagonal
    return float(squares)


@dataclass(frozen=True)
class Norms:
    """Norms at one ρ: |κ₃|²_P, |κ₃|²_{P²,P,P} and |κ₄|²_P; K and, for skewed laws, J from them."""

    third: float
    third_fisher: float
    fourth: float

    @property
    def entropy(self) -> float:
        """K ≃ |κ₃|²_P/12 + |κ₄|²_P/48, in nats."""
        return self.third / 12 + self.fourth / 48

    @property
    def fisher(self) -> float:
        """J ≃ ½ |κ₃|²_{P²,P,P}, per ρ²."""
        return self.third_fisher / 2


def cumulant_norms(weights: ArrayLike, means: ArrayLike, covs: ArrayLike, rho: float) -> Norms:
    """The norms from pairs of components, in any dimension: no tensor is formed.

    For components (a, S) and (b, R), whitened, with their excess covariances S and R, u = aᵀb and
    g = aᵀRa + bᵀSb + tr SR, a pair's share is

        |κ₃|²_P: u³ + 3 u g + 6 aᵀRSb,
        |κ₄|²_P: u⁴ + 6 u² g + 24 u aᵀRSb + 3 g² + 12 (aᵀRSRa + bᵀSRSb) + 6 tr SRSR,

    and |κ₃|²_{P²,P,P} is the first with P² put once between each two tensors.

    Raises:
        ValueError: as `log1p_chi2`.
    """
    parts = Centred.read(weights, means, covs).whitened(rho)
    a, e, w = parts.a, parts.e, parts.weights
    c = parts.transform.T @ parts.transform  # WᵀW, which is P in these coordinates
    across = np.einsum("jde,ie->ijd", e, a)
    third = fisher = fourth = 0.0
    for i, wi in enumerate(w):
        pair = wi * w
        u, v = a @ a[i], a @ c @ a[i]
        ra, sb, both = across[i], a @ e[i], e[i] @ e
        trace = np.einsum("jdd->j", both)
        ara, bsb = ra @ a[i], np.einsum("jd,jd->j", sb, a)
        arsb = np.einsum("jd,jd->j", ra, sb)
        g = ara + bsb + trace
        third += pair @ (u**3 + 3 * u * g + 6 * arsb)
        squares = np.einsum("jd,jd->j", ra @ e[i], ra) + np.einsum("jd,jde,je->j", sb, e, sb)
        quartic = np.einsum("jde,jed->j", both, both)
        fourth += pair @ (
            u**4 + 6 * u**2 * g + 24 * u * arsb + 3 * g**2 + 12 * squares + 6 * quartic
        )
        wide = np.einsum("jd,de,je->j", ra, c, sb)  # aᵀR P S b
        first = v * (u**2 + g) + 2 * u * (
            np.einsum("d,jd->j", a[i] @ c, ra) + np.einsum("jd,jd->j", a @ c, sb)
        )
        mixed = 2 * (
            np.einsum("d,jde,je->j", a[i] @ c, e, sb)
            + np.einsum("jd,jd->j", (a @ c) @ e[i], ra)
            + u * np.einsum("de,jed->j", c, both)
            + wide
        )
        fisher += pair @ (first + mixed)
    return Norms(float(third), float(fisher), float(fourth))


def _outer(a: Floats) -> Floats:
    return a[:, :, None] * a[:, None, :]


def _carlson(c: Floats) -> Floats:
    """R_D(c_i, c_j, c_k) with k first: (D, D, D)."""
    return elliprd(c[None, :, None], c[None, None, :], c[:, None, None])
