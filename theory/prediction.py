r"""The global error before a run: the proved leading errors carried along the exact flow.

One step from exact values is off by c(τ_n) h_n^{r+1} + .., c the proved combination of N's
derivatives (r the order of that step; coefficients may depend on step ratios).  The flow carries
an error in v = x/α from ρ to ρ_end by ∂v_end/∂v = p_ρ(v)/p_end(v_end), since it keeps probability:

    x_N − x(τ_N) = Σ_n (∂x_N/∂u_n) c(τ_n) h_n^{r_n+1} (1 + O(h)).

The derivatives are SymPy's, of a concrete mixture's score; or, independently, truncated series.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, Literal

import mpmath
import sympy

from solvers.field import Scalar
from solvers.form import Form, clock
from solvers.forms import ConstantForm
from solvers.grids import Grid
from solvers.method import Entry
from solvers.point import Point
from solvers.schedules import Schedule, VPLinear
from solvers.series import series_over
from theory.jets import LETTERS
from theory.leading import LeadingError
from theory.mixtures import Analytic, Mixture, density, flow
from theory.order import order_at, prove_step

TAU, U = sympy.symbols("tau u")
Jets = Callable[[str, Scalar, Scalar], Scalar]
"""(name, τ, u) -> g_i, J_i, H_i or Q_i: the i-th total derivative of N, N_u, N_uu or N_uuu."""


def right_hand_side(mixture: Mixture, schedule: Schedule, form: Form) -> tuple[Any, Any]:
    """N(τ, u) and u'(τ, u) of a constant form, as SymPy expressions."""
    if not isinstance(form, ConstantForm):
        raise ValueError(f"form: got {form.name}; a form with constant L is allowed")
    rho, alpha = _clocks(schedule, form)
    v = {"x": U / alpha, "x/alpha": U, "x/sigma": U * rho}[form.of]
    bells, pulls = [], []
    for w, m, s in zip(mixture.weights, mixture.means, mixture.variances, strict=True):
        V, away = sympy.Rational(s) + rho**2, v - sympy.Rational(m)
        bells.append(sympy.Rational(w) / sympy.sqrt(V) * sympy.exp(-(away**2) / (2 * V)))
        pulls.append(away / V)
    noise = rho * sum(b * p for b, p in zip(bells, pulls, strict=True)) / sum(bells)
    N = {"noise": noise, "-noise": -noise, "data": v - rho * noise}.get(form.N)
    if N is None:  # dx/dτ, from v' = ρ' ε
        N = U * sympy.diff(sympy.log(alpha), TAU) + alpha * sympy.diff(rho, TAU) * noise
    return N, form.L * U + N


def _clocks(schedule: Schedule, form: ConstantForm) -> tuple[Any, Any]:
    """ρ and α as functions of the form's clock; α matters only where u = x."""
    if form.clock != "t":
        rho = {"rho": TAU, "lam": sympy.exp(-TAU), "snr": 1 / TAU}[form.clock]
        vp = isinstance(schedule, VPLinear)
        return rho, 1 / sympy.sqrt(1 + rho**2) if vp else sympy.Integer(1)
    if not isinstance(schedule, VPLinear):
        raise ValueError(f"schedule: got {schedule.name}; vp_linear is allowed in the clock t")
    low, high = (sympy.Rational(b) for b in (schedule.beta_min, schedule.beta_max))
    B = low * TAU + (high - low) * TAU**2 / 2
    return sympy.sqrt(sympy.exp(B) - 1), sympy.exp(-B / 2)


@cache
def _expression(mixture: Mixture, schedule: Schedule, form: Form, jet: str) -> Any:
    N, slope = right_hand_side(mixture, schedule, form)
    if jet[1:] == "0":
        return sympy.diff(N, U, LETTERS.index(jet[0])) if jet[0] != "g" else N
    before = _expression(mixture, schedule, form, f"{jet[0]}{int(jet[1:]) - 1}")
    return sympy.diff(before, TAU) + slope * sympy.diff(before, U)


@cache
def _function(mixture: Mixture, schedule: Schedule, form: Form, jet: str) -> Any:
    expression = _expression(mixture, schedule, form, jet)
    return sympy.lambdify((TAU, U), expression, modules="mpmath", cse=True)


def sympy_jets(mixture: Mixture, schedule: Schedule, form: Form) -> Jets:
    """By symbolic differentiation."""

    def at(jet: str, tau: Scalar, u: Scalar) -> Scalar:
        with mpmath.workdps(tau.F.digits):
            value = _function(mixture, schedule, form, jet)(mpmath.mpf(tau.v), mpmath.mpf(u.v))
        return tau.F.number(value)

    return at


