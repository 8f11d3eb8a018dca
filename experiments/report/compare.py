"""A row beside itself made anew: figure by figure, within what another machine may change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isclose
from typing import Any

from experiments.report.identify import OF_NETWORK, Found
from experiments.rows import Row

PASSING = ("seconds", "certificate")
"""What no run decides: time, and whether a file is current."""
ROUNDING = 1e-6
"""Relative difference that another processor may make."""
SINGLE = 1e-3
"""The same where a network in float32 is behind: its 1e-6 of a state beside an error of 1e-3."""
FLOOR = 1e-12
"""What sums in float64 leave of nothing; figures of 50 digits have no such floor."""


@dataclass(frozen=True)
class Compared:
    """One figure or word of a row, stored and made anew."""

    name: str
    stored: Any
    recomputed: Any
    rounding: float
    floor: float

    @property
    def difference(self) -> float | None:
        """Recomputed less stored; None where one is no number."""
        both = (self.recomputed, self.stored)
        number = all(isinstance(x, int | float) and not isinstance(x, bool) for x in both)
        return both[0] - both[1] if number else None

    @property
    def same(self) -> bool:
        """Equal, or numbers that only rounding tells apart."""
        if self.difference is None:
            return self.stored == self.recomputed
        return isclose(self.stored, self.recomputed, rel_tol=self.rounding, abs_tol=self.floor)


def compared(found: Found, new: Row) -> list[Compared]:
    """Everything that both rows have but what passes; of curves point by point: "curve[3][1]"."""
    old, single = found.row, found.kind in OF_NETWORK or found.kind in ("score", "jump")
    rounding = SINGLE if single or old.get("of") == "network" else ROUNDING
    leaves = (
        leaf
        for key in old
        if key in new and key not in PASSING
        for leaf in _leaves(key, old[key], new[key])
    )
    digits = found.kind == "order"
    return [
        Compared(name, a, b, rounding, 0.0 if digits and "float64" not in name else FLOOR)
        for name, a, b in leaves
    ]


def _leaves(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() == new.keys():
        for key in old:
            yield from _leaves(f"{name}.{key}", old[key], new[key])
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _leaves(f"{name}[{i}]", a, b)
    else:
        yield name, old, new
