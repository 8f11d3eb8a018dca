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
# # Our trained network
#
# A score network is in this repository, small enough to be trained on one core of a CPU and good
# enough to draw what it is asked for. What does it know? At high noise nearly all of its score is
# a Gaussian's, which needs no network. This notebook draws from it, looks at how it was trained,
# and sets its score beside laws that are known: where they explain it, where it is better than
# they are, and where what is left is its own error.
#
# Letters are those of `docs/notation.md`. Every number is computed in the cell that shows it, from
# the checkpoint's own files, from rows that `scoreproof run network` has stored, or from images
# drawn here; the last cell asserts every claim.

# %%
from collections import Counter
from itertools import pairwise

import torch

from experiments import plots
from experiments.compare_training import Nothing
from experiments.datamodules import pictures
from experiments.folder import Folder
from experiments.metrics.classifier import agreement, classifier
from experiments.metrics.converged import apart
from experiments.metrics.nearest import copies, nearest
from experiments.network_study import summary
from experiments.network_study.command import PRETRAINED
from experiments.networks import Preconditioned
from experiments.notebook import Picture, Table, strict
from experiments.sampling.draw import prepared, start
from experiments.sampling.job import Job
from experiments.sampling.source import opened
from experiments.scores import own_error_from, pick
from experiments.validation import denoising_errors
from solvers.sample import sample

strict()

# %% [markdown]
# ## What does it draw?
#
# Each row is a class that the network was asked for, with some guidance and a seed of its own.
# From the left: what it expects the image to be, the guided $D$, while the noise falls; last, the
# image at the end of the run.

# %%
LEVELS, SCALE, STEPS, SHOWN = (0.02, 80.0), 1.5, 20, (0, 4, 6, 8, 10, 12, 14, 16)
SEEDS = range(20)
source, data = opened(PRETRAINED), pictures("fashion")
data.setup()
how = {"checkpoint": str(PRETRAINED), "levels": LEVELS, "labels": "cycle", "guidance": SCALE}
p = prepared(Job(method="unipc_3", steps=STEPS, grid="logsnr", last=SEEDS[-1], **how), source)
labels, way = p.labels_of(SEEDS), p.ways[None]
model = source.denoiser(labels, scale=SCALE)
with torch.no_grad():
    done = sample(way.plan, model, LEVELS[1] * start(SEEDS, source.shape), states=True)
sigmas = [float(point.rho) for point in way.grid.points]
first = slice(0, source.classes)


@torch.no_grad()
def expected(k):
    """D of the first image of each class at a node of the run."""
    known = source.denoiser(labels[first], scale=SCALE)
    return known.at("data", done.states[k][first], None, 1.0, sigmas[k])


columns = [*map(expected, SHOWN), done.x[first]]
Picture(
    plots.images.table(
        torch.cat(columns, 1), data.names, [f"σ = {sigmas[k]:.2g}" for k in SHOWN] + ["image"]
    ),
    "What the network expects while the noise falls, and the image, for each class",
)

# %%
seen = agreement(classifier(), done.x.float(), labels)
print(f"a classifier sees the class asked for in {seen.share:.0%} of {seen.images} images")
away = [float(apart(x, columns[-1]).median()) for x in columns[:-1]]
Table(
    ["σ", *(f"{sigmas[k]:.2g}" for k in SHOWN)],
    [["distance of D from the image, first = 1", *(f"{d / away[0]:.2f}" for d in away)]],
)

# %% [markdown]
# Each begins near the grey average of its class, and ends as one image. There is no moment at
# which that is decided: at every level a part of the way is done, and none of them is large.
#
# ## How was it trained?

# %%
folder = Folder(PRETRAINED)
card, rows = folder.card(), folder.rows()
epochs = rows[-1]["images"] / card["data"]["training"]
weights = sum(each.numel() for each in source.module.parameters())
print(card["command"])
print(
    f"{weights:,} parameters, {epochs:.1f} times through {card['data']['training']:,} images",
    end=" ",
)
print(f"in {rows[-1]['seconds'] / 60:.0f} minutes of one core")
Picture(plots.training.curves(rows), "Loss and errors of the training against images seen")

