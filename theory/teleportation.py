r"""The laws of a jump along a Gaussian's flow: what it misses, and what bounds that.

τ = σ², c = λ + τ, P = 1/c; p obeys ∂p/∂τ = ½ Δp, and so does the Gaussian g of the same mean and
covariance.  D, s belong to p and D_G, s_G to g.  Expectations are compared under the integral, up
to a divergence, as in ``theory.model_statistics``.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import factorial
from typing import Any

import sympy
from mpmath import elliprd, mp
from sympy import Function, Matrix, Rational, Symbol, diff, exp, expand, log, simplify, sqrt

from theory.edgeworth import hermite
from theory.proved import Finding, claim

eps, w = Symbol("epsilon"), Symbol("w", real=True)
tau, lam = sympy.symbols("tau lambda", positive=True)
x = sympy.symbols("x1 x2", real=True)
k3, k4 = sympy.symbols("kappa3 kappa4", real=True)


# --- the jump's error ----------------------------------------------------------------------------


@claim
def whitened_flow(*, sign: int = -1) -> Finding:
    """With x = m + √c w the flow is dw/dσ = −(D − D_G)/(σ √c) = −σ (s − s_G)/√c, exactly."""
    sigma = Symbol("sigma", positive=True)
    m, score = Symbol("m"), Symbol("s")
    root = sqrt(sigma**2 + lam)
    at = m + root * w
    own = -(at - m) / root**2
    dx = -sigma * score
    dw = (dx - diff(root, sigma) * w) / root
    denoisers = sigma**2 * (score - own)
    return simplify(dw - sign * denoisers / (sigma * root)) == 0, "per mode, any score"


@claim
def displacement(*, factor: Fraction = Fraction(1, 6)) -> Finding:
    """δ_k = ⅙ √c_k Σ κ₃,kij (w_i w_j − δ_ij) [R_D(c_i, c_j, c_k) − R_D at σ_T] is that flow's."""
    t = Symbol("t", positive=True)
    ci, cj, ck = (symbol + tau for symbol in sympy.symbols("l_i l_j l_k", positive=True))
    kernel = Rational(3, 2) / (sqrt(t + ci) * sqrt(t + cj) * (t + ck) ** Rational(3, 2))
    # R_D = ∫ kernel dt, which the noise shifts, so that dR_D/dτ = −kernel at t = 0
    shift = simplify(diff(kernel, tau) - diff(kernel, t)) == 0
    # per unit of κ₃ (w_i w_j − δ_ij): δ_k/√c_k is w's, and dw/dτ = −½ (s − s_G)/√c, y = w/√c
    rate = -Rational(1, 2) * Rational(1, 2) / ck / sqrt(ci * cj) / sqrt(ck)
    law = simplify(-factor * kernel.subs(t, 0) - rate) == 0
    with mp.workdps(50):
        args = [mp.mpf(v) for v in ("64.25", "65", "68")]
        integral = mp.quad(
            lambda v: (
                1 / (mp.sqrt((v + args[0]) * (v + args[1])) * (v + args[2]) ** mp.mpf("1.5"))
            ),
            [0, 10, 100, 1000, mp.inf],
        )
        apart = abs(mp.mpf(integral) / 2 - elliprd(*args) / 3)
    return shift and law and apart < mp.mpf(10) ** -35, "any λ; Carlson's integral to 35 digits"


@claim
def a_third_of_the_disagreement(*, skewed: int = 3, symmetric: int = 4) -> Finding:
    """δ = c (D − D_G)/(3 σ²) · [1 − (c/c_T)^{3/2}]; with κ₄ alone c/(4 σ²) · [1 − (c/c_T)²]."""
    c, u, top = sympy.symbols("c u c_T", positive=True)
    for power, n in ((Rational(3, 2), skewed), (2, symmetric)):
        # s − s_G = A c^{−(n+1)/2}, n = 3, 4 the cumulant, at fixed w; dw/dc = −½ (s − s_G)/√c
        slope = u ** -(power + Rational(1, 2))
        moved = sqrt(c) * sympy.integrate(slope / (2 * sqrt(u)), (u, c, top))
        stated = c / n * slope.subs(u, c) * (1 - (c / top) ** power)
        if simplify(moved - stated) != 0:
            return False, f"1/{n}"
    return True, "equal eigenvalues; c_T = λ + σ_T², 1 at infinity"


def cornish_fisher(kappas: dict[int, Any]) -> tuple[Any, Any]:
    """x/√c − w and √c (s − s_G) there, at fixed w, linear in the cumulants: one dimension.

    x = F⁻¹(Φ(w)) with p = exp(Σ κ_n (−∂)^n/n!) φ, κ_n in units of c^{n/2} graded ε^n, so that
    F = Φ − φ Σ κ_n He_{n−1}/n! and s − s_G = Σ κ_n He_n'/n!.
    """
    he = {n: hermite([w], [1], (0,) * (n - 1)) for n in kappas}
    moved = sum(k / factorial(n) * eps**n * he[n] for n, k in kappas.items())
    slope = sum(k / factorial(n) * eps**n * n * he[n] for n, k in kappas.items())
    return expand(moved), expand(slope)


