r"""SciRE's recursive difference: what it estimates, and the order of the methods built on it.

G(τ) is the noise prediction along the trajectory, s the evaluation point, t = s + h the other one.
Replacing G^{(k)}(s) by (G^{(k−1)}(t) − G^{(k−1)}(s))/h for k >= 2, again and again, in the Taylor
series of G(t) leaves, with φ₁(m) = Σ_{k=1}^m (−1)^{k−1}/k!, φ₂(m) = Σ_{k=2}^m (−1)^k/k! and
φ₃(m) = Σ_{k=3}^m (−1)^{k+1}/k!,

    G'(s) = (1/φ₁) (G(t) − G(s))/h − (φ₂/φ₁) G'(t) − (φ₃/φ₁) h G''(t) + O(h²).            (full)

The solvers use  G'(s) ≈ (G(t) − G(s))/(φ₁ h)  (truncated), which drops a term as large as what it
keeps.  Every function below proves one statement; its parameters exist for controls to spoil.

Source: Li, Chen and Zeng 2023, "SciRE-Solver", theorems 3.1 and 3.2; the errors are ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fractions import Fraction
from math import factorial
from typing import Any

import sympy
from sympy import Rational, Symbol, expand, simplify

from solvers.form import Form
from solvers.forms import NOISE_RHO
from solvers.gridstep import Uniform
from solvers.method import Row, entry
from solvers.methods.scire import factor
from theory.fields import MP
from theory.free import Free
from theory.order import prove_order
from theory.proved import Finding, claim

h, phi1, r1, r2 = (Symbol(name) for name in ("h", "phi1", "r1", "r2"))
G = [Symbol(f"G{k}") for k in range(6)]
"""G^{(k)}(s)."""
EXACT = len(G) - 2
"""Powers of h below this one are not touched by the truncation."""
SIXTH = Rational(1, 6)
LIMIT = 1 - sympy.exp(-1)
"""φ₁(∞)."""
ORDERS = range(3, 11)
"""The m that are checked one by one."""


def phi(j: int, m: int) -> Fraction:
    """φ_j(m) = Σ_{k=j}^m (−1)^{k−j}/k!."""
    return sum((Fraction((-1) ** (k - j), factorial(k)) for k in range(j, m + 1)), Fraction(0))


def derivative(k: int) -> Any:
    """G^{(k)}(t), by Taylor's series at s."""
    return sum((g * h**i / factorial(i) for i, g in enumerate(G[k:])), sympy.Integer(0))


def quotient() -> Any:
    """(G(t) − G(s))/h."""
    return expand((derivative(0) - G[0]) / h)


def powers(error: Any) -> dict[int, Any]:
    """The nonzero coefficients of h^0, h^1, .. , as far as they are exact."""
    error = expand(error)
    found = {k: sympy.factor(error.coeff(h, k)) for k in range(EXACT)}
    return {k: c for k, c in found.items() if c != 0}


def recursion(m: int) -> list[Fraction]:
    """Coefficients of G'(s), h G'(t), h² G''(t), .. in G(t) − G(s) after the recursion.

    Only powers of h are tracked, so h = 1: G^{(k)}(s) becomes G^{(k−1)}(t) − G^{(k−1)}(s).
    """
    replaced = [Fraction(1)] + [Fraction(0)] * m
    total = list(replaced)
    for k in range(2, m + 1):
        replaced = [-c for c in replaced]
        replaced[k - 1] += 1
        total = [a + c / factorial(k) for a, c in zip(total, replaced, strict=True)]
    return total


# --- the identity -------------------------------------------------------------------------------


@claim
def recursion_gives_phi(*, sums: Any = phi) -> Finding:
    """The recursion leaves φ₁ G'(s) + φ₂ h G'(t) + φ₃ h² G''(t) + .. of G(t) − G(s), m = 3..10."""
    step = Uniform(MP(50))
    matches = [recursion(m)[:3] == [sums(j, m) for j in (1, 2, 3)] for m in ORDERS]
    used = [factor(step, f"m{m}") == sums(1, m) for m in ORDERS]
    return all(matches) and all(used), f"φ₁(3) = {sums(1, 3)}, as the solvers use it"


@claim
def sums_are_related(*, sums: Any = phi) -> Finding:
    """φ₁ + φ₂ = 1 and φ₂ + φ₃ = 1/2 for every m, m = ∞ included, where φ₁ = 1 − 1/e."""
    related = (
        (sums(1, m) + sums(2, m), sums(2, m) + sums(3, m)) == (1, Fraction(1, 2)) for m in ORDERS
    )
    k = Symbol("k", integer=True, positive=True)
    terms = [(-1) ** (k - j) / sympy.factorial(k) for j in (1, 2, 3)]
    cancel = (simplify(a + b) == 0 for a, b in itertools.pairwise(terms))
    limit = sympy.summation(terms[0], (k, 1, sympy.oo))
    F = MP(50)
    used = factor(Uniform(F), "inf") == 1 - F.exp(F.lift(-1))
    known = simplify(limit - LIMIT) == 0
    return all(related) and all(cancel) and known and used, f"φ₁(∞) = {limit}"


