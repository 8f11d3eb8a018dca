"""What a row says of itself: its solver's name, its family, whether it keeps what is claimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

Row = Mapping[str, Any]


def name_of(row: Row) -> str:
    """A row's method with what its options change, in few words."""
    words = [
        key if value is True else value if isinstance(value, str) else f"{key}={value}"
        for key, value in row["options"].items()
    ]
    return " ".join([row["method"], *words])


def deviates(row: Row) -> bool:
    """Whether the proved order is below the claimed one."""
    return row["claimed"] is not None and row["proved"] < row["claimed"]


def families(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by family."""
    ordered = sorted(rows, key=lambda row: row["family"])
    return {family: list(group) for family, group in groupby(ordered, lambda r: r["family"])}
