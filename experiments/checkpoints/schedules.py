"""Schedules and time labels of checkpoints, to and from JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from solvers.field import Field, Scalar
from solvers.schedules import DDPMDiscrete, Schedule, schedule


@dataclass(frozen=True)
class Tabulated(DDPMDiscrete):
    """``DDPMDiscrete`` with any β_0..β_{steps−1} in (0, 1)."""

    name = "ddpm_tabulated"
    betas: tuple[float, ...] = ()

    def beta(self, n: int, F: Field) -> Scalar:
        """The entry of the list."""
        return F.number(self.betas[n])


def tabulated(betas: Any) -> Schedule:
    """The schedule of a list of β.

    Raises:
        ValueError: fewer than 2 or more than 100000, or one is not in (0, 1).
    """
    table = tuple(betas) if isinstance(betas, list | tuple) else ()
    numbers = all(type(b) is float and 0 < b < 1 for b in table)
    if not (numbers and 2 <= len(table) <= 100_000):
        raise ValueError(
            f"betas: got {str(betas)[:60]}; 2 to 100000 numbers between 0 and 1 are allowed"
        )
    return Tabulated(steps=len(table), betas=table)


def cosine(steps: int) -> Schedule:
    """β_n = min(1 − f(n+1)/f(n), 0.999), f(n) = cos²(π/2 (n/steps + 0.008)/1.008).

    Source: Nichol and Dhariwal 2021 (arXiv:2102.09672).
    """
    top = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
    return tabulated([min(1 - b / a, 0.999) for a, b in pairwise(top)])


def written(s: Schedule) -> dict[str, Any]:
    """Name and parameters."""
    if isinstance(s, Tabulated):
        return {"name": s.name, "betas": list(s.betas)}
    return {"name": s.name, **asdict(s)}


def recalled(values: Any) -> Schedule:
    """The schedule of ``written`` values; ``ValueError`` for others."""
    if not isinstance(values, Mapping) or "name" not in values:
        raise ValueError(f"schedule: got {values!r}; a name and parameters are allowed")
    rest = {k: v for k, v in values.items() if k != "name"}
    if values["name"] == Tabulated.name:
        return tabulated(rest.get("betas"))
    return schedule(values["name"], **rest)


@dataclass(frozen=True)
class Label:
    """What a network sees for the time t: ``offset + scale t``, or VE's σ(t)."""

    of: str = "time"
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if self.of not in ("time", "sigma"):
            raise ValueError(f"label.of: got {self.of!r}; time, sigma are allowed")
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            if not (isinstance(value, int | float) and math.isfinite(value)):
                raise ValueError(f"label.{name}: got {value!r}; a finite number is allowed")

    def of_schedule(self, s: Schedule) -> Any:
        """The map t -> label, for numbers and 0-d tensors."""
        if self.of == "time":
            return _Line(self.scale, self.offset)
        low, high = (getattr(s, k, None) for k in ("sigma_min", "sigma_max"))
        if low is None or high is None:
            raise ValueError(f"label.of: got 'sigma' with {s.name}; time is allowed")
        return _Level(low, high)


@dataclass(frozen=True)
class _Line:
    scale: float
    offset: float

    def __call__(self, t: Any) -> Any:
        return self.offset + self.scale * t


@dataclass(frozen=True)
class _Level:
    low: float
    high: float

    def __call__(self, t: Any) -> Any:
        return self.low * (self.high / self.low) ** t
