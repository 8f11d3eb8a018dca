r"""Stiff order conditions of exponential Runge-Kutta methods: which hold, and where.

In u' = L u + N with a large operator L the weights b(z), a(w) are functions of h L, and N_u and
N_uu between them commute with nothing.  So each factor of a condition has φ-functions of an
argument of its own here, and a condition is

    strong      if it holds for all arguments;
    weak        if it holds with b at 0: enough for the conditions of the highest order;
    classical   if it holds where all arguments are 0: all that the order at L = 0 asks for.

They are those of ``CONDITIONS``, with ψ_{jm} = c_m^j φ_j(c_m) − Σ_n a_{mn} c_n^{j−1}/(j−1)!.

For the diffusion ODE L is a number and never large: there the classical conditions decide the
order, and the others how large the error is at a large step.

Source: Hochbruck and Ostermann 2005, "Explicit Exponential Runge-Kutta Methods for Semilinear
Parabolic Problems".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import factorial
from typing import Any

import sympy
from sympy import Symbol

from solvers.field import Scalar, total
from solvers.method import Weight, Weights
from theory.fields import Poly
from theory.free import HIGHEST, PARAMETERS, PLACES, Free
from theory.proved import Finding, claim

ARGUMENTS = "zwv"
"""Of the update, of the stages, of the stages before them."""
PHI = {f"phi{k}({c}){z}": k for k in range(1, HIGHEST + 1) for c in PLACES for z in ARGUMENTS}
FIELD = Poly(PARAMETERS, list(PHI))
r1, r2 = Symbol("r1"), Symbol("r2")


@dataclass(frozen=True)
class At(Free):
    """A step whose φ-functions have one of the arguments."""

    F: Poly = FIELD
    z: str = "z"

    def phi(self, k: int, c: Weight = 1) -> Scalar:
        """φ_k(c) of this argument."""
        return self.F.symbol(f"phi{k}({c.v if isinstance(c, Scalar) else c}){self.z}")


@dataclass(frozen=True)
class Scheme:
    """A method without history as functions of the arguments."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @cached_property
    def at(self) -> dict[str, Weights]:
        """The weights, by argument."""
        return {z: At(z=z).weights(self.name, **self.options) for z in ARGUMENTS}

    @cached_property
    def c(self) -> list[Scalar]:
        """The nodes; the first is the start."""
        return [FIELD.lift(0), *(FIELD.lift(1) * row.c for row in self.at["z"].stages)]

    def against(self, weights: tuple[Weight, ...], values: list[Scalar]) -> Scalar:
        """Σ_m weight_m value_m."""
        pairs = zip(weights, values, strict=False)
        return total([FIELD.lift(0), *(v * w for w, v in pairs)])

    def update(self, values: list[Scalar]) -> Scalar:
        """Σ_m b_m(z) value_m."""
        return self.against(self.at["z"].b.now, values)

    def quadrature(self, j: int) -> Scalar:
        """Σ_m b_m(z) c_m^{j−1}/(j−1)! − φ_j(z)."""
        return self.update([x ** (j - 1) / factorial(j - 1) for x in self.c]) - At().phi(j)

    def psi(self, j: int, z: str = "w") -> list[Scalar]:
        """ψ_{jm}, every m."""
        out, powers = [FIELD.lift(0)], [x ** (j - 1) / factorial(j - 1) for x in self.c]
        for row in self.at[z].stages:
            exact = At(z=z).phi(j, row.c) * row.c**j
            out.append(exact - self.against(row.now, powers))
        return out

    def nested(self) -> Scalar:
        """Σ_m b_m(z) Σ_n a_{mn}(w) ψ_{2n}(v)."""
        inner = self.psi(2, "v")
        stages = [self.against(row.now, inner) for row in self.at["w"].stages]
        return self.update([FIELD.lift(0), *stages])


