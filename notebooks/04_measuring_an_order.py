# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Measuring an order without fooling oneself
#
# The order of a solver is the slope of its error against the step on logarithmic axes. That
# sounds like a thing one simply measures. It is also easy to measure something else: the start-up
# in place of the method, a lucky problem, the rounding of the arithmetic, a grid that hides a
# fault. This notebook makes each of these mistakes on purpose, with solvers whose orders are
# proved, beside the measurement as it should be.
#
# Letters are those of `docs/notation.md`. Every number is computed in the cell that shows it; the
# last cell asserts every claim.

# %%
from fractions import Fraction
from itertools import pairwise

import sympy
import torch

from experiments import plots
from experiments.measure import (
    DIGITS,
    PROBLEM,
    Problem,
    errors,
    estimate,
    exact,
    grid,
    run_exactly,
)
from experiments.notebook import Picture, Table, strict
from experiments.orders import settled
from solvers.field import RATIONAL
from solvers.float64 import FLOAT64
from solvers.form import clock
from solvers.forms import NOISE_RHO
from solvers.grids import RULES, explicit, laid
from solvers.gridstep import Uniform
from solvers.method import entry
from solvers.plan import plan
from theory.fields import MP
from theory.mixtures import Mixture
from theory.order import prove_order, prove_step
from theory.prediction import TAU, U, predict, right_hand_side

strict()

# %% [markdown]
# ## One solver, four slopes
#
# All four lines belong to the same solver, `dpm_solver_3m`, whose order is proved. Blue is the
# measurement as it should be. Each of the others differs from it in one thing only.

# %%
SOLVER = entry("dpm_solver_3m")
ORDER = prove_order(SOLVER).graded
STEPS = (8, 16, 32, 64, 128, 256, 512)
UNIT = Problem(
    Mixture((Fraction(1),), (Fraction(0),), (Fraction(1),)),
    PROBLEM.schedule,
    PROBLEM.rho_start,
    PROBLEM.rho_end,
    PROBLEM.starts,
)


def curve(kind, solver=SOLVER, steps=STEPS, **how):
    """(steps, error)"""
    return [(n, e) for n, (_, e) in zip(steps, errors(solver, kind, steps, **how), strict=True)]


measured = errors(SOLVER, "exact", STEPS)
curves = {
    "as it should be": [(n, e) for n, (_, e) in zip(STEPS, measured, strict=True)],
    "the usual warm-up": curve("plain"),
    "data of one Gaussian": curve("exact", problem=UNIT),
    "in float32": curve("exact", F=FLOAT64, dtype=torch.float32),
}
found = {name: dict(plots.errors.slopes(line)) for name, line in curves.items()}
Picture(
    plots.errors.with_slopes(curves, ORDER), "Errors and slopes of one solver, measured four ways"
)

# %%
Table(
    ["slope of the doubling to", *map(str, STEPS[1:])],
    [[name, *(f"{line[n]:.2f}" for n in STEPS[1:])] for name, line in found.items()],
)

# %% [markdown]
# ## As it should be
#
# - The **problem** is a mixture of two Gaussians, with its flow known to many digits, and the run
#   is made in as many, so that nothing is rounded.
# - The **history** that a multistep method needs is taken from the exact flow. What is measured is
#   the method, not its start.
# - The **grid** is smoothly graded and doubled. It is uniform in no clock of a form.
# - The **slope** is that of the last doubling, and the measurement ends when successive slopes
#   have come to rest, not when they look right.

# %%
print(f"at rest: {settled(curves['as it should be'], 0.0)}")
print(f"slope {found['as it should be'][STEPS[-1]]:.2f}, proved {ORDER}")

# %% [markdown]
# The same errors against the largest step of the grid give other slopes. On a graded grid the
# largest step does not halve when the number of steps doubles, not yet at small numbers. Both
# rows of slopes tend to the order. At the coarse end one is far off, and the other right by
# chance, since its next slope is farther away:

# %%
by_step = estimate(measured, 0.0).pairwise
halved = [a / b for (a, _), (b, _) in pairwise(measured)]
by_count = list(found["as it should be"].values())
Table(
    ["slope of the doubling to", *map(str, STEPS[1:])],
    [
        ["against the number of steps", *(f"{x:.2f}" for x in by_count)],
        ["against the largest step", *(f"{x:.2f}" for x in by_step)],
        ["the largest step falls by", *(f"{x:.2f}" for x in halved)],
    ],
)

