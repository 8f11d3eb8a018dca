"""Problems and runs as JSON, read strictly: errors name the key, the value and what is allowed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_score.mixture import GaussianMixture
from solvers.forms import Statistics
from solvers.grids import CLOCKS, RULES, Grid, explicit, laid
from solvers.schedules import ROUNDING, Schedule, schedule

Floats = NDArray[np.float64]

LAID = ("name", "steps", "start", "end")
"""Keys of every grid that a rule lays."""


@dataclass(frozen=True, eq=False)
class Law:
    """The data law: a Gaussian mixture's weights (K,), means (K, D), covariances (K, D, D)."""

    weights: Floats
    means: Floats
    covs: Floats

    @property
    def key(self) -> bytes:
        """For caches."""
        return b"".join(a.tobytes() for a in (self.weights, self.means, self.covs))

    def __eq__(self, other: object) -> bool:
        """By value."""
        return isinstance(other, Law) and (self.means.shape, self.key) == (
            other.means.shape,
            other.key,
        )

    def __hash__(self) -> int:
        return hash(self.key)

    def principal(self) -> tuple[Statistics, Floats]:
        """Mean and variances in the eigenbasis of the covariance, and the basis (columns)."""
        mean = self.weights @ self.means
        away = self.means - mean
        cov = np.einsum("k,kij->ij", self.weights, self.covs) + (away.T * self.weights) @ away
        variances, basis = np.linalg.eigh(cov)
        inside = basis.T @ mean
        return Statistics(tuple(map(float, inside)), tuple(map(float, variances.clip(0)))), basis

    def rotated(self, basis: Floats) -> Law:
        """The law of basisᵀ x₀."""
        return Law(self.weights, self.means @ basis, basis.T @ self.covs @ basis)


def read_law(problem: Any) -> Law:
    """``{"weights": [..K], "means": [[..D] x K], "covs": [[[D x D]] x K]}``."""
    known = ("weights", "means", "covs")
    obj = mapping(problem, "problem", known, required=known)
    w = array(obj["weights"], "problem.weights", 1)
    m = array(obj["means"], "problem.means", 2)
    c = array(obj["covs"], "problem.covs", 3)
    if m.shape[0] != len(w) or c.shape != (len(w), m.shape[1], m.shape[1]):
        raise ValueError(
            f"problem: got weights {w.shape}, means {m.shape}, covs {c.shape};"
            " (K,), (K, D) and (K, D, D) are allowed"
        )
    total = float(w.sum())
    if (w < 0).any() or abs(total - 1) > ROUNDING:
        raise ValueError(
            f"problem.weights: got {shown(obj['weights'])} with sum {total!r};"
            f" numbers >= 0 whose sum is 1 within {ROUNDING} are allowed"
        )
    try:
        GaussianMixture.full(w, m, c)
    except ValueError as error:
        raise ValueError(f"problem.{error}") from None
    return Law(w / total, m, c)


def read_schedule(value: Any) -> Schedule:
    """``{"name": "vp_linear", ..parameters}``."""
    obj = mapping(value, "schedule", None, required=("name",))
    name = word(obj["name"], "schedule.name")
    return schedule(name, **{k: v for k, v in obj.items() if k != "name"})


def read_grid(value: Any, s: Schedule) -> Grid:
    """Explicit nodes under one of t, rho, lam, sigma; or a rule with steps, start and end."""
    obj = mapping(value, "grid", None)
    if "name" in obj:  # first: the option of the rule karras is called rho
        name = word(obj["name"], "grid.name")
        known = (*LAID, *RULES[name][1]) if name in RULES else None  # laid names the nearest
        mapping(obj, "grid", known, required=LAID)
        return laid(s, **{k: obj[k] for k in known or LAID if k in obj})
    given = [k for k in CLOCKS if k in obj]
    if len(given) != 1:
        raise ValueError(
            f"grid: got the keys {sorted(obj)}; one of {', '.join(CLOCKS)}, name is allowed"
        )
    mapping(obj, "grid", given)
    return explicit(s, given[0], obj[given[0]])


def mapping(
    value: Any, name: str, known: Sequence[str] | None, *, required: Sequence[str] = ()
) -> dict[str, Any]:
    """A JSON object with these keys."""
    if not isinstance(value, dict):
        raise ValueError(f"{name}: got {shown(value)}; an object is allowed")
    for key in value if known is not None else ():
        if key not in (known or ()):
            raise ValueError(f"{name}: got the key {key!r}; allowed: {', '.join(known or ())}")
    for key in required:
        if key not in value:
            raise ValueError(f"{name}: the key {key!r} is missing; needed: {', '.join(required)}")
    return value


def word(value: Any, name: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: got {shown(value)}; a name is allowed")
    return value


def finite(value: Any) -> bool:
    """Whether it is a number that float64 can hold."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def array(value: Any, name: str, dimensions: int) -> Floats:
    """A rectangular list of finite numbers."""

    def flat(v: Any, depth: int) -> bool:
        if depth == 0:
            return finite(v)
        return isinstance(v, list) and bool(v) and all(flat(x, depth - 1) for x in v)

    allowed = (
        f"{'[' * dimensions}..{']' * dimensions}, a rectangular list of finite numbers, is allowed"
    )
    if not flat(value, dimensions):
        raise ValueError(f"{name}: got {shown(value)}; {allowed}")
    try:
        return np.array(value, dtype=np.float64)
    except ValueError:
        raise ValueError(f"{name}: got rows of unequal lengths; {allowed}") from None


def shown(value: Any) -> str:
    """A value, short enough for one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