@claim
def full_identity_holds(*, phi3: Any = phi1 - 3 * SIXTH) -> Finding:
    """(full) is off by (1/(6φ₁) − 1/2) h² G''' + O(h³), for any φ₁, φ₂ = 1 − φ₁, φ₃ = φ₁ − 1/2."""
    full = (quotient() - (1 - phi1) * derivative(1) - phi3 * h * derivative(2)) / phi1
    found = powers(full - G[1])
    expected = (1 / (6 * phi1) - 3 * SIXTH) * G[3]
    holds = min(found) == 2 and simplify(found[2] - expected) == 0
    return holds, f"h^{min(found)} ({found[min(found)]})"


@claim
def predictor_costs_a_power(*, state_error: Any = -(h**2) / 2 * G[1]) -> Finding:
    """With G(t) taken at DDIM's prediction, off by −h² G'/2, (full) is right to O(h) only."""
    J = Symbol("N_u")
    computed = quotient() + J * state_error / h
    full = computed - (1 - phi1) * derivative(1) - (phi1 - Rational(1, 2)) * h * derivative(2)
    found = powers(full / phi1 - G[1])
    holds = min(found) == 1 and simplify(found[1] + J * G[1] / (2 * phi1)) == 0
    return holds, f"h^{min(found)} ({found[min(found)]})"


@claim
def truncated_is_inconsistent(*, divisor: Any = phi1) -> Finding:
    """(truncated) is off by (1/φ₁ − 1) G' + h G''/(2φ₁) + O(h²): not an estimate unless φ₁ = 1."""
    found = powers(quotient() / divisor - G[1])
    bias = (1 / phi1 - 1) * G[1]
    holds = (
        min(found) == 0
        and simplify(found[0] - bias) == 0
        and simplify(found[1] - G[2] / (2 * phi1)) == 0
        and sympy.solve(found[0], phi1) == [1]
    )
    return holds, f"h^{min(found)} ({found[min(found)]})"


@claim
def other_closures(*, kept: Any = None) -> Finding:
    """Keeping G'(t) without φ₃ is off by (1 − 1/(2φ₁)) h G''; G'(t) by the quotient cancels φ₁."""
    slope = derivative(1) if kept is None else kept
    found = powers((quotient() - (1 - phi1) * slope) / phi1 - G[1])
    expected = (1 - 1 / (2 * phi1)) * G[2]
    closed = simplify((quotient() - (1 - phi1) * quotient()) / phi1 - quotient()) == 0
    return min(found) == 1 and simplify(found[1] - expected) == 0 and closed, f"h ({found[1]})"


@claim
def exact_for_relaxation(*, limit: Any = LIMIT) -> Finding:
    """(truncated) is exact for G = A + B e^{−θ}, θ = (τ − s)/h, at φ₁ = 1 − 1/e and only there."""
    A, B, theta = (Symbol(name) for name in "A B theta".split())
    relaxing = A + B * sympy.exp(-theta)
    slope = sympy.diff(relaxing, theta).subs(theta, 0) / h
    estimate = (relaxing.subs(theta, 1) - relaxing.subs(theta, 0)) / (phi1 * h)
    (exact,) = sympy.solve(estimate - slope, phi1)
    return simplify(exact - limit) == 0, f"φ₁ = {exact}"


# --- the methods --------------------------------------------------------------------------------

FREE: Mapping[str, Any] = {"phi1": phi1, "r1": r1, "r2": r2}
TWO: Mapping[str, Any] = {"phi1": phi1, "r1": r1}
FAMILY: tuple[tuple[str, Mapping[str, Any], int], ...] = (
    *((name, TWO, 1) for name in ("scire_v1_2", "scire_v2_2", "scirei_2")),
    *((name, FREE, 1) for name in ("scire_v1_3", "scire_v2_3", "scirei_3")),
    *((f"scire_{v}_2m", {"phi1": phi1, "rule": "A"}, 2) for v in ("v1", "v2")),
    *((f"scire_{v}_2m", {"phi1": phi1, "rule": r}, 1) for v in ("v1", "v2") for r in "BC"),
    *((f"scire_{v}_3m", {"phi1": phi1}, 2) for v in ("v1", "v2")),
)
"""Method, its parameters as symbols, and the power of 1/φ₁ in its error."""


def first_word(name: str, form: Form | None = None, **options: Any) -> tuple[int, Any]:
    """The order, and the factor of h² N' in the error of one step."""
    proof = prove_order(entry(name), form, **options)
    return proof.graded, dict(proof.leading.terms).get(("g1",), sympy.Integer(0))


@claim
def v1_2_claim_is_true(*, claimed: int = 1) -> Finding:
    """V1-2 has order 1 for every φ₁ ≠ 1 and every r₁: the claimed k − 1 = 1 is true, and sharp."""
    order, c = first_word("scire_v1_2", **TWO)
    holds = order == claimed and simplify(c - (1 / phi1 - 1) / 2) == 0
    return holds and sympy.solve(c, phi1) == [1], f"order {order}, error h² ({c}) N'"


