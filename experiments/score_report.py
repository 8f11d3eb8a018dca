"""The report's section on a network's score: how much of it known laws explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import landings, page, store
from experiments.digits import digits_denoiser
from experiments.figures import both
from experiments.identify import command, identity
from experiments.plots_scores import explained
from experiments.scores import jump_rows, network_level, own_error_from, score_rows
from experiments.terminal import Tick
from gaussian_score.diagnostics import SIGMAS

Row = dict[str, Any]
HEADS = (
    "landing σ",
    "landing to network's flow",
    "landing to data's flow",
    "network's to data's flow",
    "change at the end",
    "again",
)
MODULES = ("data", "digits", "landings", "networks", "scores")
SOURCES = ("solvers", "gaussian_score", *(f"experiments/{name}.py" for name in MODULES))
"""What the rows rest on."""
STUDY = {"network": "digits"}
QUANTITIES = ("score", "data")
SPREAD = ("residual", "low", "high")


@dataclass(frozen=True)
class Measured:
    """A small network trained on digits, compared with what is known of its data."""

    rows: list[Row]
    jumps: list[Row]
    reach: Row


def measure(root: Path, progress: Tick) -> Measured:
    """Rows are stored under ``root``, the trained network in the user's cache folder."""

    def stored(kind: str) -> store.Run:
        return store.open_run(root, f"{kind}-network", STUDY, SOURCES)

    rows = stored("score").once(lambda: explained_rows(progress, SIGMAS))
    progress(1, 3, "scores compared")
    jumps = stored("jump").once(lambda: jump_rows(*digits_denoiser(progress=progress)))
    progress(2, 3, "jumps")
    (reach,) = stored("reach").once(lambda: [reached(progress)])
    return Measured(rows, jumps, reach)


def explained_rows(progress: Tick, sigmas: Sequence[float]) -> list[Row]:
    """What the figure shows of `score_rows`."""
    rows = score_rows(*digits_denoiser(progress=progress), sigmas=sigmas)
    kept = ("of", "candidate", "sigma", "gap")
    return [
        {key: row[key] for key in kept}
        | {key: {k: row[key][k] for k in SPREAD} for key in QUANTITIES}
        for row in rows
    ]


def reached(progress: Tick) -> Row:
    """How low a jump may land for the network's own flow."""
    return landings.reached("network", network_level(*digits_denoiser(progress=progress)))


def section(found: Measured) -> str:
    """The section's HTML."""
    level, reach = own_error_from(found.rows), found.reach
    own = "" if level is None else f" From σ = {level:g} on its own error is the larger one."
    said = page.prose(f"""
        A small network, trained here on 8 x 8 digits: at each noise level, how much of its score
        the laws that are known leave unexplained. The Gaussian explains nearly all of it at large
        noise, and there the network is no nearer to the data's exact score than the
        Gaussian.{own}
    """)
    caption = "The mean of |Δs|²/|s|² over noised training images; bands: 10% to 90% of them."
    described = "Unexplained part of a network's score"
    said += both(lambda n: explained(found.rows, across=n), "e", described, caption)
    said += unexplained("score", found.rows)
    name = identity("reach", reach)
    estimate = page.linked(f"{reach['estimate']:.3f}", name)
    said += page.prose(f"""
        For the network's own flow, ½ ∫ E|s_θ − s_G|² dσ² allows a landing at
        σ = {page.linked(f"{reach['rho']:.2f}", name)}: {estimate} nat of {reach["tolerance"]:g}.

        A jump from σ = 80 to a lower level, and two targets that it may miss: the flow of the
        network and that of the data. Root mean squares of a pixel where the jump lands, and what
        it changes at the end of the network's own flow.
    """)
    keys, ids = ("network", "data", "apart", "end"), [identity("jump", r) for r in found.jumps]
    lines = [
        (f"{row['sigma']:g}", *(f"{row[k]:.2g}" for k in keys), command(again))
        for row, again in zip(found.jumps, ids, strict=True)
    ]
    said += page.simple(HEADS, lines, ids)
    heads = ("lowest landing σ", "nat", "again")
    lines = [(f"{reach['rho']:.3f}", f"{reach['estimate']:.3g}", command(name))]
    return said + page.folded("Row of the lowest landing", heads, lines, [name])


def unexplained(kind: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `explained`."""
    heads = ("of", "law", "σ", "unexplained: score", "unexplained: D", "again")
    ids = [identity(kind, row) for row in rows]
    lines = [
        (
            row["of"],
            row["candidate"],
            f"{row['sigma']:g}",
            *(f"{row[key]['residual']:.3g}" for key in QUANTITIES),
            command(name),
        )
        for row, name in zip(rows, ids, strict=True)
    ]
    return page.folded("Rows of these curves", heads, lines, ids)
