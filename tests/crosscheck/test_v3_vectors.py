"""Statistics, integrals, steps and runs are those of the v3 tables, sections 3 and 11."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from experiments.ems import Ems, statistics
from experiments.measure import Problem, run_torch
from experiments.problems import Law
from gaussian_score.model_statistics import excess, marginals, moments
from gaussian_score.model_statistics import statistics as lsb
from solvers.coordinatewise import ARRAYS
from solvers.empirical import DATA, EMS
from solvers.field import Scalar
from solvers.float64 import FLOAT64
from solvers.grids import Grid
from solvers.gridstep import GridStep
from solvers.method import entry
from solvers.plan import plan
from solvers.point import Point
from solvers.schedules import schedule
from solvers.statistics import Smooth, Table
from tests.crosscheck.printed import FLOAT_RUN, M, Task, label, law, missed
from theory.mixtures import flow

LAW = law("0.4 0.6", "-1 0.8", "0.4 0.25")
KNOWN = Law(np.array([0.4, 0.6]), np.array([[-1.0], [0.8]]), np.array([[[0.16]], [[0.0625]]]))
A = Task(LAW, "logsnr", 8, "0.9", "0.2", "0.6")
B = Task(LAW, "logsnr", 8, "0.5", "0.1", "0.2")
QUADRATURE = 1e-12
"""Relative, of what is an integral over the law."""
DELTA, (MEAN, VARIANCE) = excess(*vars(KNOWN).values()), marginals(*vars(KNOWN).values())


def known(task: Task, grid: Grid | None = None) -> Smooth:
    """The exact statistics where the task runs."""
    found = statistics(Ems("exact"), KNOWN, grid or task.grid(ARRAYS))
    assert isinstance(found, Smooth)
    return found


def at(lam: float) -> tuple[float, ...]:
    """The numbers l, l', s, b, E f, Var f."""
    tiny = 1e-30j
    l, s, b = (v[0, 0] for v in lsb(DELTA, MEAN, VARIANCE, [lam]))
    own, var = (v[0, 0] for v in moments(DELTA, VARIANCE, np.array([lam + tiny])))
    return l, own.imag / 1e-30, s, b, -l * MEAN[0], var.real


# --- the statistics ------------------------------------------------------------------------------

TABLE = {
    -3.0: "0.9978256682401434 -0.004339203070336518 1.996430317414047 0.1597142894911111"
    " -0.07982605345921147 5.053168989158863e-7",
    -1.0: "0.8938488773348337 -0.1890576545940081 1.842072819634222 0.1468473901114455"
    " -0.07150791018678670 1.274581775516007e-3",
    0.0: "0.5597828227217520 -0.3859284828886157 1.151167236438161 0.08242657023414145"
    " -0.04478262581774016 0.02904595634544007",
}
ENDS = {  # l, s, b
    "0.9": "0.9997460369321772 1.999580428011488 0.1599664324451868",
    "0.2": "0.4589450140720177 0.8814016242545579 0.04894590498688269",
}


@pytest.mark.parametrize("lam", TABLE)
def test_the_table(lam: float) -> None:
    got = zip(at(lam), TABLE[lam].split(), strict=True)
    assert max(missed(value, text, QUADRATURE) for value, text in got) <= 1


@pytest.mark.parametrize("t", ENDS)
def test_the_ends_of_window_a(t: str) -> None:
    lam = float(Point(schedule("vp_linear"), M, "t", M.number(t)).lam)
    l, _, s, b, *_ = at(lam)
    got = zip((l, s, b), ENDS[t].split(), strict=True)
    assert max(missed(value, text, QUADRATURE) for value, text in got) <= 1


def test_integrals_over_window_a() -> None:
    """∫l is a difference of entropies, ∫s half the logarithm of a ratio of variances."""
    found, (a, *_, b) = known(A), A.grid(ARRAYS).points
    L, S = (float(f(b) - f(a)) for f in (found.L, found.S))
    assert missed(L, "3.930846949374158", QUADRATURE) <= 1
    assert missed(S, "7.958224312469486", QUADRATURE) <= 1