# %% [markdown]
# ## Mistake: the start-up in place of the method
#
# A method that looks back has nothing to look at when it starts. The usual remedy is a warm-up of
# rising order $1, 2, \dots$. A step of order $q$ is off by $h^{q+1}$ once. No later step mends
# it, so the whole run has order $\min(p, q+1)$ with $q$ the first order of the warm-up. That
# is a fact about the start and says nothing about the coefficients; it is proved and measured
# apart from them:

# %%
MULTISTEP = ("dpm_solver_pp_2m", "dpm_solver_3m", "deis_t_ab3", "unipc_3")


def started(name):
    """Measured with exact history and with the warm-up, then the order of its first step."""
    solver = entry(name)
    lines = [curve(kind, solver, STEPS[1:6], F=FLOAT64) for kind in ("exact", "plain")]
    first = prove_step(solver, 1, solver.form({}), graded=True).order
    return [plots.errors.slopes(line)[-1][1] for line in lines], first


starts = {name: (prove_order(entry(name)), *started(name)) for name in MULTISTEP}
Table(
    ["method", "proved", "measured", "first step", "proved with warm-up", "measured with warm-up"],
    [
        [name, p.graded, f"{own:.2f}", first, p.plain_start, f"{plain:.2f}"]
        for name, (p, (own, plain), first) in starts.items()
    ],
)

# %% [markdown]
# ## Mistake: a lucky problem
#
# One Gaussian is tempting, since its flow is a formula. But $N$ is then linear in $u$, and terms
# of an error may cancel that do not cancel elsewhere. On the standard Gaussian our solver seems
# better than it is, then better still, and then it stops: the error passes through zero. Ended
# one doubling earlier, the measurement would have reported the first of these slopes:

# %%
DIGITAL = MP(DIGITS)


def missed(solver, g, law=PROBLEM, first=0):
    """Signed errors at the end of a grid, one a start, the first steps on the exact flow."""
    ends = run_exactly(plan(solver, g, first=first), g, law, first)
    goals = [exact(law, start, g.points[-1]) for start in law.starts]
    return [float(DIGITAL.number(e) - goal) for e, goal in zip(ends, goals, strict=True)]


lucky = found["data of one Gaussian"]
shown = max(lucky, key=lucky.get)
back = prove_order(SOLVER).memory
crossing = {
    n: missed(SOLVER, grid(UNIT, n, DIGITAL, "exact"), UNIT, back)[0] for n in (shown, 2 * shown)
}
print(f"slope {lucky[shown]:.1f} at {shown} steps, then {lucky[2 * shown]:.1f};", end=" ")
print("error of the first start", ", then ".join(f"{e:+.1e}" for e in crossing.values()))

# %% [markdown]
# Luck can also be exact. The midpoint rule in $\rho$ has order two, by this leading error of a
# step:

# %%
midpoint = prove_order(entry("rho_midpoint"))
print(f"order {midpoint.graded}: {midpoint.leading}")

# %% [markdown]
# For a Gaussian of any mean $m$ and any variance $s$, $N = \rho\,(u - m)/(s + \rho^2)$. Put that
# in, and the bracket vanishes identically; every Gaussian shows a third order that does not
# exist.

# %%
m, s = sympy.symbols("m s", positive=True)
N = TAU * (U - m) / (s + TAU**2)


def along(f):
    """Total derivative along u' = N."""
    return sympy.diff(f, TAU) + N * sympy.diff(f, U)


words = {"g1": along(N), "g2": along(along(N)), "J0": sympy.diff(N, U)}
bracket = sum(c * sympy.prod(words[j] for j in jets) for jets, c in midpoint.leading.terms)
MIDPOINT = entry("rho_midpoint")
problems = {"one Gaussian": UNIT, "two Gaussians": PROBLEM}
midpoints = {
    name: plots.errors.slopes(curve("exact", MIDPOINT, STEPS[:6], problem=law))[-1][1]
    for name, law in problems.items()
}
print(f"the bracket for one Gaussian: {sympy.simplify(bracket)}")
Table(["data", "measured"], [[name, f"{slope:.2f}"] for name, slope in midpoints.items()])

