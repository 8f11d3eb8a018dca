"""Equalities between published methods, proved on their weights.

Weights are compared on ``theory.free``'s step, where φ_k(c) and the step ratios are free symbols:
one proof covers every form, grid and h.  Where a form is named, its own φ_k are put in.  Every
function proves one statement; its parameters exist for controls to spoil.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import factorial
from typing import Any

import sympy
from sympy import Symbol, diff, simplify

from solvers.field import RATIONAL, total
from solvers.forms import DATA_LAMBDA, DATA_SNR, NOISE_LAMBDA, NOISE_T
from solvers.gridstep import GridStep, Uniform
from solvers.method import Row, Weights, entry
from solvers.point import Point
from theory import forms
from theory.free import Free
from theory.order import bound, prove_order
from theory.proved import Finding, claim

r1, r2 = Symbol("r1"), Symbol("r2")
FREE, FLAT = Free(), Free(flat=True)
"""Any form; ρ, or any form with L = 0 and K = 1."""


def ladder(a: str, b: str, orders: Sequence[int], **options: Any) -> Finding:
    """Equality at every order of the warm-up; ``options`` are those of b."""
    pairs = {q: (FREE.weights(a, q=q), FREE.weights(b, q=q, **options)) for q in orders}
    differ = [q for q, (x, y) in pairs.items() if not FREE.same(x, y)]
    return not differ, f"orders {differ} differ" if differ else f"orders {list(orders)}, all forms"


@claim
def log_rho_ab1_is_2m(*, kind: str = "heun") -> Finding:
    """log-ρAB-1 is DPM-Solver-2M with heun weights, on every grid and in every form."""
    return ladder("deis_logrho_ab1", "dpm_solver_2m", (1, 2), weights=kind)


@claim
def log_rho_ab2_is_3m(*, as_published: bool = False) -> Finding:
    """log-ρAB-2 is DPM-Solver-3M with the factor 2 and heun weights in the warm-up."""
    options = {"weights": "heun", "as_published": as_published}
    return ladder("deis_logrho_ab2", "dpm_solver_3m", (1, 2, 3), **options)


@claim
def solved_unip_is_adams(*, as_published: bool = False) -> Finding:
    """UniP-q, its system solved, is the exponential Adams method with q values."""
    return ladder("deis_logrho_ab2", "unip_3", (1, 2, 3), as_published=as_published)


@claim
def unip_2_bh2_is_2m(*, variant: str = "bh2") -> Finding:
    """UniP-2 with the published bh2 shortcut is DPM-Solver++(2M)."""
    return ladder("dpm_solver_pp_2m", "unip_2", (1, 2), variant=variant, as_published=True)


@claim
def heun_is_dpm_solver_2(*, node: Any = 1) -> Finding:
    """EDM's Heun is DPM-Solver-2 with r₁ = 1 in ρ; any α is its taylor row in every form."""
    edm = FLAT.same(FLAT.weights("rho_heun2"), FLAT.weights("dpm_solver_2", r1=node))
    general = FREE.weights("rho_heun2", alpha=r1)
    taylor = FREE.weights("dpm_solver_2", r1=r1, weights="taylor")
    return edm and FREE.same(general, taylor), "ρ at r₁ = 1, every form at r₁ = α"


@claim
def corrected_scire_is_dpm_solver_3(*, inner: str = "corrected") -> Finding:
    """V1-3 corrected at φ₁ = 1 is DPM-Solver-3 in every form; in ρ both are Heun's third order."""
    scire = FREE.weights("scire_v1_3", inner=inner, phi1="fd", r1=r1, r2=r2)
    equal = FREE.same(scire, FREE.weights("dpm_solver_3", r1=r1, r2=r2))
    heun = [(Fraction(1, 3),), (0, Fraction(2, 3)), (Fraction(1, 4), 0, Fraction(3, 4))]
    rows = FLAT.weights("scire_v1_3", inner=inner, phi1="fd").rows
    tableau = all(
        FLAT.equal(Row(now=row.now), Row(now=b)) for row, b in zip(rows, heun, strict=True)
    )
    return equal and tableau, "every form, every r₁ and r₂"


