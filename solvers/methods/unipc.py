r"""UniPC: predict with q values, evaluate once, correct with q + 1, keep the evaluation.

Source: Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework", and its released code.
"""

from __future__ import annotations

from math import factorial
from typing import Any, Literal

from solvers.field import Scalar, total
from solvers.forms import DATA_LAMBDA, GAUSSIAN, NOISE_LAMBDA
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
def unipc(
    s: Step,
    *,
    q: int,
    variant: Variants = "bh2",
    as_published: bool = False,
    oracle: bool = False,
) -> Weights:
    """Predict, evaluate at the prediction, correct; the evaluation is the next step's N₀.

    ``oracle``: the corrected state is evaluated for that, one more call in every step but the
    last, which only predicts.
    """
    stage = predictor(s, q, variant, as_published)
    if oracle and s.index + 1 == s.steps:
        return Weights(b=stage)
    update = corrector(s, q, variant, as_published)
    return Weights(stages=(stage,), b=update, carry=None if oracle else 1)


FORMS = {"data": DATA_LAMBDA, "noise": NOISE_LAMBDA}
NOISE: dict[str, Any] = {"prediction": "noise"}
HALVES: list[dict[str, Any]] = [{"as_published": True, "variant": b} for b in ("bh2", "bh1")]
RELEASED: dict[str, Any] = {"as_published": True, "variant": "vary_coeff"}
ROWS: dict[str, list[dict[str, Any]]] = {  # what people run, beside the solved system
    "unip_2": [NOISE, *HALVES],
    "unip_3": [NOISE],
    "unipc_1": [NOISE, *HALVES],
    "unipc_2": [NOISE, *HALVES, RELEASED, {"oracle": True}],
    "unipc_3": [NOISE, *HALVES, RELEASED],
}

for q in (1, 2, 3, 4):
    for name, fn, claim in ((f"unip_{q}", unip, q), (f"unipc_{q}", unipc, q + 1)):
        rows = [Variant(o, claim, published=o is not NOISE) for o in ROWS.get(name, ())]
        named = {"claim": claim, "cite": "zhao2023unipc", "variants": rows}
        published(name, fn, FORMS, select="prediction", q=q, **named)
published("whitened_unipc_2", unipc, GAUSSIAN, q=2, claim=3, cite="scoreproof")