@claim
def corrected_jump(*, factor: Fraction = Fraction(1, 3)) -> Finding:
    """x_G + (c/3σ²)(D − D_G) is off by −κ₄(w³ − 3w)/(72 c^{3/2}) + ..: order 3 in 1/σ, not 2."""
    # terms of second degree in the cumulants begin at ε⁶
    moved, slope = cornish_fisher({3: k3, 4: k4})
    # δ = √c moved and (c/3σ²)(D − D_G) = (c/3)(s − s_G) = √c slope/3
    left = expand(moved - factor * slope)
    plain = moved.coeff(eps, 3)
    cubic = -k4 * (w**3 - 3 * w) / 72
    raised = plain != 0 and left.coeff(eps, 3) == 0
    return raised and expand(
        left.coeff(eps, 4) - cubic
    ) == 0, f"δ = ({plain}) √c ε³ + .., ε = 1/√c"


@claim
def corrected_symmetric_jump(*, factor: Fraction = Fraction(1, 4)) -> Finding:
    """For symmetric data c/(4σ²) raises the order from 3 to 5; c/(3σ²) leaves −⅓ of the error."""
    # κ₃ = κ₅ = 0, and terms of second degree begin at ε⁸
    moved, slope = cornish_fisher({4: k4, 6: Symbol("kappa6")})
    left = expand(moved - factor * slope)
    third = expand(moved - slope / 3).coeff(eps, 4)
    kept = expand(third + moved.coeff(eps, 4) / 3) == 0
    return kept and left.coeff(eps, 4) == 0 and left.coeff(eps, 6) != 0, "one dimension"


# --- what bounds the error -----------------------------------------------------------------------


@claim
def de_bruijn(*, share: Fraction = Fraction(1, 2)) -> Finding:
    """dK/dτ = −½ E|s − s_G|², K = KL(p ‖ g), for p and g that obey the heat equation."""
    p, g = Function("p", positive=True)(*x, tau), Function("g", positive=True)(*x, tau)
    heat: Any = {diff(f, tau): sum(diff(f, v, 2) for v in x) / 2 for f in (p, g)}
    change = diff(p * log(p / g), tau).subs(heat)
    square = share * p * sum(diff(log(p / g), v) ** 2 for v in x)
    flux = [(diff(p, v) * (log(p / g) + 1) - p / g * diff(g, v)) / 2 for v in x]
    rest = change + square - sum(diff(f, v) for f, v in zip(flux, x, strict=True))
    return simplify(rest) == 0, "two dimensions, up to a divergence"


@claim
def fisher_is_excess_error(*, power: int = 2) -> Finding:
    """J = E|s|² − tr P = (lmmse − mmse)/σ⁴, lmmse = σ² tr(ΣP) = E|x₀ − D_G|²."""
    p = Function("p", positive=True)(*x)
    own = [-v / (q + tau) for v, q in zip(x, sympy.symbols("q1 q2", positive=True), strict=True)]
    # E s·s_G = tr P, by parts
    cross = sum(diff(p, v) * s for v, s in zip(x, own, strict=True))
    trace = -sum(diff(s, v) for v, s in zip(x, own, strict=True))
    flux = [p * s for s in own]
    parts = cross - p * trace - sum(diff(f, v) for f, v in zip(flux, x, strict=True))
    # D = x + τ s and E s·(x₀ − x) = τ E|s|², so that E|x₀ − D|² = τ − τ² E|s|²; so for s_G
    size = Symbol("S")
    mmse, lmmse = tau - tau**2 * size, tau - tau**power / (lam + tau)
    linear = simplify(lmmse - tau * lam / (lam + tau)) == 0
    j = size - 1 / (lam + tau)
    return simplify(parts) == 0 and linear and simplify(
        (lmmse - mmse) / tau**2 - j
    ) == 0, "by parts"


@claim
def chi2_is_a_gaussian_integral(*, half: Fraction = Fraction(1, 2)) -> Finding:
    """∫ N_i N_j/g = exp(a_iᵀa_j + f_ij): completed square, and the same written in F = I − P."""

    def symmetric(name: str) -> Any:
        u, v, t = sympy.symbols(f"{name}1:4", real=True)
        return Matrix([[u, v], [v, t]])

    eye, z = sympy.eye(2), Matrix(sympy.symbols("z1 z2", real=True))
    f = [symmetric("f"), symmetric("h")]
    a = [Matrix(sympy.symbols(f"{n}1 {n}2", real=True)) for n in "ab"]
    p = [eye - one for one in f]
    m = p[0] + p[1] - eye
    b = p[0] * a[0] + p[1] * a[1]
    inverse = m.inv()

    def form(matrix: Any, u: Any, v: Any = None) -> Any:
        return (u.T * matrix * (u if v is None else v))[0]

    exponent = -sum(form(q, z - u) for q, u in zip(p, a, strict=True)) / 2 + form(eye, z) / 2
    best = form(inverse, b) / 2 - sum(form(q, u) for q, u in zip(p, a, strict=True)) / 2
    square = sympy.cancel(exponent - best + form(m, z - inverse * b) / 2) == 0
    c = f[0] * a[1] + f[1] * a[0]
    written = form(eye, a[0], a[1]) + (form(f[1], a[0]) + form(f[0], a[1])) / 2
    written += half * form(inverse, c)
    same = sympy.cancel(best - written) == 0
    dets = p[0].det() * p[1].det() - m.det() * (eye + inverse * f[0] * f[1]).det()
    return square and same and sympy.cancel(dets) == 0, "two dimensions, any symmetric F"


