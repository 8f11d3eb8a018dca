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
# # Choosing a solver for your checkpoint
#
# You have a checkpoint, and you may call it so many times an image. Which solver should run, on
# which grid, and should the first part of the way be skipped by a jump? A stored study has run
# what may be chosen on the network of this repository, and measured each run twice: how far it
# ends from the network's own flow, and how far its images are from data. This notebook reads the
# rows the way one would before deciding, then tests the decision on starts that the study has
# not seen.
#
# Letters are those of `docs/notation.md`. Every number is computed in the cell that shows it, from
# rows that `scoreproof run network` has stored or from runs made here; the last cell asserts every
# claim.

# %%
import shlex
from collections import Counter
from itertools import product
from statistics import geometric_mean, median

from ipywidgets import HTML, SelectionSlider, VBox
from scipy.stats import binomtest, spearmanr

from experiments import plots
from experiments.cli import parser
from experiments.launch import in_eigenbasis
from experiments.metrics.converged import apart
from experiments.network_study import summary
from experiments.network_study.command import PRETRAINED
from experiments.notebook import Picture, Table, strict
from experiments.rows import name_of
from experiments.sampling.draw import prepared, run
from experiments.sampling.job import Job
from experiments.sampling.source import opened
from theory.certificates import load as certificate

strict()

# %% [markdown]
# ## What can be won by choosing?
#
# A dash is a run: a solver on a grid, without a jump (ink) or with one (blue). At each number of
# calls the lines mark the best of each kind, and the squares what happens to somebody who always
# takes the same solver on the same grid. Distances far above the others stand beyond the thin
# line, where their axis is logarithmic.

# %%
found = summary.read()
study, budgets = found["study"], found["study"]["nfe"]
rows = [row for row in found["runs"] if row["refused"] is None]
exact, training = found["baseline"][0], found["baseline"][-1]["training"]
chance = training["frechet"]["mean"], training["frechet"]["deviation"]
floor = {"error_median": exact["error"], "frechet": exact["frechet"]}
METHODS = list(dict.fromkeys(name_of(row) for row in rows))
GRIDS = [grid["name"] for grid in study["grids"]]


def chosen(method, grid, jump, budget=None):
    """The runs of one choice, at one number of calls or at all."""
    wanted = (method, grid, jump)
    own = [r for r in rows if (name_of(r), r["grid"], r["teleport"]) == wanted]
    return [r for r in own if budget in (None, r["budget"])]


RULE = ("unipc_3", "logsnr", "off")
about = {"floor": floor, "chance": chance, "marked": {"always unipc_3 on logsnr": chosen(*RULE)}}
Picture(
    plots.choice.choices(rows, budgets, **about), "Errors and distances of all runs against calls"
)

# %%
print(f"run {found['run_id']}: {len(METHODS)} methods on {', '.join(GRIDS)}, {len(rows)} runs")
print(f"each from {study['samples']} starts; a jump lands at σ = {found['level']:g};", end=" ")
print(f"distances in {study['dimensions']} components")
print(f"exact flow: known to {exact['error']:.0e}, distance {exact['frechet']:.2f}")
print(f"as many training images: distance {chance[0]:.2f} ± {chance[1]:.2f}")

# %% [markdown]
# Left: a poor choice costs more than a factor of ten in error, at any number of calls. Where calls
# are few, the best runs jump; where they are many, the jump is an error that no solver mends.
#
# Right: distances fall to about that of the exact flow at far fewer calls than errors do, and from
# there on nearly all are within what chance alone does to so few images (grey). A run below the
# dotted line is *nearer to data than the exact flow of the network is*.
#
# ## Error or distance?
#
# So the first choice is which of the two should be small. The error counts where the same noise
# must give the same image as more calls would: editing, inversion, distillation. The distance
# counts where images are all that is wanted. They name different winners:


# %%
def best(by, budget, among=rows):
    """The smallest within so many calls; those that use fewer count too."""
    return min((r for r in among if r["budget"] <= budget), key=lambda r: r[by])


def told(row):
    """A choice in words."""
    jump = "" if row["level"] is None else ", jump"
    return f"{name_of(row)}, {row['grid']}{jump}"


