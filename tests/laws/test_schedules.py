"""Every schedule states λ(t), log α(t) and t(λ) that fit each other and the published values."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.field import Field
from solvers.float64 import FLOAT64
from solvers.point import Point
from solvers.schedules import SCHEDULES, Schedule, schedule
from theory.fields import MP

M = MP(50)
PRINTED = 1e-14
"""The vectors carry 16 digits; relative, or absolute near a zero of λ."""


def at(s: Schedule, t: float, F: Field = FLOAT64) -> dict[str, float]:
    """α, σ, λ, ρ, f = (log α)', g² = −2σ²λ'."""
    p = Point(s, F, "t", F.number(t))
    f, slope = p.rate(s.log_alpha), p.rate(s.lam)
    values = {"alpha": p.alpha, "sigma": p.sigma, "lam": p.lam, "rho": p.rho, "f": f}
    values["g2"] = -2 * p.sigma * p.sigma * slope
    return {k: float(v) for k, v in values.items()}


NAMES = ("alpha", "sigma", "lam", "rho", "f", "g2")
TABLES: dict[str, dict[float, tuple[float, ...]]] = {  # the schedule tables section 4
    "vp_linear": {
        0.001: (0.9999450265110976, 0.0104854163350949, 4.557714932729898, 0.01048599278670299,
                -0.05995, 0.1199),
        0.1: (0.9467217988205981, 0.3220525355247045, 1.078290592942433, 0.3401765290774009,
              -1.045, 2.09),
        0.5: (0.2811828807967524, 0.9596542020680362, -1.227567734410787, 3.412918309069121,
              -5.025, 10.05),
        0.9: (0.01699646326168927, 0.9998555496853503, -4.074605539251399, 58.82727096166328,
              -9.005, 18.01),
        1.0: (0.006571586494929615, 0.9999784068923387, -5.024978406659204, 152.1669702839465,
              -10.0, 20.0),
    },
    "vp_cosine": {
        0.1: (0.9859476340627676, 0.167054670350849, 1.775282117508365, 0.1694356419949722,
              -0.2647708635429544, 0.5295417270859088),
        0.5: (0.702740058941169, 0.7114467018402449, -0.01231344140575727, 1.012389563948004,
              -1.57787893048761, 3.155757860975219),
        0.9: (0.1552150899239048, 0.9878806992040659, -1.850750108749734, 6.364591868537916,
              -9.918922269170276, 19.83784453834055),
        0.9946: (0.008415534959361261, 0.9999645887586959, -4.777640469375084, 118.823650972581,
                 -185.1808140599931, 370.3616281199862),
    },
    "sub_vp": {
        0.1: (0.9467217988205981, 0.103717835637891, 2.211331185884866, 0.1095547137153703,
              -1.045, 0.4110576090589206),
        0.5: (0.2811828807967524, 0.9209361875468393, -1.186385468821575, 3.275221396613119,
              -5.025, 9.987176581281733),
        0.9: (0.01699646326168927, 0.999711120236594, -4.074461078502798, 58.81877334386289,
              -9.005, 18.00999849703817),
    },
    "ve": {
        0.1: (1.0, 0.02343672911592099, -math.log(0.02343672911592099), 0.02343672911592099,
              0.0, 0.009356652379805389),
        0.5: (1.0, 0.7071067811865475, -math.log(0.7071067811865475), 0.7071067811865475,
              0.0, 8.517193191416237),
        0.9: (1.0, 21.33403503223242, -math.log(21.33403503223242), 21.33403503223242,
              0.0, 7753.04851727493),
    },
    "flow": {
        0.1: (0.9, 0.1, 2.197224577336219, 1 / 9, -10 / 9, 2 / 9),
        0.5: (0.5, 0.5, 0.0, 1.0, -2.0, 2.0),
        0.9: (0.1, 0.9, -2.197224577336219, 9.0, -10.0, 18.0),
    },
    "edm": {
        0.002: (1.0, 0.002, -math.log(0.002), 0.002, 0.0, 0.004),
        80.0: (1.0, 80.0, -math.log(80.0), 80.0, 0.0, 160.0),
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "t"), [(n, t) for n, rows in TABLES.items() for t in rows])
def test_published_values(name: str, t: float) -> None:
    got = at(schedule(name), t)
    want = dict(zip(NAMES, TABLES[name][t], strict=True))
    assert got == pytest.approx(want, rel=PRINTED, abs=PRINTED)


DISCRETE = {  # the schedule tables section 5: log ᾱ_n, λ_n
    0: (math.log(0.9999), 4.605120183487925),
    1: (math.log(0.9997800920720721), 4.211040838259354),
    499: (math.log(0.07858724288177824), -1.230849357905236),
    998: (math.log(4.118193638138452e-5), -5.048734826155602),
    999: (math.log(4.035829765375683e-5), -5.058836591650516),
}


@pytest.mark.parametrize("n", DISCRETE)
def test_discrete_ddpm(n: int) -> None:
    s = schedule("ddpm_discrete")
    p = Point(s, FLOAT64, "t", FLOAT64.lift(n))
    log_bar, lam = DISCRETE[n]
    # at n = 0 log ᾱ = −1e-4 comes from a printed 0.9999…: 16 digits of it are 12 of its logarithm
    assert 2 * float(p.log_alpha) == pytest.approx(log_bar, rel=1e-11)
    assert float(p.lam) == pytest.approx(lam, rel=1e-12)


def test_discrete_is_linear_in_log_alpha_between_the_integers() -> None:
    s, F = schedule("ddpm_discrete"), FLOAT64
    low, middle, high = (s.log_alpha(F.number(n), F) for n in (499.0, 499.25, 500.0))
    assert abs(float(middle * 4 - low * 3 - high)) < 1e-30


def test_edm_fit_of_vp_has_a_negative_beta_min() -> None:
    """The schedule tables section 5: the fit of [0.002, 80]."""
    low, high, eps = math.log(1 + 0.002**2), math.log(1 + 80**2), 1e-3
    beta_d = 2 * (low / eps - high) / (eps - 1)
    beta_min = high - beta_d / 2
    assert (beta_d, beta_min) == pytest.approx((17.53795698727124, -0.004768986493614284))
    s = schedule("vp_linear", beta_min=beta_min, beta_max=beta_min + beta_d)
    ends = [float(Point(s, FLOAT64, "t", FLOAT64.number(t)).rho) for t in (1.0, eps)]
    assert ends == pytest.approx([80.0, 0.002], rel=1e-9)


def test_unnormalised_cosine() -> None:
    """The variant of the DEIS code: α²(0) = 0.99984."""
    s = schedule("vp_cosine", normalize=False)
    alpha = float(Point(s, FLOAT64, "t", FLOAT64.lift(0)).alpha)
    assert round(alpha**2, 5) == 0.99984


# --- laws on random times ----------------------------------------------------------------------

TIMES = {"edm": (1e-3, 1e3), "ddpm_discrete": (0.0, 999.0), "vp_cosine": (1e-3, 0.999)}


def times(name: str) -> st.SearchStrategy[float]:
    return st.floats(*TIMES.get(name, (1e-4, 0.9999)))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("F", [FLOAT64, M], ids=repr)
def test_inverses_round_trip(name: str, F: Field) -> None:
    """t(λ(t)) = t; λ is flat at most like t⁻¹ here, so nearly all digits survive."""
    s = schedule(name)

    @given(times(name))
    def check(t: float) -> None:
        x = F.number(t)
        lam = s.lam(x, F)
        assert abs(float(s.t_of_lam(lam, F) - x)) <= 10.0 ** (8 - F.digits) * max(1.0, t)
        assert abs(float(s.log_alpha_of_lam(lam, F) - s.log_alpha(x, F))) < 10.0 ** (8 - F.digits)

    check()


@pytest.mark.parametrize("name", SCHEDULES)
def test_identities_of_the_notation(name: str) -> None:
    """g² = (σ²)' − 2fσ² = α²(ρ²)' and g²/(2σ) = α ρ' (the schedule tables section 1)."""
    s = schedule(name)

    @given(times(name))
    def check(t: float) -> None:
        p = Point(s, M, "t", M.number(t))
        f, slope = p.rate(s.log_alpha), p.rate(s.lam)
        g2 = -2 * p.sigma * p.sigma * slope
        variance = p.rate(lambda x, F: s.sigma(x, F) * s.sigma(x, F))
        rho = p.rate(lambda x, F: F.exp(-s.lam(x, F)))
        scale = max(1.0, abs(float(g2)))
        assert abs(float(variance - 2 * f * p.sigma * p.sigma - g2)) < 1e-38 * scale
        assert abs(float(2 * p.alpha * p.alpha * p.rho * rho - g2)) < 1e-38 * scale
        assert abs(float(2 * p.sigma * p.alpha * rho - g2)) < 1e-38 * scale

    check()