@claim
def mehler_kernel(*, cross: int = 2) -> Finding:
    """Of data points, ∫ N N/g = Π (1 − θ²)^{−½} exp[(ab − ½θ(a² + b²))/(c(1 − θ²))], θ = λ/c."""
    a, b = sympy.symbols("a b", real=True)
    c = lam + tau
    theta = lam / c
    u = 2 / tau - 1 / c
    best = ((a + b) / tau) ** 2 / u / 2 - (a**2 + b**2) / tau / 2
    stated = (cross * a * b - theta * (a**2 + b**2)) / (2 * c * (1 - theta**2))
    size = c / (tau**2 * u) - 1 / (1 - theta**2)
    # both squared: |C|^{1/2} τ⁻¹ M^{−1/2} in one dimension
    return simplify(best - stated) == 0 and simplify(size) == 0, "one mode; modes multiply"


@claim
def matched_terms_cancel(*, weight: Any = 1) -> Finding:
    """χ² begins at |κ₃|²/6: matched means and covariances leave nothing of the orders below."""
    scale = Symbol("s")
    masses = sympy.symbols("w1:3", positive=True)
    a, b, e, h = sympy.symbols("a b e h", real=True)
    f = [v / (1 + v) for v in (e * scale**2, h * scale**2)]
    m = 1 - f[0] - f[1]
    rest = scale**2 * (f[1] * a**2 + f[0] * b**2 + (f[0] * b + f[1] * a) ** 2 / m) / 2
    rest -= (log(1 + e * scale**2) + log(1 + h * scale**2) + log(m)) / 2
    power = scale**2 * a * b + _truncated(rest, scale)
    value = _truncated(exp(expand(power)), scale)
    # two components in one dimension whose mean is 0 and whose excess cancels the means' spread
    masses = sympy.symbols("w1:3", positive=True)
    means = [a, -a * masses[0] / masses[1]]
    spread = masses[0] * (e + a**2) + masses[1] * means[1] ** 2
    excess = [e, -spread / masses[1]]
    total = sympy.Integer(0)
    for i, j in itertools.product(range(2), repeat=2):
        here = {a: means[i], b: means[j], e: excess[i], h: excess[j]}
        total += masses[i] * masses[j] * value.subs(here, simultaneous=True)
    third: Any = sum(q * (n**3 + 3 * n * v) for q, n, v in zip(masses, means, excess, strict=True))
    series = expand(total - (masses[0] + masses[1]) ** 2)
    lower = [simplify(series.coeff(scale, n)) for n in range(6)]
    leading = simplify(series.coeff(scale, 6) - weight * third**2 / 6)
    return not any(
        lower
    ) and leading == 0, "two components in one dimension, any means and variances"


def _truncated(f: Any, scale: Any) -> Any:
    return f.series(scale, 0, 7).removeO()


@claim
def start_mismatch(*, sign: int = -1) -> Finding:
    """A start from N(0, σ_T²) costs ½ [(λ + m²)/σ_T² − log(1 + λ/σ_T²)].

    It lands on N(m − ψ m, ψ² σ_T²).
    """
    top = Symbol("T", positive=True)
    m = Symbol("m", real=True)
    # E log N(m, λ + T)/N(0, T), from E (x − m)² = λ + T and E x² = λ + T + m²
    kl = (log(top / (lam + top)) - 1 + (lam + top + m**2) / top) / 2
    stated = ((lam + m**2) / top + sign * log(1 + lam / top)) / 2
    psi = sqrt((tau + lam) / (top + lam))
    mean, variance = (m + psi * (0 - m)), psi**2 * top
    landed: Any = [mean - (1 - psi) * m, variance - top * (tau + lam) / (top + lam)]
    return simplify(sympy.expand_log(kl - stated, force=True)) == 0 and not any(
        map(simplify, landed)
    ), "per mode"


CLAIMS = (
    whitened_flow,
    displacement,
    a_third_of_the_disagreement,
    corrected_jump,
    corrected_symmetric_jump,
    de_bruijn,
    fisher_is_excess_error,
    chi2_is_a_gaussian_integral,
    mehler_kernel,
    matched_terms_cancel,
    start_mismatch,
)
