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
# # Teleportation and its certificate
#
# At high noise every law looks like one Gaussian, and the flow of a Gaussian is a formula. So a
# sampler may skip the first part of its way at no model call. How far may it go? This notebook
# derives what a jump costs, bounds it rigorously, and says whose error that is, since there are
# two and they differ.
#
# Letters are those of `docs/notation.md`. Every number is computed in the cell that shows it or
# loaded from a stored study that is named there; the last cell asserts every claim.

# %%
import json
from itertools import pairwise

import numpy as np
import torch

from experiments import plots
from experiments.looseness import FAIR, HALF, MIXTURES, drawn, summary_rows
from experiments.notebook import Picture, Table, strict
from experiments.report.teleports import RESULTS, SKEWED, paths
from experiments.solve import solve
from experiments.teleported import BEST, cells
from gaussian_score.certificate import bound
from gaussian_score.divergence import relative_entropy
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments
from gaussian_score.skip import TOLERANCE, auto_skip
from gaussian_score.sources import MixtureSource
from gaussian_score.teleport import corrected, jump
from gaussian_score.transport import transport
from gaussian_score.whitened import Centred
from theory import teleportation as proofs

strict()

# %% [markdown]
# ## What is skipped?
#
# The law below is skewed: a large Gaussian and a small one far away. Its paths are drawn in
# $w = (x - m)/\sqrt{\lambda + \sigma^2}$, in which the flow of the Gaussian with the same mean $m$
# and variance $\lambda$ does not move at all. In ink the exact flow: for a long way it hardly
# moves either. Dashed: the paths of a run that jumps over the blue part.

# %%
w, m, v = SKEWED
LAW = {"weights": list(w), "means": [[a] for a in m], "covs": [[[a]] for a in v]}
SOURCE = MixtureSource(**LAW)
skip = auto_skip(SOURCE)
sigmas, flow, jumping = paths(skip.rho)
Picture(
    plots.teleport.trajectories(sigmas, flow, jumping, skip.rho),
    "Exact paths, and paths with a jump",
)

# %%
print(skip.text)

# %% [markdown]
# ## What does the jump miss?
#
# The two flows differ by the difference of two denoisers, $D$ of the data and $D_G$ of the
# Gaussian. Integrated down from high noise that leaves, per eigendirection and to leading order,
# if the law is skewed (where only the fourth cumulant counts, $4$ stands for the $3$),
#
# $$x^* - x_G \approx \frac{\lambda + \sigma^2}{3\sigma^2}\,(D - D_G) .$$
#
# Everything on the right is known after the first model call, which a sampler makes anyway. So a
# run can say what its jump has cost, and it can take the error away. Each line is the docstring
# of a function that has just proved it:

# %%
STATEMENTS = (
    proofs.whitened_flow,
    proofs.a_third_of_the_disagreement,
    proofs.corrected_jump,
    proofs.corrected_symmetric_jump,
    proofs.de_bruijn,
    proofs.fisher_is_excess_error,
    proofs.start_mismatch,
)
shown = [statement() for statement in STATEMENTS]
Table(["proved", "holds"], [[p.claim, p.holds] for p in shown])

# %% [markdown]
# Measured on the skewed law, against its exact flow from very high noise: with every doubling of
# the landing level the error of the jump falls by the same power, and that of the corrected one by
# at least a power more, in the end by just one.

# %%
HIGH, LEVELS = 1e7, tuple(4.0 * 2**k for k in range(9))
POINTS = np.linspace(-1.9, 1.9, 21)
MIXTURE, MOMENTS = GaussianMixture.full(**LAW), Moments.from_law(**LAW)


def landed(level):
    """Exact, jumped and corrected points at a level, from the same starts."""
    start = torch.tensor(HIGH * POINTS[:, None])
    exact = transport(w, m, v, start[:, 0].numpy(), HIGH, level)
    there = jump(start, MOMENTS, start=(1.0, HIGH), end=(1.0, level))
    data = MIXTURE.denoise(there, 1.0, level)
    return exact, there, corrected(there, data, MOMENTS, level=(1.0, level))


def misses(level):
    exact, *both = landed(level)
    return [float(np.sqrt(np.mean((x[:, 0].numpy() - exact) ** 2))) for x in both]


plain, mended = zip(*map(misses, LEVELS), strict=True)
landing = {
    "jump": list(zip(LEVELS, plain, strict=True)),
    "corrected jump": list(zip(LEVELS, mended, strict=True)),
}
Picture(
    plots.errors.lines(landing, across="landing level σ", down="RMS error at the landing"),
    "Errors of the jump and of the corrected jump against the landing level",
)

# %%
powers = {name: plots.errors.slopes(line)[-1][1] for name, line in landing.items()}
print(", ".join(f"{name}: falls like σ^-{p:.2f}" for name, p in powers.items()))

