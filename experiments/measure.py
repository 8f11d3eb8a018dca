"""Measuring an order: errors against the exact flow on grids that are refined by doubling.

Three kinds of start and grid, so that coefficients and start-up are not confused:

    exact       graded grid, the history a method needs taken from the exact flow
    plain       graded grid, the usual warm-up of rising order
    irregular   log ρ steps alternating 1:2, exact history

The mixture has two components: on a single Gaussian some methods converge faster than in general.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, Literal

from gaussian_score.reference import Oracle
from solvers.advance import bind, memory
from solvers.each import Each, each_over
from solvers.empirical import Empirical, Fading, Source
from solvers.field import Field, Scalar
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import Statistics
from solvers.grids import Grid, explicit
from solvers.method import Entry
from solvers.ops import Advance, Plan, plain, realize
from solvers.plan import plan
from solvers.point import Point
from solvers.schedules import Schedule, VPLinear
from solvers.step import Model, evaluate, run
from solvers.trajectory import Eval
from solvers.transfer import call, store
from theory.fields import MP
from theory.mixtures import Analytic, Mixture

DIGITS = 50
Kind = Literal["exact", "plain", "irregular"]


@dataclass(frozen=True)
class Problem:
    """A mixture, a schedule, the ends in ρ and the starting points x at the first."""

    mixture: Mixture
    schedule: Schedule
    rho_start: Fraction
    rho_end: Fraction
    starts: tuple[Fraction, ...]


PROBLEM = Problem(
    Mixture(
        (Fraction(2, 5), Fraction(3, 5)),
        (Fraction(-6, 5), Fraction(3, 2)),
        (Fraction(1, 4), Fraction(16, 25)),
    ),
    VPLinear(),
    Fraction(3),
    Fraction(3, 10),
    (Fraction(2, 5), Fraction(-9, 10)),
)
"""Where N's derivatives are of size one all along the path, the first step included."""


@dataclass(frozen=True)
class OrderEstimate:
    """Slopes of log error against log step, from doublings inside the window."""

    slope: float
    pairwise: tuple[float, ...]
    window: tuple[float, float]
    """Step sizes of the last doubling, in the form's clock."""
    floor_reached: bool
    """Whether rounding ended the refinement."""


