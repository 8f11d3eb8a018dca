r"""DPM-Solver-v3's statistics of an exact score: what they are, and what EMS makes of them.

In z = x/α at τ = e^{−2λ} the law has a density p with ∂p/∂τ = ½ Δp, and u = e^{−λ} ε = −τ ∇log p;
per coordinate l = E ∂u/∂z and f = u − l z, a dash is the derivative along z' = −u, and m, c² are
the data's mean and variance.  Expectations are compared under the integral: integrals are equal
where the integrands differ by the divergence of something that vanishes at infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Function, Symbol, diff, exp, log, simplify, sqrt

from solvers.empirical import DATA, EMS, NOISE, Matched, Smoothly
from solvers.field import Scalar
from solvers.forms import DATA_LAMBDA, GAUSSIAN, GAUSSIAN_LAMBDA, NOISE_LAMBDA
from solvers.forms import Statistics as Moments
from solvers.point import Point
from solvers.schedules import EDM
from theory.forms import LAM, F, eps, m, point, raw, residual, s, t, v, x
from theory.free import Free
from theory.proved import Finding, claim

lam, tau = Symbol("lambda", real=True), Symbol("tau", positive=True)
z = sympy.symbols("z1 z2", real=True)  # two coordinates: more add nothing
p = Function("p")(*z, lam)
u = tuple(-tau * diff(p, x) / p for x in z)
FREE = Free()


def same_integral(a: Any, b: Any, flux: Sequence[Any]) -> bool:
    """Whether a − b is the divergence of ``flux``."""
    return simplify(a - b - sum(diff(q, x) for q, x in zip(flux, z, strict=True))) == 0


# --- what the statistics of an exact score are ---------------------------------------------------


@claim
def residual_variance(*, cross: int = 2) -> Finding:
    """E ∂u/∂z = E ε² = l, and then Var f = l²(c²+τ) − l τ: l, mean and variance decide it."""
    stein = same_integral(p * diff(u[0], z[0]), p * u[0] ** 2 / tau, (-tau * diff(p, z[0]), 0))
    mixed = same_integral(p * u[0] * z[0], tau * p, (-tau * z[0] * p, 0))
    centred = same_integral(p * u[0], 0, (-tau * p, 0))
    l, c2 = sympy.symbols("l c2", positive=True)
    # E u² = τ l, E u z = τ, E u = 0
    second = tau * l - cross * l * tau + l**2 * (m**2 + c2 + tau)
    var = second - (l * m) ** 2
    reduced = simplify(var - (l**2 * (c2 + tau) - l * tau)) == 0
    return stein and mixed and centred and reduced, "E u² = τ l, E u z = τ, E u = 0"


@claim
def excess_decides(*, power: int = 2) -> Finding:
    """With g = τ/(c²+τ), δ = E(ε − ε_G)²: l = g + δ, and for any l Var f = τδ + (c²+τ)(l − g)²."""
    own, l, c2 = sympy.symbols("l_own l c2", positive=True)
    g = tau / (c2 + tau)
    delta = (tau * own - 2 * g * tau + g**power * (c2 + tau)) / tau  # E (u − g (z − m))²/τ
    var = tau * own - 2 * l * tau + l**2 * (c2 + tau)
    sums = simplify(own - g - delta) == 0
    return sums and simplify(var - tau * delta - (c2 + tau) * (l - g) ** 2) == 0, "any l"


@claim
def l_is_the_relative_error(*, factor: int = 1) -> Finding:
    """∂u/∂z = 1 − Var(x₀|z)/τ, so l = 1 − e^{2λ} mmse: between τ/(c²+τ) and 1."""
    x = z[0]
    P0, P1, P2 = (Function(f"P{k}")(x) for k in range(3))  # ∫ q(y) y^k e^{−(z−y)²/(2τ)} dy
    rules: Any = {diff(P, x): (factor * Q - x * P) / tau for P, Q in ((P0, P1), (P1, P2))}
    D = P1 / P0
    slope = 1 - diff(D, x).subs(rules)
    return simplify(slope - 1 + (P2 / P0 - D**2) / tau) == 0, "any data"


@claim
def the_flow_moves_the_law(*, share: Any = 1) -> Finding:
    """p_λ = −τ Δp is div(u p), so (E q)' = E q' for every q; in particular E f' = (E f)'."""
    heat = -share * tau * sum(diff(p, x, 2) for x in z)  # ∂p/∂τ = ½Δp, dτ/dλ = −2τ
    carried = simplify(heat - sum(diff(a * p, x) for a, x in zip(u, z, strict=True))) == 0
    q = Function("q")(*z, lam)
    along = diff(q, lam) - sum(a * diff(q, x) for a, x in zip(u, z, strict=True))
    moved = same_integral(heat * q + p * diff(q, lam), p * along, [q * a * p for a in u])
    return carried and moved, "any q(z, λ)"


@claim
def drift_is_half_the_log_variance(*, share: int = 1) -> Finding:
    """For s, b of the regression s = ½ (log Var f)', b = m (s l − l'): N = (f − E f)/sd f."""
    l, second = Function("l")(lam), Function("V")(lam)
    mean = -l * m
    var = second - mean**2
    cov = share * diff(second, lam) / 2 - mean * diff(mean, lam)  # E f f' = ½ (E f²)'
    drift = cov / var
    shift = diff(mean, lam) - drift * mean
    S, M = log(var) / 2, mean
    holds = (
        simplify(drift - diff(S, lam)) == 0
        and simplify(shift - m * (drift * l - diff(l, lam))) == 0
        and simplify(diff(M, lam) - drift * M - shift) == 0
    )
    return holds, "S = ½ log Var f and M = E f solve S' = s, M' = s M + b"


@claim
def entropy_falls_by_l(*, share: int = 1) -> Finding:
    """Σ l = −dH/dλ, H the entropy of z: an integral of l is a difference of entropies."""
    falling = share * (log(p) + 1) * sum(diff(a * p, x) for a, x in zip(u, z, strict=True))
    slopes = p * sum(diff(a, x) for a, x in zip(u, z, strict=True))
    return same_integral(falling, slopes, [a * p * log(p) for a in u]), "H(z_s) − H(z_t) = ∫ Σ l"


# --- what they make of the form ------------------------------------------------------------------


def at(place: Scalar, name: str, derivative: int = 0) -> Scalar:
    """A named unknown function of λ, or its derivative."""
    mu = Symbol("mu", real=True)
    return Scalar(F, diff(Function(name, real=True)(mu), mu, derivative).subs(mu, place.v))


@dataclass(frozen=True)
class Unknown(Smoothly):
    """Any l, S and M; ``linear`` replaces l and its integral."""

    linear: Any = None

    def l(self, p: Point) -> Scalar:
        """What ``linear`` says, or the derivative of L."""
        return self.linear.l(p) if self.linear else at(p.lam, "L", 1)

    def L(self, p: Point) -> Scalar:
        """Its integral."""
        return self.linear.L(p) if self.linear else at(p.lam, "L")

    def S(self, p: Point) -> Scalar:
        """Any function."""
        return at(p.lam, "S")

    def M(self, p: Point) -> Scalar:
        """Any function."""
        return at(p.lam, "M")


@claim
def ems_follows_from_the_flow(*, spoil: Any = 0) -> Finding:
    """EMS holds for any L, S and M: u' = −l u + K N + G, χ = e^L, kernel −e^S."""
    form, here, end = EMS.with_statistics(Unknown()), point(t), point(s)
    follows = residual(form, spoil=spoil) == 0
    L, K, _ = map(raw, form.coefficients(here))
    chi, rate = raw(form.transfer(here, end)), diff(LAM(t), t)
    undone = simplify(diff(chi, t) + L * rate * chi) == 0 and simplify(chi.subs(t, s) - 1) == 0
    return follows and undone and simplify(raw(form.kernel(here)) - K) == 0, "any schedule"


