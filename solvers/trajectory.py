"""What a run returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Eval:
    """A kept evaluation: N at the state u where the model was called."""

    tau: Any
    u: Any
    N: Any


@dataclass(frozen=True)
class Trajectory:
    """The end of a run, and its states at the nodes where they were asked for."""

    x: Any
    """x at the last node; with finish="denoise" the data prediction there."""
    states: tuple[Any, ...]
    """x at every node, first and last included; empty unless asked for."""
    nfe: int
    """Model calls for one sample."""
    jvp: int
    """Directional derivatives of the model for one sample."""
    landing: Any = None
    """After a teleport: each sample's leading error there (before a correction), root mean square
    in x/α over coordinates."""
    entropy: Any = None
    """After a teleport: each sample's Σ c (D − D_G)²/(6 ρ⁴), whose mean is K to leading order."""
