r"""DPM-Solver-v3's statistics l, s, b of the network, beside those of its data's moments alone.

"moments"           of the Gaussian with the data's mean and variances: no call of the network
"network moments"   regressions of u = e^{−λ} ε on z = x/α, one call a sample and node
"network jvp"       the paper's: l = E ∂u/∂z by random directions, then s and b

All in the eigenbasis of the data's covariance, where the runs are. ``differences`` says how far
apart the tables are, what `runs` gives says what that does to a run's error.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments import model_statistics, work
from experiments.model_statistics import Estimate
from experiments.network_study import flows, forward_mode
from experiments.network_study.problem import Problem, Trained
from experiments.network_study.scores import vectors
from experiments.network_study.study import STATISTICS, NetworkStudy
from experiments.sweep.sweep import Cell, Row, cells
from solvers.basis import InBasis
from solvers.forms import Statistics
from solvers.piecewise import Floats
from solvers.schedules import EDM
from solvers.statistics import Table

NAMES = ("l", "s", "b")
KINDS = STATISTICS[1:]
"""The tables that are estimated."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Training images in coordinates of the basis, drawn with repetition: (N, D) float64."""

    points: Tensor

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        """n of them."""
        return self.points[torch.randint(len(self.points), (n,), generator=generator)]


@dataclass(frozen=True, eq=False)
class Asked:
    """What both estimators need."""

    study: NetworkStudy
    model: InBasis
    draw: Draws


def asked(study: NetworkStudy, trained: Trained) -> Asked:
    """The network and its data in coordinates of the basis."""
    images = vectors(trained.training).reshape(-1, *trained.source.shape).double()
    return Asked(study, trained.model, Draws(trained.basis.coordinates(images)))


def estimated(shared: Asked, kind: str) -> Estimate:
    """A table of the network, and its standard errors."""
    torch.set_num_threads(1)
    study = shared.study
    lams = np.linspace(*study.lams, study.model.nodes)
    jvp = kind == "network jvp"
    by = model_statistics.by_jvp if jvp else model_statistics.by_moments
    samples = study.model.jvp_samples if jvp else study.model.samples
    batch = -(-samples // model_statistics.GROUPS)  # every group has some
    with forward_mode.plain_attention() if jvp else nullcontext():
        return by(shared.model, shared.draw, EDM(), lams, samples=samples, batch=batch)


def matched(statistics: Statistics, lams: Floats) -> Table:
    """l = ρ²/(v + ρ²), s = 0, b = 2 l (1 − l) m of the moments, at these nodes."""
    mean, variances = np.array(statistics.mean), np.array(statistics.variances)
    square = np.exp(-2 * lams)[:, None]
    l = square / (variances + square)
    return Table(lams, l, np.zeros_like(l), 2 * l * (1 - l) * mean)


def differences(tables: Mapping[str, Estimate], statistics: Statistics) -> list[Row]:
    """A row for each table of the network and node: root mean squares over coordinates.

    For l, s and b: how large they are of the moments, how far the network's are from them, and
    the standard error of the network's.
    """
    rows = []
    for kind, found in tables.items():
        known = matched(statistics, found.table.lam)
        for i, lam in enumerate(found.table.lam):
            row: Row = {"statistics": kind, "lam": float(lam), "sigma": float(np.exp(-lam))}
            for name in NAMES:
                own, theirs = getattr(known, name)[i], getattr(found.table, name)[i]
                parts = {"moments": own, "apart": theirs - own, "error": found.errors[name][i]}
                row[name] = {key: _rms(values) for key, values in parts.items()}
            rows.append(row)
    return rows


def runs(study: NetworkStudy) -> list[Row]:
    """A cell for each run of DPM-Solver-v3 with each of the statistics."""
    return cells(
        [run for run in work.runs(study.model.methods) if not run[1]],
        statistics=STATISTICS,
        grid=[study.grids[0].name],
        teleport=["off"],
        budget=study.nfe,
        seed=study.seeds,
    )


def measure(shared: tuple[Problem, Mapping[str, Any]], cell: Cell) -> Row:
    """`flows.measure` with the statistics of the cell."""
    problem, tables = shared
    known = tables.get(cell["statistics"], problem.statistics)
    return flows.measure(problem.given(known), cell)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