# %% [markdown]
# It learns a residual: $D = D_G + c_\mathrm{out} F$, with $D_G$ the exact denoiser of the Gaussian
# that has the data's mean and covariance, so a network that knows nothing, $F = 0$, begins at the
# best linear denoiser. What the training adds to it, on the same held-out images with the same
# noise (it is told the class, which $D_G$ is not):

# %%
alone = denoising_errors(Preconditioned(Nothing(), source.module.scaling), data.validation)
curve = {
    float(level): (alone[level], rows[0]["validation"][level], last)
    for level, last in rows[-1]["validation"].items()
}
won = {level: linear / last for level, (linear, _, last) in curve.items()}
Table(
    ["σ", "Gaussian alone", "after the first row", "at the end", "Gaussian / end"],
    [[f"{s:g}", *(f"{e:.2g}" for e in errors), f"{won[s]:.2f}"] for s, errors in curve.items()],
)

# %%
kept = plots.training.long(rows)
fall = kept[0]["loss"] - kept[-1]["loss"]
half = next(row["images"] for row in kept if row["loss"] < kept[0]["loss"] - fall / 2)
part = half / rows[-1]["images"]
print(f"half of the fall of the loss since the first row after {part:.0%} of the images")

# %% [markdown]
# Most is gained at low noise, but not at the lowest. Half of what the training brings comes early,
# the rest slowly; the last images no longer change the errors, since the rate has fallen to
# nothing.
#
# ## How much of its score is known without it?
#
# At noised training images, the part of the network's score that known laws leave unexplained:
# Gaussians with the data's mean, a mixture fitted by k-means, and the training images themselves,
# whose exact score a network with no limits would learn by heart. Dashed in ink, what the Gaussian
# leaves of the *data's* exact score.

# %%
found = summary.read()
study, scores = found["study"], found["scores"]
Picture(plots.scores.explained(scores, across=2), "Unexplained part of the network's score")

# %%
LAWS = ("Gaussian", "mixture", "delta")
left = {
    name: {row["sigma"]: row["score"]["residual"] for row in pick(scores, "network", name)}
    for name in LAWS
}
levels = list(left["Gaussian"])
closest = {s: min(LAWS, key=lambda name: left[name][s]) for s in levels}
gaps = [pick(scores, *curve) for curve in (("network", "delta"), ("data", "Gaussian"))]
ratio = {a["sigma"]: a["gap"] / b["gap"] for a, b in zip(*gaps, strict=True)}
Table(
    ["σ", *(f"{name} leaves" for name in LAWS), "closest", "own error / Gaussian's"],
    [
        [f"{s:g}", *(f"{left[name][s]:.2g}" for name in LAWS), closest[s], f"{ratio[s]:.2g}"]
        for s in levels
    ],
)

# %%
own, landing = own_error_from(scores), found["level"]
print(f"its own error is larger than the Gaussian's from σ = {own:g} on;")
print(f"its flow is the Gaussian's, within the tolerance, down to σ = {landing:g}")

# %% [markdown]
# The Gaussian explains all but a few thousandths at high noise, the mixture more than it at every
# level. At low noise the training images are the closest law, but at the lowest nothing is close:
# there the network has learnt neither a mixture nor the images by heart.
#
# The last column compares two distances from the data's exact score: the network's and the
# Gaussian's. Where it is above one, the Gaussian of the data is a *better* score than the network,
# at no call at all, and a jump over this part replaces the worse score by the better. The jumps of
# the study land lower than that, so they replace a part where the network is the better one as
# well.
#
# ## And while it learns?
#
# The same for the averaged weights as they were kept during the training. A network that begins at
# the Gaussian moves away from it, towards which law?

# %%
history = found["history"]
PANELS = study["scores"]["history"][::2]
Picture(plots.network.over_training(history, PANELS), "Unexplained part of the score in training")


# %%
def residual(sigma, images):
    """What each law leaves, by law."""
    here = [row for row in history if (row["sigma"], row["images"]) == (sigma, images)]
    return {row["candidate"]: row["residual"] for row in here}