# %% [markdown]
# ## The certificate
#
# Not every single path matters. If the run starts from a draw of the Gaussian $g_\rho$ instead of
# the noised data $p_\rho$, the *law* of its samples is off by no more than
#
# $$K(\rho) = \mathrm{KL}(p_\rho \,\|\, g_\rho) \le \log(1 + \chi^2(\rho)),$$
#
# with any sampler and any number of steps, since no map makes two laws easier to tell apart. For
# a mixture the right side is a finite sum of Gaussian integrals. It needs no samples and it is
# rigorous.

# %%
RHOS = np.geomspace(1, 16, 13)
centred = Centred.read(**LAW)
limits = [(float(r), bound(centred, float(r))) for r in RHOS]
truth = [(float(r), relative_entropy(**LAW, rho=float(r)).value) for r in RHOS]
certified = {"log(1 + χ²), rigorous": limits, "K, by quadrature": truth}

# %% [markdown]
# And this is not the error of a trajectory. Second panel: the bound and the truth. First panel:
# what happens to single trajectories at the same number of model calls. The lowest landing costs
# about the jump's own error, the highest about the solver's, and for a solver that gains the best
# level lies between. The better a solver does by itself, the higher, or no lower, is its best
# level; one better than any jump should not be made to. (Dotted: no jump.)

# %%
METHODS, NFE, END = ("ddim", "dpm_solver_pp_2m", "dpm_solver_3m"), 8, 0.05
SHOWN = (2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0)


def run(method, level):
    grid = {"name": "karras", "steps": NFE, "start": 80.0, "end": END}
    about = {"problem": LAW, "schedule": {"name": "edm"}, "x_start": [[80 * z] for z in POINTS]}
    jump = {"sigma_skip": level, "budget": "redistribute", "history": "gaussian"}
    jumped = {"teleport": jump} if level else {}
    return solve({**about, "method": method, "grid": grid, **jumped})


def row(method, level):
    out = run(method, level)
    miss = np.abs(np.array(out["x_final"]) - np.array(out["exact"]))
    return {"method": method, "level": level, "nfe": out["nfe"], "error_median": np.median(miss)}


rows = [row(method, level) for method in METHODS for level in (None, *SHOWN)]


def alone(level):
    """Median error at the end of what the jump alone costs: exact flow from the landing."""
    start = 80 * POINTS
    there = jump(torch.tensor(start[:, None]), MOMENTS, start=(1.0, 80.0), end=(1.0, level))
    end = transport(w, m, v, there[:, 0].numpy(), level, END)
    return float(np.median(np.abs(end - transport(w, m, v, start, 80.0, END))))


only = [(level, alone(level)) for level in SHOWN]
Picture(
    plots.teleport.against_level(rows, only, certified, TOLERANCE),
    "Errors of trajectories and of the law against the landing level",
)


# %%
def gain(method):
    own = {r["level"]: r["error_median"] for r in rows if r["method"] == method}
    best = min((level for level in own if level), key=own.get)
    return best, own[None] / own[best]


gains = {method: gain(method) for method in METHODS}
Table(
    ["method", "best level", "error without a jump / with it"],
    [[name, f"{level:g}", f"{ratio:.1f}"] for name, (level, ratio) in gains.items()],
)

# %% [markdown]
# ## Does a run know what its jump has cost?
#
# Each run reports `landing`: the leading error above, from its first model call. Beside the true
# distance from the exact flow at the landing:


# %%
def told(level):
    reported = float(np.median(run("ddim", level)["landing"]))
    start = 80 * POINTS
    there = jump(torch.tensor(start[:, None]), MOMENTS, start=(1.0, 80.0), end=(1.0, level))
    exact = transport(w, m, v, start, 80.0, level)
    return reported, float(np.median(np.abs(there[:, 0].numpy() - exact)))


reports = {level: told(level) for level in SHOWN[:-1]}
Table(
    ["landing level", "reported", "true", "ratio"],
    [[f"{s:g}", f"{a:.4f}", f"{b:.4f}", f"{a / b:.2f}"] for s, (a, b) in reports.items()],
)

# %% [markdown]
# ## How loose is the bound?
#
# Over random mixtures the bound is about twice the truth where all modes have a fair share and it
# is small. Rare modes can make it far looser. It is never below the truth.

# %%
random = drawn()
Picture(plots.teleport.looseness(random), "The bound over the truth, against the rarest weight")

# %%
(loose,) = summary_rows(random)
small = [r for group in random.values() for r in group if r.bound < HALF]
fair = [r.looseness for r in small if r.rarest >= FAIR]
rare = [r.looseness for r in small if r.rarest < FAIR]
endless = {name: sum(np.isinf(r.bound) for r in group) for name, group in random.items()}
print(f"χ² < ½ and no weight below {FAIR:g}: {loose['fair']} of {loose['mixtures']};", end=" ")
print(f"bound/truth {loose['median']:.2f} in the median, {max(fair):.1f} at most;")
print(f"χ² < ½ and a weight below {FAIR:g}: bound/truth {max(rare):.1f} at most;")
print(", ".join(f"infinite for {n} of {MIXTURES}: {name}" for name, n in endless.items()))

# %% [markdown]
# And a component that is too wide makes it infinite: one with twice the variance of the whole law
# or more, both with the noise in them. Shortly below that it is loose already.


