"""The report's section on the network that is shipped: every line is computed from stored rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from experiments import store
from experiments.network_study import summary
from experiments.network_study.study import SOURCES, NetworkStudy
from experiments.plots.network import against_calls, drawn, model_statistics, over_training
from experiments.plots.scores import explained
from experiments.plots.style import inline
from experiments.report import page
from experiments.report.columns import RUN, Columns, tabled
from experiments.report.identify import identity
from experiments.report.scores import UNEXPLAINED
from experiments.rows import Row, name_of
from experiments.scores import own_error_from
from experiments.study import load
from experiments.teleported import cells, heads

SHOWN = 2
"""Noise levels at which the history is drawn."""
COMMAND = "scoreproof run network --summary experiments/results/network.json"
OWN: Columns = {**RUN, "distance": lambda row: f"{row['frechet']:.3g}"}
HISTORY: Columns = {
    "images": lambda row: row["images"],
    "law": lambda row: row["candidate"],
    "σ": lambda row: f"{row['sigma']:g}",
    "unexplained: score": lambda row: f"{row['residual']:.3g}",
}
V3: Columns = {
    "solver": lambda row: row["method"],
    "statistics": lambda row: row["statistics"],
    "calls": lambda row: row["nfe"],
    "median error": lambda row: f"{row['error_median']:.3g}",
}


def _apart(key: str, row: Row) -> str:
    return f"{row[key]['apart']:.2g} ± {row[key]['error']:.1g}"


DIFFERENCE: Columns = {
    "statistics": lambda row: row["statistics"],
    "σ": lambda row: f"{row['sigma']:.3g}",
    **{f"{key} apart": partial(_apart, key) for key in "lsb"},
}


def _flow(row: Row) -> bool:
    """Or else training images."""
    return "seed" in row


BASELINE: Columns = {
    "of": lambda row: f"exact flow, seed {row['seed']}" if _flow(row) else "training images",
    "own error": lambda row: f"{row['error']:.2g}" if _flow(row) else "–",
    "distance": lambda row: (
        f"{row['frechet']:.3g}" if _flow(row) else _spread(row["training"]["frechet"])
    ),
}


def section(found: Mapping[str, Any] | None, study: NetworkStudy | None = None) -> str:
    """The section's HTML, of `summary.read`; what to run where nothing is stored."""
    if found is None:
        return page.warning(f"Nothing is stored yet: `{COMMAND}`.")
    study, rows = study or load("network", NetworkStudy), found["runs"]
    said = _introduction(study, found)
    if stale(found, study):
        said += page.outdated(COMMAND)
    exact, *_ = found["baseline"]
    floor = {"error_median": exact["error"], "frechet": exact["frechet"]}

    caption = (
        "The best run of each family at so many calls, derivatives counted. Dotted: what the exact"
        " flow has itself, the error of the reference and its own distance to data."
    )
    figure = against_calls(rows, study.nfe, floor, across=1)
    said += _figure(figure, "nf", "Error and distance against calls, by family", caption)
    shown = drawn(rows, study.nfe)
    best = {by: summary.winners(rows, study.nfe, by) for by in summary.MEASURES}
    for by, name in summary.MEASURES.items():
        runs = [_whole(pair[way], rows) for pair in best[by] for way in ("without", "with")]
        shown += [run for run in runs if run not in shown]
        ids = [identity("network", run) for run in runs]
        said += page.simple(heads(name), page.pairs(cells(best[by], by), ids))
    said += _runs(shown, found["baseline"]) + _verdict(best)
    return said + _scores(found) + _history(study, found) + _model(study, found)


