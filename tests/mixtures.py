"""Mixtures whose distances from their Gaussians are tabulated, and an independent look at them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from mpmath import mp

from gaussian_score.oracle import Oracle

Law = tuple[Any, Any, Any]  # weights, means, covs
EPS = float(np.finfo(np.float64).eps)


def line(weights: Any, means: Any, variances: Any) -> Law:
    """A mixture in one dimension."""
    return weights, [(m,) for m in means], [((v,),) for v in variances]


_Q = np.array(
    [
        (-0.0956675857065052, -0.3346385224963641, -0.9374778783024902),
        (-0.0798180490027644, -0.9361860303937760, 0.3423226483143298),
        (-0.9922080387189374, 0.1075768365262449, 0.0628524633131023),
    ]
)
_S2 = _Q @ np.diag([0.05, 0.6, 0.1]) @ _Q.T
A: Law = (
    (0.2, 0.3, 0.5),
    [(1, 0, -0.5), (-0.8, 1.2, 0.3), (0.1, -0.9, 0.4)],
    np.array([np.diag([0.5, 0.1, 0.2]), (_S2 + _S2.T) / 2, 0.15 * np.eye(3)]),
)
B = line((0.5, 0.5), (1.5, -1.5), (0.04, 0.04))
C = line((0.8, 0.2), (1, -4), (0.25, 0.25))
E: Law = ((0.25,) * 4, [(2, 2), (2, -2), (-2, 2), (-2, -2)], [np.eye(2) * 0.01] * 4)
F: Law = (
    (1 / 3,) * 3,
    [(2 * math.cos(a), 2 * math.sin(a)) for a in (0, 2 * math.pi / 3, -2 * math.pi / 3)],
    [np.eye(2) * 0.01] * 3,
)
LAWS = {"A": A, "B": B, "C": C, "E": E, "F": F}


def exact(law: Law) -> list[tuple[Any, Any, Any]]:
    """w, μ and s of a one-dimensional law as mpf, the decimals read exactly."""
    return [
        (mp.mpf(str(w)), mp.mpf(str(m)), mp.mpf(str(s)))
        for w, (m,), ((s,),) in zip(*law, strict=True)
    ]


def spread(parts: list[tuple[Any, Any, Any]]) -> tuple[Any, Any]:
    """Mean and variance."""
    mean = mp.fsum(q * m for q, m, _ in parts)
    return mean, mp.fsum(q * (s + (m - mean) ** 2) for q, m, s in parts)


def integral(f: Any, places: Any) -> Any:
    """∫ f by mpmath, at its working precision."""
    return mp.quad(f, places)


def displaced(law: Law, w: str, sigma: Any) -> Any:
    """δ = F⁻¹(Φ(w)) − (m + √c w) in one dimension, to 50 digits: exact flow minus jump, from ∞."""
    with mp.workdps(60):
        parts, at = exact(law), mp.mpf(w)
        mean, lam = spread(parts)
        jump = mean + mp.sqrt(lam + sigma**2) * at
        mass = mp.ncdf(at)

        def excess(x: Any) -> Any:
            return (
                mp.fsum(q * mp.ncdf((x - m) / mp.sqrt(s + sigma**2)) for q, m, s in parts) - mass
            )

        return mp.findroot(excess, (jump, jump + mp.mpf("0.01")), tol=mp.mpf(10) ** -110) - jump


def score_difference(law: Law, w: str, sigma: Any) -> Any:
    """s − s_G at x = m + √c w in one dimension, to 50 digits."""
    with mp.workdps(60):
        mean, lam = spread(exact(law))
        root = mp.sqrt(lam + sigma**2)
        return Oracle(*law, 50).score([mean + root * mp.mpf(w)], 1, sigma)[0] + mp.mpf(w) / root


def fifty_digits(law: Law, sigma: Any) -> Any:
    """χ² in one dimension from the plain Gaussian integral."""
    with mp.workdps(70):
        parts = exact(law)
        mean, lam = spread(parts)
        c, total = lam + sigma**2, mp.zero
        for wi, mi, si in parts:
            for wj, mj, sj in parts:
                p, q, a, b = 1 / (si + sigma**2), 1 / (sj + sigma**2), mi - mean, mj - mean
                m = p + q - 1 / c
                power = (p * a + q * b) ** 2 / m - p * a * a - q * b * b
                total += wi * wj * mp.sqrt(c * p * q / m) * mp.exp(power / 2)
        return total - 1