def test_ends_of_the_noise() -> None:
    """s tends to 2 with a third cumulant, to 3 without; at the data's end to −2."""
    assert missed(at(-8.0)[2], "1.9999998", 1e-7) <= 1
    assert missed(at(4.0)[2], "-1.98919") <= 1
    even = excess([0.5, 0.5], [[-1.0], [1.0]], [[[0.16]], [[0.16]]])
    # Var f is 2e-26 there, 1e-20 of (l z)², so half of the digits are gone
    assert missed(lsb(even, 0.0, 1.16, [-8.0])[1][0, 0], "2.9999993", 1e-5) <= 1


# --- one step ------------------------------------------------------------------------------------

STEP = 5  # from node 5 to node 6 of the grid with 8 steps
INTEGRALS = "1.301722776903685 0.4449448251747923 0.09069008078008867 0.01329243405422328"


@cache
def one_step() -> tuple[GridStep, Smooth, tuple[Scalar, ...]]:
    """The step, the statistics, and the exact z = x/α at nodes 0..5."""
    points, found = A.grid(ARRAYS).points, known(A)
    form = EMS.with_statistics(found)
    first, *rest = A.grid().points
    start = M.number(A.x) / first.alpha
    z = [M.number(flow(LAW, start.v, first.rho.v, p.rho.v)) for p in rest[:STEP]]
    return GridStep(form, points, tuple(p.lam for p in points), STEP), found, (start, *z)


def residual(n: int) -> tuple[float, float]:
    """The residual f = ρ ε − l z at node n on the exact trajectory, and N = e^{−S}(f − M)."""
    step, found, z = one_step()
    p, q = step.points[n], A.grid().points[n]
    noise, _ = LAW.predictions(z[n], q.rho)
    f = float(q.rho * noise) - float(found.l(p)) * float(z[n])
    return f, math.exp(-float(found.S(p))) * (f - float(found.M(p)))


def test_integrals_of_a_step() -> None:
    """E^(k) = ∫ e^{(L+S) − (L+S)_s} (λ−λ_s)^k/k! dλ is −h^{k+1} φ_{k+1}/(φ₀ e^{S_s})."""
    step, found, _ = one_step()
    a, b = step.points[STEP : STEP + 2]
    assert missed(float(a.lam), "-1.322975748890037", QUADRATURE) <= 1
    assert missed(float(b.lam), "-0.7726497908177644", QUADRATURE) <= 1
    for f, text in ((found.L, "0.4947670071435657"), (found.S, "1.017481069010779")):
        assert missed(float(f(b) - f(a)), text, QUADRATURE) <= 1
    h, phi0, unit = float(step.h), float(step.phi(0)), math.exp(float(found.S(a)))
    E = [-(h ** (k + 1)) * float(step.phi(k + 1)) / phi0 / unit for k in range(4)]
    got = zip(E, INTEGRALS.split(), strict=True)
    assert max(missed(value, text, QUADRATURE) for value, text in got) <= 1
    # ∫ E B anchored at the step's start: M there is taken out
    gamma = float(step.form.force(ARRAYS.lift(1), a, step.h))
    assert missed(-h * gamma / phi0 - float(found.M(a)) * E[0], "0.04681836021414348", 1e-11) <= 1


def test_the_anchored_g() -> None:
    """The paper's g, anchored at the step's start, is e^{S_s} N + M_s."""
    step, found, z = one_step()
    start = step.points[STEP]
    assert missed(z[STEP], "2.400900704784027") <= 1
    assert missed(residual(STEP)[0], "-0.08863912754356715", QUADRATURE) <= 1
    unit, centre = math.exp(float(found.S(start))), float(found.M(start))
    for n, text in ((4, "-0.08681956270035449"), (3, "-0.08570303232344746")):
        assert missed(unit * residual(n)[1] + centre, text, QUADRATURE) <= 1


ONE_STEP = [
    (1, {}, "1.505665347247857"),
    (2, {}, "1.506562319726107"),
    (3, {}, "1.506863961292253"),
    (3, {"p_pseudo": True}, "1.506690677396961"),
]


