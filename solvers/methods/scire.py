r"""SciRE: Runge-Kutta schemes whose derivative estimates are divided by a constant φ₁(m) < 1.

Source: Li, Chen and Zeng 2023, "SciRE-Solver", and its released code.  The recursive difference
G'(s) ≈ (G(t) − G(s))/(φ₁(m) h) drops a term as large as what it keeps, so for φ₁ ≠ 1 every one of
these methods has order 1 (``theory.recursive_difference`` proves it).
"""

from __future__ import annotations

from fractions import Fraction
from math import factorial
from typing import Literal

from solvers.forms import NOISE_RHO
from solvers.method import Row, Step, Variant, Weight, Weights, method, published
from solvers.options import Factor, Real


def factor(s: Step, phi1: Factor) -> Weight:
    """φ₁(m) = Σ_{k<=m} (−1)^{k−1}/k!; m = ∞ gives 1 − 1/e, "fd" the finite difference 1."""
    if phi1 == "inf":
        return s.F.irrational("phi1_inf", lambda F: 1 - F.exp(F.lift(-1)))
    if phi1 == "fd":
        return 1
    if isinstance(phi1, str):
        return sum(Fraction((-1) ** (k - 1), factorial(k)) for k in range(1, int(phi1[1:]) + 1))
    return phi1


@method
def scire(
    s: Step,
    *,
    q: int,
    phi1: Factor = "m3",
    r1: Real | None = None,
    r2: Real | None = None,
    inner: Literal["published", "paper", "corrected"] = "published",
    outer: Literal["published", "fd"] = "published",
) -> Weights:
    r"""φ₁N₀ + φ₂/(r φ₁(m)) (N_r − N₀), r the last stage; at L = 0 the weight is h/(2 r φ₁(m)).

    Inner weight of N₁ − N₀ in u₂ at L = 0: r₂/(2 r₁ φ₁) (published), 1/φ₁ (paper; the same at the
    default nodes and m = 3), r₂²/(2 r₁ φ₁) (corrected: stage order 2 at φ₁ = 1).
    """
    if q == 1:
        return Weights(b=Row(now=(s.phi(1),)))
    p = factor(s, phi1)
    r1 = r1 if r1 is not None else Fraction(1, q)
    first = Row(now=(s.phi(1, r1) * r1,), c=r1)
    if q == 2:
        w = s.phi(2) / (r1 * p)
        return Weights(stages=(first,), b=Row(now=(s.phi(1) - w, w)))
    r2 = r2 if r2 is not None else Fraction(2, 3)
    one = s.F.lift(1)
    slope = {
        "published": one * r2 / (r1 * p),
        "paper": one * 2 / p,
        "corrected": one * r2 * r2 / (r1 * p),
    }
    a = s.phi(2, r2) * slope[inner]
    second = Row(now=(s.phi(1, r2) * r2 - a, a), c=r2)
    w = s.phi(2) / (r2 * (p if outer == "published" else 1))
    return Weights(stages=(first, second), b=Row(now=(s.phi(1) - w, 0, w)))


cite = "li2023scire"
factors = [Variant({"phi1": "inf"}, 1), Variant({"phi1": "fd"}, None)]
published("scire_v1_2", scire, NOISE_RHO, q=2, claim=1, cite=cite, variants=factors)
factors = [Variant({"phi1": "inf"}, 2), Variant({"phi1": "fd"}, None)]
published("scire_v1_3", scire, NOISE_RHO, q=3, claim=2, cite=cite, variants=factors)
published(
    "scire_v1_3c", scire, NOISE_RHO, q=3, inner="corrected", phi1="fd", claim=3, cite="scoreproof"
)
