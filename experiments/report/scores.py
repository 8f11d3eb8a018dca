"""The report's section on a network's score: how much of it known laws explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import landings, store
from experiments.digits import digits_denoiser
from experiments.plots.scores import explained
from experiments.report import page
from experiments.report.columns import Columns, tabled
from experiments.report.figures import both
from experiments.report.identify import identity
from experiments.scores import jump_rows, network_level, own_error_from, score_rows
from experiments.terminal import Tick
from gaussian_score.diagnostics import SIGMAS

Row = dict[str, Any]
MODULES = ("data", "digits", "landings", "networks", "scores")
SOURCES = ("solvers", "gaussian_score", *(f"experiments/{name}.py" for name in MODULES))
"""What the rows rest on."""
STUDY = {"network": "digits"}
SPREAD = ("residual", "low", "high")
UNEXPLAINED: Columns = {
    "of": lambda row: row["of"],
    "law": lambda row: row["candidate"],
    "σ": lambda row: f"{row['sigma']:g}",
    "unexplained: score": lambda row: f"{row['score']['residual']:.3g}",
    "unexplained: D": lambda row: f"{row['data']['residual']:.3g}",
}
JUMP: Columns = {
    "landing σ": lambda row: f"{row['sigma']:g}",
    "landing to network's flow": lambda row: f"{row['network']:.2g}",
    "landing to data's flow": lambda row: f"{row['data']:.2g}",
    "network's to data's flow": lambda row: f"{row['apart']:.2g}",
    "change at the end": lambda row: f"{row['end']:.2g}",
}
REACH: Columns = {
    "lowest landing σ": lambda row: f"{row['rho']:.3f}",
    "nat": lambda row: f"{row['estimate']:.3g}",
}


@dataclass(frozen=True)
class Measured:
    """A small network trained on digits, compared with what is known of its data."""

    rows: list[Row]
    jumps: list[Row]
    reach: Row
    runs: dict[str, store.Run]
    """Where the rows are kept, by their kind."""


def measure(root: Path, progress: Tick) -> Measured:
    """Rows are stored under ``root``, the trained network in the user's cache folder."""
    runs = {
        kind: store.open_run(root, f"{kind}-network", STUDY, SOURCES)
        for kind in ("score", "jump", "reach")
    }
    rows = runs["score"].once(lambda: explained_rows(progress, SIGMAS))
    progress(1, 3, "scores compared")
    jumps = runs["jump"].once(lambda: jump_rows(*digits_denoiser(progress=progress)))
    progress(2, 3, "jumps")
    (reach,) = runs["reach"].once(lambda: [reached(progress)])
    return Measured(rows, jumps, reach, runs)


def explained_rows(progress: Tick, sigmas: Sequence[float]) -> list[Row]:
    """What the figure shows of `score_rows`."""
    rows = score_rows(*digits_denoiser(progress=progress), sigmas=sigmas)
    kept = ("of", "candidate", "sigma", "gap")
    return [
        {key: row[key] for key in kept}
        | {key: {k: row[key][k] for k in SPREAD} for key in ("score", "data")}
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
    said += page.folded("Rows of these curves", *tabled("score", found.rows, UNEXPLAINED))
    name = identity("reach", reach)
    estimate = page.linked(f"{reach['estimate']:.3f}", name)
    said += page.prose(f"""
        For the network's own flow, ½ ∫ E|s_θ − s_G|² dσ² allows a landing at
        σ = {page.linked(f"{reach['rho']:.2f}", name)}: {estimate} nat of {reach["tolerance"]:g}.

        A jump from σ = 80 to a lower level, and two targets that it may miss: the flow of the
        network and that of the data. Root mean squares of a pixel where the jump lands, and what
        it changes at the end of the network's own flow.
    """)
    said += page.simple(*tabled("jump", found.jumps, JUMP))
    return said + page.folded("Row of the lowest landing", *tabled("reach", [reach], REACH))
