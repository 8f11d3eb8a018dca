r"""Oracles of the flows that conserve a mass, to any number of digits.

    uniform on [a, b]           F(x) = σ/(α (b − a)) [G((x − αa)/σ) − G((x − αb)/σ)],  G = zΦ + φ
    concentric Gaussians in Rⁿ  R(r) = Σ_k w_k P(n/2, r²/(2 (α² s_k + σ²)))
    sphere of radius a in Rⁿ    R(r) = Σ_j e^{−y} y^j/j! P(n/2 + j, r²/(2σ²)),  y = (αa/σ)²/2

The last one is closed for n = 3. They share no code with `line`, `uniform`, `radial` and `sphere`.
An oracle of a one-dimensional mixture is `oracle.Oracle`. Source: the definitions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpmath import mp

Number = Any  # int, float, Fraction, decimal string, mpf: whatever `mp.mpmathify` takes
Level = tuple[Any, Any]

GUARD = 20  # digits beyond those asked for
LIMIT = 4000  # digits spent on a tail before giving up


class Conserved(ABC):
    """One coordinate u, the masses on either side of it, and what follows from them; α, σ > 0."""

    digits: int

    @abstractmethod
    def masses(self, u: Number, alpha: Number, sigma: Number) -> tuple[Any, Any]:
        """F(u) and 1 − F(u), of which the smaller may lose the digits of its own size."""

    @abstractmethod
    def density(self, u: Number, alpha: Number, sigma: Number) -> Any:
        """The density of x where the coordinate is u, up to a constant factor."""

    @abstractmethod
    def data(self, u: Number, alpha: Number, sigma: Number) -> Any:
        """E[x₀|x] along the coordinate."""

    @abstractmethod
    def size(self, alpha: Number, sigma: Number) -> Any:
        """A length within which most of the law lies."""

    def flow(self, u: Number, start: Level, end: Level) -> Any:
        """u_end with the mass of u, an mpf.

        Raises:
            ArithmeticError: u lies so deep in a tail that LIMIT digits are not enough.
        """
        guard = GUARD
        while guard <= LIMIT:
            with mp.workdps(self.digits + guard):
                below, above = self.masses(mp.mpmathify(u), *start)
                smaller = min(below, above)
                lost = guard * 4 if smaller <= 0 else int(-mp.log10(smaller))
                if lost + 10 <= guard:
                    return self._root(smaller, end, 0 if below <= above else 1)
            guard = lost + 2 * GUARD
        raise ArithmeticError(f"u = {u} at {start} has a tail below 1e-{LIMIT}")

    def log_density(self, u: Number, level: Level) -> Any:
        """log p(x) up to a constant, the same at all levels, an mpf."""
        with mp.workdps(self.digits + GUARD):
            return mp.log(self.density(mp.mpmathify(u), *level))

    def denoised(self, u: Number, level: Level) -> Any:
        """E[x₀|x] along the coordinate, an mpf."""
        with mp.workdps(self.digits + GUARD):
            return self.data(mp.mpmathify(u), *level)

    def _root(self, goal: Any, end: Level, side: int) -> Any:
        """Where the mass on a side is `goal`: bisection, then secants inside the bracket."""

        def excess(u: Any) -> Any:
            mass = self.masses(u, *end)[side]
            return mp.log(mass / goal) if mass > 0 else mp.ninf

        def before(u: Any) -> bool:
            return (excess(u) < 0) == (side == 0)

        low, high = self._range(self.size(*map(mp.mpmathify, end)))
        while before(high):
            high += high - low
        while not before(low):
            low = self._lower(low, high)
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (middle, high) if before(middle) else (low, middle)
        tolerance = mp.mpf(10) ** (-2 * self.digits - 4)
        return mp.findroot(excess, (low, high), solver="anderson", tol=tolerance, maxsteps=200)

    def _range(self, size: Any) -> tuple[Any, Any]:
        return size / 2, size

    def _lower(self, low: Any, high: Any) -> Any:
        return low / 2


@dataclass(frozen=True)
class UniformOracle(Conserved):
    """Uniform on [low, high]; u = x."""

    low: Number
    high: Number
    digits: int = 40

    def masses(self, u: Number, alpha: Number, sigma: Number) -> tuple[Any, Any]:
        """F from the right end's distance, and by reflection."""
        left, right = self._ends(u, alpha, sigma)
        width = right - left
        below = (_integral(right) - _integral(left)) / width
        return below, (_integral(-left) - _integral(-right)) / width

    def density(self, u: Number, alpha: Number, sigma: Number) -> Any:
        """(Φ(z_a) − Φ(z_b))/(α (b − a))."""
        left, right = self._ends(u, alpha, sigma)
        return _window(left, right) / (right - left) / mp.mpmathify(sigma)

    def data(self, u: Number, alpha: Number, sigma: Number) -> Any:
        """The mean of N(u/α, (σ/α)²) cut off at the ends."""
        left, right = self._ends(u, alpha, sigma)
        shift = (mp.npdf(right) - mp.npdf(left)) / _window(left, right)
        return (u + mp.mpmathify(sigma) * shift) / mp.mpmathify(alpha)

    def size(self, alpha: Number, sigma: Number) -> Any:
        """α times the ends, and 1 σ."""
        low, high = mp.mpmathify(self.low), mp.mpmathify(self.high)
        return alpha * max(abs(low), abs(high)) + sigma

    def _ends(self, u: Number, alpha: Number, sigma: Number) -> tuple[Any, Any]:
        a, s = mp.mpmathify(alpha), mp.mpmathify(sigma)
        return (u - a * mp.mpmathify(self.high)) / s, (u - a * mp.mpmathify(self.low)) / s

    def _range(self, size: Any) -> tuple[Any, Any]:
        return -size, size

    def _lower(self, low: Any, high: Any) -> Any:
        return low - (high - low)


