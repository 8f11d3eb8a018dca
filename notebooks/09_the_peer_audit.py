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
# # The peer audit
#
# Many samples are drawn by schedulers of libraries, whose names and documentation promise orders.
# This project measures them as it measures its own methods: the same problem, the same grids, the
# same slope. Where an order is missed, one expression is named, a statement about it is proved,
# and a copy with that one expression changed is measured again.
#
# Every number is computed in the cell that shows it or loaded from stored rows, which
# `scoreproof audit --json` has printed; the last cell asserts every claim.

# %%
import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import torch

import experiments
from experiments import plots
from experiments.measure import errors
from experiments.notebook import Picture, Table, strict
from experiments.peers import audit
from experiments.peers.peer import Course, patched, run, version
from experiments.peers.roster import left_out, peers
from experiments.solve import solve
from solvers.float64 import FLOAT64
from solvers.method import entry
from theory import peers as proofs

strict()

# %% [markdown]
# ## Who reaches the promised order?
#
# Each line is a scheduler with an order that it promises; the diamonds of its configurations lie
# nearly on one another. A diamond inside its ring keeps the promise. Red diamonds do not, and the
# green square is the same code with one expression repaired. A bar is the order with the start
# that is shipped.

# %%
STORED = Path(experiments.__file__).parent / "results" / "audit.json"
rows = json.loads(STORED.read_text(encoding="utf-8"))
Picture(plots.audit.audit(rows), "Promised and measured orders of schedulers of other libraries")

# %%
missed = [row for row in rows if row["cause"]]
names = {row["scheduler"] for row in rows}
versions = sorted({(row["library"], row["version"]) for row in rows})
print(", ".join(f"{library} {v}" for library, v in versions), end=": ")
print(f"{len(rows)} configurations of {len(names)} schedulers, {len(missed)} miss their order")

# %% [markdown]
# ## How is a scheduler run?
#
# - Its **nodes** are overwritten by ours. The last node has noise, and no order is lowered there.
# - Its **model** is the exact denoiser of a mixture of two Gaussians, told in whatever way it
#   expects: noise, velocity, or the raw output of EDM.
# - It runs in **float64**, though some cast their states: while one runs, the name `torch` of its
#   own module says float64 where its text says float32.
# - It has **two starts**: the one that is shipped, and one in which the first calls are made on
#   the exact flow, so that its memory is exact whatever form that memory has. A low order with an
#   exact start is a coefficient's fault; a low order with the other alone is the warm-up's.
#
# ## What is wrong?
#
# All that miss share two faults, one of them in two functions:

# %%
causes = Counter((row["cause"], row["proof"]) for row in missed)
statements = {name: getattr(proofs, name)() for name in {row["proof"] for row in missed}}
Table(
    ["configurations", "cause", "proved"],
    [[count, cause, statements[proof].claim] for (cause, proof), count in causes.items()],
)

# %% [markdown]
# The first is a second divided difference that stands where a second derivative should: it is
# half of it. The second are weights for equal steps, used on grids whose steps are not equal in
# that variable. Repaired:

# %%
Table(
    ["scheduler", "promised", "measured", "repaired"],
    sorted(
        {
            (row["scheduler"], row["nominal"], f"{row['measured']:.2f}", f"{row['patched']:.2f}")
            for row in missed
        }
    ),
)

# %% [markdown]
# ## Is it really that expression?
#
# Not from stored rows: here the scheduler itself is run again, as installed and with the one
# expression replaced, beside the same two methods of ours, which share no code with it.

# %%
WANTED = {"solver_order": 3, "solver_type": "heun", "algorithm_type": "dpmsolver++"}
NAME, STEPS = "DPMSolverMultistepScheduler", (16, 32, 64, 128, 256)
(peer,) = (p for p in peers() if p.name == NAME and WANTED.items() <= p.described.items())


def theirs(sampler=None):
    """(steps, RMS error in x/α) from the exact start."""
    curve = []
    for n in STEPS:
        rho = torch.tensor(audit.nodes(n), dtype=torch.float64)
        course = Course(rho, audit.law(), audit.flow, peer.given)
        miss = run(peer, course, sampler=sampler) - audit.flow(rho[-1])
        curve.append((n, math.sqrt(float(miss.square().mean()))))
    return curve


def own(**options):
    """The same of ours, whose errors are those of x."""
    found = errors(entry("dpm_solver_pp_3m"), "exact", STEPS, F=FLOAT64, **options)
    alpha = float(peer.drive.scale.alpha(torch.tensor(audit.nodes(STEPS[0])[-1]).double()))
    return [(n, e / alpha) for n, (_, e) in zip(STEPS, found, strict=True)]


curves = {
    "as shipped": theirs(),
    "ours, as published": own(weights="heun", as_published=True),
    "repaired": theirs(patched(peer.load(), peer.fault)),
    "ours, corrected": own(weights="heun"),
}
Picture(plots.errors.lines(curves), "A scheduler as shipped and repaired, beside ours")

