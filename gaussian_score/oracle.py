r"""A mixture's oracle in low dimension, to any number of digits.

It answers the same questions as `mixture` and `transport` and shares no code with them. With
C_k = α² S_k + σ² I, r_k = x − α μ_k and γ_k ∝ w_k N(x; α μ_k, C_k):

    ∇ log p = −Σ_k γ_k C_k⁻¹ r_k,   ε = −σ ∇ log p,   D = E[x₀|x] = Σ_k γ_k (μ_k + α S_k C_k⁻¹ r_k)

Source: the definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpmath import mp

Number = Any  # int, float, Fraction, decimal string, mpf: whatever `mp.mpmathify` takes
Level = tuple[Any, Any]

GUARD = 20  # digits beyond those asked for: exponents up to 1e16 cost 16 of them
LIMIT = 1000  # digits spent beside a separatrix before giving up


@dataclass(frozen=True)
class Oracle:
    """Σ_k w_k N(μ_k, S_k) in D ≤ 3 dimensions, evaluated with mpmath to `digits` digits.

    Points are sequences of D numbers, levels are numbers; decimal strings are read exactly. The
    weights are divided by their sum. Results are `mpf` (lists of D) that carry all their digits
    whatever the current precision of mpmath.

    Raises:
        ValueError: shapes differ, D > 3, a weight is negative, or α² S_k + σ² I is not positive
            definite at the level asked for.
    """

    weights: Sequence[Number]
    means: Sequence[Sequence[Number]]
    covs: Sequence[Sequence[Sequence[Number]]]
    digits: int = 50

    def __post_init__(self) -> None:
        k, d = len(self.weights), len(self.means[0]) if self.means else 0
        rows = [row for cov in self.covs for row in cov]
        if not (len(self.means) == len(self.covs) == k and len(rows) == k * d) or any(
            len(row) != d for row in [*self.means, *rows]
        ):
            raise ValueError(
                "weights, means, covs differ in shape; (K,), (K, D), (K, D, D) are allowed"
            )
        if not 1 <= d <= 3:
            raise ValueError(f"means have {d} coordinates; 1, 2 or 3 are allowed")
        if self.digits < 1:
            raise ValueError(f"digits is {self.digits}; 1 or more is allowed")
        if min(self._law()[0]) < 0:
            raise ValueError(f"weights are {self.weights}; numbers >= 0 are allowed")

    def _law(self) -> tuple[list[Any], list[list[Any]], list[list[list[Any]]]]:
        """Parameters w, μ and S read at the current precision, which decimal strings need."""
        read = mp.mpmathify
        weights = [read(w) for w in self.weights]
        return (
            [w / mp.fsum(weights) for w in weights],
            [[read(a) for a in mean] for mean in self.means],
            [[[read(a) for a in row] for row in cov] for cov in self.covs],
        )

    def log_density(self, x: Sequence[Number], alpha: Number, sigma: Number) -> Any:
        """Log density log p(x), an mpf."""
        with mp.workdps(self.digits + GUARD):
            return self._components(x, alpha, sigma)[0]

    def score(self, x: Sequence[Number], alpha: Number, sigma: Number) -> list[Any]:
        """∇ log p(x) = −Σ_k γ_k C_k⁻¹ r_k."""
        with mp.workdps(self.digits + GUARD):
            _, gammas, solved = self._components(x, alpha, sigma)
            return [-mp.fdot(gammas, column) for column in zip(*solved, strict=True)]

    def noise(self, x: Sequence[Number], alpha: Number, sigma: Number) -> list[Any]:
        """ε = −σ ∇ log p(x)."""
        with mp.workdps(self.digits + GUARD):
            return [-mp.mpmathify(sigma) * s for s in self.score(x, alpha, sigma)]

    def denoise(self, x: Sequence[Number], alpha: Number, sigma: Number) -> list[Any]:
        """D = Σ_k γ_k (μ_k + α S_k C_k⁻¹ r_k)."""
        with mp.workdps(self.digits + GUARD):
            _, gammas, solved = self._components(x, alpha, sigma)
            _, means, covs = self._law()
            a = mp.mpmathify(alpha)
            data = [
                [m + a * mp.fdot(row, h) for m, row in zip(mean, cov, strict=True)]
                for mean, cov, h in zip(means, covs, solved, strict=True)
            ]
            return [mp.fdot(gammas, column) for column in zip(*data, strict=True)]

    def flow(self, v: Number, rho_start: Number, rho_end: Number) -> Any:
        """v at ρ_end on the trajectory through v at ρ_start, an mpf; D = 1, v = x/α."""
        return self.flow_x(v, (1, rho_start), (1, rho_end))

    def flow_x(self, x: Number, start: Level, end: Level) -> Any:
        """x at end = (α, σ) on the trajectory through x at `start`, an mpf; D = 1, α = 0 allowed.

        Solves F_end(x_end) = F_start(x_start), F = Σ_k w_k Φ((x − α μ_k)/√(α² s_k + σ²)), to
        `digits` digits of x_end or of the smallest deviation, whichever is larger. The precision
        is raised until the condition number of the root is paid for.

        Raises:
            ValueError: D is not 1, or a component has no spread at a level.
            ArithmeticError: x lies so close to a separatrix that LIMIT digits are not enough.
        """
        if len(self.means[0]) != 1:
            raise ValueError(f"means have {len(self.means[0])} coordinates; the flow takes 1")
        guard = GUARD
        while guard <= LIMIT:
            with mp.workdps(self.digits + guard):
                before, after, point = self._line(start), self._line(end), mp.mpmathify(x)
                mass = _cdf(before, point)
                if 2 * mass <= 1:
                    root, lost = _quantile(after, mass)
                else:
                    root, lost = _quantile(_mirror(after), _cdf(_mirror(before), -point))
                    root = -root
            if lost <= guard - 5:
                return root
            guard = lost + 10
        raise ArithmeticError(f"x = {x} at {start} is within 1e-{LIMIT} of a separatrix")

    def _line(self, level: Level) -> list[tuple[Any, Any, Any]]:
        """Each component at one level: w_k, α μ_k and √2 times its standard deviation; D = 1."""
        alpha, sigma = map(mp.mpmathify, level)
        parts = []
        for w, (mean,), ((s,),) in zip(*self._law(), strict=True):
            variance = alpha**2 * s + sigma**2
            if not variance > 0:
                raise ValueError(f"(alpha, sigma) is {level}, where a component has no spread")
            parts.append((w, alpha * mean, mp.sqrt(2 * variance)))
        return parts

    def _components(
        self, x: Sequence[Number], alpha: Number, sigma: Number
    ) -> tuple[Any, list[Any], list[list[Any]]]:
        """Log p(x), then γ_k and C_k⁻¹ r_k of every component."""
        if len(x) != len(self.means[0]):
            raise ValueError(f"x has {len(x)} coordinates; {len(self.means[0])} are allowed")
        a, s = mp.mpmathify(alpha), mp.mpmathify(sigma)
        point = [mp.mpmathify(coordinate) for coordinate in x]
        logs, solved = [], []
        for w, mean, cov in zip(*self._law(), strict=True):
            r = [p - a * m for p, m in zip(point, mean, strict=True)]
            h, log_det = _solve([[a**2 * c for c in row] for row in cov], s**2, r)
            quadratic = mp.fdot(r, h) + log_det + len(r) * mp.log(2 * mp.pi)
            logs.append(mp.log(w) - quadratic / 2 if w else mp.ninf)
            solved.append(h)
        top = max(logs)
        likelihoods = [mp.exp(log - top) for log in logs]
        total = mp.fsum(likelihoods)
        return top + mp.log(total), [p / total for p in likelihoods], solved


def _solve(matrix: list[list[Any]], shift: Any, rhs: list[Any]) -> tuple[list[Any], Any]:
    """C⁻¹ rhs and log det C for C = matrix + shift I, by elimination without pivoting."""
    rows = [[*row, b] for row, b in zip(matrix, rhs, strict=True)]
    log_det = mp.zero
    for i, row in enumerate(rows):
        row[i] += shift
        if not row[i] > 0:
            raise ValueError(f"α² S + σ² I has the pivot {mp.nstr(row[i], 5)}; > 0 is allowed")
        log_det += mp.log(row[i])
        for j in range(i + 1, len(rows)):
            factor = rows[j][i] / row[i]
            rows[j] = [p - factor * q for p, q in zip(rows[j], row, strict=True)]
    solution: list[Any] = []
    for row in reversed(rows):
        known = mp.fdot(row[len(rows) - len(solution) : -1], solution)
        solution.insert(0, (row[-1] - known) / row[len(rows) - len(solution) - 1])
    return solution, log_det


def _mirror(parts: list[tuple[Any, Any, Any]]) -> list[tuple[Any, Any, Any]]:
    return [(w, -m, d) for w, m, d in parts]


def _cdf(parts: list[tuple[Any, Any, Any]], u: Any) -> Any:
    return mp.fsum(w * mp.erfc((m - u) / d) for w, m, d in parts) / 2


def _quantile(parts: list[tuple[Any, Any, Any]], mass: Any) -> tuple[Any, int]:
    """u with F(u) = mass ≤ ½, and the number of digits that the root's condition number costs."""
    widest, narrowest = max(d for *_, d in parts), min(d for *_, d in parts)
    # Φ(z) ≤ ½ exp(−z²/2) for z ≤ 0 bounds u from below; F ≥ ½ right of all the means
    reach = mp.sqrt(max(-mp.log(2 * mass), 0)) + 1
    left = min(m for _, m, _ in parts) - widest * reach
    right = max(m for _, m, _ in parts) + widest
    u = left
    for digits in (15, mp.dps):  # get close in short arithmetic first
        with mp.workdps(digits):
            low, high, last = left, right, right - left
            tolerance = mp.mpf(10) ** (-0.6 * digits)  # Newton squares it: 1.2 × digits are right
            while abs(last) > tolerance * max(abs(u), narrowest):
                value = _cdf(parts, u)
                low, high = (u, high) if value < mass else (low, u)
                slope = mp.fsum(w * mp.exp(-(((u - m) / d) ** 2)) / d for w, m, d in parts)
                slope /= mp.sqrt(mp.pi)
                step = -value / slope * mp.log(value / mass)
                if not low <= u + step <= high or 2 * abs(step) > abs(last):
                    step = (low + high) / 2 - u  # F has a plateau here: bisect
                u, last = u + step, step
    lost = mp.log10(value / (slope * max(abs(u), narrowest)))
    return u, max(0, int(mp.ceil(lost)))