def series_jets(mixture: Mixture, schedule: Schedule, form: Form) -> Jets:
    """By truncated series: time outside, the distance from the flow inside."""
    model = Analytic(mixture)

    def at(jet: str, tau: Scalar, u: Scalar) -> Scalar:
        side, count = LETTERS.index(jet[0]), int(jet[1:])
        if side == 0:
            return model.derivatives(schedule, form, tau, u, count)[count]
        time = series_over(tau.F, count)
        path = model.path(schedule, form, tau, u, count)
        off = series_over(time, side)
        clock = off.series([time.variable(tau)])
        N = model.reading(schedule, form, clock, off.variable(path))
        return N.v[side].v[count] * (math.factorial(count) * math.factorial(side))

    return at


@dataclass(frozen=True)
class Prediction:
    """Predicted x_N − x(τ_N), and the sum of its terms' moduli (nothing cancels there)."""

    error: Any
    bound: Any


@dataclass(frozen=True)
class _Station:
    """The exact solution at a node: τ, u and ∂x_N/∂u."""

    tau: Scalar
    u: Scalar
    carry: Scalar


@lru_cache(maxsize=8)
def _stations(mixture: Mixture, form: Form, grid: Grid, start: Any) -> tuple[_Station, ...]:
    F, first, last = grid.F, grid.points[0], grid.points[-1]
    v0 = (F.number(start) / first.alpha).v

    def at(rho: Scalar) -> Scalar:
        return F.number(flow(mixture, v0, first.rho.v, rho.v, F.digits))

    arrival = density(mixture, at(last.rho), last.rho)
    out = []
    for p in grid.points:
        v, scale = at(p.rho), form.scale(p)
        carry = density(mixture, v, p.rho) / arrival * last.alpha * scale / p.alpha
        out.append(_Station(form.tau(p), (v * p.alpha - form.shift(p)) / scale, carry))
    return tuple(out)


def predict(
    entry: Entry,
    mixture: Mixture,
    grid: Grid,
    x: Scalar,
    *,
    form: Form | None = None,
    options: Mapping[str, Any] | None = None,
    start: Literal["exact", "plain"] = "exact",
    jets: Literal["sympy", "series"] = "sympy",
    graded: bool = True,
) -> Prediction:
    """For the run from x at the grid's first node, in digits of the grid's field.

    ``graded`` takes the coefficients at equal steps; otherwise at the grid's own step ratios.
    ``start``: the full order in every step, or the warm-up of rising order; with the latter, a
    method that carries a predicted value loses more by its first predictors than is summed here.
    """
    options = dict(options or {})
    form = form or entry.form(options)
    F = grid.F
    evaluate = (sympy_jets if jets == "sympy" else series_jets)(mixture, grid.schedule, form)
    stations = _stations(mixture, form, grid, x.v)
    error = bound = F.lift(0)
    for n, (a, b) in enumerate(pairwise(stations)):
        h = b.tau - a.tau
        q = entry.q
        if start == "plain" or entry.ladder:
            q = order_at(entry, n, options, grid.steps)
        last = n == grid.steps - 1
        leading = _leading(entry, q, form, graded, last, tuple(options.items()))
        values = _ratios(stations, n) | _clock_values(leading, form, grid.points[n])
        for weight, word in leading.evaluators(values, F.digits):
            term = F.number(weight) * h**leading.power * a.carry
            for jet in word:
                term = term * evaluate(jet, a.tau, a.u)
            error, bound = error + term, bound + abs(term)
    return Prediction(error.v, bound.v)


@lru_cache(maxsize=512)
def _leading(
    entry: Entry,
    q: int | None,
    form: Form,
    graded: bool,
    last: bool,
    options: tuple[tuple[str, Any], ...],
) -> LeadingError:
    return prove_step(entry, q, form, graded=graded, uncorrected=last, **dict(options)).leading


def _ratios(stations: tuple[_Station, ...], n: int) -> dict[str, Any]:
    """h_{n−j}/h_n, T₂ ≈ (h_n − h_{n−1})/h_n² and T₃ ≈ (h_n − 2h_{n−1} + h_{n−2})/h_n³.

    Before its first node the grid is continued by its first step.
    """
    steps = [b.tau - a.tau for a, b in pairwise(stations)]
    h, before = steps[n], [steps[max(n - j, 0)] for j in range(1, 5)]
    ratios = {f"ratio{j}": (earlier / h).v for j, earlier in enumerate(before, 1)}
    second, third = h - before[0], h - before[0] * 2 + before[1]
    return {**ratios, "T2": (second / (h * h)).v, "T3": (third / (h * h * h)).v}


def _clock_values(leading: LeadingError, form: Form, p: Point) -> dict[str, Any]:
    """s^{(k)}/s' in the form's clock, for the other clocks s that the coefficients name."""
    out: dict[str, Any] = {}
    for name in leading.symbols:
        if other := re.fullmatch(r"(t|rho|lam)(\d+)", name):
            s, k = other[1], int(other[2])
            S = series_over(p.F, k)
            a = clock(s, form.point(p.schedule, S, S.variable(form.tau(p)))).v
            out[name] = (a[k] * math.factorial(k) / a[1]).v
    return out
