"""The report's section on teleports: what is measured for it, and what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments import page, plots, store, work
from experiments.figures import both
from experiments.identify import command, identity
from experiments.plots_teleport import against_level, looseness, trajectories
from experiments.study import Study, load
from experiments.teleported import BEST, cells
from experiments.terminal import Tick
from gaussian_score.certificate import bound
from gaussian_score.divergence import relative_entropy
from gaussian_score.looseness import looseness_rows
from gaussian_score.reference import reference_flow
from gaussian_score.skip import TOLERANCE, auto_skip
from gaussian_score.sources import MixtureSource
from gaussian_score.transport import transport
from gaussian_score.whitened import Centred

LEVELS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, 40.0)
METHODS = ("ddim", "dpm_solver_pp_2m", "unipc_3", "dpm_solver_3m")
NFE = 8
MIXTURES = 200
RESULTS = Path(__file__).parent / "results" / "teleport.json"
"""The best runs of the whole study, as `scoreproof run teleport --summary` writes them."""
SKEWED = ((0.8, 0.2), (1.0, -4.0), (0.25, 0.25))
"""Weights, means and variances of the law of the first picture."""


@dataclass(frozen=True)
class Measured:
    """Everything that the section draws."""

    rows: list[dict[str, Any]]
    landing: list[tuple[float, float]]
    bounds: dict[str, list[tuple[float, float]]]
    level: float
    pictures: dict[str, Any]
    whole: Mapping[str, Any] | None


def measure(study: Study, root: Path, *, workers: int, progress: Tick) -> Measured:
    """Four methods on one grid, without a teleport and with one to each level."""
    chosen = replace(
        study,
        name=f"{study.name}-levels",
        nfe=(NFE,),
        grids=tuple(g for g in study.grids if g.name == "karras") or study.grids[:1],
        methods=METHODS,
        levels=tuple(x for x in LEVELS if study.rho_end < x < study.rho_start),
    )
    problem, rows = work.run(chosen, root, workers=workers, progress=progress)
    plain = [row for row in rows if not row["options"]]
    law = (problem.weights, problem.means, problem.covs)
    centred, bounds, K = Centred.read(*law), [], []
    for level in chosen.levels:
        bounds.append((level, bound(centred, level)))
        K.append((level, relative_entropy(*law, level).value))
    return Measured(
        plain,
        [(x, _landing(problem, chosen, x)) for x in chosen.levels],
        {"log(1 + χ²), rigorous": bounds, "K, by draws": K},
        _level(MixtureSource(*law), chosen),
        _pictures(chosen, problem, plain),
        json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else None,
    )


def _level(source: MixtureSource, study: Study) -> float:
    return auto_skip(source, rho_max=study.rho_start, rho_min=study.rho_end).rho


def _landing(problem: work.Problem, study: Study, level: float) -> float:
    """Median error at the end of what the jump alone costs: the exact flow from the landing."""
    m, v = (np.array(x) for x in (problem.statistics.mean, problem.statistics.variances))
    shrink = np.sqrt((v + level**2) / (v + study.rho_start**2))
    there = m + shrink * (problem.start - m)
    law = (problem.weights, problem.means, problem.covs)
    end = reference_flow(*law, there, (1.0, level), (1.0, study.rho_end)).x
    return float(np.sqrt(np.median(np.mean((end - problem.exact) ** 2, axis=1))))


def _pictures(
    study: Study, problem: work.Problem, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The sample sheet: each method without a jump and with its best one."""
    shown = study.sheet.samples
    out: dict[str, Any] = {"exact": problem.pixels(problem.exact)[:shown], "methods": {}}
    for name in ("unipc_3", "dpm_solver_3m"):
        own = [r for r in rows if r["method"] == name and r["level"] is not None]
        best = min(own, key=lambda row: row["error_median"])["level"]
        for level in (None, best):
            task = work.Task(name, {}, study.grids[0], level)
            steps = work.steps_within(study, problem, task, NFE)
            p = work.planned(study, problem, task, steps)
            end, _ = work.carry(study, problem, p)
            label = name if level is None else f"{name} from σ = {level:g}"
            out["methods"][label] = {"images": problem.pixels(end)[:shown], "nfe": p.nfe}
    return out


