"""What a subcommand gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One JSON value; how to show it to people; the exit status."""

    value: Any
    show: Callable[[], None]
    status: int = 0