# %%
ends = {name: plots.errors.slopes(curve)[-1][1] for name, curve in curves.items()}
apart = [
    max(abs(a / b - 1) for (_, a), (_, b) in zip(curves[x], curves[y], strict=True))
    for x, y in (("as shipped", "ours, as published"), ("repaired", "ours, corrected"))
]
Table(["run", "slope"], [[name, f"{slope:.2f}"] for name, slope in ends.items()])

# %% [markdown]
# ## Does it matter?
#
# The fault costs an order, but an order is about small steps. The same two formulas on a mixture
# in two dimensions, from numbers of steps that are in use to some that are not:

# %%
PLANE = {
    "weights": [0.3, 0.5, 0.2],
    "means": [[-1.0, 0.4], [1.2, 0.8], [0.1, -1.5]],
    "covs": [[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]], [[0.1, 0.0], [0.0, 0.1]]],
}
COUNTS = (6, 8, 10, 20, 50, 100, 200, 400)
STARTS = [[40 * math.cos(k), 40 * math.sin(k)] for k in range(12)]


def error(steps, published):
    grid = {"name": "karras", "steps": steps, "start": 40.0, "end": 0.05}
    setting = {"problem": PLANE, "schedule": {"name": "edm"}, "x_start": STARTS, "grid": grid}
    options = {"weights": "heun", "as_published": published}
    return solve({**setting, "method": "dpm_solver_pp_3m", "options": options})["error_rms"]


use = {
    "as published": [(n, error(n, True)) for n in COUNTS],
    "corrected": [(n, error(n, False)) for n in COUNTS],
}
ratio = {n: a / b for (n, a), (_, b) in zip(*use.values(), strict=True)}
Table(
    ["steps", *use, "ratio"],
    [
        [n, f"{a:.1e}", f"{b:.1e}", f"{ratio[n]:.2f}"]
        for (n, a), (_, b) in zip(*use.values(), strict=True)
    ],
)

# %% [markdown]
# With few steps the wrong weights are mostly the better ones here and never much worse: samples of
# few steps do not show the fault. In the end the order decides: the ratio crosses one and grows
# with the steps. A choice of solver needs both, the proof for what must happen and a measurement
# for what happens first.
#
# ## And the start?
#
# Where the order with the shipped start is lower than with an exact one, the warm-up decides:

# %%
late = [row for row in rows if row["measured"] - row["measured_plain_start"] > 0.5]
print(f"{len(late)} of {len(rows)} configurations lose order to their own start:")
Counter(row["scheduler"] for row in late)

# %% [markdown]
# ## What has no row?

# %%
Table(["not audited, since", "schedulers"], [[why, ", ".join(n)] for why, n in left_out().items()])

# %% [markdown]
# ## Every claim above, asserted

# %%
# The stored rows are those of this roster, and of the library that is installed.
assert {(row["scheduler"], row["nominal"]) for row in rows} <= {
    (p.name, p.nominal) for p in peers()
}
assert {v for library, v in versions if library == "diffusers"} == {version("diffusers")}

# Promises: kept within the tolerance of the audit, or a cause is known; repaired, all are kept.
for row in rows:
    best = row["measured"] if row["patched"] is None else row["patched"]
    assert abs(best - row["nominal"]) <= audit.within(row["nominal"])
assert "not known" not in {row["cause"] for row in rows}
assert "not known here" not in left_out()
assert all((row["patched"] is None) == (row["proof"] == "") == (not row["cause"]) for row in rows)
for *_, line in plots.audit.grouped(rows):
    assert max(r["measured"] for r in line) - min(r["measured"] for r in line) < 0.2

# How they are run: two Gaussians, float64, and noise at the last node.
assert audit.law().weights.numel() == 2
assert {p.dtype for p in peers()} == {torch.float64}
assert audit.nodes(STEPS[0])[-1] > 0

# Two faults, the second in two functions.
assert len(statements) == 2
assert sorted(Counter(proof for _, proof in causes).values()) == [1, 2]
assert all(statement.holds for statement in statements.values())

# The scheduler, run here: it is our published method, and repaired our corrected one.
assert abs(ends["as shipped"] - 2) < 0.15
assert abs(ends["repaired"] - 3) < 0.15
assert max(apart) < 1e-6

# The wrong weights are ahead at numbers of steps in use, and behind in the end, ever more.
few, many = COUNTS[:5], COUNTS[5:]
assert all(ratio[n] < 1.1 for n in few)
assert sum(ratio[n] < 1 for n in few) > 0.7 * len(few)
assert 1 < ratio[many[0]]
assert all(ratio[a] < ratio[b] for a, b in pairwise((few[-1], *many)))

# The start never makes an order better than its coefficients by much, and some worse by one or
# two; there the coefficients are right.
assert all(row["measured_plain_start"] - row["measured"] < 0.2 for row in rows)
assert late
assert not any(row["cause"] for row in late)