both = {n: [best(by, n) for by in summary.MEASURES] for n in budgets}
Table(
    ["calls", "smallest error", "error", "distance", "smallest distance", "error", "distance"],
    [
        [
            n,
            *(
                f(r)
                for r in pair
                for f in (told, "{error_median:.2g}".format_map, "{frechet:.2f}".format_map)
            ),
        ]
        for n, pair in both.items()
    ],
)


# %%
def at(budget, **fixed):
    """The runs at a number of calls."""
    wanted = {"budget": budget, **fixed}
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def agreement(own, by):
    """Spearman's rank correlation of the runs' error and a distance of theirs."""
    return spearmanr(*([row[key] for row in own] for key in ("error_median", by))).statistic


def near(budget):
    """The share of runs within a deviation of the smallest distance."""
    least = min(row["frechet"] for row in at(budget))
    return sum(r["frechet"] <= least + chance[1] for r in at(budget)) / len(at(budget))


agree = {n: [agreement(at(n), by) for by in ("frechet", "kernel")] for n in budgets}
alike = {n: near(n) for n in budgets}
Table(
    ["calls", "ranks agree, Frechet", "ranks agree, kernel", "within chance of the nearest"],
    [[n, *(f"{r:+.2f}" for r in agree[n]), f"{alike[n]:.0%}"] for n in budgets],
)

# %% [markdown]
# Ranks agree while runs are bad enough to be bad at everything. Then they part, and in the end
# they are opposite. The smallest distance of all is reached with few calls, by a run that is more
# than a thousand times farther from the flow than the best with many; no further call brings it
# down. In the end the runs lie on two levels, nearer to data with a jump than without:

# %%
FEW, MIDDLE, MANY = budgets[0], 10, budgets[-1]
named = [f"smallest {figure}, {MIDDLE} calls" for figure in summary.MEASURES.values()]
named = dict(zip(named, both[MIDDLE], strict=True))
Picture(plots.choice.disagreement(rows, exact["frechet"], named), "Distance to data against error")

# %% [markdown]
# How much of this is chance? The last column above counts the runs whose distance is within one
# deviation, that of as many training images, of the smallest. The measure is coarse: all runs
# begin at the same noise, so two of them differ by less than two sets of images would that have
# nothing in common. But no single images are stored, and the rows cannot say more. **A distance of
# so few images tells the bad from the good; only the error tells the good from the best.**
#
# ## What does an order mean at few calls?
#
# An order is a promise about small steps. Below, without a jump and on one grid, the best of all
# methods of one call a step, by their *proved* order. The slope between two numbers of calls tells
# the order that shows there.


# %%
def proved(row):
    """What the certificate of a run's method says."""
    return certificate(row["method"]).row(row["options"])


def lean(row):
    """Of the rule's grid, without a jump, at one call a step."""
    same = (row["grid"], row["teleport"]) == RULE[1:]
    return same and proved(row)["evaluations_per_step"] == 1


plain = [row for row in rows if lean(row)]
orders = sorted({proved(row)["order"] for row in plain})
least = {p: [] for p in orders}
for p, n in product(orders, budgets):
    own = [row for row in plain if (proved(row)["order"], row["budget"]) == (p, n)]
    least[p].append((n, min(row["error_median"] for row in own)))
curves = {f"proved order {p}": curve for p, curve in least.items()}
Picture(
    plots.errors.lines(curves, across="calls", down=plots.choice.MEASURES["error_median"]),
    "The best errors of each proved order against calls",
)

# %%
slopes = {p: dict(plots.errors.slopes(least[p])) for p in orders}
winner = {
    n: min((r for r in plain if r["budget"] == n), key=lambda r: r["error_median"])
    for n in budgets
}
order = {n: proved(row)["order"] for n, row in winner.items()}
steep = {n: [f"{slopes[p][n]:.1f}" if n in slopes[p] else "–" for p in orders] for n in budgets}
Table(
    ["calls", *(f"slope, order {p}" for p in orders), "the best", "its order"],
    [[n, *steep[n], name_of(winner[n]), order[n]] for n in budgets],
)

# %% [markdown]
# At the fewest calls a method of the *lowest* proved order is the best of all, and at the most
# calls one of the highest. What an order promises is kept late: every slope is far from it at some
# number of calls, and at the most all are near. Until then constants decide, of which an order
# says nothing, and a measurement all.
#
# ## What does the grid do?
#
# The same solver at the same number of calls, on each grid: where it is best, and by which factor
# the worst grid makes its error larger, in the median. Beside it the factor between a middling
# solver and the best, each on the best of its grids.


