"""The report's section on a network's score: how much of it known laws explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments import page
from experiments.digits import digits_denoiser
from experiments.figures import both
from experiments.plots_scores import explained
from experiments.scores import jump_rows, network_level, own_error_from, score_rows
from experiments.terminal import Tick
from gaussian_score.skip import Skip

HEADS = (
    "landing σ",
    "landing to network's flow",
    "landing to data's flow",
    "network's to data's flow",
    "change at the end",
)


@dataclass(frozen=True)
class Measured:
    """A small network trained on digits, compared with what is known of its data."""

    rows: list[dict[str, Any]]
    jumps: list[dict[str, Any]]
    level: Skip


def measure(progress: Tick) -> Measured:
    """Training is kept in the user's cache folder."""
    model, points = digits_denoiser(progress=progress)
    progress(1, 3, "trained")
    rows = score_rows(model, points)
    progress(2, 3, "scores compared")
    return Measured(rows, jump_rows(model, points), network_level(model, points))


def section(found: Measured) -> str:
    """The section's HTML."""
    level = own_error_from(found.rows)
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
    skip = found.level
    said += page.prose(f"""
        For the network's own flow, ½ ∫ E|s_θ − s_G|² dσ² allows a landing at σ = {skip.rho:.2f}:
        {skip.estimate:.3f} nat of {skip.tolerance:g}.

        A jump from σ = 80 to a lower level, and two targets that it may miss: the flow of the
        network and that of the data. Root mean squares of a pixel where the jump lands, and what
        it changes at the end of the network's own flow.
    """)
    keys = ("network", "data", "apart", "end")
    lines = [(f"{r['sigma']:g}", *(f"{r[k]:.2g}" for k in keys)) for r in found.jumps]
    return said + page.simple(HEADS, lines)
