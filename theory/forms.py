r"""Every canonical form of ``solvers.forms``, derived from the probability-flow ODE.

    dx/dt = f x + g²/(2σ) ε,    f = (log α)',    g² = (σ²)' − 2 f σ²,    α D + σ ε = x.

The forms' own code is evaluated on SymPy expressions, for a schedule whose log α and λ are unknown
functions of t, and u' = L u + K N + G is read off.  Then φ_k and γ are compared with the integrals
that define them, through their derivatives in the start of the step where no closed form exists.
A form with noise is an SDE: its drift is the flow's and half its noise times the score, so that
every marginal is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sympy
from sympy import Symbol, diff, simplify

from solvers.field import Exact, Field, Scalar
from solvers.form import Form, KernelForm
from solvers.forms import FORMS, ConstantForm, GaussianPart, Statistics
from solvers.point import Point
from solvers.schedules import Schedule
from solvers.series import Series
from solvers.stochastic import DATA_SDE, ER_SDE, NOISE_SDE, DataSDE
from theory.proved import Finding, claim

t, s, x, eps = sympy.symbols("t s x epsilon", real=True)
m, v = Symbol("m", real=True), Symbol("v", positive=True)
LOG_ALPHA, LAM = sympy.Function("log_alpha", real=True), sympy.Function("lam", real=True)
HIGHEST = 5
"""φ_k is compared for k up to here."""
SDES: dict[str, Form] = {
    **{f.name: replace(f, eta=Symbol("eta", positive=True)) for f in (DATA_SDE, NOISE_SDE)},
    **{f"ER_SDE {phi}": ER_SDE.with_options(phi=phi) for phi in ("default", "ode", "sde")},
}
"""The forms with noise."""


class _Expressions(Field):
    """SymPy expressions as scalars."""

    def lift(self, q: Exact) -> Scalar:
        q = Fraction(q)
        return Scalar(self, sympy.Rational(q.numerator, q.denominator))

    def number(self, x: Any) -> Scalar:
        return Scalar(self, x) if isinstance(x, sympy.Expr) else super().number(x)

    def approximate(self, raw: Any) -> float:
        raise TypeError(f"a branch was asked to depend on {raw}")

    def exp(self, x: Scalar) -> Scalar:
        return Scalar(self, sympy.exp(x.v))

    def expm1(self, x: Scalar) -> Scalar:
        return self.exp(x) - 1

    def log(self, x: Scalar) -> Scalar:
        return Scalar(self, sympy.log(x.v))

    def sqrt(self, x: Scalar) -> Scalar:
        return Scalar(self, sympy.sqrt(x.v))

    def phi(self, k: int, z: Scalar) -> Scalar:
        """By the recurrence that defines φ_k for z ≠ 0."""
        value = self.exp(z)
        for j in range(k):
            value = (value - Fraction(1, int(sympy.factorial(j)))) / z
        return value

    def __repr__(self) -> str:
        return "SymPy"


F = _Expressions()


@dataclass(frozen=True)
class _Unknown(Schedule):
    """Any smooth schedule."""

    name = "unknown"

    def log_alpha(self, t: Scalar, F: Field) -> Scalar:
        return _apply(LOG_ALPHA, t, F)

    def lam(self, t: Scalar, F: Field) -> Scalar:
        return _apply(LAM, t, F)

    def t_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        raise TypeError("the inverse of an unknown function was asked for")


def _apply(f: Callable[..., sympy.Expr], at: Scalar, field: Field) -> Scalar:
    """f, or its first-order series: f(a + bε) = f(a) + f'(a) b ε."""
    if not isinstance(field, Series):
        return Scalar(field, f(at.v))
    a, b = (c.v for c in at.v)
    return field.series([Scalar(F, f(a)), Scalar(F, diff(f(a), a) * b)])


def point(time: sympy.Expr) -> Point:
    """The point at this time."""
    return Point(_Unknown(), F, "t", Scalar(F, time))


def raw(value: Scalar) -> sympy.Expr:
    """The expression of a scalar, or of the one coordinate of a per-coordinate scalar."""
    return value.v if value.F is F else value.v[0].v


def bound(form: Form) -> Form:
    """The form, with symbols for the data's moments where it needs them."""
    if isinstance(form, GaussianPart):
        return form.with_statistics(Statistics((m,), (v,)))  # type: ignore[arg-type]
    return form


def velocity(p: Point) -> sympy.Expr:
    """dx/dt of the probability-flow ODE."""
    alpha, sigma = raw(p.alpha), raw(p.sigma)
    f = diff(alpha, t) / alpha
    return f * x + (diff(sigma**2, t) - 2 * f * sigma**2) / (2 * sigma) * eps


def residual(form: Form, *, spoil: Any = 0) -> sympy.Expr:
    """du/dτ − (L u + K N + G) along the flow; ``spoil`` is added to L."""
    form, p = bound(form), point(t)
    scale, shift = raw(form.scale(p)), raw(form.shift(p))
    u, rate = (x - shift) / scale, diff(raw(form.tau(p)), t)
    r = form.read(p)
    P = eps if r.kind == "noise" else (x - raw(p.sigma) * eps) / raw(p.alpha)
    N = raw(r.u_weight) * u + raw(r.p_weight) * P + raw(r.constant)
    L, K, G = map(raw, form.coefficients(p))
    slope = (diff(u, t) + diff(u, x) * velocity(p)) / rate
    return simplify(sympy.expand(slope - (L + spoil) * u - K * N - G))


