"""A law's predictions turn into each other and from convention to convention without loss."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from mpmath import mp
from torch import Tensor

from gaussian_score.mixture import GaussianMixture
from gaussian_score.path import Level, Seen, carry, carry_log_density, carry_score, convert
from solvers.point import Point
from solvers.schedules import SCHEDULES, schedule
from theory.fields import MP

F64 = torch.float64
KINDS: tuple[Any, ...] = ("score", "noise", "data", "v", "velocity")
LAW = GaussianMixture.full(
    (0.3, 0.7), ((1, 0), (-1, 0.5)), (((0.5, 0.25), (0.25, 0.25)), ((0.125, 0), (0, 1)))
)
X = torch.tensor([[0.25, -0.75], [1.5, 2.0]], dtype=F64)
# the change of variables is exact but for a few roundings, multiplied by 1/σ² at most
CLOSE: dict[str, Any] = {"rtol": 1e-13, "atol": 1e-13}

EDM = Level(1.0, 0.75, 0.0, 1.0)
VP = Level(0.8, 0.6, -0.6, 0.8)
FLOW = Level(4 / 7, 3 / 7, -1.0, 1.0)
SAME_RHO = {"edm": EDM, "vp": VP, "flow": FLOW}


@pytest.mark.parametrize(("a", "b"), list(itertools.permutations(SAME_RHO, 2)))
def test_conventions_see_one_law(a: str, b: str) -> None:
    start, end = SAME_RHO[a], SAME_RHO[b]
    here, there = Seen(LAW, start), Seen(LAW, end)
    y = carry(X, start, end)
    torch.testing.assert_close(carry(y, end, start), X, rtol=1e-15, atol=0)
    torch.testing.assert_close(there.data(y), here.data(X), **CLOSE)
    torch.testing.assert_close(there.noise(y), here.noise(X), **CLOSE)
    torch.testing.assert_close(there.score(y), carry_score(here.score(X), start, end), **CLOSE)
    moved = carry_log_density(here.log_density(X), start, end, 2)
    torch.testing.assert_close(there.log_density(y), moved, **CLOSE)
    with pytest.raises(AssertionError):  # a score is no noise: it has a scale
        torch.testing.assert_close(there.score(y), here.score(X), **CLOSE)


@pytest.mark.parametrize("level", [EDM, VP, FLOW])
@pytest.mark.parametrize(("given", "wanted"), list(itertools.product(KINDS, KINDS)))
def test_predictions_turn_into_each_other(level: Level, given: Any, wanted: Any) -> None:
    seen = Seen(LAW, level)
    expected = getattr(seen, wanted)(X)
    found = convert(getattr(seen, given)(X), X, level, given=given, wanted=wanted)
    torch.testing.assert_close(found, expected, **CLOSE)
    back = convert(found, X, level, given=wanted, wanted=given)
    torch.testing.assert_close(back, getattr(seen, given)(X), **CLOSE)


def test_the_table() -> None:
    """v = α ε − σ D; in rectified flow u = (x − D)/τ and D = x − τ u; in EDM u = (x − D)/σ."""
    flow, edm, vp = Seen(LAW, FLOW), Seen(LAW, EDM), Seen(LAW, VP)
    tau = FLOW.sigma
    torch.testing.assert_close(flow.velocity(X), (X - flow.data(X)) / tau, **CLOSE)
    torch.testing.assert_close(flow.data(X), X - tau * flow.velocity(X), **CLOSE)
    torch.testing.assert_close(edm.velocity(X), (X - edm.data(X)) / EDM.sigma, **CLOSE)
    torch.testing.assert_close(edm.velocity(X), -EDM.sigma * edm.score(X), **CLOSE)
    torch.testing.assert_close(vp.v(X), vp.velocity(X), **CLOSE)  # α = cos t, σ = sin t
    torch.testing.assert_close(vp.data(X), VP.alpha * X - VP.sigma * vp.v(X), **CLOSE)


def test_pure_noise() -> None:
    """At α = 0 everything is asked of x itself, and a noise says nothing of the data."""
    level = Level.of(schedule("flow"), 1.0)
    assert (level.alpha, level.sigma, level.rho) == (0, 1, math.inf)
    seen = Seen(LAW, level)
    mean = LAW.mean.expand(2, 2)
    torch.testing.assert_close(seen.data(X), mean, **CLOSE)
    torch.testing.assert_close(seen.velocity(X), X - mean, **CLOSE)
    u = seen.velocity(X)
    torch.testing.assert_close(convert(u, X, level, given="velocity", wanted="data"), mean)
    with pytest.raises(ValueError, match="alpha is 0, where noise does not fix data"):
        convert(X, X, level, given="noise", wanted="data")
    double = Level(0.0, 2.0)
    torch.testing.assert_close(carry(X, level, double), 2 * X)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("place", [1e-8, 1e-4, 0.3, 0.9])
def test_levels_of_schedules(name: str, place: float) -> None:
    """To the last bit those of 50 digits, derivatives included."""
    chosen = schedule(name)
    t = place * min(chosen.span[1], 999.0)
    level = Level.of(chosen, t)
    F = MP(50)
    p = Point(chosen, F, "t", F.number(t))
    exact = (p.alpha, p.sigma, p.rate(chosen.alpha), p.rate(chosen.sigma))
    found = (level.alpha, level.sigma, level.d_alpha, level.d_sigma)
    assert found == tuple(float(e) for e in exact)


def test_a_trajectory_is_mapped_by_alpha() -> None:
    """dx/dt = u: v = x/α obeys dv/dt = ρ' (v − D)/ρ."""
    level = Level.of(schedule("vp_linear"), 0.4)
    seen, (d_a, d_s) = Seen(LAW, level), level.rates()
    a, s = level.alpha, level.sigma
    d_v = seen.velocity(X) / a - d_a / a**2 * X
    d_rho = d_s / a - s * d_a / a**2
    torch.testing.assert_close(d_v, d_rho * (X / a - seen.data(X)) / level.rho, **CLOSE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, 1.0), "alpha is -1.0"),
        ((1.0, math.nan), "sigma is nan"),
        ((0.0, 0.0), "alpha and sigma are 0"),
        ((1.0, 1.0, math.inf, 0.0), "d_alpha is inf"),
    ],
)
def test_bad_levels(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Level(*arguments)


@pytest.mark.parametrize("t", [-0.1, 1.1, math.nan, 0.0])
def test_bad_times(t: float) -> None:
    with pytest.raises(ValueError, match=f"t is {t}"):
        Level.of(schedule("vp_linear"), t)


def test_bad_conversions() -> None:
    wrong: Any = "epsilon"
    with pytest.raises(ValueError, match="given is 'epsilon'"):
        convert(X, X, VP, given=wrong, wanted="data")
    with pytest.raises(ValueError, match="wanted is 'epsilon'"):
        convert(X, X, VP, given="data", wanted=wrong)
    with pytest.raises(ValueError, match="d_alpha, d_sigma are None"):
        convert(X, X, Level(1.0, 1.0), given="data", wanted="velocity")
    with pytest.raises(ValueError, match="d_alpha, d_sigma are None"):
        Seen(LAW, Level(1.0, 1.0)).velocity(X)
    with pytest.raises(ValueError, match=r"alpha sigma' - alpha' sigma is 0"):
        convert(X, X, Level(1.0, 1.0, 1.0, 1.0), given="velocity", wanted="data")
    with pytest.raises(ValueError, match="end has rho 1"):
        carry(X, VP, Level(1.0, 1.0))


def test_digits_are_needed() -> None:
    """What float64 alone would lose: σ of the cosine schedule near its data end."""
    t, s = 1e-4, 0.008
    log_ratio = math.log(math.cos(math.pi / 2 * (t + s) / (1 + s)))
    log_ratio -= math.log(math.cos(math.pi / 2 * s / (1 + s)))
    short = math.sqrt(-math.expm1(2 * log_ratio))
    exact = Level.of(schedule("vp_cosine"), t).sigma
    assert 1e-14 < abs(short / exact - 1) < 1e-9
    with mp.workdps(30):
        half = mp.pi / 2 / (1 + mp.mpf(s))
        ratio = mp.cos(half * (mp.mpf(t) + s)) / mp.cos(half * mp.mpf(s))
        assert exact == float(mp.sqrt(1 - ratio**2))


@pytest.mark.gpu
def test_device() -> None:
    found: Tensor = Seen(LAW.to(device="cuda"), VP).v(X.cuda())
    torch.testing.assert_close(found.cpu(), Seen(LAW, VP).v(X), rtol=1e-11, atol=1e-11)
