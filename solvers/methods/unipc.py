r"""UniPC: predict with q values, evaluate once, correct with q + 1, keep the evaluation.

Source: Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework", and its released code.
"""

from __future__ import annotations

from math import factorial
from typing import Literal

from solvers.field import Scalar, total
from solvers.forms import DATA_LAMBDA, NOISE_LAMBDA
from solvers.method import (
    Row,
    Step,
    Variant,
    Weight,
    Weights,
    interpolate,
    lagrange,
    method,
    published,
)

Variants = Literal["bh2", "bh1", "exact", "vary_coeff"]


def half(s: Step, variant: Variants, as_published: bool) -> Scalar:
    """The weight of one difference D/r: φ₂; bh1 and bh2 publish 1/2 and φ₁/2 in its place."""
    if as_published and variant == "bh1":
        return s.F.lift(1) / 2
    return s.phi(1) / 2 if as_published and variant == "bh2" else s.phi(2)


def predictor(s: Step, q: int, variant: Variants, as_published: bool) -> Row:
    """UniP-q: the q − 1 past differences."""
    if q == 2:
        w = half(s, variant, as_published) / s.past(1)
        return Row(now=(s.phi(1) - w,), past=(w,))
    b = interpolate(s, 1, [0, *(s.past(j) for j in range(1, q))])
    return Row(now=b[:1], past=b[1:])


def corrector(s: Step, q: int, variant: Variants, as_published: bool) -> Row:
    """UniC-q: the same differences and the one at the new point, r = 1."""
    nodes: list[Weight] = [*(s.past(j) for j in range(1, q)), 1]
    if q == 1:
        w = half(s, variant, as_published)
        return Row(now=(s.phi(1) - w, w))
    if as_published and variant == "vary_coeff":
        return vary_coeff(s, nodes)
    b = interpolate(s, 1, [0, *nodes])
    return Row(now=(b[0], b[q]), past=b[1:q])


def vary_coeff(s: Step, nodes: list[Weight]) -> Row:
    r"""As released: Σ_{k<K} φ_{k+1} Σ_{m<K} (C⁻¹)_{km} D_m/r_m + φ_{K+1} (C⁻¹)_{K−1,K} D_K.

    C_{mk} = r_m^{k−1}/k!.  Right would be all k, m <= K: the last row and column are left out.
    """
    K = len(nodes)
    inverse = [[b * factorial(k) for k, b in enumerate(row, 1)] for row in lagrange(s.F, nodes)]
    past = tuple(
        total(s.phi(k + 1) * inverse[m][k - 1] for k in range(1, K)) / nodes[m]
        for m in range(K - 1)
    )
    new = s.phi(K + 1) * inverse[K - 1][K - 2]
    return Row(now=(s.phi(1) - total(past) - new, new), past=past)


@method
def unip(s: Step, *, q: int, variant: Variants = "bh2", as_published: bool = False) -> Weights:
    """The predictor alone; solved (not as published), the variants are one method."""
    return Weights(b=predictor(s, q, variant, as_published))


@method
def unipc(s: Step, *, q: int, variant: Variants = "bh2", as_published: bool = False) -> Weights:
    """Predict, evaluate at the prediction, correct; the evaluation is the next step's N₀."""
    stage = predictor(s, q, variant, as_published)
    return Weights(stages=(stage,), b=corrector(s, q, variant, as_published), carry=1)


FORMS = {"data": DATA_LAMBDA, "noise": NOISE_LAMBDA}


def released(q: int, claim: int) -> list[Variant]:
    """The rows that people run: the one-half shortcuts and the released vary_coeff."""
    rows = [
        {"prediction": "noise"},
        {"as_published": True, "variant": "bh2"},
        {"as_published": True, "variant": "bh1"},
        {"as_published": True, "variant": "vary_coeff"},
    ]
    return [Variant(o, claim, published="as_published" in o) for o in rows]


for q in (1, 2, 3):
    published(f"unip_{q}", unip, FORMS, select="prediction", q=q, claim=q, cite="zhao2023unipc")
    published(
        f"unipc_{q}",
        unipc,
        FORMS,
        select="prediction",
        q=q,
        claim=q + 1,
        cite="zhao2023unipc",
        variants=released(q, q + 1) if q == 2 else (),
    )
