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
# Most of that is a choice of coordinates. This notebook separates the choice from the method.
#
# Letters are those of `docs/notation.md`. Every number is computed in the cell that shows it; the
# last cell asserts every claim.

# %%
import inspect
from itertools import pairwise

import numpy as np
import torch

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
from solvers.method import entry
from solvers.ops import realize
from solvers.plan import plan
from solvers.point import Point
from solvers.step import evaluate
from solvers.transfer import call
from theory import forms as derivations
from theory import identities
from theory.order import prove_order

strict()

# %% [markdown]
# ## One flow, nine ways to look at it
#
# Every panel shows the same exact trajectories of a mixture of two Gaussians, and its ticks mark
# the same levels of noise. What differs is what a solver integrates, $N$, and the clock in which
# it takes its steps. A solver replaces each of these curves by a polynomial between its nodes.

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
# and a method is given the numbers $\varphi_k(c)$ and the places of its nodes, nothing else. Here
# is one, whole:

# %%
ADAMS = entry("exp_ab_2")
print(inspect.getsource(ADAMS.fn))

# %% [markdown]
# Evaluated in three forms it gives three sets of weights, of $N_0$ and $N_{-1}$, for a step
# between the same levels of noise:

# %%
NODES = [3.0, 1.5, 0.6]
THREE = (NOISE_RHO, NOISE_LAMBDA, DATA_LAMBDA)


def update(form):
    """φ₀, h and the weights of the second step."""
    g = explicit(PROBLEM.schedule, "rho", NODES)
    op = plan(ADAMS, g, form=form).ops[-1]
    return (
        float(op.phi0[-1]),
        float(op.h),
        [float(w) for w in (*op.weights.b.now, *op.weights.b.past)],
    )


updates = {form.name: update(form) for form in THREE}
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
# So a method in one form is one published solver, and in another form another. Proved as
# identities between weights, for every step ratio where it says every grid:

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
# DDIM is what remains of all of them at order one: the same step in every form whose $N$ is the
# noise or the data prediction alone.
#
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
# No form is best for all: it depends on the method, the data and where the steps are. The dots
# are forms, and the ends are named.

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
# ## Every claim above, asserted

# %%
# The picture: every form of the table, all clocks monotone, N finite.
assert len(panels) == len(FORMS) == 9
assert all((np.diff(p.tau) > 0).all() or (np.diff(p.tau) < 0).all() for p in panels)
assert all(np.isfinite(p.N).all() for p in panels)

# Forms and identities are proved.
assert all(p.holds for p in derived)
assert all(p.holds for p in same)

# Weights: with N constant a step is exact in every form, since they add up to φ₁.
for form in THREE:
    phi0, h, w = updates[form.name]
    phi1 = (np.exp(form.L * h) - 1) / (form.L * h) if form.L else 1.0
    assert abs(sum(w) - phi1) < 1e-14
    assert abs(phi0 - np.exp(form.L * h)) < 1e-14

# The order is that of the method in every form, and the errors are not.
assert proof.graded == 2
assert all(abs(slope - proof.graded) < 0.25 for slope in slopes.values())
ends = [line[-1][1] for line in by_form.values()]
assert max(ends) > 3 * min(ends)
assert all(f > e for line in by_form.values() for (_, f), (_, e) in pairwise(line))

# No form is best for all methods.
assert len(set(best.values())) > 1
assert all(r > 2 for r in ratio.values())
