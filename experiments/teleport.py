"""``scoreproof teleport``: statistics, the level to land on, its certificate, what it brings.

The law is a mixture that is known (``--problem``) or data (``--data``).  What a jump brings is
measured on a mixture, where the flow is known: the problem's own, or one fitted to the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments import work
from experiments.data import Images, fit_mixture
from experiments.problems import Law, mapping, read_law
from experiments.samples import Samples, load_samples
from experiments.study import Rule, Sheet, Study
from experiments.teleported import KEPT
from experiments.terminal import Tick
from gaussian_score.certificate import bound, total_variation, wasserstein
from gaussian_score.fits import k_means
from gaussian_score.moments import Moments
from gaussian_score.pixel_scale import check_scale, conversion
from gaussian_score.skip import TOLERANCE, Skip, auto_skip
from gaussian_score.sources import DataSource, MixtureSource, Source, Trial
from gaussian_score.streaming import stream
from gaussian_score.whitened import Centred
from solvers.grids import laid
from solvers.method import entry
from solvers.sample import SEEDS
from solvers.schedules import schedule

COMPONENTS = 12
"""Of a mixture fitted to data."""
SIDES = range(16, 7, -1)
"""Larger images are pooled to such a side for a fit, the first that divides theirs."""
LARGEST = 256
"""Coordinates of data up to which such a fit is compared."""
METHODS = ("ddim", "dpm_solver_pp_2m", "dpm_solver_3m", "unipc_3")
SCALE = "[-1,1]"
"""Of the networks, and so of the statistics of pixels."""


@dataclass(frozen=True)
class Question:
    """What is asked about a law."""

    tolerance: float = TOLERANCE
    rho_start: float = 80.0
    rho_end: float = 0.02
    grid: str | None = None
    """A rule whose nodes are the levels; None: any level, by bisection."""
    steps: int = 18
    methods: tuple[str, ...] = METHODS
    nfe: int = 10
    samples: int = 64
    seed: int = 0
    rare: bool = False
    """Land where K itself allows it, though its rigorous bound may not."""

    def __post_init__(self) -> None:
        for name in ("tolerance", "rho_start", "rho_end"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"--{_flag(name)}: got {value}; a finite number > 0 is allowed")
        if self.rho_end >= self.rho_start:
            raise ValueError(
                f"--sigma-min: got {self.rho_end}; a level below --sigma-max, {self.rho_start}, is"
                " allowed"
            )
        if not 0 <= self.seed < SEEDS:
            raise ValueError(
                f"--seed: got {self.seed}; an integer from 0 to {SEEDS - 1} is allowed"
            )
        for name in self.methods:
            e = entry(name)
            if e.quiet is not None or e.controller is not None:
                raise ValueError(f"--method: got {name!r}; fixed steps without noise are allowed")

    @property
    def levels(self) -> list[float] | None:
        """Those of the grid, the last one left out: a run begins there."""
        if self.grid is None:
            return None
        start, end = self.rho_start, self.rho_end
        nodes = laid(schedule("edm"), self.grid, steps=self.steps, start=start, end=end).points
        return [float(p.rho) for p in nodes[:-1]]

    def skip(self, source: Source, tick: Tick) -> Skip:
        """The level of a source."""

        def told(trial: Trial) -> None:
            tick(0, 0, f"sigma {trial.rho:.4g}: {trial.value:.3g} nat")

        ends = {"rho_max": self.rho_start, "rho_min": self.rho_end}
        how = {"tolerance": self.tolerance, "levels": self.levels, "progress": told}
        return auto_skip(source, **ends, **how)

    def study(self, level: float) -> Study:
        """Every method with and without the jump."""
        return Study(
            name="teleport",
            target="digits",
            components=1,
            floor=1.0,
            seed=self.seed,
            samples=self.samples,
            rho_start=self.rho_start,
            rho_end=self.rho_end,
            nfe=(self.nfe,),
            work=10 * self.nfe,
            grids=(Rule("karras", "edm", {"rho": 7.0}),),
            sheet=Sheet(self.methods[:1], self.nfe, 1),
            methods=self.methods,
            levels=(level,) if self.rho_end < level < self.rho_start else (),
        )


def of_problem(text: Any, question: Question, tick: Tick) -> dict[str, Any]:
    """A mixture that is known: a rigorous bound."""
    law = read_law(mapping(text, "problem file", ("problem",), required=("problem",))["problem"])
    moments = Moments.from_law(law.weights, law.means, law.covs)
    source = MixtureSource(law.weights, law.means, law.covs, rare=question.rare)
    found = question.skip(source, tick)
    return answer(found, moments, law, question, tick)


def of_data(
    source: str,
    question: Question,
    tick: Tick,
    *,
    known: str | None = None,
    save: Path | None = None,
) -> dict[str, Any]:
    """Data: an estimate with its standard error; ``known`` is a file of their statistics.

    Statistics that were made are saved before they are used.
    """
    samples = load_samples(source)
    pixels = samples.scale is not None
    x = _flat(samples, SCALE if pixels else None)
    if known is None:
        rows = x.reshape(len(x), -1)
        provenance = {"source": samples.source, "command": f"scoreproof teleport --data {source}"}
        moments = stream(rows, scale=SCALE if pixels else None, provenance=provenance)
        if save is not None:
            moments.save(save)
    else:
        moments = Moments.load(known)
        check_scale(moments, x)
    found = question.skip(DataSource(x, moments), tick)
    law = _fitted(samples, x, question)
    value = answer(found, moments, law, question, tick)
    return {"data": str(samples), **value}


def answer(
    found: Skip, moments: Moments, law: Law | None, question: Question, tick: Tick
) -> dict[str, Any]:
    """The level, what is certified of it, and what it brings at equal numbers of model calls."""
    largest = float(moments.eigenvalues.max(initial=moments.floor))
    limit = math.inf if found.bound is None else found.bound
    kl = min(limit, found.estimate + 4 * found.error + found.sampling)
    value = {
        "sigma_skip": found.rho,
        "bound": found.bound,
        "estimate": found.estimate,
        "source": found.source,
        "target": found.target,
        "estimate_error": found.error,
        "sampling": found.sampling,
        "tolerance": found.tolerance,
        "total_variation": total_variation(kl, log1p_chi2=limit),
        "wasserstein_at_landing": wasserstein(kl, found.rho, largest),
        "text": found.text,
        "statistics": {"dim": moments.dim, "rank": moments.rank, "count": moments.count},
        "comparison": None,
    }
    return value if law is None else value | compared(found, moments, law, question, tick)


def compared(
    found: Skip, moments: Moments, law: Law, question: Question, tick: Tick
) -> dict[str, Any]:
    """Errors on the law with and without the jump, and what the first model call says of it."""
    value: dict[str, Any] = {}
    level = found.rho
    if found.source == "mixture":
        read = Centred.read(law.weights, law.means, law.covs)
        limit = bound(read, level, against=read.jumped(question.rho_start, level))
        value["bound_reference"] = limit if math.isfinite(limit) else None
    elif law.means.shape[1] != moments.dim:  # images that were pooled before the fit
        level = question.skip(MixtureSource(law.weights, law.means, law.covs), tick).rho
    study = question.study(level)
    problem = work.prepared(study, law)
    tasks, rows, landings = work.tasks(study), [], []
    for i, task in enumerate(tasks, 1):
        tick(i, len(tasks), task.method)
        rows += work.measure(study, problem, task)
        if task.level is not None and rows:
            p = work.planned(study, problem, task, rows[-1]["steps"])
            landings.append(work.carry(study, problem, p)[1])
    value["landing_estimate"] = float(landings[0].landing.median()) if landings else None
    value["landing_entropy"] = float(landings[0].entropy.mean()) if landings else None
    value["comparison"] = [{key: row[key] for key in KEPT} for row in rows]
    return value


def pairs(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Runs of one method, options and calls without a jump beside those with one."""
    found: dict[tuple[Any, ...], dict[bool, Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["method"], repr(row["options"]), row["grid"], row["nfe"])
        found.setdefault(key, {})[row["level"] is not None] = row
    return [(both[False], both[True]) for both in found.values() if len(both) == 2]


def _flag(name: str) -> str:
    return {"rho_start": "sigma-max", "rho_end": "sigma-min"}.get(name, name)


def _flat(samples: Samples, scale: str | None) -> np.ndarray:
    """(N, D) in float64, pixels on the networks' scale."""
    x = np.asarray(samples.rows, dtype=np.float64).reshape(len(samples.rows), -1)
    if scale is None or samples.scale in (None, scale):
        return x
    factor, shift = conversion(samples.scale or scale, scale)
    return factor * x + shift


def _fitted(samples: Samples, x: np.ndarray, question: Question) -> Law | None:
    """The mixture on which runs are compared; None where the data are too large for one."""
    shape = samples.rows.shape[1:]
    if len(shape) == 2 and shape[0] == shape[1] and len(x) >= COMPONENTS:
        images = Images(x.reshape(-1, *shape), samples.source)
        small = shape[0] <= SIDES[0]
        size = shape[0] if small else next((n for n in SIDES if shape[0] % n == 0), None)
        if size is None:
            return None
        fit = fit_mixture(images, COMPONENTS, seed=question.seed, size=size)
    elif x.shape[1] <= LARGEST and len(x) >= COMPONENTS:
        fit = k_means(x, COMPONENTS, seed=question.seed, ridge=1e-3)
    else:
        return None
    return Law(np.array(fit.weights), np.array(fit.means), np.array(fit.covs))