@pytest.mark.parametrize("name", ["vp_linear", "vp_cosine", "ddpm_discrete"])
def test_variance_preserving(name: str) -> None:
    s = schedule(name)

    @given(times(name))
    def check(t: float) -> None:
        p = Point(s, M, "t", M.number(t))
        assert abs(float(p.alpha * p.alpha + p.sigma * p.sigma - 1)) < 1e-48

    check()


@pytest.mark.parametrize("name", SCHEDULES)
def test_points_from_any_clock_are_one_point(name: str) -> None:
    s = schedule(name)

    @given(times(name))
    def check(t: float) -> None:
        p = Point(s, M, "t", M.number(t))
        for q in (Point(s, M, "lam", p.lam), Point(s, M, "rho", p.rho)):
            for key in ("t", "alpha", "sigma", "lam", "rho"):
                a, b = getattr(p, key), getattr(q, key)
                assert abs(float(a - b)) <= 1e-40 * max(1.0, abs(float(a)))

    check()


def test_control_a_wrong_inverse_is_seen() -> None:
    s, wrong = schedule("vp_linear"), schedule("vp_linear", beta_min=0.1000001)
    t = FLOAT64.number(0.5)
    assert abs(float(wrong.t_of_lam(s.lam(t, FLOAT64), FLOAT64) - t)) > 1e-10