@claim
def gaussians_are_exact(*, share: int = 1) -> Finding:
    """A Gaussian's N is constant for every s, with b = f' − s f: one step has no error."""
    mu, x = Symbol("mu", real=True), z[0]
    here = Point(EDM(), F, "lam", Scalar(F, mu))
    noise = exp(-mu) * (x - m) / (v + exp(-2 * mu))
    form = EMS.with_statistics(Unknown(Matched(Moments((m,), (v,)))))  # type: ignore[arg-type]
    r = form.read(here)
    N = raw(r.u_weight) * x + raw(r.p_weight) * noise + raw(r.constant)
    drift, M = diff(raw(at(here.lam, "S")), mu), raw(at(here.lam, "M"))
    f = -m * exp(-2 * mu) / (v + exp(-2 * mu))
    known = {diff(M, mu): drift * M + diff(f, mu) - share * drift * f}
    rate = diff(N, mu) - exp(-mu) * noise * diff(N, x)
    return simplify(rate.subs(known)) == 0, "any s(λ), m, v"


@claim
def one_basis_is_needed(*, apart: int = 2) -> Finding:
    """A correlated Gaussian's f has two rates δ'/δ − l±, apart by 2δ: no s serves both."""
    a, r = sympy.symbols("a r", positive=True)
    mu = Symbol("mu", real=True)
    share = [exp(-2 * mu) / (a + e * r + exp(-2 * mu)) for e in (1, -1)]  # l± along z1 ± z2
    delta = (share[0] - share[1]) / 2
    rates = []
    for sign, own in zip((1, -1), share, strict=True):
        f = sign * delta * z[0]  # u± − ½(l₊+l₋) z±
        along = diff(f, mu) - own * z[0] * diff(f, z[0])
        rates.append(simplify(along / f))
    gap = simplify(rates[0] - rates[1] + apart * delta) == 0
    return gap and sympy.solve(delta, r) == [], "δ = 0 at no r > 0"


