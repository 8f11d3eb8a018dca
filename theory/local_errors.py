r"""SciRE's local errors: the h² and h³ terms of one step, and the factor that would remove them.

With y = x/α, y' = F(τ, y) and h the step in τ = σ/α, the second derivative along the flow is
DF = F_τ + F F_y and the third D2F + F_y DF, D2F = F_ττ + 2 F F_τy + F² F_yy.  In the letters of
``theory.order`` N' = DF, N'' = D2F + F_y DF and N_u N' = F_y DF.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import Symbol, expand, simplify

from solvers.field import total
from solvers.method import entry
from theory.free import Free
from theory.order import local_error
from theory.proved import Finding, claim
from theory.recursive_difference import FREE, SIXTH, TWO, h, phi1, r1, r2

DF, D2F, FyDF = (Symbol(name) for name in ("DF", "D2F", "FyDF"))


g1, g2, J0 = (Symbol(s) for s in ("g1", "g2", "J0"))
"""N', N'' and N_u."""


def local(name: str, *, everywhere: bool = False, **options: Any) -> tuple[Any, Any]:
    """Exact − numerical after one step, the coefficients of h² and h³; in every form at once."""
    e = entry(name)
    error = local_error(e, None if everywhere else e.form({}), 3, **options)
    square, cube = (expand(-error.v[k].v.as_expr()) for k in (2, 3))
    return square, cube


CORRECTED: Mapping[str, Any] = {**FREE, "inner": "corrected"}
BIAS = (1 - 1 / phi1) / 2
TABLE: dict[str, tuple[str, Mapping[str, Any], tuple[Any, Any, Any]]] = {
    "V1-2": ("scire_v1_2", TWO, (BIAS, SIXTH - r1 / (4 * phi1), SIXTH)),
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
"""Method, options, and the factors of h² DF, h³ D2F and h³ F_y DF in exact − numerical.

V2's are the same in 1/ρ, x/σ and the data prediction.
"""


@claim
def local_errors(*, changed: Any = 0) -> Finding:
    """One step is off by the tabulated h² DF, h³ D2F and h³ F_y DF, for all r₁, r₂ and φ₁."""
    wrong: list[str] = []
    read = {g1: DF, g2: D2F + FyDF, J0: FyDF / DF}
    cases = [(method, case) for case in TABLE.values() for method in (case[0], _v2(case[0]))]
    for method, (_, options, (a, b, c)) in cases:
        square, cube = (error.subs(read) for error in local(method, **options))
        expected = (a + changed) * DF, b * D2F + c * FyDF
        if (simplify(square - expected[0]), simplify(cube - expected[1])) != (0, 0):
            wrong.append(method)
    return not wrong, f"wrong: {', '.join(wrong)}" if wrong else f"{len(cases)} cases"


def _v2(method: str) -> str:
    return method.replace("v1", "v2")


def best_inverse(h: Any, r1: Any, slope: Any, curve: Any, pull: Any) -> Any:
    """1/φ* = 1 + h [(1/3 − r₁/2) N'' + r₁/2 N_u N']/N' from N', N'' and N_u N'.

    Of vectors their products with N', which leaves the smallest error: numbers of any kind.
    """
    return 1 + h * ((2 - 3 * r1) * curve + 3 * r1 * pull) / (6 * slope)


@claim
def best_factor(*, shift: Any = 0) -> Finding:
    """1/φ* = 1 + h [(1/3 − r₁/2) N'' + r₁/2 N_u N']/N' + O(h²) takes the h² and h³ errors away.

    V1-2, V2-2 and SciREI-2; in ρ it is 1 + h [(1/3 − r₁/2) D2F + F_y DF/3]/DF.  The step is affine
    in 1/φ₁, so RD beats φ₁ = 1 on a step, to this order, just if 1/φ* > (1 + 1/φ₁)/2.
    """
    inverse = best_inverse(h, r1, g1, g2, J0 * g1) + shift * h
    square, cube = local("scire_v1_2", everywhere=True, **TWO)
    rest = expand((square + h * cube).subs(phi1, 1 / inverse) * g1)
    vanishes = all(simplify(rest.coeff(h, k)) == 0 for k in (0, 1))
    flat = best_inverse(h, r1, DF, D2F + FyDF, FyDF)
    known = 1 + h * ((2 * SIXTH - r1 / 2) * D2F + FyDF / 3) / DF
    x, a = Symbol("x"), Symbol("a")  # 1/φ* and 1/φ₁: the error is proportional to 1/φ* − 1/φ₁
    gain = expand((1 - x) ** 2 - (a - x) ** 2 - (a - 1) * (2 * x - a - 1))
    return vanishes and simplify(flat - known) == 0 == gain, f"1/φ* = {inverse}"


@claim
def runge_kutta_sums(*, spoil: Any = 0) -> Finding:
    """V1-2 and V1-3: b·c = 1/(2φ₁); V1-3: b·c² = r₂/(2φ₁) and b·Ac = 1/(4φ₁²) as published.

    So on F = a y, Z = h a, they are 1 + Z + Z²/(2φ₁) and that + Z³/(4φ₁²).
    """
    step = Free(flat=True)
    p, last = step.scalar(phi1), step.scalar(r2)
    wanted = {"scire_v1_2": (2 * p,), "scire_v1_3": (2 * p, 2 * p / last, 4 * p * p)}
    for name, inverses in wanted.items():
        w = step.weights(name, **(TWO if len(inverses) == 1 else FREE))
        c = [step.F.lift(0), *(row.c for row in w.stages)]
        Ac = [step.F.lift(0), *(_dot(row.now, c) for row in w.stages)]
        rowsums = all(_dot(row.now, [1] * len(row.now)) == row.c for row in w.stages)
        sums = [_dot(w.b.now, x) for x in (c, [x * x for x in c], Ac)]
        found = [s * x - 1 - spoil for s, x in zip(sums, inverses, strict=False)]
        if not rowsums or any(x != 0 for x in found):
            return False, name
    return True, ", ".join(wanted)


def _dot(weights: Any, values: Any) -> Any:
    return total(v * w for w, v in zip(weights, values, strict=False))


CLAIMS = (local_errors, best_factor, runge_kutta_sums)