CONDITIONS: dict[str, tuple[int, Callable[[Scheme], Scalar]]] = {
    "Σb = φ₁": (1, lambda s: s.quadrature(1)),
    "Σbc = φ₂": (2, lambda s: s.quadrature(2)),
    "Σbc²/2 = φ₃": (3, lambda s: s.quadrature(3)),
    "Σbψ₂ = 0": (3, lambda s: s.update(s.psi(2))),
    "Σbc³/6 = φ₄": (4, lambda s: s.quadrature(4)),
    "Σbψ₃ = 0": (4, lambda s: s.update(s.psi(3))),
    "Σbaψ₂ = 0": (4, Scheme.nested),
    "Σbcψ₂ = 0": (4, lambda s: s.update([a * b for a, b in zip(s.c, s.psi(2), strict=True)])),
}
"""By order; ψ₁ = 0 holds in every stage that passes the registry's row check."""


def verdict(residual: Scalar) -> str:
    """Of a condition: strong, weak, classical or broken."""
    expression: Any = residual.v.as_expr()
    for name, zero in (("strong", ""), ("weak", "z"), ("classical", ARGUMENTS)):
        if _vanishes(expression, zero):
            return name
    return "broken"


PLACE = {"z": -1, "w": -2, "v": -3, "r1": sympy.Rational(2, 7), "r2": sympy.Rational(5, 7)}
"""Where a residual that is no zero polynomial in the φ_k(c) has to be seen not to vanish."""


def _vanishes(expression: Any, zero: str) -> bool:
    """Whether it does for all φ_k(c), but those of ``zero`` at 0."""
    rest = sympy.simplify(at(expression, dict.fromkeys(zero, 0)))
    if rest == 0:
        return True
    number = at(rest, PLACE).subs({r1: PLACE["r1"], r2: PLACE["r2"]})
    if abs(sympy.N(number, 30)) < 1e-9:  # the φ_k are algebraically dependent functions
        raise ArithmeticError(f"{rest}: undecided, it vanishes at {PLACE}")
    return False


def at(expression: Any, places: Mapping[str, Any]) -> Any:
    """With the φ-functions of these arguments at numbers."""
    known: dict[Any, Any] = {}
    for s in expression.free_symbols:
        if (k := PHI.get(s.name)) and s.name[-1] in places:
            c = {"r1": PLACE["r1"], "r2": PLACE["r2"]}.get(s.name[5:-2], s.name[5:-2])
            x = places[s.name[-1]] * sympy.Rational(c)
            series = sum(x**j / sympy.factorial(j) for j in range(k))
            known[s] = (sympy.exp(x) - series) / x**k if x else sympy.Rational(1, factorial(k))
    return expression.subs(known)


def verdicts(scheme: Scheme) -> dict[str, str]:
    """Of every condition."""
    return {name: verdict(residual(scheme)) for name, (_, residual) in CONDITIONS.items()}


def stiff_order(scheme: Scheme) -> int:
    """The largest p with the conditions of p at least weak, and those below strong."""
    found = verdicts(scheme)
    order = 0
    for p in range(1, 5):
        held = {found[name] for name, (of, _) in CONDITIONS.items() if of == p}
        if not held <= {"strong", "weak"}:
            break
        order = p
        if "weak" in held:
            break
    return order


RES_3 = Scheme("res_3s", {"c2": r1, "c3": r2})
KNOWN: tuple[tuple[Scheme, int], ...] = (
    (Scheme("dpm_solver_2", {"r1": r1}), 2),
    (Scheme("res_2s", {"c2": r1}), 2),
    (Scheme("dpm_solver_3", {"r1": r1}), 3),
    (Scheme("dpm_solver_3", {"r1": r1, "r2": r2}), 2),
    (Scheme("dpm_solver_3", {"weights": "taylor"}), 3),
    (RES_3, 3),
    (Scheme("krogstad_4"), 3),
    (Scheme("ho_5"), 4),
)