# %% [markdown]
# ## Mistake: rounding
#
# In float32 the line bends where truncation meets rounding, and beyond the slopes are noise. A
# floor must be known before a slope is read: here every pair is dropped whose error is below it.
# What rounding does to the errors is seen beside fifty digits. It stays below that floor, and in
# float64 it is far below every error here:

# %%
FLOOR32 = 1e-5
in_float64 = curve("exact", F=FLOAT64)
rounding = {
    dtype: max(abs(e - f) for (_, e), (_, f) in zip(line, curves["as it should be"], strict=True))
    for dtype, line in {"float32": curves["in float32"], "float64": in_float64}.items()
}
print(", ".join(f"{dtype} changes an error by at most {x:.0e}" for dtype, x in rounding.items()))
short = [(1 / n, e) for n, e in curves["in float32"]]
kept = estimate(short, FLOOR32)
blind = estimate(short, 0.0)
print(f"all pairs: {blind.slope:.2f}; above {FLOOR32:g}: {kept.slope:.2f}")

# %% [markdown]
# ## Mistake: a grid that hides a fault
#
# The weights of iPNDM are those of Adams and Bashforth for equal steps. On nodes that are equally
# spaced in $\rho$ they are right, and a measurement there finds the order that is promised. On
# other grids they are not, and of the usual ones only one is laid so.

# %%
IPNDM = entry("ipndm_4")


def equal(n):
    low, high = PROBLEM.rho_end, PROBLEM.rho_start
    nodes = [high + (low - high) * k / n for k in range(n + 1)]
    return explicit(PROBLEM.schedule, "rho", nodes, F=DIGITAL)


def error_on(g, first):
    """RMS error over the starts, the first steps on the exact flow."""
    miss = missed(IPNDM, g, first=first)
    return (sum(e * e for e in miss) / len(miss)) ** 0.5


hidden = {
    "equal steps in ρ": [(n, error_on(equal(n), 3)) for n in STEPS[1:6]],
    "graded": curve("exact", IPNDM, STEPS[1:6]),
    "steps 1 : 2": curve("irregular", IPNDM, STEPS[1:6]),
}
Picture(plots.errors.lines(hidden), "Errors of iPNDM on equal, graded and alternating steps")

# %%
ipndm = prove_order(IPNDM)
claim = IPNDM.variants[0].claim
seen = {name: plots.errors.slopes(line)[-1][1] for name, line in hidden.items()}
uneven = {}
for rule in RULES:
    rhos = [float(p.rho) for p in laid(PROBLEM.schedule, rule, steps=8, start=1, end=0.1).points]
    lengths = [a - b for a, b in pairwise(rhos)]
    uneven[rule] = max(lengths) / min(lengths)
print(f"claimed {claim}; proved on graded grids {ipndm.graded}, on any grid {ipndm.any_grid}")
print("longest over shortest step in ρ:", ", ".join(f"{r} {x:.3g}" for r, x in uneven.items()))
Table(["grid", "measured"], [[name, f"{slope:.2f}"] for name, slope in seen.items()])

# %% [markdown]
# ## Is the constant right, too?
#
# A slope is one number, and a wrong coefficient may leave it alone. The proof gives the leading
# error of a step, and the exact flow carries it to the end by a known factor,
# $\partial v_\text{end}/\partial v = p_\rho(v)/p_\text{end}(v_\text{end})$. So the *error itself*
# can be predicted, sign included, before anything is run:

# %%
SECOND = entry("dpm_solver_2")


def compared(n):
    """Signed error of the first start, measured and predicted."""
    g = grid(PROBLEM, n, DIGITAL, "exact")
    begin = exact(PROBLEM, PROBLEM.starts[0], g.points[0])
    return missed(SECOND, g)[0], float(predict(SECOND, PROBLEM.mixture, g, begin).error)


constants = {n: compared(n) for n in STEPS[:5]}
Table(
    ["steps", "measured", "predicted", "ratio"],
    [[n, f"{a:+.3e}", f"{b:+.3e}", f"{a / b:.3f}"] for n, (a, b) in constants.items()],
)

# %% [markdown]
# ## Every claim above, asserted

