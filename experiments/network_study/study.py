"""What a study of a network asks, read from TOML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from experiments import store
from experiments.study import Rule, check, check_grids
from solvers.method import entry

SOURCES = (
    "solvers",
    "gaussian_score",
    "experiments/network_study",
    "experiments/metrics/converged.py",
    "experiments/sampling/source.py",
    "experiments/sampling/draw.py",
    "experiments/sampling/level.py",
    "experiments/work.py",
    "experiments/model_statistics.py",
    "experiments/networks.py",
    "experiments/residual.py",
    "experiments/backbones.py",
)
"""What the rows rest on."""
TELEPORTS = ("off", "auto")
STATISTICS = ("moments", "network moments", "network jvp")


@dataclass(frozen=True)
class Scores:
    """How much of the network's score known laws explain.

    Attributes:
        sigmas: noise levels.
        samples: noised training images at each.
        components, rank: of the mixture, fitted by k-means.
        history: noise levels at which the snapshots of a training are compared too.
        history_samples: noised training images at each of these.
    """

    sigmas: tuple[float, ...]
    samples: int
    components: int
    rank: int
    history: tuple[float, ...] = ()
    history_samples: int = 128

    def __post_init__(self) -> None:
        _levels("scores.sigmas", self.sigmas)
        _levels("scores.history", self.history)
        _least(self, "scores", {"samples": 2, "history_samples": 2, "components": 1, "rank": 1})


@dataclass(frozen=True)
class Model:
    """DPM-Solver-v3's statistics, and its runs with each.

    Attributes:
        nodes: of the tables, uniform in λ over the study's range.
        samples: noised training images behind every node of "network moments".
        jvp_samples: the same for "network jvp".
        methods: that are run with all statistics, on the study's first grid.
    """

    nodes: int
    samples: int
    jvp_samples: int
    methods: tuple[str, ...]

    def __post_init__(self) -> None:
        _least(self, "model", {"nodes": 5, "samples": 2, "jvp_samples": 2})
        for name in self.methods:
            entry(name)


@dataclass(frozen=True)
class NetworkStudy:
    """Every method x grid x number of calls x teleport x seed on one network.

    Attributes:
        methods: names; empty means all.
        nfe: model calls; a budget that no number of steps uses up is used in part.
        work: most calls + derivatives of a run that takes derivatives.
        teleports: "off", and "auto" to the level at which the network is its data's Gaussian.
        tolerance: of "auto", in nats.
        seeds: the first seed of each set of start points; rows of one set stand for themselves.
        samples: start points in a set.
        rho_start, rho_end: σ/α of both ends.
        converged: allowed error of the reference.
        dimensions: principal components in which the distance to data is taken.
    """

    kind: str
    name: str
    methods: tuple[str, ...]
    nfe: tuple[int, ...]
    work: int
    teleports: tuple[str, ...]
    tolerance: float
    seeds: tuple[int, ...]
    samples: int
    rho_start: float
    rho_end: float
    converged: float
    dimensions: int
    grids: tuple[Rule, ...]
    scores: Scores
    model: Model

    def __post_init__(self) -> None:
        check("kind", self.kind, self.kind == "network", "'network'")
        _least(self, "", {"work": 1, "dimensions": 1, "samples": 2})
        some = len(self.nfe) > 0 and all(n >= 1 for n in self.nfe)
        check("nfe", self.nfe, some, "one integer >= 1 or more")
        known = bool(self.teleports) and set(self.teleports) <= set(TELEPORTS)
        check("teleports", self.teleports, known, " or ".join(TELEPORTS))
        firsts = sorted(self.seeds)
        far = all(b - a >= self.samples for a, b in pairwise(firsts))
        good = far and len(firsts) > 0 and firsts[0] >= 0
        check("seeds", self.seeds, good, f"integers >= 0, {self.samples} or more apart,")
        for name in ("tolerance", "converged"):
            value = getattr(self, name)
            check(name, value, 0 < value < math.inf, "a finite number > 0")
        ordered = 0 < self.rho_end < self.rho_start < math.inf
        check("rho_end", self.rho_end, ordered, f"0 to rho_start, {self.rho_start},")
        check_grids(self.grids)
        for name in self.methods:
            entry(name)

    @property
    def lams(self) -> tuple[float, float]:
        """λ of both ends."""
        return -math.log(self.rho_start), -math.log(self.rho_end)

    def grid(self, name: str) -> Rule:
        """The grid of this name."""
        return next(g for g in self.grids if g.name == name)

    def to_json(self) -> dict[str, Any]:
        """Plain values: what a run's id is computed from."""
        return asdict(self)

    def decides(self, digest: str) -> dict[str, Any]:
        """What decides the rows on a checkpoint of this digest, besides the sources."""
        return {"study": self.to_json(), "checkpoint": digest}

    def run_id(self, digest: str) -> str:
        """The id of a run of this study on that checkpoint, on the sources as they are."""
        return store.identity(self.decides(digest), SOURCES)[0]


def _levels(name: str, sigmas: Sequence[float]) -> None:
    check(name, sigmas, all(0 < s < math.inf for s in sigmas), "finite numbers > 0")


def _least(table: Any, where: str, least: Mapping[str, int]) -> None:
    for name, n in least.items():
        value = getattr(table, name)
        check(f"{where}.{name}".lstrip("."), value, value >= n, f"an integer >= {n}")
