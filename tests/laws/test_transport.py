"""Transport by the CDF meets the vectors, composes, and keeps its digits far in the tails."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import ndtr

from gaussian_score.oracle import Oracle
from gaussian_score.transport import transport

EPS = float(np.finfo(np.float64).eps)
M1 = ((0.2, 0.5, 0.3), (-2, 0.5, 3), (0.25, 0.09, 0.64))
M1_LEVELS = (20, 2, 0.1, 0)
M1_ENDS = {
    -70: (-17.006823960931882, -1.6674797525935083, -1.2005304840924139, -1.2160551263221857),
    10: (3.0715247582486285, 1.0605596244580485, 0.65763204475725026, 0.64963601107379014),
    55: (14.365634588382717, 2.6046308208571977, 2.2317628276880652, 2.2376951538434056),
}
M1_CDF = (0.18830933662405943, 0.54601315195005857, 0.75109754905244981)
M2 = ((0.5, 0.5), (-1.5, 1.5), (0, 0))
M2_ENDS = {
    5: (0.63195974740372699, 0.19091624314689701, 1.088365666489076),
    -40: (-5.0556248116722139, -1.2108125534818968, -1.4255075070155275),
}


@pytest.mark.parametrize(("column", "rho"), list(enumerate(M1_LEVELS)))
def test_m1(column: int, rho: float) -> None:
    found = transport(*M1, list(M1_ENDS), 80, rho)
    np.testing.assert_allclose(found, [ends[column] for ends in M1_ENDS.values()], rtol=1e-12)


@pytest.mark.parametrize(("column", "rho"), list(enumerate((10, 1, 0.25))))
def test_m2(column: int, rho: float) -> None:
    found = transport(*M2, list(M2_ENDS), 80, rho)
    np.testing.assert_allclose(found, [ends[column] for ends in M2_ENDS.values()], rtol=1e-12)


def test_standard_deviations_for_variances_miss_the_vector() -> None:
    w, mu, s = M1
    found = transport(w, mu, np.sqrt(s), list(M1_ENDS), 80, 0.1)
    expected = [ends[2] for ends in M1_ENDS.values()]
    assert np.abs(found / expected - 1).min() > 1e-3


@pytest.mark.parametrize("rho", M1_LEVELS)
def test_the_cdf_is_conserved(rho: float) -> None:
    w, mu, s = map(np.array, M1)
    v = transport(*M1, list(M1_ENDS), 80, rho)
    cdf = ndtr((v[:, None] - mu) / np.sqrt(s + rho**2)) @ w
    np.testing.assert_allclose(cdf, M1_CDF, rtol=20 * EPS)  # K terms of a few ulp each


def test_one_gaussian_is_scaled() -> None:
    v = np.linspace(-1e5, 1e5, 13).reshape(13, 1)
    found = transport((1,), (0.5,), (4,), v, 80, 0.1)
    exact = 0.5 + (v - 0.5) * math.sqrt(4.01 / 6404)
    assert found.shape == v.shape
    np.testing.assert_allclose(found, exact, rtol=20 * EPS, atol=20 * EPS)


@pytest.mark.parametrize("v", [-1e100, -1e7, -8000, -1000, 900, 6000, 1e6])
@pytest.mark.parametrize("rho", [0, 0.01, 2])
def test_far_tails(v: float, rho: float) -> None:
    """F as small as exp(-1e10): log F is known to ε, and v grows like its square root."""
    found = float(transport(*M1, v, 80, rho))
    w, mu, s = M1
    exact = Oracle(w, [(m,) for m in mu], [((a,),) for a in s], 30).flow(v, 80, rho)
    assert found == pytest.approx(float(exact), rel=20 * EPS)


@given(
    data=st.lists(
        st.tuples(st.floats(0.05, 1), st.floats(-5, 5), st.floats(0.01, 2)), min_size=1, max_size=4
    ),
    quantile=st.floats(-6, 6),
    rho=st.tuples(*[st.floats(0, 20)] * 3),
)
def test_group(data: list[tuple[float, float, float]], quantile: float, rho: Any) -> None:
    """Φ(a→c) = Φ(b→c) Φ(a→b), as far as F determines v."""
    raw, mu, s = (np.array(column) for column in zip(*data, strict=True))
    w, (a, b, c) = raw / raw.sum(), rho
    v = float(w @ mu) + quantile * math.sqrt(s.max() + a * a)
    direct = transport(w, mu, s, v, a, c)
    middle = transport(w, mu, s, v, a, b)

    def log_slope(v: Any, level: float) -> tuple[float, float]:
        """F/p and p on the side of the smaller tail: dv = (F/p) d log F."""
        z = (v - mu) / np.sqrt(s + level**2)
        p = float(w @ (np.exp(-z * z / 2) / np.sqrt(2 * np.pi * (s + level**2))))
        return min(float(w @ ndtr(z)), float(w @ ndtr(-z))), p

    # log F is off by 20 ε (1 + |log F|) at each level, and v itself by ε |v|
    mass, density = log_slope(direct, c)
    assume(density > 0)  # between far modes p underflows and F determines nothing
    error = 20 * EPS * mass * (1 - math.log(mass)) / density
    error += 4 * EPS * abs(middle) * log_slope(middle, b)[1] / density + 4 * EPS * abs(direct)
    assert abs(transport(w, mu, s, middle, b, c) - direct) <= error


def test_between_far_modes() -> None:
    """The density underflows there; the answer is still a root, on the right side."""
    w, mu, s = (0.8, 0.2), (1, -40), (0.01, 0.01)
    v = np.linspace(-200, 200, 401)
    found = transport(w, mu, s, v, 80, 0.01)
    assert (np.diff(found) >= 0).all()
    assert np.isfinite(found).all()
    at_start = 0.8 * ndtr((v - 1) / math.sqrt(6400.01)) + 0.2 * ndtr((v + 40) / math.sqrt(6400.01))
    assert ((found < -20) == (at_start < 0.2)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": (0.5, 0.4)}, "weights sum to 0.9"),
        ({"weights": (1.5, -0.5)}, "weights is .* not negative"),
        ({"weights": (1,)}, r"three times \(K,\) is allowed"),
        ({"variances": (1, -1)}, "variances is .* not negative"),
        ({"means": (0, math.nan)}, "means is"),
        ({"v": math.inf}, "v is inf"),
        ({"v": 1e200}, "v is 1e"),
        ({"rho_start": -1}, "rho_start is -1"),
        ({"rho_end": math.nan}, "rho_end is nan"),
        ({"rho_end": 0, "variances": (0, 1)}, "rho_end is 0"),
    ],
)
def test_bad_input(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "weights": (0.5, 0.5),
        "means": (0, 1),
        "variances": (1, 1),
        "v": 0.3,
        "rho_start": 2,
        "rho_end": 1,
    }
    transport(**good)
    with pytest.raises(ValueError, match=message):
        transport(**(good | changes))
