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
# # Canonical forms
#
# Published solvers of the diffusion ODE look unlike each other: some integrate noise, some data,
# some in time, some in the logarithm of the signal-to-noise ratio, with exponentials or without.
# Much of that is a choice of coordinates. This notebook separates the choice from the method.
#
# Letters are those of `docs/notation.md`. Every number is computed in the cell that shows it; the
# last cell asserts every claim.

# %%
import inspect
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import torch
from scipy.special import ndtr

from experiments import plots
from experiments.measure import PROBLEM, errors, statistics
from experiments.notebook import Picture, Table, strict
from experiments.plots.forms import Seen
from gaussian_score.mixture import GaussianMixture
from gaussian_score.transport import transport
from solvers.denoiser import Known
from solvers.float64 import FLOAT64
from solvers.forms import DATA_LAMBDA, FORMS, NOISE_LAMBDA, NOISE_RHO, GaussianPart
from solvers.grids import explicit
from solvers.method import Step, entry
from solvers.ops import realize
from solvers.plan import plan
from solvers.point import Point
from solvers.sample import sample
from solvers.step import evaluate
from solvers.transfer import call
from theory import forms as derivations
from theory import identities
from theory.mixtures import Mixture
from theory.order import prove_order

strict()

# %% [markdown]
# ## One flow, nine ways to look at it
#
# Every panel shows the same exact trajectories of a mixture of two Gaussians, and its ticks mark
# the same levels of noise. What differs is what a solver integrates, $N$, and the clock in which
# it takes its steps. A multistep solver replaces these curves by polynomials through what it has
# read at its nodes.

# %%
weights, means, variances = (
    np.array([float(q) for q in part])
    for part in (PROBLEM.mixture.weights, PROBLEM.mixture.means, PROBLEM.mixture.variances)
)
MODEL = Known(GaussianMixture.isotropic(weights, means[:, None], variances))
LEVELS = np.geomspace(8, 0.1, 65)
START = np.linspace(-2, 2, 9) * LEVELS[0]
POINTS = [Point(PROBLEM.schedule, FLOAT64, "rho", FLOAT64.number(float(r))) for r in LEVELS]
STATES = [transport(weights, means, variances, START, LEVELS[0], rho) for rho in LEVELS]


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def fitted(form):
    known = isinstance(form, GaussianPart)
    return form.with_statistics(statistics(PROBLEM, form)) if known else form


def read(form, p, v):
    """N at the states x = α v of the flow."""
    there = realize(call(form, p), numbers)
    u = (numbers(v)[:, None] * float(p.alpha) - there.shift) / there.scale
    return evaluate(MODEL, there, u)[:, 0].numpy()


def seen(form):
    N = np.stack([read(form, p, v) for p, v in zip(POINTS, STATES, strict=True)])
    return Seen(form.name, form.clock, np.array([float(form.tau(p)) for p in POINTS]), N)


panels = [seen(fitted(form)) for form in FORMS.values()]
Picture(plots.forms.readings(panels), "What a solver reads along exact trajectories, by form")

# %% [markdown]
# ## What is a form?
#
# A state $u$, which is $x$ up to a factor and a shift, and a clock $\tau$ in which
#
# $$u'(\tau) = L(\tau)\,u + K(\tau)\,N(\tau, u) + G(\tau) .$$
#
# $L$, $K$ and $G$ are known functions; only $N$ asks the model. They are derived from the
# probability-flow ODE for unknown schedules, by SymPy, from the very code that runs. Each line is
# the docstring of a function that has just proved it:

# %%
DERIVATIONS = (
    derivations.flow_in_rho,
    derivations.forms_follow_from_the_flow,
    derivations.phi_are_moments,
    derivations.transfer_undoes_L,
    derivations.force_is_integrated,
)
derived = [statement() for statement in DERIVATIONS]
Table(["proved", "holds", "for"], [[p.claim, p.holds, p.detail] for p in derived])

# %% [markdown]
# ## What does a method see?
#
# Not $L$, $K$ or $G$. A step over the fraction $c$ of $h$ is
#
# $$u(c) = \varphi_0 u + h \sum_{k \ge 0} h^k c^{k+1} \varphi_{k+1}(c)\, N^{(k)} + h\,\gamma(c),$$
#
# and a method is given the numbers $\varphi_k(c)$ in a field of numbers, the places of its nodes,
# and how far the run is. Below, everything that it may ask a step for, and a method, whole:

# %%
ADAMS = entry("exp_ab_2")
ASKED = [name for name in vars(Step) if not name.startswith("_")]
print(*ASKED, "\n")
print(inspect.getsource(ADAMS.fn))