def grid(problem: Problem, steps: int, F: Field, kind: Kind) -> Grid:
    """Smoothly graded (uniform in ρ^{−1/3}: in no form's clock), or alternating.

    The first steps are the longest in λ, so that what a warm-up loses there is seen early.
    """
    a, b = (
        Point(problem.schedule, F, "rho", F.lift(r)) for r in (problem.rho_start, problem.rho_end)
    )
    if kind != "irregular":
        u, v = F.exp(a.lam / 3), F.exp(b.lam / 3)
        inner = (u + (v - u) * i / steps for i in range(1, steps))
        nodes = [a.rho, *(1 / (w * w * w) for w in inner), b.rho]
        return explicit(problem.schedule, "rho", nodes, F=F)
    if steps % 2:
        raise ValueError(f"steps: got {steps}; an even number is allowed on the alternating grid")
    unit = (b.lam - a.lam) * Fraction(2, 3 * steps)
    nodes = [a.lam + unit * (3 * (n // 2) + n % 2) for n in range(steps)]
    return explicit(problem.schedule, "lam", [*nodes, b.lam], F=F)


@cache
def _oracle(mixture: Mixture) -> Oracle:
    """Written apart from theory.mixtures, which gives the solvers their score."""
    means, variances = ([[x] for x in mixture.means], [[[s]] for s in mixture.variances])
    return Oracle(mixture.weights, means, variances, DIGITS)


@lru_cache(maxsize=1 << 14)
def _exact(problem: Problem, start: Fraction, rho: Any) -> Any:
    """v at ρ on the trajectory through x = start."""
    F = MP(DIGITS)
    p = Point(problem.schedule, F, "rho", F.lift(problem.rho_start))
    return _oracle(problem.mixture).flow((F.lift(start) / p.alpha).v, p.rho.v, rho)


def exact(problem: Problem, start: Fraction, p: Point) -> Scalar:
    """x at p on the trajectory through ``start``, to 50 digits."""
    F = MP(DIGITS)
    q = p if p.F is F else Point(p.schedule, F, p.given, F.number(str(p.value.v)))
    return F.number(_exact(problem, start, q.rho.v)) * q.alpha


def errors(
    entry: Entry,
    kind: Kind,
    steps: Sequence[int],
    *,
    problem: Problem = PROBLEM,
    F: Field | None = None,
    form: Form | None = None,
    dtype: Any = None,
    **options: Any,
) -> list[tuple[float, float]]:
    """(largest step in the form's clock, RMS error over the starts) for each number of steps.

    With F = FLOAT64 it is torch that runs, in ``dtype`` (its float64 by default).
    """
    F = F or MP(DIGITS)
    out = []
    for n in steps:
        g = grid(problem, n, F, kind)
        first = 0 if kind == "plain" else seeds(entry, options)
        known = statistics(problem, form or entry.form(options))
        p = plan(entry, g, form=form, statistics=known, first=first, **options)
        ends = (
            run_torch(p, g, problem, first, dtype)
            if F is FLOAT64
            else run_exactly(p, g, problem, first)
        )
        goals = [exact(problem, s, g.points[-1]) for s in problem.starts]
        miss = [float(MP(DIGITS).number(e) - goal) for e, goal in zip(ends, goals, strict=True)]
        h = max(abs(float(op.h)) for op in p.ops if isinstance(op, Advance))
        out.append((h, math.sqrt(sum(e * e for e in miss) / len(miss))))
    return out


def fingerprint(entry: Entry, options: Mapping[str, Any]) -> str:
    """What the runs of a method are made of: all operations on two short grids."""
    known = statistics(PROBLEM, entry.form(options))
    grids = (grid(PROBLEM, 8, FLOAT64, kind) for kind in ("exact", "irregular"))
    plans = (plan(entry, g, statistics=known, **options) for g in grids)
    made = [(p.form.clock, plain(p.enter), [plain(op) for op in p.ops]) for p in plans]
    return json.dumps([seeds(entry, options), made])


def seeds(entry: Entry, options: Mapping[str, Any]) -> int:
    """Past evaluations that the full order uses."""
    own = ((k, v[0] if isinstance(v, tuple) else v) for k, v in entry.resolve(options).items())
    return memory(entry, entry.q, tuple((k, bind(FLOAT64, v)) for k, v in own))


def run_exactly(p: Plan, g: Grid, problem: Problem, first: int) -> list[Any]:
    """Ends of the runs in the plan's own field, with the history on the exact flow."""
    F = g.F
    model = Analytic(problem.mixture)

    def array(values: Sequence[Scalar]) -> Scalar:
        return each_over(F, len(values)).collect(values)

    ends = []
    for start in problem.starts:
        states = [F.number(exact(problem, start, q).v) for q in g.points[: first + 1]]
        history = [
            seed(p, q, x, model, array) for q, x in zip(g.points[:first], states, strict=False)
        ]
        x = run(p.realize(array), model, states[-1], history=history[::-1]).x
        ends.append((x.v[0] if isinstance(x.F, Each) else x).v)
    return ends


def run_torch(p: Plan, g: Grid, problem: Problem, first: int, dtype: Any = None) -> list[float]:
    """The same in float64 or another dtype, by the path that samples images."""
    import torch

    from gaussian_score.mixture import GaussianMixture
    from solvers.denoiser import Known
    from solvers.sample import sample

    m = problem.mixture
    law = GaussianMixture.isotropic(
        [float(w) for w in m.weights],
        [[float(x)] for x in m.means],
        [float(s) for s in m.variances],
    )
    columns = [
        [[float(exact(problem, s, q))] for s in problem.starts] for q in g.points[: first + 1]
    ]
    dtype = dtype or torch.float64
    states = [torch.tensor(c, dtype=dtype) for c in columns]
    model = Known(law.to(dtype=dtype))

    def array(values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype)

    history = [seed(p, q, x, model, array) for q, x in zip(g.points[:first], states, strict=False)]
    done = sample(p, model, states[-1], history=history[::-1], state=dtype)
    return [float(v) for v in done.x]


def seed(p: Plan, q: Point, x: Any, model: Model, array: Callable[..., Any]) -> Eval:
    """The evaluation at an exact state, in the plan's form."""
    there = realize(call(p.form, q), array)
    u = (x - there.shift) / there.scale
    return Eval(store(q.F, p.form.tau(q)), u, evaluate(model, there, u))


def estimate(curve: Sequence[tuple[float, float]], floor: float) -> OrderEstimate:
    """The slope of the last doubling whose errors are above ``floor``."""
    usable = [e for e in curve if e[1] > floor]
    if len(usable) < 2:
        raise ArithmeticError(f"errors {[e for _, e in curve]}: fewer than two above {floor}")
    slopes = [math.log(a[1] / b[1]) / math.log(a[0] / b[0]) for a, b in pairwise(usable)]
    return OrderEstimate(
        slopes[-1], tuple(slopes), (usable[-2][0], usable[-1][0]), len(usable) < len(curve)
    )


def statistics(problem: Problem, form: Form) -> Statistics | Source:
    """The data's own moments; for the form EMS a closed form in which no function is constant."""
    known = Statistics((float(problem.mixture.mean),), (float(problem.mixture.variance),))
    return Fading(known) if isinstance(form, Empirical) else known