# %%
def over_grids(budget, jump):
    """The error on each grid, for every solver that has one on all."""
    own = [[chosen(m, g, jump, budget) for g in GRIDS] for m in METHODS]
    return [[r[0]["error_median"] for r in runs] for runs in own if all(runs)]


def grid_line(budget, jump):
    """How often each grid is best; what the worst grid costs, and what the solver does."""
    errors = over_grids(budget, jump)
    wins = Counter(GRIDS[each.index(min(each))] for each in errors)
    firsts = [min(each) for each in errors]
    worst = median(max(each) / min(each) for each in errors)
    return [wins[g] for g in GRIDS], worst, median(firsts) / min(firsts)


grids = {(jump, n): grid_line(n, jump) for jump in study["teleports"] for n in budgets}
Table(
    ["jump", "calls", *(f"best on {g}" for g in GRIDS), "worst grid", "middling solver"],
    [[*case, *wins, f"{a:.2f}", f"{b:.2f}"] for case, (wins, a, b) in grids.items()],
)

# %% [markdown]
# No grid is the best for all, and without a jump the worst adds about half of the error again. A
# middling solver costs more, and with the most calls many times the best one's error. With a jump
# both matter little there: the error is then the jump's, whatever runs after it.
#
# ## What does a jump bring, and what does it cost?
#
# The same solver on the same grid at the same number of calls, with the jump and without it: how
# many gain by it, and by which factor in the median.


# %%
def jump_gains(budget, by):
    """The figure without a jump over that with it, for every solver on every grid."""
    cases = product(METHODS, GRIDS)
    pairs = [[chosen(*case, jump, budget) for jump in ("off", "auto")] for case in cases]
    return [off[0][by] / on[0][by] for off, on in pairs if off and on]


FIGURES = {"error": "error_median", "distance": "frechet", "kernel distance": "kernel"}
gains = {name: {n: jump_gains(n, by) for n in budgets} for name, by in FIGURES.items()}
share = {f: {n: sum(g > 1 for g in own[n]) / len(own[n]) for n in own} for f, own in gains.items()}
factor = {f: {n: median(own[n]) for n in own} for f, own in gains.items()}
Table(
    ["calls", *(f"gain in {f}" for f in gains), "factor, error", "factor, distance"],
    [
        [n, *(f"{s[n]:.0%}" for s in share.values())]
        + [f"{factor[f][n]:.2f}" for f in ("error", "distance")]
        for n in budgets
    ],
)

# %%
limit = median(row["error_median"] for row in at(MANY, teleport="auto"))
grey = [127.5 * error for error in (limit, both[MANY][0]["error_median"])]
print(f"at {MANY} calls the median error with a jump is {grey[0]:.1f} grey levels of a byte,")
print(f"the smallest without one {grey[1]:.2f}")

# %% [markdown]
# With few calls nearly every solver gains in error, since all its steps lie where the flow bends.
# With many all lose: what remains is the jump's own error, a few grey levels. In both distances
# the jump is ahead nearly everywhere, with many calls too. It replaces what the network does at
# high noise by the exact flow of the data's Gaussian, which can be the better part of the two:
# `10_our_trained_network` shows from which level on it is. But where distances are at the flow's
# these gains are small beside chance, and all on the same starts: an observation, no proof.
#
# ## What does a fixed rule cost?
#
# The *regret* of a rule at a number of calls is its figure over the best there is. Among all rules
# "this solver, on this grid, with a jump up to so many calls" the one with the smallest regret at
# its worst is looked for:


# %%
def regrets(method, grid, last, by="error_median"):
    """At every number of calls, of a rule that jumps up to ``last``; empty where it cannot run."""
    jumps = ["auto" if n <= last else "off" for n in budgets]
    runs = [chosen(method, grid, jump, n) for jump, n in zip(jumps, budgets, strict=True)]
    if not all(runs):
        return []
    return [r[0][by] / best(by, n)[by] for n, r in zip(budgets, runs, strict=True)]


def smallest(lasts, by="error_median"):
    """The rule with the smallest regret at its worst."""
    worst = {
        rule: max(regrets(*rule, by), default=None) for rule in product(METHODS, GRIDS, lasts)
    }
    return min((rule for rule in worst if worst[rule]), key=worst.get)