moments_of_time = sorted({row["images"] for row in history})
ends = [moments_of_time[0], moments_of_time[-1]]
past = {s: [residual(s, images) for images in ends] for s in study["scores"]["history"]}
Table(
    ["σ", *(f"{name}, first and last" for name in LAWS), "closest at first", "at last"],
    [
        [f"{s:g}", *(f"{a[name]:.2g}, {b[name]:.2g}" for name in LAWS)]
        + [min(each, key=each.get) for each in (a, b)]
        for s, (a, b) in past.items()
    ],
)

# %% [markdown]
# At every level but the highest it leaves the Gaussian, and at every level it comes nearer to the
# training images; the mixture ends as the closest law at most levels. At the highest level it
# comes nearer to all three, which are nearly one there: it begins with an error that the Gaussian
# does not have.
#
# ## Are its statistics those of its data's moments?
#
# DPM-Solver-v3 measures $l$, $s$ and $b$ on the network; `06_model_statistics_from_data_moments`
# shows that the data's mean and variances alone give such functions for nothing. Left: how far the
# two are apart. Right: what it does to the error of the solver.

# %%
METHODS = study["model"]["methods"]
runs = [row for row in found["statistics"] if row["refused"] is None]
Picture(
    plots.network.model_statistics(found["differences"], runs, METHODS[0]),
    "Statistics of the network against those of moments, and errors with each",
)

# %%
KINDS = list(dict.fromkeys(row["statistics"] for row in runs))
errors = {(row["method"], row["budget"], row["statistics"]): row["error_median"] for row in runs}
cases = sorted({key[:2] for key in errors}, key=lambda case: (METHODS.index(case[0]), case[1]))
Table(
    ["method", "calls", *KINDS],
    [[*case, *(f"{errors[*case, kind]:.2g}" for kind in KINDS)] for case in cases],
)

# %%
asked = study["model"]["nodes"] * study["model"]["samples"]
wins = Counter(min(KINDS, key=lambda kind: errors[*case, kind]) for case in cases)
cheap = sum(errors[*case, KINDS[1]] < errors[*case, KINDS[2]] for case in cases)
print(
    f"best in {len(cases)} cases: {', '.join(f'{kind} {wins[kind]}' for kind in KINDS)};", end=" "
)
print(f"without derivatives better than with them in {cheap}.")
print(f"{asked:,} calls of the network are behind the tables without derivatives.")

# %% [markdown]
# At high noise the network's $l$ is that of moments, and it parts from it as noise falls. At the
# fewest calls its own statistics are the better ones, at the most calls those of the moments, for
# which it is never asked. Where they are estimated from it, derivatives are not worth their cost.
#
# ## How many calls does it take?
#
# Every family on this network, at its best. Without a jump the smallest error falls until the end,
# with one it stops at the jump's own. `08_choosing_a_solver` reads these rows one by one.

# %%
exact = found["baseline"][0]
floor = {"error_median": exact["error"], "frechet": exact["frechet"]}
rows_of = [row for row in found["runs"] if row["refused"] is None]
Picture(
    plots.network.against_calls(rows_of, study["nfe"], floor),
    "Error and distance against calls, by family",
)


# %%
def least(calls, teleport):
    """The smallest error of all runs within so many calls."""
    own = (r for r in rows_of if r["teleport"] == teleport and r["nfe"] + r["jvp"] <= calls)
    return min(row["error_median"] for row in own)


table = {n: [least(n, way) for way in study["teleports"]] for n in study["nfe"]}
Table(
    ["calls", *(f"smallest error, teleport {way}" for way in study["teleports"])],
    [[n, *(f"{e:.2g}" for e in pair)] for n, pair in table.items()],
)

# %% [markdown]
# ## Has it learnt images by heart?
#
# The images of the first picture, and below each the training image that is nearest to it. Were
# they copies, they would be nearer to training images than images that the network has never seen.

# %%
HELD = 200
near = nearest(done.x.float(), data.training.pixels)
tests = nearest(data.validation.pixels[:HELD], data.training.pixels)
beside = data.training[near.index[first, 0]][0]
Picture(
    plots.images.table(
        torch.stack([done.x[first, 0].float(), beside[:, 0]]), ["drawn", "nearest"], data.names
    ),
    "Drawn images and the training images nearest to them",
)