# %% [markdown]
# Evaluated in three forms it gives three sets of weights, of $N_0$ and $N_{-1}$, for a step
# between the same levels of noise:

# %%
NODES = [3.0, 1.5, 0.6]
THREE = (NOISE_RHO, NOISE_LAMBDA, DATA_LAMBDA)


def update(solver, form=None):
    """φ₀, h and the weights of the second step, in the solver's own form or in another."""
    op = plan(solver, explicit(PROBLEM.schedule, "rho", NODES), form=form).ops[-1]
    return (
        float(op.phi0[-1]),
        float(op.h),
        [float(w) for w in (*op.weights.b.now, *op.weights.b.past)],
    )


updates = {form.name: update(ADAMS, form) for form in THREE}
Table(
    ["form", "φ₀", "h", "weights of N₀ and N₋₁"],
    [
        [n, f"{a:.4f}", f"{h:.4f}", ", ".join(f"{x:+.4f}" for x in w)]
        for n, (a, h, w) in updates.items()
    ],
)

# %% [markdown]
# ## One function, many names
#
# So a method in one form is one published solver, and in another form another. These have the
# weights above:

# %%
NAMED = ("deis_rho_ab1", "deis_logrho_ab1", "unip_2")
namesakes = {name: update(entry(name)) for name in NAMED}
Table(
    ["exp_ab_2 in the form", "published as", "weights of N₀ and N₋₁"],
    [
        [form.name, name, ", ".join(f"{x:+.4f}" for x in w)]
        for form, (name, (*_, w)) in zip(THREE, namesakes.items(), strict=True)
    ],
)

# %% [markdown]
# On these nodes, that is. Proved as identities between weights, for every step ratio where it says
# every grid:

# %%
IDENTITIES = (
    identities.ddim_in_all_forms,
    identities.log_rho_ab1_is_2m,
    identities.log_rho_ab2_is_3m,
    identities.solved_unip_is_adams,
    identities.heun_is_dpm_solver_2,
    identities.ipndm_v_is_adams,
    identities.unipc_variants_are_one,
)
same = [statement() for statement in IDENTITIES]
Table(["proved", "holds", "for"], [[p.claim, p.holds, p.detail] for p in same])

# %% [markdown]
# DDIM is what remains of the multistep methods at order one, which is how they start. It is the
# same step in every form whose $N$ is the noise or the data prediction alone, and in the others
# another one.

# %%
MULTISTEP = ("exp_ab_2", "deis_logrho_ab2", "dpm_solver_3m", "unip_3", "ipndm_v_4")


def first_step(name, form=None):
    """Where the first step from some states ends."""
    p = plan(entry(name), explicit(PROBLEM.schedule, "rho", NODES[:2]), form=form)
    return sample(p, MODEL, numbers(START / LEVELS[0])[:, None]).x[:, 0]


def alone(form):
    there = realize(call(form, POINTS[0]), numbers)
    return float(there.u_weight) == float(there.constant) == 0


ddim = first_step("ddim")
starts = {name: float((first_step(name) - ddim).abs().max()) for name in MULTISTEP}
moved = {
    form.name: (alone(form), float((first_step("ddim", form) - ddim).abs().max()))
    for form in map(fitted, FORMS.values())
}
print(f"first steps of {', '.join(starts)}: off DDIM's by at most {max(starts.values()):.0e}")
Table(
    ["first step in the form", "N is a prediction alone", "differs from DDIM's by"],
    [[name, "yes" if own else "no", f"{off:.0e}"] for name, (own, off) in moved.items()],
)

# %% [markdown]
# ## Does the form matter?
#
# Not for the order: the proof is made with unknown $L$ and $K$, once for all forms. For the error
# it does. The same method on the same nodes in every form:

# %%
STEPS = (8, 16, 32, 64, 128)
by_form = {
    name: [
        (n, e)
        for n, (_, e) in zip(
            STEPS, errors(ADAMS, "exact", STEPS, F=FLOAT64, form=form), strict=True
        )
    ]
    for name, form in FORMS.items()
}
Picture(plots.errors.lines(by_form), "Errors of one method in every form, on the same nodes")

# %%
proof = prove_order(ADAMS, generic=True)
slopes = {name: plots.errors.slopes(line)[-1][1] for name, line in by_form.items()}
print(f"proved for every L and K: order {proof.graded}")
Table(["form", "slope"], [[name, f"{slope:.2f}"] for name, slope in slopes.items()])

# %% [markdown]
# No form is best for all methods. The dots are forms, and the ends are named.

