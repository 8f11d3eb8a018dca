"""One measured figure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure's name, its value in its unit, and what was measured."""

    name: str
    value: float
    unit: str
    note: str
