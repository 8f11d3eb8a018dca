"""The audit: schedulers of installed libraries, measured as our own methods are.

Problem, graded grids and slope are those of ``experiments.measure``.  Two starts tell a wrong
coefficient from a start-up of low order: one on the exact flow, and the one that is shipped.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from experiments.measure import PROBLEM, OrderEstimate, estimate, exact, grid
from experiments.orders import FLOOR, settled
from experiments.parallel import unordered
from experiments.peers.peer import Course, Peer, missing, patched, run, version
from experiments.peers.roster import left_out, peers
from gaussian_score.mixture import GaussianMixture
from solvers.float64 import FLOAT64
from solvers.point import Point

STEPS = (16, 32, 64, 128, 256, 512)
"""Of the method; a grid has ``nodes`` times as many."""
Row = dict[str, Any]
Progress = Callable[[int, int, str], None]


def within(nominal: int) -> float:
    """How far a measured order may be from one that is reached."""
    return 0.1 if nominal < 4 else 0.2


@lru_cache(maxsize=64)
def nodes(steps: int) -> tuple[float, ...]:
    """ρ of the graded grid."""
    return tuple(float(p.rho) for p in grid(PROBLEM, steps, FLOAT64, "exact").points)


def law() -> GaussianMixture:
    """The problem's, in float64."""
    m = PROBLEM.mixture
    means = [[float(x)] for x in m.means]
    variances = list(map(float, m.variances))
    return GaussianMixture.isotropic(list(map(float, m.weights)), means, variances)


def flow(rho: Tensor) -> Tensor:
    """v on the trajectories through the problem's starts, (2, 1)."""
    p = Point(PROBLEM.schedule, FLOAT64, "rho", FLOAT64.number(float(rho)))
    states = [[float(exact(PROBLEM, start, p)) / float(p.alpha)] for start in PROBLEM.starts]
    return torch.tensor(states, dtype=torch.float64)


def measured(peer: Peer, given: int, sampler: Any = None) -> OrderEstimate:
    """The slope of the error at the last node, in steps of λ."""
    curve: list[tuple[float, float]] = []
    floor = max(FLOOR, peer.floor)
    for n in STEPS:
        rho = torch.tensor(nodes(n * peer.nodes), dtype=torch.float64)
        rho = rho.flip(0) if peer.drive.backward else rho
        miss = run(peer, Course(rho, law(), flow, given), sampler=sampler) - flow(rho[-1])
        h = rho[:: peer.nodes].log().diff().abs().max()
        curve.append((float(h), math.sqrt(float(miss.square().mean()))))
        if settled(curve, floor):
            break
    return estimate(curve, floor)


def row(peer: Peer) -> Row:
    """One line of the audit.

    ``cause`` names the expression where the nominal order is missed, ``proof`` the statement of
    ``theory.peers`` about it, ``patched`` is what a copy with that one expression right measures.
    """
    slope = measured(peer, peer.given).slope
    plain = measured(peer, 0).slope if peer.given else slope
    missed = abs(slope - peer.nominal) > within(peer.nominal)
    fault = peer.fault if missed else None
    cause = fault.cause if fault else "not known" if missed else ""
    repaired = measured(peer, peer.given, patched(peer.load(), fault)).slope if fault else None
    return {
        "library": peer.library,
        "version": version(peer.library),
        "scheduler": peer.name,
        "config": peer.described,
        "nominal": peer.nominal,
        "measured": slope,
        "measured_plain_start": plain,
        "cause": cause,
        "proof": fault.proof if fault else "",
        "patched": repaired,
    }


def absent(roster: Sequence[Peer]) -> dict[str, str]:
    """Libraries that cannot be audited here, with the reason."""
    modules = {p.library: p.drive.module for p in roster}
    reasons = {library: missing(library, module) for library, module in modules.items()}
    return {library: reason for library, reason in reasons.items() if reason}


def chosen(roster: Sequence[Peer], names: Sequence[str]) -> list[int]:
    """Places of the peers with these names, all by default, whose library is installed."""
    gone = absent(roster)
    if "diffusers" in gone:
        raise ValueError(f"{gone['diffusers']}; pip install scoreproof[peers] is allowed")
    known = {p.name for p in roster}
    for name in names:
        if name not in known:
            near = ", ".join(difflib.get_close_matches(name, known)) or "none"
            raise ValueError(f"name: got {name!r}; nearest: {near}; a sampler's class is allowed")
    return [
        place
        for place, p in enumerate(roster)
        if p.library not in gone and (not names or p.name in names)
    ]


def rows(
    names: Sequence[str] = (), *, workers: int = 2, progress: Progress | None = None
) -> list[Row]:
    """One for each peer that is installed, in the order of the roster; or for those named."""
    return over(row, peers, names, workers, progress)


HEADS = ("scheduler", "configuration", "nominal", "measured", "plain\nstart", "repaired", "cause")
USUAL = ("lower_order_final", "final_sigmas_type")
"""Set alike in every row, and left out where people read."""


def cells(row: Row) -> tuple[Any, ...]:
    """The row under ``HEADS``."""
    keys = ("nominal", "measured", "measured_plain_start", "patched", "cause")
    return (row["scheduler"], words(row["config"]), *(row[k] for k in keys))


def words(config: Mapping[str, Any]) -> str:
    """The configuration on one line."""
    return ", ".join(f"{k}={v}" for k, v in config.items() if k not in USUAL)


def footnotes() -> list[str]:
    """What has no row, and why."""
    roster = peers()
    seen = {p.library for p in roster} - absent(roster).keys()
    versions = ", ".join(f"{library} {version(library)}" for library in sorted(seen))
    reasons = [f"not audited ({why}): {', '.join(names)}" for why, names in left_out().items()]
    return [f"audited: {versions}", *absent(roster).values(), *reasons]


def over(
    row: Callable[[Peer], Row],
    roster: Callable[[], list[Peer]],
    names: Sequence[str],
    workers: int,
    progress: Progress | None,
) -> list[Row]:
    """``row`` of the chosen peers, which workers find by their place in the roster."""
    places = chosen(roster(), names)
    done: dict[int, Row] = {}
    for place, found in unordered(_row, (row, roster), places, workers):
        done[place] = found
        if progress:
            progress(len(done), len(places), found["scheduler"])
    return [done[place] for place in places]


def _row(shared: tuple[Callable[[Peer], Row], Callable[[], list[Peer]]], place: int) -> Row:
    torch.set_num_threads(1)
    row, roster = shared
    return row(roster()[place])