def paths(level: float, count: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """σ, exact and jumped paths of a skewed law in whitened coordinates."""
    w, m, s = (np.array(x) for x in SKEWED)
    variance = float(w @ (s + m**2) - (w @ m) ** 2)
    sigmas = np.geomspace(80.0, 0.05, 160)
    width = np.sqrt(variance + sigmas**2)
    start = np.linspace(-1.9, 1.9, count)
    exact = np.stack([transport(w, m, s, width[0] * start, 80.0, x) for x in sigmas], 1)
    landed = np.sqrt(variance + level**2) * start
    after = [
        width[i] * start if x >= level else transport(w, m, s, landed, level, x)
        for i, x in enumerate(sigmas)
    ]
    return sigmas, exact / width, np.stack(after, 1) / width


def section(found: Measured, study: Study) -> str:
    """The section's HTML."""
    w, m, v = SKEWED
    skewed = MixtureSource(w, [[x] for x in m], [[[x]] for x in v])
    level = _level(skewed, study)
    said = page.prose(f"""
        Above some noise level a law is nearly the Gaussian of its mean and covariance, whose flow
        is known in closed form: a run may start there, at no model call. For any sampler the
        error in the law is then at most `KL(p‖g)` at the landing, for which `log(1 + χ²)` is a
        rigorous bound that a mixture has in closed form. `scoreproof teleport` finds the level:
        {TOLERANCE:g} nat allow σ = {level:.2f} for the law of the first picture and
        σ = {found.level:.2f} for the mixture fitted to {study.target}.
    """)
    svg = plots.inline(trajectories(*paths(level), level), "tp", "Trajectories with a jump")
    said += page.figure(svg, "A skewed law on the line: 0.8 N(1, ¼) + 0.2 N(−4, ¼).", "half")
    caption = (
        "First: at the same number of model calls, the grid laid anew from the landing level and"
        " the methods' history filled with the Gaussian's own values. A low landing costs the"
        " jump's own error (dashed), a high one the solver's; dotted: no jump. Second: the error"
        " in the law, which the first picture's errors of single trajectories are not."
    )

    def levels(across: int) -> Figure:
        return against_level(found.rows, found.landing, found.bounds, TOLERANCE, across=across)

    said += both(levels, "tl", "Error against landing level", caption)
    said += _rows(found.rows)
    random = {
        "any covariances": list(looseness_rows(MIXTURES, seed=1)),
        "one covariance": list(looseness_rows(MIXTURES, seed=2, common=True)),
    }
    said += page.prose("""
        The bound is about twice the truth where all modes have a fair share of the samples. Rare
        modes, and components nearly twice as wide as the whole law, make it loose or infinite;
        there `scoreproof teleport` shows K itself beside it, with its error.
    """)
    svg = plots.inline(looseness(random), "tq", "Looseness of the bound")
    caption = f"{2 * MIXTURES} random mixtures in one to three dimensions; dotted: 2."
    said += page.figure(svg, caption, "half")
    sheet = plots.inline(plots.sheet(found.pictures), "ts", "Samples with and without a jump")
    said += page.figure(sheet, f"The same start points at {NFE} model calls.", "half")
    return said + _whole(found.whole)


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """The runs behind the picture of levels."""
    heads = ("solver", "landing σ", "calls", "median error", "again")
    done = [row for row in rows if row["error_median"] is not None]
    ids = [identity("work", row) for row in done]
    lines = [
        (
            plots.name_of(row),
            "–" if row["level"] is None else f"{row['level']:g}",
            row["nfe"],
            f"{row['error_median']:.3g}",
            command(name),
        )
        for row, name in zip(done, ids, strict=True)
    ]
    table = page.simple(heads, lines, ids=[f"t-{name}" for name in ids])
    return f"<details><summary>Rows of these runs</summary>{table}</details>"


def _whole(found: Mapping[str, Any] | None) -> str:
    """The best of every method, grid and level, from the stored study."""
    if found is None:
        return ""
    study, best = found["study"], found["best"]
    levels = ", ".join(f"{x:g}" for x in study["levels"])
    grids = ", ".join(rule["name"] for rule in study["grids"])
    said = page.prose(f"""
        Every method of the registry on the grids {grids}, without a jump and with one to
        σ = {levels}: the smallest median error over {study["samples"]} start points
        (`scoreproof run teleport --summary experiments/results/teleport.json`).
    """)
    current, _ = store.identity(load("teleport").to_json(), work.SOURCES)
    if found["run_id"] != current:
        said += page.warning("Measured before the last edit of the sources: run it again.")
    return said + page.simple(BEST, cells(best))