FIRST_ORDER: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("ddim", {}),
    ("deis_logrho_ab0", {}),
    ("dpm_solver_1", {}),
    ("dpm_solver_pp_1s", {}),
    ("unip_1", {"prediction": "noise"}),
    ("unip_1", {"prediction": "data"}),
    ("taylor_1", {"variable": "rho"}),
    ("taylor_1", {"variable": "lam_noise"}),
    ("taylor_1", {"variable": "lam_data"}),
)


@claim
def ddim_in_all_forms(*, factor: int = 1) -> Finding:
    """A first-order step is x = α D + σ ε, D and ε those of the start, if N is D or ε alone.

    Proved for the forms of constant L; tAB-0 is the same, as its one weight is ∫ dρ.
    """
    a, b = forms.point(forms.t), forms.point(forms.s)
    D = (forms.x - forms.raw(a.sigma) * forms.eps) / forms.raw(a.alpha)
    goal = forms.raw(b.alpha) * D + forms.raw(b.sigma) * forms.eps
    names: set[str] = set()
    cases = [(entry(name), entry(name).form(options), options) for name, options in FIRST_ORDER]
    cases += [(entry("ddim"), form, {}) for form in (NOISE_LAMBDA, DATA_LAMBDA, DATA_SNR)]
    for e, form, options in cases:
        s = GridStep(form, (a, b), (form.tau(a), form.tau(b)), 0)
        (weight,) = e.fn(s, q=1, **bound(e, options)).b.now
        u = forms.x / forms.raw(form.scale(a))
        N = D if form.read(a).kind == "data" else forms.raw(form.read(a).p_weight) * forms.eps
        end = forms.raw(s.phi(0)) * u + factor * forms.raw(s.h) * forms.raw(weight) * N
        if simplify(forms.raw(form.scale(b)) * end - goal) != 0:
            return False, f"{e.name} {dict(options)} in {form.name}"
        names |= {e.name, form.name}
    p = Point(a.schedule, forms.F, "lam", forms.F.number(Symbol("mu")))
    measure = forms.raw(NOISE_T.transfer(p, p)) * forms.raw(NOISE_T.kernel(p))
    return simplify(measure - diff(forms.raw(p.rho), Symbol("mu"))) == 0, ", ".join(sorted(names))


@claim
def unipc_variants_are_one(*, as_published: bool = False) -> Finding:
    """Solved, bh1, bh2, exact and vary_coeff are one method: Σ_m b_m r_m^k = k! φ_{k+1}, all k."""
    one = FREE.F.lift(1)
    for name, new in (("unip", ()), ("unipc", (1,))):
        for q in (1, 2, 3):
            nodes = [0, *(FREE.past(j) for j in range(1, q)), *new]
            for variant in ("bh1", "bh2", "exact", "vary_coeff"):
                options = {"variant": variant, "as_published": as_published}
                row = FREE.weights(f"{name}_3", q=q, **options).b
                b = (row.now[0], *row.past, *row.now[1:])
                for k in range(len(nodes)):
                    moment = total(x * (one * r) ** k for x, r in zip(b, nodes, strict=True))
                    if moment != FREE.phi(k + 1) * factorial(k):
                        return False, f"{name}_{q} {variant}: moment {k}"
    return True, "orders 1, 2, 3, predictor and corrector"


@claim
def b_cancels(*, power: int = 1) -> Finding:
    """In UniPC's system Σ_m r_m^{k−1} a_m = k! φ_{k+1}/B with w = B a, w does not contain B."""
    B = Symbol("B")
    for size in (1, 2, 3):
        r = [Symbol(f"r_{m}") for m in range(size)]
        matrix = sympy.Matrix(size, size, lambda k, m, r=r: r[m] ** k)
        orders = range(1, size + 1)
        right = sympy.Matrix([factorial(k) * Symbol(f"phi_{k + 1}") / B for k in orders])
        a: Any = matrix.LUsolve(right)
        if any(simplify(diff(B**power * weight, B)) != 0 for weight in list(a)):
            return False, f"{size} nodes"
    return True, "1, 2, 3 nodes"


@claim
def dpm_solver_2_at_every_node(
    *, names: Sequence[str] = ("dpm_solver_2", "dpm_solver_pp_2s")
) -> Finding:
    """DPM-Solver-2 has order 2 for every r₁, with both weights, in noise and in data form."""
    kinds = ("dpmsolver", "taylor")
    proved = [prove_order(entry(n), r1=r1, weights=w).graded for n in names for w in kinds]
    return set(proved) == {2}, f"orders {proved}"