def _whole(run: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The stored row of one of `summary.winners`."""
    return next(row for row in rows if all(row[key] == run[key] for key in run))


def _runs(shown: Sequence[Row], baseline: Sequence[Row]) -> str:
    """The runs of picture and tables, and what they are compared with."""
    title = "Rows of the exact flow and of training images"
    return page.folded("Rows of these runs", *tabled("network", shown, OWN)) + page.folded(
        title, *tabled("baseline", baseline, BASELINE)
    )


def _spread(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.3g} ± {found['deviation']:.2g}"


def stale(found: Mapping[str, Any], study: NetworkStudy) -> bool:
    """Whether study or sources have changed since the rows were found."""
    return not store.current(found, study.decides(found["checkpoint"]), SOURCES)


def _introduction(study: NetworkStudy, found: Mapping[str, Any]) -> str:
    rows = found["runs"]
    refused = sum(row["refused"] is not None for row in rows)
    families = {row["family"] for row in rows if row["family"]}
    exact, chance = found["baseline"][0], found["baseline"][-1]
    flow, images = (identity("baseline", row) for row in (exact, chance))
    grids = ", ".join(grid.name for grid in study.grids)
    return page.prose(f"""
        {len(rows)} runs of {len(families)} families on the network of this repository
        (`{COMMAND}`): grids {grids}, {study.samples} start points a run, σ from
        {study.rho_start:g} to {study.rho_end:g}; {refused} runs overflowed or had too few calls.
        Of each run two things are measured: the error to the network's own converged flow
        (whose own error is {page.linked(f"{exact['error']:.1e}", flow)}), and the Frechet distance
        to held-out images in {study.dimensions} principal components. The exact flow itself has
        the distance {page.linked(f"{exact['frechet']:.3g}", flow)}, as many training images
        {page.linked(_spread(chance["training"]["frechet"]), images)}. A teleport lands at
        σ = {found["level"]:.3g}, where the network's flow is its data's Gaussian to
        {study.tolerance:g} nat.
    """)


def _verdict(best: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Where a teleport wins, and whether both figures name the same winner."""
    jumped = {
        by: [pair["calls"] for pair in pairs if pair["ratio"] > 1] for by, pairs in best.items()
    }
    same = sum(
        _name(a) == _name(b) for a, b in zip(best["error_median"], best["frechet"], strict=True)
    )
    said = [
        f"- The smallest {name} is a teleported run's at {_listed(jumped[by])} of"
        f" {_listed([pair['calls'] for pair in best[by]])} calls."
        for by, name in summary.MEASURES.items()
    ]
    total = len(best["error_median"])
    said.append(f"- Error and distance name the same run at {same} of {total} numbers of calls.")
    return page.prose("\n".join(said))


def _name(pair: Mapping[str, Any]) -> tuple[Any, ...]:
    run = pair["with"] if pair["ratio"] > 1 else pair["without"]
    return name_of(run), run["grid"], run["level"]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def _scores(found: Mapping[str, Any]) -> str:
    rows = found["scores"]
    own = own_error_from(rows)
    from_there = "" if own is None else f" From σ = {own:g} on its own error is the larger one."
    said = page.prose(f"""
        How much of the network's score the laws that are known leave unexplained, beside what
        the Gaussian leaves of the data's exact score.{from_there}
    """)
    caption = "The mean over noised training images; bands: 10% to 90% of them."
    described = "Unexplained part of the network's score"
    figure = _figure(explained(rows, across=1), "ne", described, caption)
    table = tabled("explained", rows, UNEXPLAINED)
    return said + figure + page.folded("Rows of these curves", *table)


def _history(study: NetworkStudy, found: Mapping[str, Any]) -> str:
    rows = found["history"]
    if not rows:
        return ""
    sigmas = study.scores.history[:: -(-len(study.scores.history) // SHOWN)]
    last = max(row["images"] for row in rows)
    ends = [
        f"- σ = {sigma:g}: {_closest(rows, sigma, min(row['images'] for row in rows))} first,"
        f" {_closest(rows, sigma, last)} after {last} images."
        for sigma in sigmas
    ]
    said = page.prose("The law that explains most of the network's score as it is trained.")
    said += page.prose("\n".join(ends))
    caption = "Averaged weights as they were kept during the training; lower: better explained."
    described = "Unexplained part of the score over the training"
    said += _figure(over_training(rows, sigmas, across=1), "nh", described, caption)
    shown = [row for row in rows if row["sigma"] in sigmas]
    title = "Rows of these curves; DIR is a training with --snapshots"
    return said + page.folded(title, *tabled("history", shown, HISTORY))


def _closest(rows: Sequence[Mapping[str, Any]], sigma: float, images: int) -> str:
    here = [row for row in rows if (row["sigma"], row["images"]) == (sigma, images)]
    least = min(here, key=lambda row: row["residual"])
    leaves = page.linked(f"{least['residual']:.2g}", identity("history", least))
    return f"{least['candidate']} (leaves {leaves})"


def _model(study: NetworkStudy, found: Mapping[str, Any]) -> str:
    rows, method = found["statistics"], study.model.methods[0]
    said = page.prose(f"""
        DPM-Solver-v3's statistics of this network, from {study.model.samples} images a node by
        moments and {study.model.jvp_samples} by directional derivatives, beside those of the
        data's mean and variances alone, and what each does to {method}. The best median error:
    """)
    counts = sorted({row["budget"] for row in rows})
    kinds = list(dict.fromkeys(row["statistics"] for row in rows))
    ran = [row for row in rows if row["error_median"] is not None]

    def least(kind: str, budget: int) -> str:
        own = [row for row in ran if (row["statistics"], row["budget"]) == (kind, budget)]
        if not own:
            return "–"
        best = min(own, key=lambda row: row["error_median"])
        return page.linked(f"{best['error_median']:.3g}", identity("v3", best))

    said += page.simple(("calls", *kinds), [(n, *(least(k, n) for k in kinds)) for n in counts])
    caption = "First: solid by moments, dashed by derivatives. Second: at equal calls."
    described = "Model statistics of the network and of moments"
    figure = model_statistics(found["differences"], rows, method, across=1)
    return said + _figure(figure, "nm", described, caption) + _tables(found["differences"], ran)


def _tables(differences: Sequence[Mapping[str, Any]], ran: Sequence[Mapping[str, Any]]) -> str:
    """The rows of both pictures."""
    said = page.folded("Rows of the tables", *tabled("difference", differences, DIFFERENCE))
    return said + page.folded("Rows of these runs", *tabled("v3", ran, V3))


def _figure(figure: Figure, name: str, described: str, caption: str) -> str:
    """One that serves a desk and a phone."""
    return page.figure(inline(figure, name, described), caption, "plot half")
