"""Schedules give the numbers of the tables: conventions compared, fits, shifts."""

from __future__ import annotations

from fractions import Fraction

import pytest

from solvers.point import Point
from solvers.schedules import Schedule, schedule
from tests.crosscheck.printed import M, missed

DISCRETE: dict[int, tuple[str, str, str]] = {  # n: ᾱ_n, λ_n, λ of vp_linear at (n+1)/1000
    0: ("0.9999", "4.605120183487925", "4.557714932729898"),
    1: ("0.9997800920720721", "4.211040838259354", "4.167792706487429"),
    499: ("0.07858724288177824", "-1.230849357905236", "-1.227567734410787"),
    998: ("4.118193638138452e-5", "-5.048734826155602", "-5.014982945654373"),
    999: ("4.035829765375683e-5", "-5.058836591650516", "-5.024978406659204"),
}


def at(s: Schedule, t: Fraction) -> Point:
    return Point(s, M, "t", M.number(t))


@pytest.mark.parametrize("n", DISCRETE)
def test_trained_steps_beside_the_continuous_schedule(n: int) -> None:
    p = at(schedule("ddpm_discrete"), Fraction(n))
    q = at(schedule("vp_linear"), Fraction(n + 1, 1000))
    got = (p.alpha * p.alpha, p.lam, q.lam)
    assert max(missed(g, text) for g, text in zip(got, DISCRETE[n], strict=True)) <= 1
    if n in (0, 999):
        assert missed(abs(p.lam - q.lam), {0: "0.047", 999: "0.034"}[n]) <= 1


def test_the_fitted_beta_changes_sign() -> None:
    """Section 5: near t = 2.7e-4, below the range used."""
    low, high, eps = 1 + Fraction(2, 1000) ** 2, 1 + Fraction(80) ** 2, Fraction(1, 1000)
    a, b = M.log(M.lift(low)), M.log(M.lift(high))
    slope = 2 * (a / eps - b) / (eps - 1)
    least = b - slope / 2
    assert missed(slope, "17.53795698727124") <= 1
    assert missed(least, "-0.004768986493614284") <= 1
    assert missed(-least / slope, "2.7e-4") <= 1
    s = schedule("vp_linear", beta_min=float(least), beta_max=float(least + slope))
    assert float(at(s, Fraction(26, 100000)).rate(s.log_alpha)) > 0
    assert float(at(s, Fraction(28, 100000)).rate(s.log_alpha)) < 0


@pytest.mark.parametrize("kappa", [Fraction(3), Fraction(1, 2)])
def test_a_resolution_shift_multiplies_rho(kappa: Fraction) -> None:
    s = schedule("flow")
    for t in (Fraction(1, 10), Fraction(7, 10)):
        shifted = at(s, kappa * t / (1 + (kappa - 1) * t))
        assert abs(float(shifted.rho - kappa * at(s, t).rho)) < 1e-48
