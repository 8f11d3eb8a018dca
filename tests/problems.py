"""One-dimensional mixtures in plain floats, from their definition: models for many tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from solvers.form import Form
from solvers.ops import Call
from solvers.schedules import Schedule


@dataclass(frozen=True)
class Mixture1D:
    """Σ_k w_k N(m_k, s_k²) as a run's model."""

    weights: Sequence[float]
    means: Sequence[float]
    deviations: Sequence[float]

    def noise(self, v: float, rho: float) -> float:
        """ε = ρ Σ γ_k (v − m_k)/V_k at v = x/α."""
        variances = [s * s + rho * rho for s in self.deviations]
        parts = list(zip(self.weights, self.means, variances, strict=True))
        exponents = [-((v - m) ** 2) / (2 * V) for _, m, V in parts]
        top = max(exponents)
        masses = [
            w / math.sqrt(V) * math.exp(e - top)
            for (w, _, V), e in zip(parts, exponents, strict=True)
        ]
        pulls = [(v - m) / V for _, m, V in parts]
        return rho * sum(a * b for a, b in zip(masses, pulls, strict=True)) / sum(masses)

    def predict(self, kind: str, x: float, call: Call) -> float:
        """The exact prediction."""
        noise = self.noise(x / call.alpha, call.sigma / call.alpha)
        return noise if kind == "noise" else (x - call.sigma * noise) / call.alpha

    def derivatives(
        self, schedule: Schedule, form: Form, tau: Any, u: Any, count: int
    ) -> Sequence[float]:
        """Taylor methods run with ``theory.mixtures``."""
        raise TypeError("this model has no derivatives")


DEIS = Mixture1D((0.4, 0.6), (-1.2, 1.5), (0.5, 0.8))
"""Of the DEIS tables section 6."""
UNIPC = Mixture1D((0.4, 0.6), (-1.0, 0.8), (0.4, 0.25))
"""Of the UniPC tables sections 5 and 8."""
SCIRE = Mixture1D((0.4, 0.6), (-1.0, 1.5), (0.5, 0.3))
"""Of the SciRE tables section 12."""
