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
# # Taylor schemes and exact derivatives
#
# A multistep method guesses how $N$ will go on from values that it kept. A Taylor scheme knows:
# it takes the derivatives of $N$ along the trajectory, exactly. That needs a derivative of the
# model in the direction of the flow, which forward-mode differentiation gives without forming a
# matrix. When is it worth it?
#
# Letters are those of `docs/notation.md`. Every number is computed in the cell that shows it; the
# last cell asserts every claim.

# %%
from fractions import Fraction
from itertools import pairwise
from math import comb, factorial

import torch
from sympy import Rational

from experiments import plots
from experiments.measure import DIGITS, PROBLEM, errors, estimate, exact
from experiments.notebook import Picture, Table, strict
from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Known
from solvers.float64 import FLOAT64
from solvers.forms import DATA_LAMBDA, NOISE_RHO
from solvers.method import entry
from solvers.point import Point
from theory.fields import MP
from theory.mixtures import Analytic
from theory.order import prove_order
from theory.prediction import series_jets, sympy_jets

strict()

# %% [markdown]
# ## Why not differences?
#
# The derivative of $N$ along the flow $u' = L u + N$ is
#
# $$N' = \partial_\tau N + (\partial_u N)\,u' , \qquad N'' = (N')' , \dots$$
#
# One may take values at neighbouring times and divide. Truncation asks for a small step and
# rounding for a large one. What is left is the bottom of the V below, and it is worse for every
# further derivative. Forward mode stays at rounding.

# %%
DIGITAL, FORM, HIGHEST = MP(DIGITS), NOISE_RHO, 3
SCHEDULE, MIXTURE, START = PROBLEM.schedule, PROBLEM.mixture, PROBLEM.starts[0]
parts = [[float(q) for q in part] for part in (MIXTURE.weights, MIXTURE.means, MIXTURE.variances)]
MODEL = Known(GaussianMixture.isotropic(parts[0], [[m] for m in parts[1]], parts[2]))


def on_the_flow(rho):
    """The point, and τ and u of the exact trajectory there, to many digits."""
    p = Point(SCHEDULE, DIGITAL, "rho", DIGITAL.number(rho))
    return p, FORM.tau(p), (exact(PROBLEM, START, p) - FORM.shift(p)) / FORM.scale(p)


def forward(tau, u, count):
    """Nested forward mode in torch, in float64."""
    state = torch.tensor([[float(u)]], dtype=torch.float64)
    return [float(N) for N in MODEL.derivatives(SCHEDULE, FORM, float(tau), state, count)]


_, TAU, U = on_the_flow(1)
truth = Analytic(MIXTURE).derivatives(SCHEDULE, FORM, TAU, U, HIGHEST)
automatic = forward(TAU, U, HIGHEST)


def difference(k, step):
    """The k-th central difference of float64 values of N on the exact flow."""
    shifts = [Fraction(k, 2) - i for i in range(k + 1)]
    places = [on_the_flow(1 + float(s) * step)[1:] for s in shifts]
    values = [forward(*place, 0)[0] for place in places]
    return sum((-1) ** i * comb(k, i) * v for i, v in enumerate(values)) / step**k


ORDERS = {"N′": 1, "N″": 2, "N‴": 3}
WIDTHS = [10 ** (-k / 3) for k in range(2, 19)]
off = {
    name: [abs(difference(k, h) / float(truth[k]) - 1) for h in WIDTHS]
    for name, k in ORDERS.items()
}
floor = {name: abs(automatic[k] / float(truth[k]) - 1) for name, k in ORDERS.items()}
Picture(
    plots.errors.derivatives(WIDTHS, off, floor),
    "Errors of differences against their step, and of forward mode",
)

# %%
Table(
    ["", "best difference", "forward mode"],
    [[name, f"{min(off[name]):.0e}", f"{floor[name]:.0e}"] for name in ORDERS],
)

# %% [markdown]
# ## Three ways to the same derivative
#
# A derivative that is wrong in its last term would still look plausible. So each is computed
# three times, in ways that have only the law and the form in common: closed formulas that SymPy
# differentiates, truncated power series of the trajectory, and nested forward mode. The first two
# have fifty digits.

# %%
sources = {
    "SymPy": lambda k: sympy_jets(MIXTURE, SCHEDULE, FORM)(f"g{k}", TAU, U),
    "series": lambda k: series_jets(MIXTURE, SCHEDULE, FORM)(f"g{k}", TAU, U),
}
jets = {name: [at(k) for k in range(HIGHEST + 1)] for name, at in sources.items()}
apart = [abs(float(a - b)) for a, b in zip(*jets.values(), strict=True)]
rounded = [abs(float(a) - b) for a, b in zip(jets["SymPy"], automatic, strict=True)]
Table(
    ["k", "N⁽ᵏ⁾", "SymPy and series differ by", "forward mode differs by"],
    [
        [k, f"{float(jets['SymPy'][k]):+.6f}", f"{apart[k]:.0e}", f"{rounded[k]:.0e}"]
        for k in range(HIGHEST + 1)
    ],
)

# %% [markdown]
# ## The scheme
#
# With the derivatives at the start of a step the exact update is a series, and the scheme stops
# it:
#
# $$u(\tau + h) \approx \varphi_0 u + \sum_{k<q} h^{k+1} \varphi_{k+1} N^{(k)} .$$
#
# The first term left out is the leading error, so the order is $q$ in every form and on every
# grid, and no history is needed. The proof finds nothing else:

# %%
TAYLOR = [f"taylor_{q}" for q in range(1, 5)]
proofs = {name: prove_order(entry(name)) for name in TAYLOR}
STEPS = (8, 16, 32, 64)
runs = {name: errors(entry(name), "exact", STEPS) for name in TAYLOR}
measured = {name: estimate(run, 0.0).slope for name, run in runs.items()}
everywhere = {name: prove_order(entry(name), generic=True) for name in TAYLOR}
Table(
    ["method", "proved", "in every form", "on any grid", "measured", "one step is off by"],
    [
        [name, p.graded, every.graded, every.any_grid, f"{measured[name]:.2f}", f"`{p.leading}`"]
        for (name, p), every in zip(proofs.items(), everywhere.values(), strict=True)
    ],
)

# %% [markdown]
# ## Is it worth its cost?
#
# A step costs one call of the model and $q - 1$ derivatives in a direction. Below, errors against
# the sum of both, on the same problem, beside multistep methods whose order is the same with an
# exact history. They start with the usual warm-up, as they would in use:

# %%
RIVALS = {"taylor_2": "dpm_solver_pp_2m", "taylor_3": "unipc_2", "taylor_4": "unipc_3"}
names = [*RIVALS, *RIVALS.values()]
rivals = {name: prove_order(entry(name)) for name in RIVALS.values()}
cost = {name: proofs[name].evaluations + proofs[name].derivatives for name in RIVALS}
MORE = (8, 16, 32, 64, 128, 256)


def against_work(name):
    steps = STEPS if name in cost else MORE
    found = errors(entry(name), "plain", steps, F=None if name in cost else FLOAT64)
    return [(n * cost.get(name, 1), e) for n, (_, e) in zip(steps, found, strict=True)]


work = {name: against_work(name) for name in names}
Picture(
    plots.errors.lines(work, across="model calls + directional derivatives"),
    "Errors of Taylor and multistep methods against work",
)


# %%
def at_equal_work(name, budget):
    """Work and error of the largest run within the budget."""
    return max(point for point in work[name] if point[0] <= budget)


BUDGET = 64
pairs = {}
for name, rival in RIVALS.items():
    spent, error = at_equal_work(name, BUDGET)
    pairs[name] = (spent, error), at_equal_work(rival, spent)
Table(
    ["Taylor", "order", "work", "error", "multistep", "order", "with warm-up", "work", "error"],
    [
        [
            n,
            proofs[n].graded,
            a,
            f"{e:.1e}",
            r,
            rivals[r].graded,
            rivals[r].plain_start,
            b,
            f"{f:.1e}",
        ]
        for (n, r), ((a, e), (b, f)) in zip(RIVALS.items(), pairs.values(), strict=True)
    ],
)

# %% [markdown]
# With no more work the multistep method has the smaller error each time: it gets its order from
# values that it has anyway. What a Taylor scheme has to offer is elsewhere. It needs no history,
# so it has nothing to lose at the start, as one of these multistep methods does. And its form
# matters as it does for any method. The same order two:

# %%
CLOCKS = {"rho": "ρ, noise", "t": "t, velocity", "lam_noise": "λ, noise", "lam_data": "λ, data"}
second = {
    words: [
        (n, e)
        for n, (_, e) in zip(
            STEPS, errors(entry("taylor_2"), "exact", STEPS, variable=v), strict=True
        )
    ]
    for v, words in CLOCKS.items()
}
Picture(plots.errors.lines(second), "Errors of the second-order Taylor scheme in four forms")

# %% [markdown]
# ## Every claim above, asserted

# %%
# Differences: a V, its bottom worse for every further derivative; forward mode is at rounding.
best = [min(off[name]) for name in ORDERS]
assert all(a < b for a, b in pairwise(best))
assert all(min(line[0], line[-1]) > 10 * min(line) for line in off.values())
assert all(floor[name] < 1e-13 < min(off[name]) for name in ORDERS)

# Three ways: fifty digits agree to forty, float64 to its own.
assert DIGITS == 50
assert max(apart) < 1e-40
assert all(r < 1e-13 * (1 + abs(v)) for r, v in zip(rounded, automatic, strict=True))

# The scheme: order q, proved in every form, on every grid and without history, and measured; one
# step is off by the first term left out.
for q, name in enumerate(TAYLOR, 1):
    proof = proofs[name]
    assert proof.graded == proof.any_grid == proof.plain_start == q
    assert (proof.memory, proof.derivatives) == (0, q - 1)
    assert abs(measured[name] - q) < (0.15 if q < 4 else 0.2)
    assert dict(proof.leading.terms) == {(f"g{q}",): -Rational(1, factorial(q + 1))}
    assert everywhere[name].graded == everywhere[name].any_grid == q

# Cost: with no more work the multistep method of the same order wins here, each time, and it asks
# for one new value a step.
assert cost == {f"taylor_{q}": q for q in (2, 3, 4)}
assert all(rivals[r].graded == proofs[t].graded for t, r in RIVALS.items())
assert all((r.evaluations, r.derivatives) == (1, 0) and r.memory > 0 for r in rivals.values())
assert all(f < e and b <= a <= BUDGET for (a, e), (b, f) in pairs.values())
assert sum(r.plain_start < r.graded for r in rivals.values()) == 1

# Forms: errors differ by much, orders do not.
ends = [line[-1][1] for line in second.values()]
assert max(ends) > 2 * min(ends)
assert all(abs(plots.errors.slopes(line)[-1][1] - 2) < 0.3 for line in second.values())
forms = {words: entry("taylor_2").form({"variable": v}) for v, words in CLOCKS.items()}
assert len({form.name for form in forms.values()}) == len(CLOCKS)
assert forms["λ, data"] is DATA_LAMBDA