@pytest.mark.parametrize(("q", "options", "text"), ONE_STEP)
def test_one_step(q: int, options: dict[str, Any], text: str) -> None:
    """From exact values, the earlier ones too."""
    grid = A.grid(FLOAT64)
    part = replace(grid, points=grid.points[3 : STEP + 2])
    a, b = (Fraction(str(p.rho.v)) for p in (part.points[0], part.points[-1]))
    _, _, z = one_step()
    start = Fraction(float(z[3] * A.grid().points[3].alpha))
    problem = Problem(LAW, grid.schedule, a, b, (start,))
    name, orders = f"dpm_solver_v3_{q}", [1, 1, q]
    p = plan(entry(name), part, statistics=known(A), orders=orders, first=2, **options)
    (x,) = run_torch(p, part, problem, 2)
    assert missed(x / float(part.points[-1].alpha), text, FLOAT_RUN) <= 1


# --- whole runs ----------------------------------------------------------------------------------

FULL: dict[str, Any] = {"corrector": "full"}
PLUS: dict[str, Any] = {**FULL, "corrector_order": "plus_one"}
PSEUDO: dict[str, Any] = {**FULL, "c_pseudo": True}
LOWER: dict[str, Any] = {"lower_order_final": True}
FINAL: list[tuple[int, dict[str, Any], str]] = [  # accurate, table with 240 intervals
    (1, {}, "0.7214674878694861 0.7214694791879078"),
    (1, PLUS, "0.7243355127231891 0.7243433190102144"),
    (2, {}, "0.7300533365164864 0.7300746798805717"),
    (2, LOWER, "0.7237474595362136 0.7237622834429892"),
    (2, FULL, "0.7304599143531969 0.7304737506806078"),
    (2, FULL | LOWER, "0.7241611433283783 0.7241683428414554"),
    (2, PSEUDO, "0.7306081487213216 0.7306194003600681"),
    (2, PSEUDO | LOWER, "0.7243120107820607 0.7243165847642622"),
    (2, PLUS, "0.7304063047640287 0.7304212921166196"),
    (3, {}, "0.7312070428803295 0.7312037265082755"),
    (3, {"p_pseudo": True}, "0.7305418519736254 0.7305528902775382"),
    (3, FULL, "0.7308627920676783 0.7308717916209205"),
    (3, FULL | LOWER, "0.7241364280076700 0.7241443007612439"),
    (3, FULL | {"p_pseudo": True}, "0.7305990524351297 0.7306115442187159"),
    (3, PSEUDO, "0.7310204851824142 0.7310272733989847"),
    (3, PSEUDO | LOWER, "0.7243157396583219 0.7243212648676198"),
    (3, PLUS, "0.7308909665284693 0.7308990263824538"),
]
HALF = {"half_code": "0.7300948395676868", "half_paper": "0.7305664596807695"}


def table(steps: int, task: Task = A) -> Table:
    """Exact l, s and b at even nodes between the ends of the task."""
    a, *_, b = (float(p.lam) for p in task.grid(ARRAYS).points)
    lam = np.linspace(a, b, steps + 1)
    return Table(lam, *lsb(DELTA, MEAN, VARIANCE, lam))


@pytest.mark.parametrize(
    ("q", "options", "texts"), FINAL, ids=[label(str(q), o) for q, o, _ in FINAL]
)
def test_final_values(q: int, options: dict[str, Any], texts: str) -> None:
    accurate, sums = texts.split()
    name = f"dpm_solver_v3_{q}"
    assert missed(A.floats(name, statistics=known(A), **options), accurate, FLOAT_RUN) <= 1
    options = {"integrals": "table", **options}
    assert missed(A.floats(name, statistics=table(240), **options), sums, FLOAT_RUN) <= 1
    assert plan(entry(name), A.grid(), statistics=DATA, **FULL).nfe == 8


@pytest.mark.parametrize("corrector", HALF)
def test_half_correctors(corrector: str) -> None:
    """The paper corrects where t <= ½, its code where t > ½."""
    options = {**PSEUDO, "corrector": corrector}
    end = A.floats("dpm_solver_v3_2", statistics=known(A), **options)
    assert missed(end, HALF[corrector], FLOAT_RUN) <= 1
    assert plan(entry("dpm_solver_v3_2"), A.grid(), statistics=DATA, **options).nfe == 8