NEVER, ALWAYS = 0, MANY
RULES = {
    "the simplest": ("ddim", "karras", NEVER),
    "that of the picture": (*RULE[:2], NEVER),
    "best that never jumps": smallest([NEVER]),
    "best that always jumps": smallest([ALWAYS]),
    "best that jumps where calls are few": smallest([NEVER, *budgets]),
    "best by distance": smallest([NEVER, *budgets], "frechet"),
}
regret = {name: [regrets(*rule, by) for by in summary.MEASURES] for name, rule in RULES.items()}
Table(
    ["rule", "solver", "grid", "jumps up to", "error: worst", "mean", "distance: worst", "mean"],
    [
        [
            name,
            *RULES[name],
            *(f"{f(each):.2f}" for each in figures for f in (max, geometric_mean)),
        ]
        for name, figures in regret.items()
    ],
)

# %% [markdown]
# One solver, one grid and one threshold are enough to stay near the best at every number of calls.
# Without the threshold the worst regret is larger, far larger for those who always jump. The rule
# of the first picture is the best of those that never do. In distance no rule is ever far behind,
# and the best by distance is the worst by error.
#
# But rules and winners were chosen on the very rows that they are judged by, and the best of many
# is partly the luckiest. Hence the last step.
#
# ## Does it hold on other starts?
#
# Candidates for the same number of calls: the best by error, the best by distance, and the rule of
# the first picture. They run here, on starts that the study has not seen, by the functions behind
# `scoreproof sample`; an accurate run of the study stands for the exact flow. After a jump a
# solver that looks back is given the Gaussian's past; with `--history none` it begins anew at the
# landing. The first candidate runs in both ways.

# %%
CALLS, ACCURATE, SEEDS = 8, 20, range(study["samples"], study["samples"] + 24)
source = opened(PRETRAINED)
basis, _ = in_eigenbasis(source.moments, source.shape)
GRID_OF = {grid["name"]: grid for grid in study["grids"]}
LEVELS = study["rho_end"], study["rho_start"]


def ends(row, **more):
    """x/α at the end of a stored choice from the seeds, by `sample`, and its calls."""
    grid = GRID_OF[row["grid"]]
    how = {key: row[key] for key in ("method", "steps", "options", "grid")}
    how |= {"schedule": {"name": grid["schedule"]}, "grid_options": grid["options"]}
    job = Job(checkpoint=str(PRETRAINED), levels=LEVELS, teleport=row["level"], **how, **more)
    p = prepared(job, source)
    done = run(p, SEEDS)
    return done.x / float(p.ways[None].grid.points[-1].alpha), int(done.nfe[0])


candidates = dict(zip(("best by error", "best by distance"), both[CALLS], strict=True))
candidates["the rule"] = chosen(*RULE, CALLS)[0]
ANEW = "best by error, begun anew"
reference, _ = ends(both[ACCURATE][0])
live = {name: ends(row) for name, row in candidates.items()}
live[ANEW] = ends(candidates["best by error"], history="none")
candidates[ANEW] = candidates["best by error"]
miss = {name: apart(x, reference) for name, (x, _) in live.items()}
strips = {
    f"{name} ({told(candidates[name])})": {"images": x[:12, 0].numpy(), "nfe": nfe}
    for name, (x, nfe) in live.items()
}
Picture(
    plots.samples.sheet({"exact": reference[:12, 0].numpy(), "methods": strips}, scale=3),
    "Images of the candidates, and how far they are from the flow's",
)

# %%
here = {name: float(each.median()) for name, each in miss.items()}
nearer = {name: int((each < miss["the rule"]).sum()) for name, each in miss.items()}
odds = {name: binomtest(nearer[name], len(SEEDS)).pvalue for name in nearer}
judged = {
    name: (f"{here[name]:.3f}", f"{nearer[name]} of {len(SEEDS)}", f"{odds[name]:.1g}")
    for name in here
} | {"the rule": (f"{here['the rule']:.3f}", "", "")}
Table(
    [
        "candidate",
        "is",
        "calls",
        "error in the study",
        "here",
        "nearer than the rule",
        "by chance",
    ],
    [
        [name, told(row), live[name][1], f"{row['error_median']:.3f}", *judged[name]]
        for name, row in candidates.items()
    ],
)