@claim
def v1_3_claim_is_false(*, claimed: int = 2, **options: Any) -> Finding:
    """V1-3 has order 1 for every φ₁ ≠ 1, r₁ and r₂: the claimed order >= k − 1 = 2 is false."""
    order, c = first_word("scire_v1_3", **(options or FREE))
    return order == 1 and order < claimed, f"order {order}, error h² ({c}) N'"


@claim
def error_against_ddim(*, reference: str = "ddim") -> Finding:
    """On one grid the errors of V1, V2 and SciREI tend to 1 − 1/φ₁ times the error of DDIM.

    To leading order the global error e obeys e' = N_u e + c N' with c constant along the flow, so
    errors compare as the proved constants c do.  For all r₁ and r₂; with rule A and for 3m it is
    1 − 1/φ₁².
    """
    wrong: list[str] = []
    for name, options, power in FAMILY:
        _, c = first_word(reference, entry(name).form({}))
        order, own = first_word(name, **options)
        if order != 1 or simplify(own / c - 1 + 1 / phi1**power) != 0:
            wrong.append(name)
    return not wrong, f"wrong: {', '.join(wrong)}" if wrong else f"{len(FAMILY)} cases"


@claim
def combination_of_fd_and_ddim(*, share: Any = None) -> Finding:
    """x_RD = x_FD/φ₁ + (1 − 1/φ₁) x_DDIM exactly, for all φ_k and r₁: every form, every h.

    Two stages and two values; rule A has φ₁² for φ₁.
    """
    step = Free()
    (start,) = step.weights("ddim").b.now
    cases = [case for case in FAMILY if "r2" not in case[1] and "_3" not in case[0]]
    for name, options, power in cases:
        rd, fd = (step.weights(name, **{**options, "phi1": f}) for f in (phi1, "fd"))
        a = (1 / step.scalar(phi1)) ** power if share is None else share
        first, *rest = fd.b.now
        now = (first * a + start * (1 - a), *(w * a for w in rest))
        mixed = Row(now=now, past=tuple(w * a for w in fd.b.past))
        stages = zip(rd.stages, fd.stages, strict=True)
        if not (all(step.equal(x, y) for x, y in stages) and step.equal(rd.b, mixed)):
            return False, f"{name} {dict(options)}"
    return True, f"{len(cases)} cases, stage and update"


@claim
def corrected_has_order_3(*, inner: str = "corrected") -> Finding:
    """V1-3 with the inner weight r₂²/(2 r₁) and φ₁ = 1 has order 3 for every r₁, at r₂ = 2/3."""
    named = prove_order(entry("scire_v1_3c"), NOISE_RHO)
    options = {"inner": inner, "phi1": "fd", "r1": r1, "r2": Fraction(2, 3)}
    general = prove_order(entry("scire_v1_3"), NOISE_RHO, **options)
    return named.graded == general.graded == 3, f"order {general.graded}, error {named.leading}"


@claim
def no_factor_repairs_v1_3(*, inner: str = "published") -> Finding:
    """No φ₁ gives the published V1-3 order 3: h² asks for φ₁ = 1, where h³ keeps N_u N'/12."""
    _, c = first_word("scire_v1_3", phi1=phi1, inner=inner)
    proof = prove_order(entry("scire_v1_3"), NOISE_RHO, phi1="fd", inner=inner)
    return sympy.solve(c, phi1) == [1] and proof.graded == 2, f"at φ₁ = 1: {proof.leading}"


@claim
def no_factor_repairs_3m(*, name: str = "scire_v1_3m") -> Finding:
    """No φ₁ gives 3m order 3: h² asks for φ₁ = 1, where h³ keeps −N''/12, the 1/3 − 5/12 to AB-3.

    On equal steps; elsewhere 2m with rule C and 3m lose the second order too, A and B do not.
    """
    _, c = first_word(name, phi1=phi1)
    proof = prove_order(entry(name), phi1="fd")
    equal = {word: c.subs(Symbol("T2"), 0) for word, c in proof.leading.terms}
    kept = {("g1",): 0, ("g2",): Rational(1, 3) - Rational(5, 12)}
    wide = {r: prove_order(entry("scire_v1_2m"), phi1="fd", rule=r).any_grid for r in "ABC"}
    holds = set(sympy.solve(c, phi1)) <= {-1, 1} and equal == kept and proof.any_grid == 1
    return holds and wide == {"A": 2, "B": 2, "C": 1}, f"at φ₁ = 1: {proof.leading}"


CLAIMS = (
    recursion_gives_phi,
    sums_are_related,
    full_identity_holds,
    predictor_costs_a_power,
    truncated_is_inconsistent,
    other_closures,
    exact_for_relaxation,
    v1_2_claim_is_true,
    v1_3_claim_is_false,
    error_against_ddim,
    combination_of_fd_and_ddim,
    corrected_has_order_3,
    no_factor_repairs_v1_3,
    no_factor_repairs_3m,
)