@dataclass(frozen=True)
class ConcentricOracle(Conserved):
    """Σ_k w_k N(0, s_k I) in `dim` dimensions; u = ‖x‖."""

    weights: Sequence[Number]
    variances: Sequence[Number]
    dim: int
    digits: int = 40

    def _parts(self, alpha: Number, sigma: Number) -> list[tuple[Any, Any, Any]]:
        """w_k, s_k and c_k."""
        a, s = mp.mpmathify(alpha), mp.mpmathify(sigma)
        read = [(mp.mpmathify(w), mp.mpmathify(v)) for w, v in self._pairs()]
        return [(w, v, a**2 * v + s**2) for w, v in read]

    def _pairs(self) -> list[tuple[Number, Number]]:
        return list(zip(self.weights, self.variances, strict=True))

    def masses(self, u: Number, alpha: Number, sigma: Number) -> tuple[Any, Any]:
        """Both incomplete gamma functions."""
        parts, half = self._parts(alpha, sigma), mp.mpf(self.dim) / 2
        below = mp.fsum(w * _lower_gamma(half, u**2 / (2 * c)) for w, _, c in parts)
        above = mp.fsum(w * _upper_gamma(half, u**2 / (2 * c)) for w, _, c in parts)
        return below, above

    def density(self, u: Number, alpha: Number, sigma: Number) -> Any:
        """Σ_k w_k c_k^{−n/2} exp(−r²/(2 c_k))."""
        return mp.fsum(self._shares(u, alpha, sigma))

    def data(self, u: Number, alpha: Number, sigma: Number) -> Any:
        """Σ_k γ_k α s_k r/c_k."""
        shares, parts = self._shares(u, alpha, sigma), self._parts(alpha, sigma)
        gains = [mp.mpmathify(alpha) * s / c for _, s, c in parts]
        return u * mp.fdot(shares, gains) / mp.fsum(shares)

    def size(self, alpha: Number, sigma: Number) -> Any:
        """√n times the widest deviation."""
        return mp.sqrt(self.dim * max(c for _, _, c in self._parts(alpha, sigma)))

    def _shares(self, u: Number, alpha: Number, sigma: Number) -> list[Any]:
        return [
            w * c ** (-mp.mpf(self.dim) / 2) * mp.exp(-(u**2) / (2 * c))
            for w, _, c in self._parts(alpha, sigma)
        ]


