"""What the Gaussian's jump costs on a mixture, level by level, and how low it may land."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments import work
from experiments.study import Study
from gaussian_score.certificate import bound
from gaussian_score.divergence import relative_entropy
from gaussian_score.reference import reference_flow
from gaussian_score.skip import Skip, auto_skip
from gaussian_score.sources import MixtureSource, Source
from gaussian_score.whitened import Centred

Row = dict[str, Any]
SOURCES = (*work.SOURCES, "experiments/landings.py")
"""What the rows rest on."""
SKEWED = ((0.8, 0.2), (1.0, -4.0), (0.25, 0.25))
"""Weights, means and variances of a law on the line."""


def level_rows(
    study: Study, levels: Sequence[float], problem: work.Problem | None = None
) -> list[Row]:
    """A row for each level: the median error of the jump alone, log(1 + χ²) and K in nats.

    The bound is None where it is infinite. The problem is the study's own, if it is at hand.
    """
    known = problem or work.build(study)
    law = (known.weights, known.means, known.covs)
    centred, rows = Centred.read(*law), []
    for level in levels:
        least, entropy = bound(centred, level), relative_entropy(*law, level)
        rows.append(
            {
                "level": level,
                "alone": _alone(known, study, level),
                "bound": least if math.isfinite(least) else None,
                "entropy": entropy.value,
                "entropy_error": entropy.error,
            }
        )
    return rows


def reach_rows(study: Study, problem: work.Problem | None = None) -> list[Row]:
    """The lowest landings that the usual tolerance allows: of the study's mixture, of `SKEWED`."""
    known = problem or work.build(study)
    laws = {"mixture": MixtureSource(known.weights, known.means, known.covs), "skewed": skewed()}
    return [reached(of, lowest(law, study)) for of, law in laws.items()]


def reached(of: str, found: Skip) -> Row:
    """What a row keeps of it."""
    kept = {"rho": found.rho, "estimate": found.estimate, "error": found.error}
    return {"of": of, **kept, "tolerance": found.tolerance}


def skewed() -> MixtureSource:
    """The law on the line."""
    w, m, v = SKEWED
    return MixtureSource(w, [[x] for x in m], [[[x]] for x in v])


def lowest(source: Source, study: Study) -> Skip:
    """Between the study's two noise levels."""
    return auto_skip(source, rho_max=study.rho_start, rho_min=study.rho_end)


def _alone(problem: work.Problem, study: Study, level: float) -> float:
    """Median error at the end of what the jump alone costs: the exact flow from the landing."""
    m, v = (np.array(x) for x in (problem.statistics.mean, problem.statistics.variances))
    shrink = np.sqrt((v + level**2) / (v + study.rho_start**2))
    there = m + shrink * (problem.start - m)
    law = (problem.weights, problem.means, problem.covs)
    end = reference_flow(*law, there, (1.0, level), (1.0, study.rho_end)).x
    return float(np.sqrt(np.median(np.mean((end - problem.exact) ** 2, axis=1))))
