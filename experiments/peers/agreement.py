"""Agreement: where a peer's formula is one of ours, both on the same nodes, and what differs.

The peer runs as in ``peer``, ours by ``solve``; both see the same exact denoiser.
After the peers of the roster come schedulers as they are shipped: the last step goes to σ = 0, is
of order 1, and may be preceded by lower orders; states are float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from experiments.peers import drives
from experiments.peers.audit import Progress, Row, over, words
from experiments.peers.peer import Course, Drive, Peer, run, version
from experiments.peers.roster import NOISY, peers
from experiments.problems import read_law
from experiments.solve import solve
from gaussian_score.mixture import GaussianMixture

TOLERANCE = 1e-10
"""Of v at the last node: rounding, with what a peer loses by cancellation in its coefficients."""
STEPS = 12
"""A multiple of the nodes of every singlestep method."""


@dataclass(frozen=True)
class Problem:
    """A law, the nodes ρ and the first states v."""

    law: Mapping[str, Any]
    rho: Tensor
    start: Tensor


def graded(first: float, last: float, power: float) -> Tensor:
    """Uniform in ρ^{1/power}."""
    ends = (first ** (1 / power), last ** (1 / power))
    return torch.linspace(*ends, STEPS + 1, dtype=torch.float64) ** power


def alternating(first: float, last: float) -> Tensor:
    """Steps of log ρ in the ratio 1:2."""
    share = torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(STEPS // 2).cumsum(0)
    share = torch.cat([torch.zeros(1, dtype=torch.float64), share]) / share[-1]
    return first * (last / first) ** share


def column(*values: float) -> Tensor:
    """(B, 1)."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


PAIR: dict[str, Any] = {
    "weights": [0.4, 0.6],
    "means": [[-1.2], [1.5]],
    "covs": [[[0.25]], [[0.64]]],
}
PLANE: dict[str, Any] = {
    "weights": [0.3, 0.5, 0.2],
    "means": [[-1.0, 0.4], [1.2, 0.8], [0.1, -1.5]],
    "covs": [[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]], [[0.1, 0.0], [0.0, 0.1]]],
}
SPACE: dict[str, Any] = {
    "weights": [1.0],
    "means": [[0.3, -0.2, 1.0]],
    "covs": [[[0.5, 0.2, 0.0], [0.2, 0.8, 0.1], [0.0, 0.1, 0.3]]],
}
PROBLEMS = (
    Problem(PAIR, graded(3.0, 0.3, -3), column(1.3, -2.9)),
    Problem(PLANE, graded(40.0, 0.05, 7), 40 * torch.tensor([[0.7, -0.4], [-1.1, 0.9]]).double()),
    Problem(SPACE, alternating(20.0, 0.1), 20 * torch.tensor([[0.2, -1.3, 0.6]]).double()),
)


# --- as shipped ----------------------------------------------------------------------------------

DENOISED = "the same formula; the step to zero noise is the denoiser"
LOWERED = f"{DENOISED}, the one before it has order 2"
DOWN = "integrates its polynomial down to zero noise, where ours ends with the denoiser"
SINGLE = "the same formula; step casts its states to float32"


