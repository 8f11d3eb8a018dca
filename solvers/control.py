r"""Step sizes from an embedded pair.

    δ = max(atol, rtol max(|x_low|, |x_prev|)),   E = |(x_high − x_low)/δ|,
    accepted where E <= 1,   h ← min(θ h E^{−1/q}, τ_end − τ),

x_prev the last accepted lower-order state, h a step of the form's clock, q the evaluations of a
trial, |·| the root mean square of a sample, the largest of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST = 1e-12
"""E is at least this, so that a step in which the pair agrees is followed by a finite one."""


@dataclass(frozen=True, kw_only=True)
class Controller:
    """Tolerances, the first step and the safety factor."""

    rtol: float = 0.05
    atol: float = 0.0078
    h_init: float = 0.05
    theta: float = 0.9

    def next(self, h: float, error: float, q: int) -> float:
        """θ h E^{−1/q}."""
        return float(self.theta) * h * max(error, SMALLEST) ** (-1 / q)
