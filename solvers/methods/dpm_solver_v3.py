r"""DPM-Solver-v3: Adams's predictor and corrector in the form EMS, whose statistics are measured.

Source: Zheng et al. 2023, "DPM-Solver-v3", and its released code.  With the statistics of data
or noise prediction these methods are UniP and UniPC, solved (``theory.model_statistics``).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import factorial, prod
from typing import Literal

from solvers.empirical import EMS
from solvers.field import Scalar, total
from solvers.method import Row, Step, Variant, Weight, Weights, interpolate, method, published

MIDDLE = Fraction(1, 2) + Fraction(1, 10**9)
"""The time where half-correctors change over; a node there, up to rounding, is late."""

Corrector = Literal["none", "full", "half_paper", "half_code"]


def integral(s: Step, nodes: Sequence[Weight], pseudo: bool) -> tuple[Scalar, ...]:
    """∫₀¹ through the nodes; pseudo: Σ_k k! φ_{k+1} [x₀..x_k]N, x₀ = 0, nodes in this order.

    There each derivative is one divided difference, which is exact up to two nodes.
    """
    if not pseudo:
        return interpolate(s, 1, nodes)
    n, one = len(nodes), s.F.lift(1)

    def term(k: int, j: int) -> Scalar:
        apart = prod((one * (nodes[j] - nodes[m]) for m in range(k + 1) if m != j), start=one)
        return s.phi(k + 1) * factorial(k) / apart

    return tuple(total(term(k, j) for k in range(j, n)) for j in range(n))


def corrects(s: Step, corrector: Corrector, pseudo: bool) -> bool:
    """Whether the new point is corrected: late is t <= ½; a proof, without t, has the worse half.

    Published are both halves, in the paper the late one, in its code the early one.
    """
    if corrector in ("none", "full"):
        return corrector == "full"
    t = s.time(1)
    return pseudo if t is None else (t <= MIDDLE) == (corrector == "half_paper")


@method
def dpm_solver_v3(
    s: Step,
    *,
    q: int,
    corrector: Corrector = "none",
    corrector_order: Literal["same", "plus_one"] = "same",
    p_pseudo: bool = False,
    c_pseudo: bool = False,
) -> Weights:
    r"""∫₀¹ through N₀ .. N_{1−q}, then through N₀, the new N and N₋₁ ..; in EMS.

    The corrector takes as many values as the predictor or, "plus_one" and pseudo, one more.  The
    new evaluation is kept as the next N₀.
    """
    past = [s.past(j) for j in range(1, q)]
    b = integral(s, [0, *past], p_pseudo)
    predictor = Row(now=b[:1], past=b[1:])
    values = q + (c_pseudo or corrector_order == "plus_one")
    if values == 1 or not corrects(s, corrector, c_pseudo and q > 2):
        return Weights(b=predictor)
    b = integral(s, [0, 1, *past[: values - 2]], c_pseudo)
    return Weights(stages=(predictor,), b=Row(now=b[:2], past=b[2:]), carry=1)


def corrected(claim: int, **options: object) -> Variant:
    """A row with the corrector on."""
    return Variant({"corrector": "full", **options}, claim)


for q in (1, 2, 3):
    rows = [
        *([corrected(q)] if q > 1 else []),
        corrected(q + 1, corrector_order="plus_one"),
        *([Variant({"p_pseudo": True}, 2), corrected(3, p_pseudo=True)] if q > 2 else []),
        *([corrected(2, c_pseudo=True)] if q > 1 else []),
    ]
    name, cite = f"dpm_solver_v3_{q}", "zheng2023dpmv3"
    published(name, dpm_solver_v3, EMS, q=q, claim=q, cite=cite, variants=rows)
