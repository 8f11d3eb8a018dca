"""How loose the rigorous bound of a landing is, over random mixtures at random levels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gaussian_score.looseness import Row, looseness_rows

MIXTURES = 200
"""Of each kind."""
FAIR = 0.1
"""Of the samples: no rare mode has so many."""
HALF = math.log(1.5)
"""log(1 + χ²) at χ² = ½."""
SOURCES = ("gaussian_score", "experiments/looseness.py")
"""What the rows rest on."""


def drawn() -> dict[str, list[Row]]:
    """The mixtures of both kinds, always the same."""
    return {
        "any covariances": list(looseness_rows(MIXTURES, seed=1)),
        "one covariance": list(looseness_rows(MIXTURES, seed=2, common=True)),
    }


def summary_rows(groups: dict[str, list[Row]]) -> list[dict[str, Any]]:
    """One row: the median of bound/K where no mode is rare and χ² < ½; how many bounds are ∞."""
    rows = [row for group in groups.values() for row in group]
    fair = [r.looseness for r in rows if r.rarest >= FAIR and r.bound < HALF]
    endless = sum(r.bound == np.inf for r in rows)
    median = float(np.median(fair))
    return [{"mixtures": len(rows), "fair": len(fair), "median": median, "endless": endless}]