def shipped() -> list[Peer]:
    """Default configurations, to zero noise; and the dtype that a scheduler insists on."""
    halves = {"as_published": True}
    lowered = {**halves, "orders": [1, 2, *[3] * (STEPS - 3), 2]}
    rows: list[tuple[str, Drive, Any, str, Any, str]] = [
        ("DDIM", drives.CUMULATIVE, {"clip_sample": False}, "ddim", {}, DENOISED),
        ("EulerDiscrete", drives.PLAIN, {}, "ddim", {}, DENOISED),
        ("HeunDiscrete", drives.HEUN, {}, "rho_heun2", {}, DENOISED),
        ("KDPM2Discrete", drives.MIDDLE, {}, "dpm_solver_2", {}, DENOISED),
        ("LMSDiscrete", drives.PLAIN, {}, "deis_rho_ab3", {}, DOWN),
        ("DPMSolverMultistep", drives.VARIANCE, {}, "dpm_solver_pp_2m", {}, DENOISED),
        ("EDMDPMSolverMultistep", drives.EDM, {}, "dpm_solver_pp_2m", {}, DENOISED),
        ("UniPCMultistep", drives.VARIANCE, {}, "unipc_2", halves, DENOISED),
    ]
    for name, equal in (("DPMSolverMultistep", "dpm_solver_pp_3m"), ("UniPCMultistep", "unipc_3")):
        rows.append((name, drives.VARIANCE, {"solver_order": 3}, equal, lowered, LOWERED))
    made = [  # of no order: a step to zero noise has no length in log σ/α
        Peer(f"{name}Scheduler", 0, drive, config, ours=equal, options=options, note=note)
        for name, drive, config, equal, options, note in rows
    ]
    single: dict[str, Any] = {"ours": "dpm_solver_pp_2m", "dtype": torch.float32, "note": SINGLE}
    cast = Peer("DPMSolverMultistepScheduler", 2, drives.VARIANCE, NOISY, **single)
    return [*(replace(peer, finish="denoise") for peer in made), cast]


def both() -> list[Peer]:
    """The roster, then what is shipped."""
    return [*peers(), *shipped()]


# --- runs ----------------------------------------------------------------------------------------


def ours(peer: Peer, problem: Problem) -> Tensor:
    """v at the last node by ``solve``; a step of ours takes ``nodes`` of the peer's."""
    alpha = peer.drive.scale.alpha
    outer = problem.rho[:: peer.nodes]
    job = {
        "problem": problem.law,
        "schedule": {"name": peer.drive.scale.schedule},
        "method": peer.ours,
        "options": {**peer.options, **stages(problem.rho, peer.nodes)},
        "grid": {"rho": outer.tolist()},
        "x_start": (alpha(outer[0]) * problem.start).tolist(),
        "finish": peer.finish,
    }
    x = torch.tensor(solve(job, exact=False)["x_final"], dtype=torch.float64)
    return x if peer.finish == "denoise" else x / alpha(outer[-1])


def stages(rho: Tensor, nodes: int) -> dict[str, list[float]]:
    """The fractions r₁, r₂ of each step, in log ρ, at which the inner nodes lie."""
    lam = -rho.log()
    first, h = lam[:-1:nodes], lam[::nodes].diff()
    return {f"r{j}": ((lam[j:-1:nodes] - first) / h).tolist() for j in range(1, nodes)}


def theirs(peer: Peer, problem: Problem) -> Tensor:
    """v at the last node."""
    law = read_law(problem.law)
    mixture = GaussianMixture.full(law.weights, law.means, law.covs)
    rho, start = problem.rho.to(peer.dtype), problem.start.to(peer.dtype)
    if peer.finish == "denoise":
        rho = torch.cat([rho, rho.new_zeros(1)])
    return run(peer, Course(rho, mixture, lambda level: start))


def difference(peer: Peer) -> float:
    """The largest over the problems."""
    return max(float((theirs(peer, p) - ours(peer, p)).abs().max()) for p in PROBLEMS)


def row(peer: Peer) -> Row:
    """One line of the table; where no method of ours is the same there is no difference."""
    return {
        "library": peer.library,
        "version": version(peer.library),
        "scheduler": peer.name,
        "config": peer.described,
        "ours": peer.ours,
        "options": dict(peer.options) if peer.ours else {},
        "finish": peer.finish,
        "dtype": str(peer.dtype).removeprefix("torch."),
        "difference": difference(peer) if peer.ours else None,
        "explanation": peer.note,
    }


def rows(
    names: Sequence[str] = (), *, workers: int = 2, progress: Progress | None = None
) -> list[Row]:
    """The table."""
    return over(row, both, names, workers, progress)


HEADS = ("scheduler", "configuration", "ours", "options", "difference", "explanation")


def cells(row: Row) -> tuple[Any, ...]:
    """The row under ``HEADS``."""
    gap = row["difference"]
    end = {} if row["finish"] == "none" else {"finish": row["finish"]}
    return (
        row["scheduler"],
        words(row["config"]),
        row["ours"],
        words({**row["options"], **end}),
        None if gap is None else f"{gap:.1e}",
        row["explanation"],
    )