@claim
def moments_alone_are_gaussian(*, centre: Any = m) -> Finding:
    """EMS of the matched Gaussian is GAUSSIAN_LAMBDA, and GAUSSIAN with its factor in K."""
    known = Moments((m,), (v,))  # type: ignore[arg-type]
    here, end = point(t), point(s)
    ems = EMS.with_statistics(Matched(Moments((centre,), (v,))))  # type: ignore[arg-type]
    other, white = GAUSSIAN_LAMBDA.with_statistics(known), GAUSSIAN.with_statistics(known)
    (L, K, G), (L2, K2, G2) = (map(raw, form.coefficients(here)) for form in (ems, other))
    N, N2 = (reading(form, here) for form in (ems, other))
    chi, chi2 = (raw(form.transfer(here, end)) for form in (ems, other))
    width, last = (sqrt(v + raw(q.rho * q.rho)) for q in (here, end))
    same = [L - L2, K * N - K2 * N2, G - G2, chi - chi2]
    same += [reading(white, here) - N / width, chi - last / width]
    return all(simplify(zero) == 0 for zero in same), "L, K N, G; N √(v+ρ²)"


def reading(form: Any, p: Point) -> Any:
    """N at (x, ε)."""
    r = form.read(p)
    P = eps if r.kind == "noise" else (x - raw(p.sigma) * eps) / raw(p.alpha)
    return raw(r.u_weight) * (x - raw(form.shift(p))) / raw(form.scale(p)) + (
        raw(r.p_weight) * P + raw(r.constant)
    )


@claim
def degenerate_is_unip(*, order: str = "plus_one") -> Finding:
    """With (l, s, b) = (1, 0, 0) or (0, −1, 0) v3 is UniP and, corrected, UniPC, solved."""
    for q in (1, 2, 3):
        corrected = {"corrector": "full", "corrector_order": order}
        for name, options in (("unip_3", {}), ("unipc_3", corrected)):
            mine = FREE.weights("dpm_solver_v3_3", q=q, **options)
            if not FREE.same(mine, FREE.weights(name, q=q)):
                return False, f"{name} at q = {q}"
    here, end = point(t), point(s)
    for known, other in ((DATA, DATA_LAMBDA), (NOISE, NOISE_LAMBDA)):
        form = EMS.with_statistics(known)
        grown = exp(other.L * (LAM(s) - LAM(t)))
        ends = [raw(f.scale(end) / f.scale(here)) for f in (form, other)]
        carried = ends[0] * raw(form.transfer(here, end)) - ends[1] * grown
        gain = raw(form.scale(end) * form.transfer(here, end) * form.kernel(here))
        added = gain * reading(form, here) - raw(other.scale(end)) * grown * reading(other, here)
        if any(simplify(w) != 0 for w in (carried, added, raw(form.coefficients(here)[2]))):
            return False, other.name
    return True, "orders 1, 2, 3, predictor and corrector; x at the end of every step"


CLAIMS = (
    residual_variance,
    excess_decides,
    l_is_the_relative_error,
    the_flow_moves_the_law,
    drift_is_half_the_log_variance,
    entropy_falls_by_l,
    ems_follows_from_the_flow,
    gaussians_are_exact,
    one_basis_is_needed,
    moments_alone_are_gaussian,
    degenerate_is_unip,
)
