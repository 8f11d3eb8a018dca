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
# # Closed-form trajectories
#
# A sampler follows the probability-flow ODE. Whether it follows it well can be seen only where the
# true trajectory is known, and for a trained network it is not. For a mixture of Gaussians it is:
# the score is a formula, and the flow is known in closed form, by a conservation law, or to an
# error that is known with it. This notebook walks through that world.
#
# Letters are those of `docs/notation.md`. Every number is computed in the cell that shows it; the
# last cell asserts every claim.

# %%
from itertools import pairwise
from statistics import median

import mpmath
import numpy as np
import torch
from scipy.special import ndtr

from experiments import plots
from experiments.explore import Explorer, levels, redraw_times
from experiments.measure import PROBLEM
from experiments.notebook import Picture, Table, strict
from experiments.plane import FIRST, Choice, draw, scaled, world
from gaussian_score.reference import Oracle, reference_flow
from gaussian_score.targets import target
from gaussian_score.trajectory import GaussianFlow
from gaussian_score.transport import transport
from solvers.method import entry
from theory.mixtures import flow
from theory.order import prove_order

strict()

# %% [markdown]
# ## What does a flow look like?
#
# Below is a mixture of equal Gaussians on a circle. Noise is added to its samples, and the flow
# takes each of them back. In this scale noise and data are about equally wide, so that both fit
# one picture. At high noise a point hardly moves, and its best guess of the data,
# $E[x_0 \mid x]$, is near their mean. Then the guess becomes one of the Gaussians, and the rest is
# a fall into that one.

# %%
ring = world("ring")
Picture(plots.plane.flow(ring), "Exact trajectories from noise to a ring of Gaussians")

# %%
known = list(zip(map(torch.tensor, ring.paths), map(float, ring.sigmas), strict=True))
guesses = np.stack([ring.mixture.denoise(x, 1.0, sigma).numpy() for x, sigma in known])
shares = np.stack([ring.mixture.responsibilities(x, 1.0, sigma).numpy() for x, sigma in known])
modes = ring.modes(ring.end)
own = shares[:, np.arange(len(modes)), modes]
PARTS = (0.25, 0.9)
early, late = (float(np.median(ring.sigmas[(own > part).argmax(0)])) for part in PARTS)
decision, whole = np.log2(early / late), np.log2(ring.sigmas[0] / ring.sigmas[-1])
print("share of a path's own Gaussian in the density, which only grows:")
print(f"{PARTS[0]:.0%} at σ = {early:.2g}, {PARTS[1]:.0%} at σ = {late:.2g} (medians),", end=" ")
print(f"{decision:.1f} of the run's {whole:.1f} halvings of σ")

# %% [markdown]
# ## One Gaussian: closed form
#
# For data $N(m, \Sigma)$ with $\Sigma = U\,\mathrm{diag}(\lambda)\,U^\top$ and
# $x = \alpha x_0 + \sigma n$, each eigendirection is stretched by itself:
#
# $$x_t = \alpha_t m + U\,\mathrm{diag}\sqrt{\frac{\alpha_t^2\lambda + \sigma_t^2}
# {\alpha_T^2\lambda + \sigma_T^2}}\;U^\top (x_T - \alpha_T m) .$$
#
# So $w = U^\top(x - \alpha m)/\sqrt{\alpha^2\lambda + \sigma^2}$ does not move at all. Two codes
# that share nothing, the formula and an integrator, say the same:

# %%
weights, means, covs = (np.array(part) for part in target("one_gaussian"))
gaussian = GaussianFlow.from_covariance(means[0], covs[0])
high, low = (0.6, 0.8), (1.0, 0.05)
x_T = torch.tensor([[1.0, -0.5, 0.3], [-2.0, 0.1, 0.8]], dtype=torch.float64)
x_t = gaussian.flow(x_T, start=high, end=low)


def whitened(x, level):
    alpha, sigma = level
    spread = torch.sqrt(alpha**2 * gaussian.eigenvalues + sigma**2)
    return (x - alpha * gaussian.mean) @ gaussian.basis / spread


# two halves of one Gaussian: for the integrator it is a mixture like any other
halves = (np.repeat(part, 2, 0) for part in (weights / 2, means, covs))
integrated = reference_flow(*halves, x_T.numpy(), high, low)
drift = float((whitened(x_T, high) - whitened(x_t, low)).abs().max())
apart = float(np.abs(integrated.x - x_t.numpy()).max())
print(f"w moves by {drift:.1e}")
print(f"formula and integrator differ by {apart:.1e}; it expects {integrated.error.max():.1e}")