# %% [markdown]
# The order is that of the study, and a solver that begins anew at the landing loses a part of what
# the jump has won. What is best by distance is farthest from the flow, and its images are grainy.
# The distance is taken in a few principal components of the data. Outside of them lies the larger
# part of each candidate's error, and the grain:


# %%
def grain(x):
    """E|x|² outside of the components in which the distance is taken."""
    y = basis.coordinates(x)[:, study["dimensions"] :]
    return float(y.square().sum(1).mean())


grains = {name: grain(x) / grain(reference) for name, (x, _) in live.items()}
hidden = {name: grain(live[name][0] - reference) for name in live}
whole = {name: float(each.square().mean()) * reference[0].numel() for name, each in miss.items()}
Table(
    ["candidate", "grain, that of the flow's images = 1", "part of the error that is outside"],
    [[name, f"{grains[name]:.2f}", f"{hidden[name] / whole[name]:.0%}"] for name in live],
)

# %% [markdown]
# So a distance of few images in few components can be won by grainy images. Look at them, or
# measure the error.
#
# ### Try it
#
# With a kernel the next cell shows any choice among all the runs.


# %%
def place(method, grid, jump, calls):
    """The runs of a choice among all, and one of them in words."""
    own, one = chosen(method, grid, jump), chosen(method, grid, jump, calls)
    words = [f"error {r['error_median']:.3g}, distance {r['frechet']:.3g}" for r in one]
    marked = {f"{method}, {grid}, jump {jump}": own, f"{calls} calls: {''.join(words)}": one}
    return Picture(plots.choice.choices(rows, budgets, **about | {"marked": marked}), "A choice")


OPTIONS = {"method": METHODS, "grid": GRIDS, "jump": study["teleports"], "calls": budgets}
controls = {name: SelectionSlider(options=o, description=name) for name, o in OPTIONS.items()}
shown = HTML()


def redraw(change=None):
    """The callback of every slider."""
    shown.value = place(**{name: c.value for name, c in controls.items()})._repr_svg_()


for control in controls.values():
    control.observe(redraw, "value")

# %% tags=["live"]
redraw()
VBox([*controls.values(), shown])

# %% [markdown]
# ## On your own checkpoint
#
# The candidates above as commands, for any checkpoint that `docs/networks.md` lists:


# %%
def command(row):
    """The same choice for a checkpoint of yours."""
    grid = GRID_OF[row["grid"]]
    words = [f"--method {row['method']} --steps {row['steps']}"]
    words += [f"--option {key}={value}" for key, value in row["options"].items()]
    words += [f"--schedule {grid['schedule']} --grid {row['grid']}"]
    words += [f"--grid-option {key}={value:g}" for key, value in grid["options"].items()]
    words += [f"--sigma-min {study['rho_end']:g} --sigma-max {study['rho_start']:g}"]
    words += [] if row["level"] is None else ["--teleport auto"]
    return " ".join(["scoreproof sample --checkpoint net", *words, "--seeds 0-99 --out set"])


commands = [command(candidates[name]) for name in candidates if name != ANEW]
commands += ["scoreproof metrics set --data fashion"]
commands += ["scoreproof run network --checkpoint net --summary net.json"]
print("\n".join(commands))

# %% [markdown]
# The last but one gives the distance of a set, beside that of held-out images and with an error.
# The last makes the rows of this notebook for your network, if it was trained with
# `--residual gaussian`; `summary.read` of that file is all that has to change above. Where there
# is no time for it:
#
# - Take a few solvers of one call a step, each on two grids, and run them on a dozen seeds beside
#   one run of many calls. Keep the nearest: it is the same computation as above.
# - Jump while calls are few. With many, do not where the same noise must give the same image.
# - Do not choose by a distance of few images.
#
# ## Every claim above, asserted

# %%
# The picture: what a poor choice costs; where the best runs jump, and where not.
for n in budgets:
    errors = [row["error_median"] for row in at(n)]
    assert max(errors) > 10 * min(errors)
jumping = [n for n in budgets if both[n][0]["level"] is not None]
assert jumping == budgets[: len(jumping)]
assert 0 < len(jumping) < len(budgets)
jumped = [row["error_median"] for row in rows if row["teleport"] == "auto"]
assert min(jumped) > 100 * both[MANY][0]["error_median"]

