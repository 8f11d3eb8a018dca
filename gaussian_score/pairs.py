r"""What pairs of samples say about a data law's distance from its Gaussian at noise ρ.

For independent centred draws a, b of the data, P = (Σ + ρ² I)⁻¹ and G = aᵀPb:

    |κ₃|²_P = E G³,   |κ₃|²_{P²,P,P} = E (aᵀP²b) G²,
    |κ₄|²_P = E G⁴ − 6 E (aᵀPΣPa)² + 3 (tr(PΣ)²)² + 6 tr(PΣ)⁴,
    1 + χ² = E Π_k (1 − θ_k²)^{−½} exp[(a_k b_k − ½ θ_k (a_k² + b_k²))/(c_k (1 − θ_k²))],

with c = ρ² + λ and θ = λ/c in the eigenbasis (Mehler's kernel: all cumulants at once). The draws
of a pair come from disjoint halves: a sample beside itself adds E (aᵀPa)³/N. Means over all pairs
of two halves have the standard error of two-sample statistics, in which a sample occurs in many
pairs.

Source: derived in this project; proofs in `theory.teleportation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaussian_score.divergence import Measured
from gaussian_score.moments import Moments, finite

Floats = NDArray[np.float64]
BLOCK = 2**21  # pairs at a time: 16 MB an array
FEWEST = 16  # samples, below which a standard error says nothing


@dataclass(frozen=True)
class PairEstimates:
    """At one ρ; the norms as in the module, in nats `entropy`, χ² and their `gap`.

    Attributes:
        rho: the level.
        third: |κ₃|²_P.
        third_fisher: |κ₃|²_{P²,P,P}, twice the leading J.
        fourth: |κ₄|²_P.
        entropy: |κ₃|²_P/12 + |κ₄|²_P/48, the leading K.
        chi2: χ², of which half is K where it is small; not to be trusted beyond about 1.
        gap: entropy − χ²/2, with the error of the difference.
    """

    rho: float
    third: Measured
    third_fisher: Measured
    fourth: Measured
    entropy: Measured
    chi2: Measured
    gap: Measured


@dataclass(frozen=True, eq=False)
class Pairs:
    """Two disjoint halves of the data in the eigenbasis of their moments.

    Attributes:
        a: the first half, (n, R).
        b: the second half, (m, R).
        moments: λ, U and the floor f.
        dropped: Σ_k (λ_k − f)² over the directions that the basis leaves out.
    """

    a: Floats
    b: Floats
    moments: Moments
    dropped: float

    @classmethod
    def of(cls, x: ArrayLike, moments: Moments, *, rows: int = 2048, seed: int = 0) -> Pairs:
        """From data x, (N, D), in the scale of `moments`; at most `rows` go into each half.

        The rows are drawn, so that the order of the data does not matter. Every noise level costs
        n² R operations.

        Raises:
            ValueError: x is not (N, D), or not finite in a row drawn; fewer than 16 samples.
        """
        data = np.asarray(x)
        if data.ndim != 2 or data.shape[1] != moments.dim:
            raise ValueError(f"x has shape {data.shape}; (N, {moments.dim}) is allowed")
        if len(data) < FEWEST:
            raise ValueError(f"x has {len(data)} samples; {FEWEST} or more are allowed")
        chosen = np.random.default_rng(seed).permutation(len(data))[: 2 * rows]
        r = finite("x", data[chosen]) - moments.mean
        n = len(chosen) // 2
        t = r @ moments.basis
        rest = r - t @ moments.basis.T
        across = moments.dim - moments.rank
        dropped = 0.0
        if across:
            square = np.mean([((block @ rest[n:].T) ** 2).mean() for block in _blocks(rest[:n])])
            spread = (rest**2).sum(1).mean()
            dropped = float(square) + moments.floor * (across * moments.floor - 2 * spread)
        return cls(t[:n], t[n:], moments, max(0.0, dropped))

    def truncation(self, rho: float) -> float:
        """KL of the floor in place of what it stands for, Σ (λ_k − f)²/(4 (ρ² + f)²), in nats."""
        return self.dropped / (4 * (rho**2 + self.moments.floor) ** 2)

    def at(self, rho: float) -> PairEstimates:
        """All estimates at ρ > 0, each with its standard error."""
        if not (math.isfinite(rho) and rho > 0):
            raise ValueError(f"rho is {rho}; a finite level > 0 is allowed")
        c = self.moments.eigenvalues + rho**2
        theta = self.moments.eigenvalues / c
        level = 3 * (theta**2).sum() ** 2 + 6 * (theta**4).sum()
        squares = [3 * ((t * t) @ (theta / c)) ** 2 for t in (self.a, self.b)]  # 3 (aᵀPΣPa)²
        spread = 1 / (c * (1 - theta**2))
        own = [0.5 * (t * t) @ (theta * spread) for t in (self.a, self.b)]
        own[1] += 0.5 * np.log1p(-(theta**2)).sum()
        sums = _Sums(6, len(self.b))
        start = 0
        for a in _blocks(self.a, len(self.b)):
            rows = slice(start, start + len(a))
            start += len(a)
            g = (a / c) @ self.b.T
            g2 = g * g  # powers of arrays cost ten products
            third, fourth = g2 * g, g2 * g2
            fourth -= squares[0][rows, None] + (squares[1] - level)
            exponent = (a * spread) @ self.b.T - own[0][rows, None] - own[1]
            chi2 = np.expm1(np.minimum(exponent, 700.0))
            entropy = third / 12 + fourth / 48
            fisher = ((a / c**2) @ self.b.T) * g2
            sums.add([third, fisher, fourth, entropy, chi2, entropy - chi2 / 2])
        return PairEstimates(rho, *sums.means())


class _Sums:
    """Means over all pairs, and their errors, block by block of rows.

    For h_ij = θ + α_i + β_j + γ_ij, Var(mean) = Var α/n + Var β/m + Var γ/(n m); the variances of
    the means of rows and of columns each hold one Var γ more, which the residuals give back.
    """

    def __init__(self, kinds: int, columns: int) -> None:
        self.rows: list[Floats] = []
        self.columns = np.zeros((kinds, columns))
        self.squares = np.zeros(kinds)

    def add(self, values: list[Floats]) -> None:
        self.rows.append(np.array([h.mean(1) for h in values]))
        for k, h in enumerate(values):
            self.columns[k] += h.sum(0)
            self.squares[k] += np.einsum("ij,ij->", h, h)

    def means(self) -> list[Measured]:
        rows = np.concatenate(self.rows, axis=1)
        n, m = rows.shape[1], self.columns.shape[1]
        mean = rows.mean(1)
        across, down = rows.var(1), (self.columns / n).var(1)
        residual = np.maximum(self.squares / (n * m) - mean**2 - across - down, 0)
        pure = residual / ((n - 1) * (m - 1))
        variance = np.maximum(across / (n - 1) + down / (m - 1) - pure, pure)
        return [Measured(float(v), math.sqrt(e)) for v, e in zip(mean, variance, strict=True)]


def _blocks(rows: Floats, columns: int = 4096) -> list[Floats]:
    step = max(1, BLOCK // columns)
    return [rows[i : i + step] for i in range(0, len(rows), step)]