# %% [markdown]
# ## On a line: a conservation law
#
# In one dimension trajectories cannot cross, so the mass below a point is carried along with it.
# With $v = x/\alpha$ and $\rho = \sigma/\alpha$,
#
# $$F_\rho(v) = \sum_k w_k\,\Phi\!\left(\frac{v - \mu_k}{\sqrt{s_k + \rho^2}}\right)
# \quad\text{is constant along } \frac{dv}{d\rho} = -\rho\,\partial_v \log p_\rho(v),$$
#
# and the end of a trajectory is the root of one equation, to as many digits as wanted. The orders
# of solvers in this project are measured on the law below, against such roots.

# %%
law = PROBLEM.mixture
w, mu, s = (np.array([float(q) for q in part]) for part in (law.weights, law.means, law.variances))
sigmas = np.geomspace(30, 0.05, 120)
quantiles = np.linspace(-2.2, 2.2, 23)
start = transport([1.0], [w @ mu], [w @ s + w @ (mu - w @ mu) ** 2], quantiles * 30, 30, 30)
paths = np.stack([transport(w, mu, s, start, sigmas[0], sigma) for sigma in sigmas])
scale = np.sqrt(1 + sigmas**2)
side = np.linspace(-3.2, 3.2, 400)


def density(sigma):
    spread, width = np.sqrt(s + sigma**2), np.sqrt(1 + sigma**2)
    z = (side[:, None] * width - mu) / spread
    return (w * np.exp(-(z**2) / 2) / spread).sum(1) * width


middle = int((paths[-1] < mu.mean()).sum())
picture = (sigmas, paths / scale[:, None], side, (density(sigmas[0]), density(sigmas[-1])), middle)
Picture(plots.line.fan(*picture), "Exact paths on a line between the laws of noise and data")

# %% [markdown]
# Three codes, written apart, solve that equation: one in float64, and two at many digits.

# %%
v0, begin, end = 1.25, 3.0, 0.3
oracle = Oracle(law.weights, [[m] for m in law.means], [[[v]] for v in law.variances], 50)
digits = {
    "transport, float64": mpmath.mpf(float(transport(w, mu, s, v0, begin, end))),
    "theory.mixtures.flow": flow(law, v0, begin, end, 50),
    "gaussian_score.Oracle": oracle.flow(v0, begin, end),
}
Table(["code", "v at the end"], [[k, mpmath.nstr(v, 40)] for k, v in digits.items()])

# %% [markdown]
# ## In more dimensions: an error that is known
#
# No law is conserved there in general. The reference integrates twice, at two tolerances, and
# takes the difference and a share for rounding as its error. A law made of two independent lines,
# turned by an angle, tells whether that is honest: for the integrator it is a mixture like any
# other, for us every coordinate has its own $F$.

# %%
angle = 0.7
turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
corners = [(i, j) for i in range(2) for j in range(2)]
both_w = np.array([w[i] * w[j] for i, j in corners])
both_mu = np.array([(mu[i], mu[j]) for i, j in corners]) @ turn.T
both_s = np.array([turn @ np.diag((s[i], s[j])) @ turn.T for i, j in corners])
seed = np.random.default_rng(0)
lines = seed.normal(0, begin, (16, 2))
truth = transport(w, mu, s, lines, begin, end) @ turn.T
found = reference_flow(both_w, both_mu, both_s, lines @ turn.T, (1.0, begin), (1.0, end))
miss = np.abs(found.x - truth).max(1)
print(f"{found.source}: largest error {miss.max():.1e}, largest estimate {found.error.max():.1e}")

# %% [markdown]
# ## What does a solver do here?
#
# The exact flow in ink, a solver with few steps over it. A run that oversteps can end in another
# Gaussian than the flow. A high order is no protection: it promises small errors for small steps,
# and these are large. Of the solvers below the one of the highest order has the largest error at
# the fewest steps, where it alone strays, and the smallest at the most.

# %%
COARSE = Choice("unip_4", steps=5)
Picture(plots.plane.solver(ring, draw(COARSE, ring)), "A coarse solver over the exact flow")

# %%
NAMES, STEPS = ("ddim", "dpm_solver_pp_2m", "dpm_solver_3m", "unip_4"), (5, 10, 20, 40)
orders = {name: prove_order(entry(name)).graded for name in NAMES}
runs = {name: [draw(Choice(name, steps=n), ring) for n in STEPS] for name in NAMES}
Table(
    ["RMS error at the end (strayed points)", "order", *(f"{n} steps" for n in STEPS)],
    [
        [name, orders[name], *(f"{d.error:.1e} ({d.strayed.sum()})" for d in row)]
        for name, row in runs.items()
    ],
)

# %% [markdown]
# Starting lower costs no model call: the closed form above, of the Gaussian with the data's mean
# and covariance, carries every point to the level `skip`, and the same number of steps then covers
# less. It helps as long as the law is nearly that Gaussian. At the lowest level below it is not,
# and the error is that of the jump, whichever the solver:

# %%
LEVELS = [level for _, level in levels()][: len(levels()) - 4]
jumped = {name: [draw(Choice(name, skip=s), ring) for s in LEVELS] for name in NAMES}
jumps = {name: [d.error for d in row] for name, row in jumped.items()}
best = {name: LEVELS[int(np.argmin(row))] for name, row in jumps.items()}
Table(
    ["solver", "error without a jump", "smallest error", "at skip", f"error at {LEVELS[-1]:.3g}"],
    [
        [n, f"{r[0]:.1e}", f"{min(r):.1e}", f"{best[n]:.3g}", f"{r[-1]:.1e}"]
        for n, r in jumps.items()
    ],
)

# %% [markdown]
# ### Try it
#
# With a kernel the next cell shows sliders: solver, form, steps, grid, and the level to skip to.

# %% tags=["live"]
sliders = Explorer(ring, COARSE)
sliders

# %%
CHANGES = [
    *(("steps", n) for n in range(6, 30, 3)),
    *(("solver", name) for name in NAMES),
    *(("form", name) for name in ("NOISE_RHO", "NOISE_LAMBDA", "DATA_LAMBDA", "GAUSSIAN")),
    *(("skip", level) for level in LEVELS[4:8]),
]
times = redraw_times(sliders, CHANGES)
clock, processor = (1e3 * median(column) for column in zip(*times, strict=True))
print(f"median of {len(times)} changes of a slider: redrawn in {clock:.0f} ms", end=", ")
print(f"of which this process worked {processor:.0f} ms")

# %% [markdown]
# ## Every claim above, asserted

# %%
# The flow's own error is far below everything that is drawn.
assert ring.error < 1e-8

# The ring: equal Gaussians on a circle, noise about as wide as data, and what a path does.
target_w, target_mu, target_s = ring.law.weights, ring.law.means, ring.law.covs
assert np.ptp(target_w) == 0 == np.ptp(target_s, axis=0).max()
assert np.ptp(np.hypot(*target_mu.T)) < 1e-14
at = scaled(ring.paths, ring.sigmas)
assert 0.5 < at[0].std() / at[-1].std() < 2
steps = np.linalg.norm(np.diff(at, axis=0), axis=-1)
assert (steps[: len(steps) // 4].sum(0) < 0.05 * steps.sum(0)).all()
radius = np.hypot(*target_mu.T).mean()
assert np.linalg.norm(guesses[0] - target_w @ target_mu, axis=-1).max() < 0.1 * radius
width = np.sqrt(target_s[0, 0, 0])
assert np.linalg.norm(guesses[-1] - target_mu[modes], axis=-1).max() < 3 * width
assert np.diff(own, axis=0).min() > -1e-12
assert 0 < decision < whole / 3

# One Gaussian: w does not move, and the integrator agrees to what it expects.
assert drift < 1e-13
assert (np.abs(integrated.x - x_t.numpy()).max(1) <= integrated.error).all()
assert all("DOP853" in reference.source for reference in (integrated, found))

# On a line: paths stay in order, the mass below them is conserved, and the three codes agree.
assert (np.diff(paths, axis=1) > 0).all()
standing = (paths[..., None] - mu) / np.sqrt(s + sigmas[:, None, None] ** 2)
mass = ndtr(standing) @ w
assert np.abs(mass - mass[0]).max() < 1e-14
assert abs(digits["theory.mixtures.flow"] - digits["gaussian_score.Oracle"]) < 1e-45
assert abs(digits["transport, float64"] - digits["theory.mixtures.flow"]) < 1e-14

# In the plane: the estimate of the error is one.
assert (miss <= found.error).all()

# The highest order alone strays, and is worst at the fewest steps and best at the most.
top = max(orders, key=orders.get)
assert COARSE == Choice(top, steps=STEPS[0])
assert {name for name, row in runs.items() if row[0].strayed.any()} == {top}
assert max(NAMES, key=lambda name: runs[name][0].error) == top
assert min(NAMES, key=lambda name: runs[name][-1].error) == top
assert all(a.error > b.error for row in runs.values() for a, b in pairwise(row))

# A jump costs no call and helps every solver here, but not down to the lowest level.
assert LEVELS[0] == FIRST
assert all(len({d.nfe for d in row}) == 1 for row in jumped.values())
assert all(LEVELS[-1] < level < FIRST for level in best.values())
lowest = [row[-1] for row in jumps.values()]
assert max(lowest) < 1.1 * min(lowest)

# The sliders are those named.
assert set(sliders.controls) == {"solver", "form", "steps", "grid", "skip"}

# Each change of a slider has drawn the picture once, and nothing behind it again.
assert sliders.redrawn == 1 + len(CHANGES)
assert sliders.live.painted == 1