# Distances: at the flow's sooner than errors, then nearly all within chance; below the flow's own.
within = {n: [abs(row["frechet"] - chance[0]) < chance[1] for row in at(n)] for n in budgets}
calm = [n for n in budgets if alike[n] > 0.85]
assert calm == budgets[-len(calm) :]
assert both[calm[0]][0]["error_median"] > 10 * both[MANY][0]["error_median"]
assert all(sum(within[n]) > 0.9 * len(within[n]) for n in calm)
assert all(abs(median(r["frechet"] for r in at(n)) / exact["frechet"] - 1) < 0.1 for n in calm)
assert abs(exact["frechet"] - chance[0]) < chance[1]
assert all(pair[1]["frechet"] < exact["frechet"] for pair in both.values())

# Two measures, two winners, at every number of calls; ranks part and turn.
assert all(told(a) != told(b) for a, b in both.values())
assert min(agree[FEW]) > 0.5
assert max(agree[MANY]) < -0.5
closest = both[MANY][1]
assert closest["budget"] < MIDDLE
assert closest["error_median"] > 1000 * both[MANY][0]["error_median"]
levels = [[row["frechet"] for row in at(MANY, teleport=jump)] for jump in ("auto", "off")]
assert max(levels[0]) < min(levels[1])

# Orders: at few calls the lowest is best; slopes are near what is proved at the most, not before.
assert order[FEW] == orders[0]
assert order[MANY] == orders[-1]
assert all(abs(slopes[p][MANY] - p) < 0.5 for p in orders)
assert all(max(abs(slopes[p][n] - p) for n in budgets[1:-1]) > 0.5 for p in orders)

# Grids: none is best for all; the worst costs less than a middling solver, whose cost grows.
assert all(max(wins) < 0.9 * sum(wins) for wins, _, _ in grids.values())
assert all(worst < solver for _, worst, solver in grids.values())
assert all(1.3 < grids["off", n][1] < 1.8 for n in budgets)
assert grids["off", MANY][2] > 10 > 4 > max(grids["off", n][2] for n in budgets[:-1])
assert max(grids["auto", MANY][1:]) < 1.25 < min(grids["auto", FEW][1:])

# Jumps: nearly all gain in error at few calls, all lose at many; distances gain nearly throughout.
assert share["error"][FEW] > 0.95
assert share["error"][MANY] == 0
assert min(share[f][n] for f in ("distance", "kernel distance") for n in budgets) > 0.8
assert 1 < grey[0] < 5
assert grey[1] < 0.1
assert all(exact["frechet"] * (1 - 1 / factor["distance"][n]) < chance[1] / 5 for n in calm)

# Rules: a threshold lowers the worst regret; by distance any of them will do.
worst = {name: [max(each) for each in figures] for name, figures in regret.items()}
switched = worst["best that jumps where calls are few"][0]
assert RULES["best that never jumps"] == RULES["that of the picture"]
assert switched < 2 < worst["best that never jumps"][0] < 10 < worst["best that always jumps"][0]
assert max(each for _, each in worst.values()) < 1.5
assert worst["best by distance"][0] == max(each for each, _ in worst.values())

# Other starts: the same order, a past that helps, the calls of the study, an accurate reference.
assert all(set(SEEDS).isdisjoint(range(s, s + study["samples"])) for s in study["seeds"])
stored = {name: row["error_median"] for name, row in candidates.items() if name != ANEW}
assert sorted(stored, key=stored.get) == sorted(stored, key=here.get)
assert here["best by error"] < here[ANEW] < here["the rule"] < here["best by distance"]
assert nearer[ANEW] > len(SEEDS) / 2 > nearer["best by distance"]
assert odds["best by error"] < 0.05
assert grains["best by distance"] > 1.1 > max(grains["best by error"], grains["the rule"])
assert all(hidden[name] > whole[name] / 2 for name in live)
assert all(live[name][1] == row["nfe"] for name, row in candidates.items())
assert min(here.values()) > 5 * both[ACCURATE][0]["error_median"]

# The commands are commands; each slider draws another picture.
assert all(callable(parser().parse_args(shlex.split(c)[1:]).command) for c in commands)
pictures = [shown.value]
for control in controls.values():
    control.value = control.options[-1]
    pictures.append(shown.value)
assert len(set(pictures)) == 1 + len(controls)
assert all(picture.startswith("<svg") for picture in pictures)