# %%
METHODS = ("exp_ab_2", "exp_ab_3", "rho_midpoint", "rho_rk4", "unipc_2")
COUNT = 16
table = {
    name: {
        form.name: errors(entry(name), "exact", [COUNT], F=FLOAT64, form=form)[0][1]
        for form in FORMS.values()
    }
    for name in METHODS
}
Picture(plots.forms.spread(table), "The spread of errors over forms, for several methods")

# %%
ratio = {name: max(row.values()) / min(row.values()) for name, row in table.items()}
best = {name: min(row, key=row.get) for name, row in table.items()}
Table(
    ["method", "best form", "largest over smallest error"],
    [[name, best[name], f"{ratio[name]:.0f}"] for name in METHODS],
)

# %% [markdown]
# Nor for one method: it depends on the data and on where the steps are. The same number of steps
# for the same mixture with narrower Gaussians, and on steps that alternate in length:

# %%
m = PROBLEM.mixture
NARROW = replace(PROBLEM, mixture=Mixture(m.weights, m.means, tuple(v / 16 for v in m.variances)))


def best_form(name, kind, problem):
    row = {
        form: errors(entry(name), kind, [COUNT], problem=problem, F=FLOAT64, form=FORMS[form])
        for form in FORMS
    }
    return min(row, key=lambda form: row[form][0][1])


elsewhere = {
    "narrower data": {name: best_form(name, "exact", NARROW) for name in METHODS},
    "alternating steps": {name: best_form(name, "irregular", PROBLEM) for name in METHODS},
}
Table(
    ["method", "best form", *elsewhere],
    [[name, best[name], *(found[name] for found in elsewhere.values())] for name in METHODS],
)

# %% [markdown]
# ## Every claim above, asserted

# %%
# The picture: every form, two Gaussians, all clocks monotone, N finite, no panel twice.
assert len(panels) == len(FORMS) == 9
assert len(weights) == 2
assert all((np.diff(p.tau) > 0).all() or (np.diff(p.tau) < 0).all() for p in panels)
assert all(p.N.shape == (len(LEVELS), len(START)) and np.isfinite(p.N).all() for p in panels)
assert all(a.clock != b.clock or abs(a.N - b.N).max() > 0.1 for a, b in combinations(panels, 2))

# The trajectories are exact: the mass below a point is carried along.
for rho, at in zip(LEVELS, STATES, strict=True):
    below = [
        ndtr((v[:, None] - means) / np.sqrt(variances + r**2)) @ weights
        for v, r in ((START, LEVELS[0]), (at, rho))
    ]
    assert abs(below[1] - below[0]).max() < 1e-14

# Forms and identities are proved.
assert all(p.holds for p in derived)
assert all(p.holds for p in same)

# A method sees no form and no coefficient of it.
assert set(ASKED) == {"F", "phi", "past", "ratio", "at", "index", "steps", "time"}

# Weights: a step is exact in every form where N is a constant or a line, by φ₁ and φ₂.
for form in THREE:
    phi0, h, w = updates[form.name]
    z, (before, now, _) = (
        form.L * h,
        (float(form.tau(p)) for p in explicit(PROBLEM.schedule, "rho", NODES).points),
    )
    phi1 = (np.exp(z) - 1) / z if z else 1.0
    phi2 = (phi1 - 1) / z if z else 0.5
    assert abs(sum(w) - phi1) < 1e-14
    assert abs(w[1] * (before - now) / h - phi2) < 1e-14
    assert abs(phi0 - np.exp(z)) < 1e-14

# Three forms, three sets of weights, and each is that of a published solver.
assert all(abs(a[2][0] - b[2][0]) > 0.1 for a, b in combinations(updates.values(), 2))
for ours, theirs in zip(updates.values(), namesakes.values(), strict=True):
    assert np.allclose(np.hstack(ours), np.hstack(theirs), rtol=1e-14, atol=0)

# DDIM: the first step of every multistep method, in each form whose N is a prediction alone.
assert max(starts.values()) < 1e-14
assert all(off < 1e-14 if own else off > 0.01 for own, off in moved.values())
assert {own for own, _ in moved.values()} == {True, False}

# The order is that of the method in every form, and the errors are not.
assert proof.graded == 2
assert all(abs(slope - proof.graded) < 0.25 for slope in slopes.values())
ends = [line[-1][1] for line in by_form.values()]
assert max(ends) > 3 * min(ends)
assert all(f > e for line in by_form.values() for (_, f), (_, e) in pairwise(line))

# No form is best for all methods, nor for one on all data or all grids.
assert len(set(best.values())) > 1
assert all(r > 2 for r in ratio.values())
assert all(found != best for found in elsewhere.values())