# --- bad input --------------------------------------------------------------------------------

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("vp_linaer", {}, r"schedule: got 'vp_linaer'; nearest: vp_linear"),
    ("nothing_like_it", {}, r"schedule: got 'nothing_like_it'; .* allowed: vp_linear, vp_cosine"),
    ("vp_linear", {"beta": 1.0}, r"schedule\.beta: got 1\.0; vp_linear takes beta_min, beta_max"),
    ("edm", {"sigma": 1.0}, r"schedule\.sigma: got 1\.0; edm takes no parameters"),
    ("vp_linear", {"beta_max": 0.05}, r"beta_max=0\.05.*; beta_max > \|beta_min\| is allowed"),
    ("vp_linear", {"beta_min": math.nan}, r"schedule\.beta_min: got nan; a finite float"),
    ("vp_linear", {"beta_min": "0.1"}, r"schedule\.beta_min: got '0\.1'; a finite float"),
    ("vp_linear", {"beta_min": True}, r"schedule\.beta_min: got True; a finite float"),
    ("ve", {"sigma_min": 0.0}, r"sigma_min=0\.0.*; 0 < sigma_min < sigma_max is allowed"),
    ("ve", {"sigma_max": math.inf}, r"schedule\.sigma_max: got inf; a finite float"),
    ("vp_cosine", {"s": -1.0}, r"s=-1\.0.*; 0 < s < 1 is allowed"),
    ("vp_cosine", {"normalize": 1}, r"schedule\.normalize: got 1; a finite bool is allowed"),
    ("ddpm_discrete", {"beta_end": 1.5}, r"beta_end=1\.5.*; 0 < beta_start <= beta_end < 1"),
    ("ddpm_discrete", {"steps": 1}, r"steps=1\).*; 2 <= steps <= 100000 is allowed"),
    ("ddpm_discrete", {"steps": 10.5}, r"schedule\.steps: got 10\.5; a finite int is allowed"),
]


@pytest.mark.parametrize(("name", "parameters", "message"), BAD)
def test_bad_schedules_name_argument_value_and_what_is_allowed(
    name: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        schedule(name, **parameters)
