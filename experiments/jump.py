"""The key ``teleport`` of a run: where it lands, what of the grid stays, what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.problems import LAID, Law, finite, mapping, shown, word
from gaussian_score.certificate import skip_level
from solvers.advance import bind, memory
from solvers.float64 import FLOAT64
from solvers.forms import Statistics
from solvers.grids import Grid, checked, rule
from solvers.method import Entry
from solvers.point import Point
from solvers.teleport import PRIORS, Teleport, above

LEVELS = ("sigma_skip", "tolerance")
BUDGETS = ("redistribute", "truncate")
HISTORIES = ("none", "gaussian")
KEYS = (*LEVELS, "prior", "budget", "corrected", "history")
NEAR = 1e-12
"""A level this near to the first node skips nothing."""


@dataclass(frozen=True)
class Jump:
    """A grid that begins where the jump lands, after ``first`` nodes of the past."""

    grid: Grid
    teleport: Teleport
    first: int = 0


def read_jump(
    spec: Any, law: Law, grid: Grid, rule_of: Mapping[str, Any], known: Statistics
) -> Jump | None:
    """``{"sigma_skip": 8.0}`` or ``{"tolerance": 0.05}``; None where nothing is skipped.

    ``rule_of`` is the run's key ``grid``, ``known`` the data's moments in the run's coordinates.
    """
    obj = mapping(spec, "teleport", KEYS)
    given = [key for key in LEVELS if key in obj]
    if len(given) != 1:
        raise ValueError(
            f"teleport: got the keys {sorted(obj)}; exactly one of {', '.join(LEVELS)} is allowed"
        )
    prior = _choice(obj, "prior", PRIORS)
    laid = "name" in rule_of
    budget = _choice(obj, "budget", BUDGETS if laid else BUDGETS[1:])
    corrected = obj.get("corrected", False)
    if not isinstance(corrected, bool):
        raise ValueError(f"teleport.corrected: got {shown(corrected)}; true or false is allowed")
    skip = _level(given[0], obj[given[0]], law, grid)
    begun = cut(grid, skip, rule_of if budget == "redistribute" else None)
    return begun and Jump(begun, Teleport(grid.points[0], known, prior, corrected))


def cut(grid: Grid, skip: float, laid: Mapping[str, Any] | None = None) -> Grid | None:
    """The grid from ρ = skip on; None if that is its first node.

    Nodes above the level are dropped; where the grid is a rule, ``laid``, it is laid again with
    as many steps.
    """
    first, last = grid.points[0], grid.points[-1]
    high, low = (float("inf") if p.silent else float(p.rho) for p in (first, last))
    if not low < skip <= high * (1 + NEAR):
        raise ValueError(
            f"teleport.sigma_skip: got {skip!r}; a level in ({low!r}, {high!r}] is allowed"
        )
    if skip >= high * (1 - NEAR):
        return None
    level = Point(grid.schedule, FLOAT64, "rho", FLOAT64.number(skip))
    if laid is not None:
        rest = {k: v for k, v in laid.items() if k not in LAID}
        return rule(laid["name"], laid["steps"], level, last, rest)
    inner = (p for p in grid.points if not p.silent)
    nodes = (level, *(p for p in inner if float(p.rho) < skip * (1 - NEAR)))
    rhos = [float(p.rho) for p in nodes]
    return checked(Grid(grid.schedule, FLOAT64, nodes), "grid", rhos)


def with_past(jump: Jump, entry: Entry, options: Mapping[str, Any]) -> Jump:
    """The same with a past of the Gaussian's evaluations, as long as the method's full order."""
    mine = {k: v for k, v in options.items() if k in entry.options}
    own = ((k, v[0] if isinstance(v, tuple) else v) for k, v in entry.resolve(mine).items())
    count = memory(entry, entry.q, tuple((k, bind(FLOAT64, v)) for k, v in own))
    points = jump.grid.points
    past = above(points, count, jump.teleport.start)
    return Jump(Grid(jump.grid.schedule, jump.grid.F, (*past, *points)), jump.teleport, len(past))


def wants_past(spec: Mapping[str, Any]) -> bool:
    """Whether the key ``history`` asks for it."""
    mapping(spec, "teleport", KEYS)
    return _choice(spec, "history", HISTORIES) == "gaussian"


def _choice(obj: Mapping[str, Any], key: str, allowed: Sequence[str]) -> str:
    value = word(obj.get(key, allowed[0]), f"teleport.{key}")
    if value not in allowed:
        names = " or ".join(map(repr, allowed))
        raise ValueError(f"teleport.{key}: got {value!r}; {names} is allowed")
    return value


def _level(key: str, value: Any, law: Law, grid: Grid) -> float:
    """σ_skip, given or found from a tolerance in nats."""
    if not finite(value) or value <= 0:
        raise ValueError(f"teleport.{key}: got {shown(value)}; a positive number is allowed")
    if key == "sigma_skip":
        return float(value)
    top = grid.points[int(grid.points[0].silent)]
    high, low = (float(p.rho) for p in (top, grid.points[-1]))
    try:
        level = skip_level(law.weights, law.means, law.covs, value, high, low)
    except ValueError as error:
        raise ValueError(f"teleport.tolerance: got {value!r}; {error}") from None
    if level <= low:
        raise ValueError(
            f"teleport.tolerance: got {value!r}, which leaves no steps to take;"
            " a smaller number, or sigma_skip, is allowed"
        )
    return level
