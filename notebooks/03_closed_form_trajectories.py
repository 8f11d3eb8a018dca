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
from statistics import median

import mpmath
import numpy as np
import torch

from experiments import plots
from experiments.explore import Explorer, levels, redraw_times
from experiments.measure import PROBLEM
from experiments.notebook import Picture, Table, strict
from experiments.plane import FIRST, LAST, Choice, draw, world
from gaussian_score.reference import Oracle, reference_flow
from gaussian_score.targets import target
from gaussian_score.trajectory import GaussianFlow
from gaussian_score.transport import transport
from theory.mixtures import flow

strict()

# %% [markdown]
# ## What does a flow look like?
#
# Below is a mixture of equal Gaussians on a circle. Noise is added to its samples, and the flow
# takes each of them back. In this scale the cloud of noise is as wide as the data, so that both
# fit one picture. At high noise a point hardly moves; then it leaves the mean of all data, and
# quite suddenly it is decided which Gaussian it belongs to: the rest is a fall into that one.

# %%
ring = world("ring")
Picture(plots.plane.flow(ring), "Exact trajectories from noise to a ring of Gaussians")

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
# and the end of a trajectory is the root of one equation, to as many digits as wanted. All orders
# in this project are measured on such a law, against such roots.

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
# No law is conserved there in general. The reference integrates twice, at two tolerances, in
# coordinates in which nothing is stiff, and the difference is its error. A law made of two
# independent lines, turned by an angle, tells whether that is honest: for the integrator it is a
# mixture like any other, for us every coordinate has its own $F$.

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
print(f"largest error {miss.max():.1e}, largest estimate {found.error.max():.1e}")

# %% [markdown]
# ## What does a solver do here?
#
# The exact flow in ink, a solver with few steps over it. Where the flow decides between two
# Gaussians a run that oversteps ends in the wrong one. A high order is no protection: it promises
# small errors for small steps, and these are large.

# %%
COARSE = Choice("unip_4", steps=5)
Picture(plots.plane.solver(ring, draw(COARSE, ring)), "A coarse solver over the exact flow")

# %%
NAMES, STEPS = ("ddim", "dpm_solver_pp_2m", "dpm_solver_3m", "unip_4"), (5, 10, 20, 40)
runs = {name: [draw(Choice(name, steps=n), ring) for n in STEPS] for name in NAMES}
Table(
    ["RMS error at the end (strayed points)", *(f"{n} steps" for n in STEPS)],
    [[name, *(f"{d.error:.1e} ({d.strayed.sum()})" for d in row)] for name, row in runs.items()],
)

# %% [markdown]
# Starting lower is free where the law is still nearly Gaussian: the closed form above carries
# every point to the level `skip` at no model call. The same number of steps then covers less.

# %%
LEVELS = [level for _, level in levels()][: len(levels()) - 4]
jumps = {name: [draw(Choice(name, skip=s), ring).error for s in LEVELS] for name in NAMES}
best = {name: LEVELS[int(np.argmin(row))] for name, row in jumps.items()}
Table(
    ["solver", "error without a jump", "smallest error", "at skip"],
    [[n, f"{r[0]:.1e}", f"{min(r):.1e}", f"{best[n]:.3g}"] for n, r in jumps.items()],
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

# One Gaussian: w does not move, and the integrator agrees to what it expects.
assert drift < 1e-13
assert (np.abs(integrated.x - x_t.numpy()).max(1) <= integrated.error).all()

# On a line: the quantiles stay in order, and the three codes agree to their digits.
assert (np.diff(paths, axis=1) > 0).all()
assert abs(digits["theory.mixtures.flow"] - digits["gaussian_score.Oracle"]) < 1e-45
assert abs(digits["transport, float64"] - digits["theory.mixtures.flow"]) < 1e-14

# In the plane: the estimate of the error is one.
assert (miss <= found.error).all()

# The highest order strays at few steps, the lowest does not, and at many steps it wins by far.
assert runs["unip_4"][0].strayed.any()
assert not runs["ddim"][0].strayed.any()
assert runs["unip_4"][-1].error < min(runs[name][-1].error for name in NAMES[:2])
# Errors fall with the number of steps, and a jump helps every solver here.
assert all(row[-1].error < row[0].error for row in runs.values())
assert all(LAST < best[name] < FIRST and min(row) < row[0] for name, row in jumps.items())

# Each change of a slider has drawn the picture once, and nothing behind it again.
assert sliders.redrawn == 1 + len(CHANGES)
assert sliders.live.painted == 1
