r"""SciRE's local errors: the h² and h³ terms of one step, and the factor that would remove them.

With y = x/α, y' = F(τ, y) and h the step in τ = σ/α, the second derivative along the flow is
DF = F_τ + F F_y and the third D2F + F_y DF, D2F = F_ττ + 2 F F_τy + F² F_yy.  In the letters of
``theory.order`` N' = DF, N'' = D2F + F_y DF and N_u N' = F_y DF.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy
from sympy import Symbol, expand, simplify

from solvers.forms import NOISE_RHO
from solvers.method import entry
from theory.order import local_error
from theory.proved import Finding, claim
from theory.recursive_difference import FREE, SIXTH, h, phi1, r1, r2

DF, D2F, FyDF = (Symbol(name) for name in ("DF", "D2F", "FyDF"))


def local(name: str, **options: Any) -> tuple[Any, Any]:
    """Exact − numerical after one step: the coefficients of h² and h³ in DF, D2F and F_y DF."""
    error = local_error(entry(name), NOISE_RHO, 3, **options)
    g1, g2, J0 = (Symbol(s) for s in ("g1", "g2", "J0"))
    read = {g1: DF, g2: D2F + FyDF, J0: FyDF / DF}
    square, cube = (expand(-error.v[k].v.as_expr().subs(read)) for k in (2, 3))
    return square, cube


CORRECTED: Mapping[str, Any] = {**FREE, "inner": "corrected"}
BIAS = (1 - 1 / phi1) / 2
TABLE: dict[str, tuple[str, Mapping[str, Any], tuple[Any, Any, Any]]] = {
    "V1-2": ("scire_v1_2", {"phi1": phi1, "r1": r1}, (BIAS, SIXTH - r1 / (4 * phi1), SIXTH)),
    "V1-3": (
        "scire_v1_3",
        FREE,
        (BIAS, SIXTH - r2 / (4 * phi1), SIXTH - 1 / (4 * phi1**2)),
    ),
    "V1-3 corrected": (
        "scire_v1_3",
        CORRECTED,
        (BIAS, SIXTH - r2 / (4 * phi1), SIXTH - r2 / (4 * phi1**2)),
    ),
    "V1-3h": (
        "scire_v1_3",
        {**CORRECTED, "outer": "fd"},
        (0, SIXTH - r2 / 4, SIXTH - r2 / (4 * phi1)),
    ),
}
"""Method, options, and the factors of h² DF, h³ D2F and h³ F_y DF in exact − numerical."""


@claim
def local_errors(*, changed: Any = 0) -> Finding:
    """One step is off by the tabulated h² DF, h³ D2F and h³ F_y DF, for all r₁, r₂ and φ₁."""
    wrong: list[str] = []
    for name, (method, options, (a, b, c)) in TABLE.items():
        square, cube = local(method, **options)
        expected = (a + changed) * DF, b * D2F + c * FyDF
        if (simplify(square - expected[0]), simplify(cube - expected[1])) != (0, 0):
            wrong.append(name)
    return not wrong, f"wrong: {', '.join(wrong)}" if wrong else ", ".join(TABLE)


@claim
def best_factor(*, shift: Any = 0) -> Finding:
    """V1-2 loses its h² and h³ errors at 1/φ* = 1 + h [(1/3 − r₁/2) D2F + F_y DF/3]/DF + O(h²).

    So RD beats φ₁ = 1 on a step, to this order, just if 1/φ* > (1 + 1/φ₁)/2.
    """
    square, cube = local("scire_v1_2", phi1=phi1, r1=r1)
    slope = ((2 * SIXTH - r1 / 2) * D2F + FyDF / 3) / DF + shift
    inverse = 1 + h * slope
    rest = expand((square + h * cube).subs(phi1, 1 / inverse) * DF)
    vanishes = all(simplify(rest.coeff(h, k)) == 0 for k in (0, 1))
    x, a = Symbol("x"), Symbol("a")  # 1/φ* and 1/φ₁: the error is proportional to 1/φ* − 1/φ₁
    gain = sympy.factor((1 - x) ** 2 - (a - x) ** 2) - (a - 1) * (2 * x - a - 1)
    return vanishes and simplify(gain) == 0, f"1/φ* = 1 + h ({slope})"


CLAIMS = (local_errors, best_factor)