@claim
def flow_in_rho(*, factor: int = 2) -> Finding:
    """g²/(2σ) = α dρ/dt, so that d(x/α)/dρ = ε for every schedule."""
    p = point(t)
    alpha, sigma = raw(p.alpha), raw(p.sigma)
    g2 = diff(sigma**2, t) - 2 * diff(alpha, t) / alpha * sigma**2
    return simplify(g2 / (factor * sigma) - alpha * diff(raw(p.rho), t)) == 0, "any α(t), σ(t)"


@claim
def forms_follow_from_the_flow(*, spoil: Any = 0) -> Finding:
    """u' = L u + K N + G holds along the probability-flow ODE for every entry of the table."""
    wrong = [name for name, form in FORMS.items() if residual(form, spoil=spoil) != 0]
    return not wrong, f"wrong: {', '.join(wrong)}" if wrong else ", ".join(FORMS)


@claim
def phi_are_moments(*, shift: int = 0) -> Finding:
    """φ_k(chL) = c^{−k} ∫₀ᶜ e^{(c−θ)hL} θ^{k−1}/(k−1)! dθ for L = −1, 0, 1, −(1+η), k = 1..5."""
    c, h, theta = sympy.symbols("c h theta", positive=True)
    forms = [f for f in (*FORMS.values(), *SDES.values()) if isinstance(f, ConstantForm | DataSDE)]
    for form in forms:
        L = raw(form.coefficients(point(t))[0])
        moments = form.moments(Scalar(F, c), point(t), Scalar(F, h))
        for k in range(1, HIGHEST + 1):
            power = theta ** (k - 1 + shift) / sympy.factorial(k - 1)
            integral = sympy.integrate(sympy.exp((c - theta) * h * L) * power, (theta, 0, c))
            if simplify(raw(moments(k)) - integral / c**k) != 0:
                return False, f"{form.name}, k = {k}"
    return True, ", ".join(f.name for f in forms)


@claim
def transfer_undoes_L(*, sign: int = -1) -> Finding:
    """Where L or K varies, χ(p)/χ(end) = exp ∫_p^end L dτ, and the kernel is K dτ/dλ."""
    names: list[str] = []
    for form in map(bound, (*FORMS.values(), *SDES.values())):
        if not isinstance(form, KernelForm):
            continue
        p, end = point(t), point(s)
        rate = diff(raw(form.tau(p)), t)
        L, K, _ = map(raw, form.coefficients(p))
        chi = raw(form.transfer(p, end))
        grows = simplify(diff(chi, t) - sign * L * rate * chi) == 0
        starts = simplify(chi.subs(t, s) - 1) == 0
        weighs = simplify(raw(form.kernel(p)) - K * rate / diff(LAM(t), t)) == 0
        if not (grows and starts and weighs):
            return False, form.name
        names.append(form.name)
    return bool(names), ", ".join(names)


@claim
def force_is_integrated(*, factor: int = 1) -> Finding:
    """h γ = ∫ χ(p)/χ(end) G dτ over the step, by its derivative in the start; without G, γ = 0."""
    for form in map(bound, FORMS.values()):
        p, end = point(t), point(s)
        h = form.tau(end) - form.tau(p)
        _, _, G = map(raw, form.coefficients(p))
        gained = raw(form.force(F.lift(1), p, h)) * raw(h)
        chi = raw(form.transfer(p, end)) if isinstance(form, KernelForm) else sympy.Integer(1)
        slope = -chi * G * diff(raw(form.tau(p)), t) * factor
        if simplify(diff(gained, t) - slope) != 0 or simplify(gained.subs(t, s)) != 0:
            return False, form.name
    return True, ", ".join(FORMS)


@claim
def noise_is_integrated(*, factor: int = 2) -> Finding:
    """The variance V of a form's noise begins at 0 and solves V' = 2 L V + s², s² of τ alone."""
    for name, form in SDES.items():
        V, growth = noise(form, factor)
        if simplify(V.subs(s, t)) != 0 or simplify(diff(growth, t)) != 0:
            return False, name
    return True, ", ".join(SDES)


@claim
def noise_keeps_the_marginals(*, share: Fraction = Fraction(1, 2)) -> Finding:
    """With noise L u + K N is the flow's u' + s²/2 ∇ log p, so that every marginal stays.

    That is Fokker-Planck's equation; in x it is ∇ log p = −ε/σ.
    """
    for name, form in SDES.items():
        p = point(t)
        _, growth = noise(form)
        rate, score = diff(raw(form.tau(p)), t), -eps / raw(p.sigma) * raw(form.scale(p))
        pull = growth.subs(s, t) * share.numerator / share.denominator * score
        if simplify(residual(form) * rate + pull) != 0:
            return False, name
    return True, ", ".join(SDES)


def noise(form: Form, factor: int = 2) -> tuple[sympy.Expr, sympy.Expr]:
    """V from time t to time s, and s² per time there: dV/ds − 2 L V dτ/ds."""
    p, end = point(t), point(s)
    V = simplify(raw(form.deviation(F.lift(1), p, form.tau(end) - form.tau(p))) ** 2)
    L = raw(form.coefficients(end)[0])
    return V, diff(V, s) - factor * L * diff(raw(form.tau(end)), s) * V


CLAIMS = (
    flow_in_rho,
    forms_follow_from_the_flow,
    phi_are_moments,
    transfer_undoes_L,
    force_is_integrated,
    noise_is_integrated,
    noise_keeps_the_marginals,
)