# %%
# The grid: doubled, ever more even, uniform in no clock, and its largest step not yet halved.
assert len(PROBLEM.mixture.weights) == 2
assert all(b == 2 * a for a, b in pairwise(STEPS))
coarse, fine = (grid(PROBLEM, n, FLOAT64, "exact").points for n in STEPS[:2])
for name in ("t", "rho", "lam", "snr", "log_rho"):
    nodes, finer = ([float(clock(name, p)) for p in g] for g in (coarse, fine))
    assert max(abs(a - b) for a, b in zip(nodes, finer[::2], strict=True)) < 1e-14 * max(
        map(abs, nodes)
    )
    lengths, shorter = ([abs(b - a) for a, b in pairwise(at)] for at in (nodes, finer))
    assert max(lengths) > 1.5 * min(lengths)
    jumps = [max(max(a / b, b / a) for a, b in pairwise(at)) for at in (lengths, shorter)]
    assert jumps[1] - 1 < 0.6 * (jumps[0] - 1)
assert all(a < b < 2 for a, b in pairwise(halved))
assert halved[0] < 1.8 < 1.98 < halved[-1]

# As it should be: both slopes have come to rest at the order; the first by step lies far above,
# the first by number is near it and the second is not.
assert settled(curves["as it should be"], 0.0)
assert abs(by_count[-1] - ORDER) < 0.1
assert abs(by_step[-1] - ORDER) < 0.1
assert by_step[0] > ORDER + 0.5
assert abs(by_count[0] - ORDER) < 0.05 < abs(by_count[1] - ORDER)

# Start-up: every order is the proved one, and the first step decides about the warm-up.
for p, (own, plain), first in starts.values():
    assert abs(own - p.graded) < 0.1
    assert abs(plain - p.plain_start) < 0.1
    assert p.plain_start == min(p.graded, first + 1)
assert any(p.plain_start < p.graded for p, *_ in starts.values())
assert all(p.memory > 0 for p, *_ in starts.values())

# Luck: slopes above the order that rise, and nothing after them, where the error changes its sign.
assert shown == STEPS[-2]
assert lucky[shown] > 2 * ORDER
assert all(ORDER < a < b for a, b in pairwise([lucky[n] for n in STEPS[1:-1]]))
assert lucky[2 * shown] < 1
assert crossing[shown] * crossing[2 * shown] < 0
assert sympy.diff(N, U, 2) == 0

# For the midpoint rule exactly one more.
assert midpoint.graded == 2
assert sympy.simplify(bracket) == 0
assert abs(midpoints["one Gaussian"] - 3) < 0.1
assert abs(midpoints["two Gaussians"] - midpoint.graded) < 0.15

# The N that was put in is the one of the flow.
one = Mixture((Fraction(1),), (Fraction(2, 5),), (Fraction(1, 4),))
theirs, _ = right_hand_side(one, PROBLEM.schedule, NOISE_RHO)
assert sympy.simplify(theirs - N.subs({m: sympy.Rational(2, 5), s: sympy.Rational(1, 4)})) == 0

# Rounding: blind, the slope is nonsense; above the floor it is near the order.
assert rounding["float32"] < FLOOR32
assert rounding["float64"] < 1e-3 * min(e for _, e in in_float64)
past = [
    slope for n, slope in found["in float32"].items() if dict(curves["in float32"])[n] < FLOOR32
]
assert sum(abs(slope - ORDER) > 0.5 for slope in past) >= 2
assert abs(blind.slope - ORDER) > 1
assert kept.floor_reached
assert abs(kept.slope - ORDER) < 0.5

# A grid that hides: on equal steps the weights are those of Adams, and the claim is seen; on the
# others what is proved for them. Of the rules for grids one lays equal steps.
adams = entry("exp_ab_4")
ours, theirs = (e.fn(Uniform(RATIONAL), q=4).b for e in (IPNDM, adams))
assert (ours.now, ours.past) == (theirs.now, theirs.past)
assert [rule for rule, most in uneven.items() if most < 1 + 1e-9] == ["rho"]
assert abs(seen["equal steps in ρ"] - claim) < 0.4
assert abs(seen["graded"] - ipndm.graded) < 0.1
assert abs(seen["steps 1 : 2"] - ipndm.any_grid) < 0.1
assert ipndm.any_grid < ipndm.graded < claim

# The constant: the sign is right, and the ratio tends to one, at first order in the step.
assert all(a * b > 0 for a, b in constants.values())
away = [abs(a / b - 1) for a, b in constants.values()]
assert all(x > 1.7 * y for x, y in pairwise(away))
assert away[-1] < 0.01
