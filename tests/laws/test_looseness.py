"""K never exceeds log(1 + χ²), which is about twice K, and far more for rare modes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from gaussian_score.certificate import log1p_chi2
from gaussian_score.divergence import relative_entropy
from gaussian_score.looseness import Row, looseness_rows
from tests.mixtures import fifty_digits, integral, line

ROWS: list[Row] = []


def rows(size: int) -> list[Row]:
    """1,000 mixtures with weights down to 1e-4, twenty times as many at night; drawn once."""
    if not ROWS:
        ROWS.extend(looseness_rows(1000 * size))
    return ROWS


def test_the_certificate_is_never_violated(size: int) -> None:
    found = rows(size)
    assert [row for row in found if not row.holds] == []
    assert min(row.rarest for row in found) < 3e-4
    assert {row.dim for row in found} == {1, 2, 3}
    # control: a bound half as large would be violated often
    assert sum(row.entropy - 4 * row.error > row.bound / 2 for row in found) > len(found) / 20


def test_looseness_is_two_where_nearly_gaussian_and_large_for_rare_modes(size: int) -> None:
    found = [row for row in rows(size) if row.bound < math.log(1.5)]
    small = [row.looseness for row in found if row.bound < 1e-2 and row.error < 0.1 * row.entropy]
    assert np.median(small) == pytest.approx(2, abs=0.1)
    rare = [row.looseness for row in found if row.rarest < 1e-2]
    assert max(rare) > 50


def test_looseness_within_two_and_a_half() -> None:
    """Two components of one covariance, both weights at least 0.1 and χ² < 0.5."""
    worst = {}
    for weight in (0.05, 0.1, 0.2, 0.3, 0.5):
        quotients = []
        for rho in np.geomspace(0.05, 10, 60):
            law = line((weight, 1 - weight), (1, 0), (0, 0))
            bound = log1p_chi2(*law, float(rho))
            if 1e-9 < bound < math.log(1.5):
                quotients.append(bound / relative_entropy(*law, float(rho)).value)
        worst[weight] = max(quotients)
    assert max(v for w, v in worst.items() if w >= 0.1) < 2.5
    # at 0.05 it is not: the largest is 5.39
    assert worst[0.05] > 4


def test_no_weight_bounds_the_looseness_of_unequal_variances() -> None:
    """At 30 digits: weights 0.7 and 0.3, χ² < 0.5, and a bound 20 times K.

    The wider component has 1.987 times the whole variance; at 2 χ² is infinite, at any weight.
    """
    wide = "2.442"
    law = line(("0.3", "0.7"), (0, 0), (wide, 0))
    chi2 = fifty_digits(law, 1)
    with mp.workdps(30):
        a, c = 1 + mp.mpf(wide), 1 + mp.mpf("0.3") * mp.mpf(wide)

        def term(x: Any) -> Any:
            parts = [("0.3", a), ("0.7", mp.one)]
            p = mp.fsum(mp.mpf(w) * mp.npdf(x, 0, mp.sqrt(v)) for w, v in parts)
            return p * mp.log(p / mp.npdf(x, 0, mp.sqrt(c)))

        k = 2 * integral(term, [0, 1, 2, 4, 8, 16, 32])
        looseness = mp.log(1 + chi2) / k
    assert chi2 < 0.5
    assert looseness > 20
    floats = line((0.3, 0.7), (0, 0), (float(wide), 0))
    assert log1p_chi2(*floats, 1) == pytest.approx(float(mp.log(1 + chi2)), rel=1e-10)
    assert relative_entropy(*floats, 1).value == pytest.approx(float(k), rel=1e-9)
    assert log1p_chi2(*line((0.3, 0.7), (0, 0), (2.6, 0)), 1) == math.inf
