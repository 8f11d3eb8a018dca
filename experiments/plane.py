"""A mixture in the plane with its exact flow, and a solver's trajectories beside it.

Choices in, arrays out: what the sliders of a notebook show is computed here, without widgets.
Positions are x/√(1 + σ²), so that noise and data fit one picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from experiments.problems import Floats, Law
from gaussian_score.mixture import GaussianMixture
from gaussian_score.reference import reference_flow
from gaussian_score.targets import target
from solvers.denoiser import Known
from solvers.empirical import EMS, Matched
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import FORMS, Statistics
from solvers.grids import RULES, laid
from solvers.method import entry, registry
from solvers.plan import plan
from solvers.point import Point
from solvers.sample import sample
from solvers.schedules import schedule
from solvers.teleport import Teleport

EDM = schedule("edm")
FIRST, LAST = 40.0, 0.05
"""Noise levels of a whole run."""
LEVELS = 41
"""At which exact paths are known."""
OWN = "its own"
"""The form that a method is published in."""
MOST = 40
"""Steps."""


@dataclass(frozen=True)
class Choice:
    """One setting of all sliders.

    Attributes:
        solver: a name of the registry, as in ``solvers_offered``.
        form: a canonical form, or ``OWN``.
        steps: of the grid, 2 to ``MOST``.
        grid: a rule.
        skip: the level σ to begin at by a jump; ``FIRST`` is no jump.
    """

    solver: str = "dpm_solver_pp_2m"
    form: str = OWN
    steps: int = 8
    grid: str = "karras"
    skip: float = FIRST

    def __post_init__(self) -> None:
        offered = {
            "solver": solvers_offered(),
            "form": forms_offered(),
            "grid": tuple(RULES),
        }
        for name, allowed in offered.items():
            if (got := getattr(self, name)) not in allowed:
                raise ValueError(f"{name}: got {got!r}; {', '.join(allowed)} are allowed")
        if not 2 <= self.steps <= MOST:
            raise ValueError(f"steps: got {self.steps!r}; 2 to {MOST} are allowed")
        if not LAST < self.skip <= FIRST:
            raise ValueError(f"skip: got {self.skip!r}; {LAST} < skip <= {FIRST} is allowed")


@lru_cache(maxsize=1)
def solvers_offered() -> tuple[str, ...]:
    """Every method with fixed steps, without noise and without derivatives."""
    fixed = (e for e in registry().values() if not (e.controller or e.ladder))
    return tuple(e.name for e in fixed if e.quiet is None and e.family != "taylor")


def forms_offered() -> tuple[str, ...]:
    """The published form of a method, then every canonical one."""
    return (OWN, *FORMS)


@dataclass(frozen=True, eq=False)
class World:
    """A law in the plane, start points of the flow at ``FIRST``, and their exact paths.

    Attributes:
        law: the mixture.
        start: x at the first level, (B, 2).
        sigmas: levels at which the flow is known, falling, (T,).
        paths: x there, (T, B, 2).
        error: the reference's estimate of its own error at the end.
    """

    law: Law
    start: Floats
    sigmas: Floats
    paths: Floats
    error: float

    @cached_property
    def mixture(self) -> GaussianMixture:
        """In torch, float64."""
        return GaussianMixture.full(self.law.weights, self.law.means, self.law.covs)

    @cached_property
    def statistics(self) -> tuple[Statistics, Floats]:
        """Mean and variances in the law's eigenbasis, and the basis."""
        return self.law.principal()

    @property
    def end(self) -> Floats:
        """The exact flow's end points, (B, 2)."""
        return self.paths[-1]

    def modes(self, x: Floats) -> Any:
        """The component that each point belongs to most, (B,)."""
        shares = self.mixture.responsibilities(torch.tensor(x), 1.0, LAST)
        return shares.argmax(-1).numpy()


@lru_cache(maxsize=4)
def world(name: str = "ring", count: int = 48, seed: int = 0) -> World:
    """A named target in two dimensions, with draws of the noised law as starts."""
    law = Law(*(np.array(part) for part in target(name)))
    generator = torch.Generator().manual_seed(seed)
    draws = GaussianMixture.full(law.weights, law.means, law.covs).sample(
        count, generator=generator
    )
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    start = (draws + FIRST * noise).numpy()
    sigmas = np.geomspace(FIRST, LAST, LEVELS)
    paths, error = [start], 0.0
    for a, b in pairwise(sigmas):
        found = reference_flow(law.weights, law.means, law.covs, paths[-1], (1.0, a), (1.0, b))
        paths.append(found.x)
        error = max(error, float(found.error.max()))
    return World(law, start, sigmas, np.stack(paths), error)


def scaled(x: Floats, sigmas: Floats) -> Floats:
    """x/√(1 + σ²): (T, B, 2) with (T,), or (B, 2) with a number."""
    width = np.sqrt(1 + np.asarray(sigmas) ** 2)
    return x / (width[:, None, None] if width.ndim else width)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A run: levels (n,), states (n, B, 2), which points end in another mode, and the error.

    Attributes:
        nfe: model calls.
        error: root mean square over points and coordinates at the end.
        strayed: whether a point ends in another component than the flow carries it to, (B,).
    """

    choice: Choice
    sigmas: Floats
    states: Floats
    nfe: int
    error: float
    strayed: Any

    @property
    def words(self) -> str:
        """What happened, in a line."""
        return f"{self.nfe} calls, RMS error {self.error:.2g}, {int(self.strayed.sum())} strayed"


def draw(choice: Choice, world: World) -> Drawn:
    """The choice's run from the world's starts; ``ValueError`` where a run overflows."""
    known, basis = world.statistics
    grid = laid(EDM, choice.grid, steps=choice.steps, start=choice.skip, end=LAST)
    jump = choice.skip < FIRST
    top = Point(EDM, FLOAT64, "rho", FLOAT64.number(FIRST))
    e = entry(choice.solver)
    form: Form = e.form({}) if choice.form == OWN else FORMS[choice.form]
    about: Any = Matched(known) if form.name == EMS.name else known
    teleport = Teleport(top, known) if jump else None
    p = plan(e, grid, form=form, statistics=about, teleport=teleport)
    start = torch.tensor(world.start @ basis)
    law = world.law.rotated(basis)
    model = Known(GaussianMixture.full(law.weights, law.means, law.covs))
    done = sample(p, model, start, states=True)
    states = torch.stack(done.states).numpy() @ basis.T
    sigmas = [FIRST] * jump + [float(q.rho) for q in grid.points]
    miss = states[-1] - world.end
    return Drawn(
        choice,
        np.array(sigmas),
        states,
        done.nfe,
        float(np.sqrt(np.mean(miss**2))),
        world.modes(states[-1]) != world.modes(world.end),
    )