# %%
def wide(times, rho=1.0):
    """Bound and truth where the wide component has so many times the variance of the whole."""
    narrow = 0.01 + rho**2
    broad = times * 0.6 * narrow / (1 - 0.4 * times)
    covs = [[[narrow - rho**2]], [[broad - rho**2]]]
    law = {"weights": [0.6, 0.4], "means": [[0.0], [0.0]], "covs": covs}
    return bound(Centred.read(**law), rho), relative_entropy(**law, rho=rho).value


WIDTHS = (1.5, 1.8, 1.99, 2.01)
widths = {times: wide(times) for times in WIDTHS}
Table(
    ["the component's variance / the law's", "bound", "truth", "ratio"],
    [[f"{t:g}", f"{a:.3g}", f"{b:.3g}", f"{a / b:.3g}"] for t, (a, b) in widths.items()],
)

# %% [markdown]
# ## And on images?
#
# A stored study ran every method with fixed steps and no noise (one of those that are equal) on a
# mixture fitted to images, on several grids, with a jump to each of several levels and without
# one. Below: the best of everything with a jump beside the best of everything without one, at the
# same number of calls.

# %%
study = json.loads(RESULTS.read_text(encoding="utf-8"))
what = study["study"]
print(f"run {study['run_id']}: {what['target']}, {what['samples']} starts,", end=" ")
print(f"levels {', '.join(f'{level:g}' for level in what['levels'])}")
Table(BEST, cells(study["best"]))

# %%
ratios = [pair["ratio"] for pair in study["methods"]]
better = sum(ratio > 1 for ratio in ratios)
print(f"method by method: better with a jump in {better} of {len(ratios)} cases,", end=" ")
print(f"median ratio {np.median(ratios):.2f}")

# %% [markdown]
# ## Every claim above, asserted

# %%
assert all(p.holds for p in shown)

# The picture: until twice its landing a path has done less than a tenth of all that it moves.
moved = np.abs(flow - flow[:, :1])
assert moved[:, sigmas >= 2 * skip.rho].max() < moved.max() / 10
assert np.ptp(jumping[:, sigmas >= skip.rho], axis=1).max() < 1e-12

# The level: within the tolerance, rigorously, and the law's true error is below the bound.
assert skip.bound <= TOLERANCE
assert skip.estimate < skip.bound
assert all(k <= limit for (_, k), (_, limit) in zip(truth, limits, strict=True))
assert all(a > b for (_, a), (_, b) in pairwise(truth))

# The powers: two for the jump of a skewed law, three or more, and at last three, if corrected.
falls = [[p for _, p in plots.errors.slopes(line)] for line in landing.values()]
assert all(abs(p - 2) < 0.1 and q > p + 0.9 for p, q in zip(*falls, strict=True))
assert abs(powers["corrected jump"] - 3) < 0.1

# Single trajectories: two methods gain, between the ends; the best of the three does not.
assert {row["nfe"] for row in rows} == {NFE}
for name in ("ddim", "dpm_solver_pp_2m"):
    assert gains[name][1] > 2
    assert SHOWN[0] < gains[name][0] < SHOWN[-1]
assert gains["dpm_solver_3m"][1] < 1

# The better a solver is, the higher its best level; at the ends the jump's error, and its own.
ends = {(row["method"], row["level"]): row["error_median"] for row in rows}
assert all(ends[a, None] > ends[b, None] for a, b in pairwise(METHODS))
assert all(gains[a][0] <= gains[b][0] for a, b in pairwise(METHODS))
for name in METHODS:
    assert 1 / 2 < ends[name, SHOWN[0]] / only[0][1] < 2
    assert 1 / 2 < ends[name, SHOWN[-1]] / ends[name, None] < 2
assert all(a > b for (_, a), (_, b) in pairwise(only))

# What a run reports tends to what its jump has cost.
off = [abs(a / b - 1) for a, b in reports.values()]
assert off[-1] < 0.2
assert off[-1] < off[0]

# The bound holds on every random mixture; fair ones have twice the truth, as χ² ≃ 2 K says.
assert all(r.holds for group in random.values() for r in group)
assert abs(loose["median"] - 2) < 0.1
assert max(rare) > 3 * max(fair)
assert max(rare) in {r.looseness for r in random["one covariance"]}  # no wide component

# Infinite for some mixtures, none with one covariance; for a wide component from twice on.
assert endless["any covariances"] > 0 == endless["one covariance"]
assert all(np.isinf(a) == (t >= 2) for t, (a, _) in widths.items())
assert all(a / b < c / d for (a, b), (c, d) in pairwise(widths[t] for t in WIDTHS if t < 2))
assert widths[1.99][0] > 10 * widths[1.99][1]

# Images: every method ran; the best with a jump beats the best without, at equal calls.
assert not what["methods"]  # no choice of them
assert all(
    pair[way]["nfe"] == pair["calls"] for pair in study["best"] for way in ("with", "without")
)
assert all(pair["ratio"] > 1 for pair in study["best"])
assert better > len(ratios) / 2
