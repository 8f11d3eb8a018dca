"""The report's section on teleports: what is measured for it, and what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments import landings, page, plots, store, work
from experiments.figures import both
from experiments.identify import TELEPORT as RESULTS
from experiments.identify import command, identity
from experiments.landings import SKEWED
from experiments.plots_teleport import HALF, against_level, looseness, trajectories
from experiments.study import Study, load
from experiments.teleported import BEST, cells
from experiments.terminal import Tick
from gaussian_score.looseness import looseness_rows
from gaussian_score.skip import TOLERANCE
from gaussian_score.transport import transport

LEVELS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, 40.0)
METHODS = ("ddim", "dpm_solver_pp_2m", "unipc_3", "dpm_solver_3m")
NFE = 8
MIXTURES = 200
FAIR = 0.1
"""Of the samples: no rare mode has so many."""


@dataclass(frozen=True)
class Measured:
    """Everything that the section draws."""

    rows: list[dict[str, Any]]
    levels: list[dict[str, Any]]
    reach: dict[str, dict[str, Any]]
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

    def stored(kind: str) -> store.Run:
        return store.open_run(root, f"{kind}-{study.name}", chosen.to_json(), landings.SOURCES)

    levels = stored("level").once(lambda: landings.level_rows(chosen, chosen.levels, problem))
    reach = stored("reach").once(lambda: landings.reach_rows(chosen, problem))
    return Measured(
        plain,
        levels,
        {row["of"]: row for row in reach},
        _pictures(chosen, problem, plain),
        json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else None,
    )


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
    skewed, fitted = (found.reach[of] for of in ("skewed", "mixture"))
    lowest = [page.linked(f"{r['rho']:.2f}", identity("reach", r)) for r in (skewed, fitted)]
    said = page.prose(f"""
        Above some noise level a law is nearly the Gaussian of its mean and covariance, whose flow
        is known in closed form: a run may start there, at no model call. For any sampler the
        error in the law is then at most `KL(p‖g)` at the landing, for which `log(1 + χ²)` is a
        rigorous bound that a mixture has in closed form. `scoreproof teleport` finds the level:
        {TOLERANCE:g} nat allow σ = {lowest[0]} for the law of the first picture and
        σ = {lowest[1]} for the mixture fitted to {study.target}.
    """)
    drawn = trajectories(*paths(skewed["rho"]), skewed["rho"])
    svg = plots.inline(drawn, "tp", "Trajectories with a jump")
    parts = (f"{w:g} N({m:g}, {v:g})" for w, m, v in zip(*SKEWED, strict=True))
    mixture = " + ".join(parts).replace("-", "−")
    said += page.figure(svg, f"A skewed law on the line: {mixture}.", "half")
    caption = (
        "First: at the same number of model calls, the grid laid anew from the landing level and"
        " the methods' history filled with the Gaussian's own values. A low landing costs the"
        " jump's own error (dashed), a high one the solver's; dotted: no jump. Second: the error"
        " in the law, which the first picture's errors of single trajectories are not."
    )
    alone = [(row["level"], row["alone"]) for row in found.levels]
    bounds = {
        "log(1 + χ²), rigorous": [(r["level"], r["bound"] or np.inf) for r in found.levels],
        "K, by draws": [(r["level"], r["entropy"]) for r in found.levels],
    }

    def levels(across: int) -> Figure:
        return against_level(found.rows, alone, bounds, TOLERANCE, across=across)

    said += both(levels, "tl", "Error against landing level", caption)
    said += _rows(found.rows) + _levels(found) + _looseness()
    sheet = plots.inline(plots.sheet(found.pictures), "ts", "Samples with and without a jump")
    said += page.figure(sheet, f"The same start points at {NFE} model calls.", "half")
    return said + _whole(found.whole)


def _looseness() -> str:
    """How far the bound is from the truth, over random mixtures."""
    random = {
        "any covariances": list(looseness_rows(MIXTURES, seed=1)),
        "one covariance": list(looseness_rows(MIXTURES, seed=2, common=True)),
    }
    rows = [row for group in random.values() for row in group]
    fair = [r.looseness for r in rows if r.rarest >= FAIR and r.bound < HALF]
    endless = sum(r.bound == np.inf for r in rows)
    said = page.prose(f"""
        Of {len(rows)} random mixtures at random levels {len(fair)} have no mode with less than
        {FAIR:g} of the samples and χ² < ½: for these the bound is
        {np.median(fair):.2f} times the truth (the median). Rare modes make it loose, and
        components nearly twice as wide as the whole law infinite, as for {endless} of them; there
        `scoreproof teleport` shows K itself beside it, with its error.
    """)
    svg = plots.inline(looseness(random), "tq", "Looseness of the bound")
    return said + page.figure(svg, "In one to three dimensions; dotted: 2.", "half")


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
    return page.folded("Rows of these runs", heads, lines, [f"t-{name}" for name in ids])


def _levels(found: Measured) -> str:
    """The rows of the second picture, and of the levels in the text."""
    heads = ("landing σ", "the jump alone", "log(1 + χ²)", "K", "again")
    ids = [identity("level", row) for row in found.levels]
    lines = [
        (
            f"{row['level']:g}",
            f"{row['alone']:.3g}",
            "∞" if row["bound"] is None else f"{row['bound']:.3g}",
            f"{row['entropy']:.3g} ± {row['entropy_error']:.1g}",
            command(name),
        )
        for row, name in zip(found.levels, ids, strict=True)
    ]
    said = page.folded("Rows of these levels", heads, lines, ids)
    reach = {identity("reach", row): row for row in found.reach.values()}
    lines = [
        (row["of"], f"{row['rho']:.3f}", f"{row['estimate']:.3g}", command(name))
        for name, row in reach.items()
    ]
    heads = ("law", "lowest landing σ", "K there", "again")
    return said + page.folded("Rows of the lowest landings", heads, lines, list(reach))


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
    runs = [pair[way] for pair in best for way in ("without", "with")]
    ids = [identity("teleport", run) for run in runs]
    lines = [
        (
            plots.name_of(run),
            run["grid"],
            "–" if run["level"] is None else f"{run['level']:g}",
            run["nfe"] + run["jvp"],
            f"{run['error_median']:.3g}",
            command(name),
        )
        for run, name in zip(runs, ids, strict=True)
    ]
    said += page.simple(BEST, page.pairs(cells(best), ids))
    heads = ("solver", "grid", "landing σ", "calls", "median error", "again")
    return said + page.folded("Rows of these runs", heads, lines, ids)
