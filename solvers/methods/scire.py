r"""SciRE: Runge-Kutta schemes whose derivative estimates are divided by a constant φ₁(m) < 1.

Source: Li, Chen and Zeng 2023, "SciRE-Solver", and its released code.  The recursive difference
G'(s) ≈ (G(t) − G(s))/(φ₁(m) h) drops a term as large as what it keeps, so for φ₁ ≠ 1 every one of
these methods has order 1 (``theory.recursive_difference`` proves it).  Lists of its code: factors
for φ₁ in ``solvers.ladders``, r₁ and r₂ by ``solvers.grids.inner_nodes``.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import factorial
from typing import Literal

from solvers.forms import DATA_SNR, NOISE_LAMBDA, NOISE_RHO
from solvers.ladders import agile
from solvers.method import Row, Step, Variant, Weight, Weights, method, published
from solvers.options import Factor, Real


def factor(s: Step, phi1: Factor) -> Weight:
    """φ₁(m) = Σ_{k<=m} (−1)^{k−1}/k!; m = ∞ gives 1 − 1/e, "fd" the finite difference 1."""
    if phi1 == "inf":
        return s.F.irrational("phi1_inf", lambda F: 1 - F.exp(F.lift(-1)))
    if phi1 == "fd":
        return 1
    if isinstance(phi1, str):
        return partial_sum(int(phi1[1:]))
    return phi1


@cache
def partial_sum(m: int) -> Fraction:
    """Σ_{k<=m} (−1)^{k−1}/k!."""
    return sum((Fraction((-1) ** (k - 1), factorial(k)) for k in range(1, m + 1)), Fraction(0))


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


def factors(claim: int | None, right: str | None = None) -> list[Variant]:
    """The rows beside φ₁(3): φ₁(∞), and the finite difference of the paper's ablation."""
    return [
        Variant({"phi1": "inf"}, claim, right=right),
        Variant({"phi1": "fd"}, None, right=right),
    ]


cite, ours = "li2023scire", "scoreproof"
for name, form, claims in (
    ("scire_v1", NOISE_RHO, (1, 2)),  # theorem 3.2, which is of V1-k alone: order >= k − 1
    ("scire_v2", DATA_SNR, (None, None)),
):
    for q, claim, right in zip((2, 3), claims, (None, f"{name}_3c"), strict=True):
        own = {"claim": claim, "right": right, "variants": factors(claim, right)}
        published(f"{name}_{q}", scire, form, q=q, cite=cite, **own)
    # c: right weights; h: a recursive difference inside the stage alone, where it does no harm
    published(f"{name}_3c", scire, form, q=3, inner="corrected", phi1="fd", claim=3, cite=ours)
    published(f"{name}_3h", scire, form, q=3, inner="corrected", outer="fd", claim=2, cite=ours)
    published(f"{name}_agile", scire, form, q=3, cite=cite, ladder=agile)

published("scirei_2", scire, NOISE_LAMBDA, q=2, cite=cite, variants=factors(None))
third = [Variant({"phi1": "fd"}, 3)]
published(
    "scirei_3", scire, NOISE_LAMBDA, q=3, inner="corrected", claim=1, cite=ours, variants=third
)