@claim
def stiff_orders(*, shift: int = 0) -> Finding:
    """RES-2 and DPM-Solver-2: 2; RES-3, DPM-Solver-3 at r₂ = 2/3 and Krogstad: 3; ho_5: 4.

    For all free nodes; DPM-Solver-3 at another r₂ has 2.
    """
    found = [(s, stiff_order(s), p + shift) for s, p in KNOWN]
    detail = ", ".join(f"{s.name} {dict(s.options)} {order}" for s, order, _ in found)
    return all(order == p for _, order, p in found), detail


MARKS: dict[str, tuple[Scheme, str]] = {  # in the order of CONDITIONS: s, w, c, -
    "RES-2": (Scheme("res_2s", {"c2": r1}), "ss"),
    "midpoint weights": (Scheme("dpm_solver_2", {"r1": r1}), "sw"),
    "RES-3": (RES_3, "ssws"),
    "DPM-Solver-3": (Scheme("dpm_solver_3", {"r1": r1}), "ssws"),
    "DPM-Solver-3, taylor": (Scheme("dpm_solver_3", {"weights": "taylor"}), "sssw"),
    "Krogstad": (Scheme("krogstad_4"), "sssswccs"),
    "Hochbruck-Ostermann": (Scheme("ho_5"), "sssswwss"),
}


@claim
def strong_weak_classical(*, marks: Mapping[str, tuple[Scheme, str]] = MARKS) -> Finding:
    """Each condition holds as the table says: strongly, with b(0), at 0 alone, or not at all.

    RES-3 and DPM-Solver-3 at r₂ = 2/3 meet the same conditions; with taylor weights the quadrature
    conditions are strong and Σbψ₂ = 0 is weak.
    """
    letter = {"strong": "s", "weak": "w", "classical": "c", "broken": "-"}
    wrong: list[str] = []
    for name, (scheme, expected) in marks.items():
        found = "".join(letter[v] for v in verdicts(scheme).values())
        if found[: len(expected)] != expected:
            wrong.append(f"{name}: {found}")
    return not wrong, ", ".join(wrong) or ", ".join(f"{n} {m}" for n, (_, m) in marks.items())


@claim
def midpoint_weights_miss_condition_2(*, weights: str = "dpmsolver") -> Finding:
    """DPM-Solver-2's φ₁/(2r₁) leaves Σbc − φ₂ = 1/2 − 3/(2e) = −0.0518.. at z = −1, and 0 at 0."""
    residual = Scheme("dpm_solver_2", {"weights": weights}).quadrature(2)
    found = at(residual.v.as_expr(), {"z": -1})
    exact = sympy.Rational(1, 2) - sympy.Rational(3, 2) * sympy.exp(-1)
    return sympy.simplify(found - exact) == 0, f"{float(found):.6f}"


@claim
def cubed_node_is_right_at_one(*, as_published: bool = True) -> Finding:
    """The published γ of RES-3 meets Σbc² = 1/3 at z = 0 at c₃ = 1 alone (and at c₃ = 0)."""
    scheme = Scheme("res_3s", {**RES_3.options, "as_published": as_published})
    rest = sympy.factor(at(scheme.quadrature(3).v.as_expr(), {"z": 0}))
    numerator, _ = sympy.fraction(rest)
    return set(sympy.solve(numerator, r2)) == {0, 1}, str(rest)


@claim
def res_3_contains_dpm_solver_3(*, node: Fraction = Fraction(2, 3)) -> Finding:
    """RES-2 is DPM-Solver-2 with taylor weights; RES-3 at c₃ = 2/3, γ = 0, is DPM-Solver-3."""
    step = Free()
    taylor = step.weights("dpm_solver_2", r1=r1, weights="taylor")
    two = step.same(step.weights("res_2s", c2=r1), taylor)
    res = step.weights("res_3s", c2=r1, c3=node)
    three = step.same(res, step.weights("dpm_solver_3", r1=r1))
    return two and three and res.b.now[1] == 0, "every c₂ = r₁, every form"


CLAIMS = (
    stiff_orders,
    strong_weak_classical,
    midpoint_weights_miss_condition_2,
    cubed_node_is_right_at_one,
    res_3_contains_dpm_solver_3,
)