# %%
copied = copies(near, tests)
print(
    f"median distance of a pixel: {copied.median:.3f} for {copied.images} drawn images,", end=" "
)
print(
    f"{copied.test_median:.3f} for {copied.tests} held-out ones; {copied.very_near:.0%} of the",
    end=" ",
)
print("drawn ones are nearer than the nearest hundredth of these")

# %% [markdown]
# ## Every claim above, asserted

# %%
# It draws what it is asked for, small as it is; the average of a class is no image yet.
assert seen.share >= 0.8
assert weights <= 2_000_000
assert "--threads 1" in card["command"]
known, labels_known, *_ = data.training[:]
averages = [known[labels_known == k].mean(0).expand_as(columns[0]) for k in labels[first]]
off = torch.stack([apart(columns[0].float(), average) for average in averages])
assert torch.equal(off.argmin(0), labels[first])
assert all(off.diagonal() < apart(columns[-1].float(), torch.stack([a[0] for a in averages])))
assert all(0 < (a - b) / away[0] < 0.3 for a, b in pairwise(away))

# Training: errors fall at every level; middle levels gain most, the last images change nothing.
assert all(linear > early > last for linear, early, last in curve.values())
assert min(won) < max(won, key=won.get) < card["deviation"]
assert half < rows[-1]["images"] / 4
assert rows[-1]["rate"] < 1e-3 * rows[0]["rate"]
assert all(
    abs(a / b - 1) < 0.01
    for a, b in zip(rows[-3]["validation"].values(), rows[-1]["validation"].values(), strict=True)
)

# Scores: the Gaussian explains high noise and not low; from some level on it is the better score.
assert all(left["Gaussian"][s] < 2e-3 for s in levels if s >= 5)
assert all(a > b for a, b in pairwise(left["Gaussian"].values()))
assert all(left["mixture"][s] < left["Gaussian"][s] for s in levels)
assert min(left[name][levels[0]] for name in LAWS) > 0.9
by_heart = [s for s in levels if closest[s] == "delta"]
assert levels[0] < by_heart[0] <= by_heart[-1] < card["deviation"]
assert own is not None
assert all((ratio[s] > 1) == (s >= own) for s in levels)
assert landing < own
assert any(landing <= s < own for s in levels)

# Over the training: away from the Gaussian, towards the images; at the highest level to all three.
*lower, highest = past
for s, (a, b) in past.items():
    assert a["delta"] > b["delta"]
    assert (a["Gaussian"] < b["Gaussian"]) == (s in lower)
assert all(past[highest][0][name] > past[highest][1][name] for name in LAWS)
assert max(past[highest][1].values()) < 1.5 * min(past[highest][1].values())
gaussian = {row["sigma"]: row["score"]["residual"] for row in pick(scores, "data", "Gaussian")}
assert past[highest][0]["Gaussian"] > 5 * gaussian[highest]
assert sum(min(b, key=b.get) == "mixture" for _, b in past.values()) > len(past) / 2

# Statistics: moments know l at high noise; the network's own win at few calls and lose at many.
ell = {(row["statistics"], row["sigma"]): row["l"]["apart"] for row in found["differences"]}
for kind in KINDS[1:]:
    assert ell[kind, max(s for _, s in ell)] < 1e-3 < 0.3 < ell[kind, min(s for _, s in ell)]
few, many = study["nfe"][0], study["nfe"][-1]
for method in METHODS:
    assert max(errors[method, few, kind] for kind in KINDS) == errors[method, few, KINDS[0]]
    assert min(errors[method, many, kind] for kind in KINDS) == errors[method, many, KINDS[0]]
assert cheap > 0.75 * len(cases)

# Calls: errors fall until the end without a jump, and stop with one.
assert all(a[0] > b[0] for a, b in pairwise(table.values()))
assert table[few][0] > 1000 * table[many][0]
assert table[15][1] < 1.1 * table[many][1]
assert table[many][1] > 100 * table[many][0]

# Copies: none; they are farther from training images than held-out ones.
assert copied.very_near == 0
assert copied.median > copied.test_median
