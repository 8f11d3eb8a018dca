"""The report's section on teleports: what is measured for it, and what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments import landings, store, work
from experiments.landings import SKEWED
from experiments.looseness import FAIR, drawn, summary_rows
from experiments.looseness import SOURCES as RANDOM
from experiments.plots.samples import sheet
from experiments.plots.style import inline
from experiments.plots.teleport import against_level, looseness, trajectories
from experiments.report import images, page
from experiments.report.columns import RUN, Columns, tabled
from experiments.report.figures import both
from experiments.report.identify import TELEPORT as RESULTS
from experiments.report.identify import identity
from experiments.study import Study, load
from experiments.teleported import BEST, cells
from experiments.terminal import Tick
from gaussian_score.skip import TOLERANCE
from gaussian_score.transport import transport

LEVELS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, 40.0)
METHODS = ("ddim", "dpm_solver_pp_2m", "unipc_3", "dpm_solver_3m")
NFE = 8
COMMAND = "scoreproof run teleport --summary experiments/results/teleport.json"


@dataclass(frozen=True)
class Measured:
    """Everything that the section draws."""

    rows: list[dict[str, Any]]
    levels: list[dict[str, Any]]
    reach: dict[str, dict[str, Any]]
    pictures: dict[str, Any]
    random: dict[str, list[Any]]
    certified: dict[str, Any]
    whole: Mapping[str, Any] | None
    runs: dict[str, store.Run]
    """Where the rows are kept, by their kind."""


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

    runs = {
        kind: store.open_run(root, f"{kind}-{study.name}", chosen.to_json(), landings.SOURCES)
        for kind in ("level", "reach")
    }
    levels = runs["level"].once(lambda: landings.level_rows(chosen, chosen.levels, problem))
    reach = runs["reach"].once(lambda: landings.reach_rows(chosen, problem))
    random = drawn()
    runs["certified"] = store.open_run(root, "certified", {}, RANDOM)
    (certified,) = runs["certified"].once(lambda: summary_rows(random))
    return Measured(
        plain,
        levels,
        {row["of"]: row for row in reach},
        _pictures(chosen, problem, plain),
        random,
        certified,
        json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else None,
        {"work": images.stored(chosen, root), **runs},
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
            row = images.ran(rows, name, study.grids[0].name, level, p.nfe)
            out["methods"][label] = {
                "images": problem.pixels(end)[:shown],
                "nfe": p.nfe,
                "error": row and row["error_rms"],
            }
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
    svg = inline(drawn, "tp", "Trajectories with a jump")
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
    said += _rows(found) + _looseness(found)
    strips = inline(sheet(found.pictures), "ts", "Samples with and without a jump")
    caption = f"The first start points, at {NFE} model calls; errors are those of all of them."
    said += page.figure(strips, caption, "half")
    return said + _whole(found.whole)


def _looseness(found: Measured) -> str:
    """How far the bound is from the truth, over random mixtures."""
    row, name = found.certified, identity("certified", found.certified)
    said = page.prose(f"""
        Of {row["mixtures"]} random mixtures at random levels {row["fair"]} have no mode with less
        than {FAIR:g} of the samples and χ² < ½: for these the bound is
        {page.linked(f"{row['median']:.2f}", name)} times the truth (the median). Rare modes make
        it loose, and components with twice the whole law's variance or more in some direction,
        noise included, infinite, as for {page.linked(row["endless"], name)} of them; there
        `scoreproof teleport` shows K itself beside it, with its error.
    """)
    svg = inline(looseness(found.random), "tq", "Looseness of the bound")
    said += page.figure(svg, "In one to three dimensions; dotted: 2.", "half")
    return said + page.folded("Row of this picture", *tabled("certified", [row], CERTIFIED))


CERTIFIED: Columns = {
    "mixtures": lambda row: row["mixtures"],
    "without rare modes, χ² < ½": lambda row: row["fair"],
    "bound/truth, median": lambda row: f"{row['median']:.3f}",
    "infinite": lambda row: row["endless"],
}
LEVEL: Columns = {
    "landing σ": lambda row: f"{row['level']:g}",
    "the jump alone": lambda row: f"{row['alone']:.3g}",
    "log(1 + χ²)": lambda row: "∞" if row["bound"] is None else f"{row['bound']:.3g}",
    "K": lambda row: f"{row['entropy']:.3g} ± {row['entropy_error']:.1g}",
}
REACH: Columns = {
    "law": lambda row: row["of"],
    "lowest landing σ": lambda row: f"{row['rho']:.3f}",
    "K there": lambda row: f"{row['estimate']:.3g}",
}


def _rows(found: Measured) -> str:
    """The rows of both pictures of levels, and of the levels in the text."""
    done = [row for row in found.rows if row["error_median"] is not None]
    reach = list(found.reach.values())
    return (
        page.folded("Rows of these runs", *tabled("work", done, RUN, mark="t-"))
        + page.folded("Rows of these levels", *tabled("level", found.levels, LEVEL))
        + page.folded("Rows of the lowest landings", *tabled("reach", reach, REACH))
    )


def _whole(found: Mapping[str, Any] | None) -> str:
    """The best of every method, grid and level, from the stored study."""
    if found is None:
        return ""
    study, best = found["study"], found["best"]
    levels = ", ".join(f"{x:g}" for x in study["levels"])
    grids = ", ".join(rule["name"] for rule in study["grids"])
    said = page.prose(f"""
        Every method with fixed steps and no noise on the grids {grids}, without a jump and with
        one to σ = {levels}: the smallest median error over {study["samples"]} start points
        (`{COMMAND}`).
    """)
    if not store.current(found, load("teleport").to_json(), work.SOURCES):
        said += page.outdated(COMMAND)
    runs = [pair[way] for pair in best for way in ("without", "with")]
    table = tabled("teleport", runs, RUN)
    said += page.simple(BEST, page.pairs(cells(best), table[2]))
    return said + page.folded("Rows of these runs", *table)