@dataclass(frozen=True)
class SphereOracle(Conserved):
    """Uniform on the sphere ‖x₀‖ = radius in `dim` dimensions; u = ‖x‖."""

    radius: Number
    dim: int
    digits: int = 30

    def masses(self, u: Number, alpha: Number, sigma: Number) -> tuple[Any, Any]:
        """Closed for n = 3; otherwise the series, of about c² terms."""
        c = mp.mpmathify(alpha) * mp.mpmathify(self.radius) / mp.mpmathify(sigma)
        r = u / mp.mpmathify(sigma)
        if self.dim == 3:
            gaps = mp.exp(-((r - c) ** 2) / 2) - mp.exp(-((r + c) ** 2) / 2)
            below = mp.ncdf(r - c) - mp.ncdf(-r - c) - gaps / (c * mp.sqrt(2 * mp.pi))
            return below, 1 - below
        below = _noncentral(mp.mpf(self.dim) / 2, c**2 / 2, r**2 / 2)
        return below, 1 - below

    def density(self, u: Number, alpha: Number, sigma: Number) -> Any:
        """σ^{−n} exp(−(r² + α²a²)/(2σ²)) ₀F₁(n/2; q²/4)."""
        a, s = mp.mpmathify(alpha) * mp.mpmathify(self.radius), mp.mpmathify(sigma)
        series = mp.hyp0f1(mp.mpf(self.dim) / 2, (a * u / s**2) ** 2 / 4)
        return series * mp.exp(-(u**2 + a**2) / (2 * s**2)) / s**self.dim

    def data(self, u: Number, alpha: Number, sigma: Number) -> Any:
        """The radius times I_{n/2}(q)/I_{n/2−1}(q)."""
        a = mp.mpmathify(self.radius)
        q = mp.mpmathify(alpha) * a * u / mp.mpmathify(sigma) ** 2
        if self.dim == 3:
            return a * (mp.coth(q) - 1 / q)
        half = mp.mpf(self.dim) / 2
        return a * mp.besseli(half, q) / mp.besseli(half - 1, q)

    def size(self, alpha: Number, sigma: Number) -> Any:
        """α a + σ √n."""
        return alpha * mp.mpmathify(self.radius) + sigma * mp.sqrt(self.dim)


def _window(left: Any, right: Any) -> Any:
    """Φ(right) − Φ(left), from the side where Φ is small."""
    a, b = (left, right) if left + right < 0 else (-right, -left)
    return mp.ncdf(b) - mp.ncdf(a)


def _integral(z: Any) -> Any:
    """∫_{−∞}^z Φ."""
    return z * mp.ncdf(z) + mp.npdf(z)


def _noncentral(half: Any, y: Any, z: Any) -> Any:
    """Σ_j e^{−y} y^j/j! P(half + j, z), by P(a + 1, z) = P(a, z) − z^a e^{−z}/Γ(a + 1)."""
    with mp.workdps(mp.dps + GUARD):
        p, drop = _lower_gamma(half, z), z**half * mp.exp(-z) / mp.gamma(half + 1)
        weight, total, j = mp.exp(-y), mp.zero, 0
        while j < 2 * y or weight * abs(p) > total * mp.eps:
            total += weight * p
            j += 1
            p, drop, weight = p - drop, drop * z / (half + j), weight * y / j
        return total


def _lower_gamma(a: Any, y: Any) -> Any:
    return mp.gammainc(a, 0, y, regularized=True)


def _upper_gamma(a: Any, y: Any) -> Any:
    return mp.gammainc(a, y, mp.inf, regularized=True)