@claim
def dpm_solver_3_needs_two_thirds(*, node: Fraction = Fraction(2, 3)) -> Finding:
    """DPM-Solver-3 has order 3 for every r₁ at r₂ = 2/3, and 2 at every other constant r₂."""
    e = entry("dpm_solver_3")
    kept = prove_order(e, r1=r1, r2=node).graded
    general = prove_order(e, r1=r1, r2=r2)
    roots = {root for _, c in general.leading.terms for root in sympy.solve(c, r2)}
    holds = kept == 3 and general.graded == 2 and roots == {sympy.Rational(2, 3)}
    return holds, f"orders {kept} and {general.graded}, at h³ {general.leading}"


@claim
def ipndm_v_is_adams(*, as_published: bool = False) -> Finding:
    """iPNDM_v is ρAB with as many values, on every grid."""
    return ladder("deis_rho_ab3", "ipndm_v_4", (1, 2, 3, 4), as_published=as_published)


@claim
def ipndm_is_adams_at_equal_steps(*, values: int = 3) -> Finding:
    """iPNDM is ρAB where steps are equal; so is the published iPNDM_v of at most 3 values."""
    step = Uniform(RATIONAL)

    def at(name: str, q: int, **options: Any) -> Weights:
        return entry(name).fn(step, q=q, **options)

    adams = {q: at("deis_rho_ab3", q) for q in (1, 2, 3, 4)}
    plain = all(at("ipndm_4", q) == w for q, w in adams.items())
    shipped = (at("ipndm_v_4", q, as_published=True) for q in range(1, values + 1))
    return plain and all(w.b == adams[q].b for q, w in enumerate(shipped, 1)), "orders 1 to 4"


@claim
def dpm_solver_2_is_scirei_2(*, slope: Fraction = Fraction(1, 6)) -> Finding:
    """DPM-Solver-2 is SciREI-2 with 1/φ₁ = φ₁(1)/(2φ₂(1)) = 1 + h/6 + O(h²), no constant."""
    dpm, scire = FREE.weights("dpm_solver_2", r1=r1), FREE.weights("scirei_2", phi1="fd", r1=r1)
    same = FREE.equal(dpm.stages[0], scire.stages[0])
    ratio = dpm.b.now[1] * 2 * FREE.phi(2) == scire.b.now[1] * FREE.phi(1)
    h = Symbol("h")
    share = h * (sympy.exp(h) - 1) / (2 * (sympy.exp(h) - 1 - h))
    return same and ratio and sympy.series(share, h, 0, 2).removeO() == 1 + slope * h, str(share)


@claim
def scire_2m_is_adams(*, rules: str = "AB") -> Finding:
    """SciRE-2m at φ₁ = 1 is the Adams method of its ratio's clock: rule A in ρ, rule B in λ."""
    pairs = (("rho", rules[0], "deis_rho_ab1"), ("lam", rules[1], "deis_logrho_ab1"))
    steps = {clock: Free(clock=clock) for clock, _, _ in pairs}
    same = (
        steps[clock].same(
            steps[clock].weights("scire_v1_2m", phi1="fd", rule=rule), steps[clock].weights(name)
        )
        for clock, rule, name in pairs
    )
    return all(same), "every grid"


@claim
def two_m_on_every_grid(*, name: str = "dpm_solver_pp_2m") -> Finding:
    """(2M) has order 2 for every sequence of step ratios, in every form, with both weights."""
    kinds = ("midpoint", "heun")
    proved = [prove_order(entry(name), generic=True, weights=w).any_grid for w in kinds]
    return proved == [2, 2], f"orders {proved}"


CLAIMS = (
    ddim_in_all_forms,
    log_rho_ab1_is_2m,
    log_rho_ab2_is_3m,
    solved_unip_is_adams,
    unip_2_bh2_is_2m,
    heun_is_dpm_solver_2,
    corrected_scire_is_dpm_solver_3,
    unipc_variants_are_one,
    b_cancels,
    dpm_solver_2_at_every_node,
    dpm_solver_3_needs_two_thirds,
    ipndm_v_is_adams,
    ipndm_is_adams_at_equal_steps,
    dpm_solver_2_is_scirei_2,
    scire_2m_is_adams,
    two_m_on_every_grid,
)
