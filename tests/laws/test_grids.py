"""Rules lay the published nodes; explicit nodes are taken exactly; bad ones are refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.float64 import FLOAT64
from solvers.grids import CLOCKS, RULES, Grid, explicit, laid
from solvers.schedules import schedule
from theory.fields import MP

LINEAR = schedule("vp_linear")
EDM = schedule("edm")
FLOW = schedule("flow")

# the schedule tables section 6: VP linear, T = 1, t0 = 1e-3, N = 10
PRINTED: dict[str, list[float]] = {
    "t": [1, 0.9001, 0.8002, 0.7003, 0.6004, 0.5005, 0.4006, 0.3007, 0.2008, 0.1009, 0.001],
    "t2": [1, 0.8157020997883031, 0.6501592885125388, 0.5033715661727072, 0.3753389327688082,
           0.2660613883008419, 0.1755389327688082, 0.1037715661727072, 0.05075928851253881,
           0.01650209978830308, 0.001],
    "karras": [1, 0.9442136754679781, 0.8797854347174762, 0.8036518386689593, 0.710757065241114,
               0.5921412655589787, 0.4328545095050407, 0.2326734425761058, 0.07771018316985809,
               0.01567325671536064, 0.001],
    "logsnr": [1, 0.8991229323369038, 0.7855680749745856, 0.653438506816408, 0.4934395340332737,
               0.3046314097687749, 0.1406364135189031, 0.05360431480930401, 0.0180953998390362,
               0.004991901033466378, 0.001],
}  # fmt: skip
KARRAS = [80, 42.41518931851268, 21.10867673619375, 9.723201355260127, 4.066123602953758,
          1.501741979068008, 0.4699790579977468, 0.1166385635251785, 0.02043533455343871,
          0.002]  # fmt: skip
# the SciRE tables TV-6: N = 5
NSR_RHO = [152.166970283946, 29.6574259078456, 5.75918278404200, 1.09729274671489,
           0.187886201324002, 0.0104859927867030]  # fmt: skip
NSR_T = [1.0, 0.820498167000230, 0.590734281094205, 0.276847374118272, 0.0542363925258974, 1e-3]


def times(grid: Grid) -> list[float]:
    return [float(p.t) for p in grid.points]


@pytest.mark.parametrize("name", PRINTED)
def test_printed_grids(name: str) -> None:
    grid = laid(LINEAR, name, steps=10, start=1.0, end=1e-3)
    assert times(grid) == pytest.approx(PRINTED[name], rel=1e-13)


def test_karras_sigmas() -> None:
    grid = laid(EDM, "karras", steps=9, start=80.0, end=0.002)
    assert times(grid) == pytest.approx(KARRAS, rel=1e-13)


def test_nsr_grid_of_scire() -> None:
    grid = laid(LINEAR, "nsr", steps=5, start=1.0, end=1e-3)
    assert [float(p.rho) for p in grid.points] == pytest.approx(NSR_RHO, rel=1e-13)
    assert times(grid) == pytest.approx(NSR_T, rel=1e-13)


def test_nsr_grid_of_the_discrete_model() -> None:
    """TV-8; the clock there is t = (n+1)/1000."""
    printed = [1.0, 0.820456007602885, 0.590021623910242, 0.274230374974486, 0.0530410837554515,
               1e-3]  # fmt: skip
    grid = laid(schedule("ddpm_discrete"), "nsr", steps=5, start=999.0, end=0.0)
    assert [(n + 1) / 1000 for n in times(grid)] == pytest.approx(printed, rel=1e-13)


def test_limits_of_the_nsr_rule() -> None:
    """k → 0 is uniform in λ, k → ∞ uniform in ρ."""
    ends: dict[str, Any] = {"steps": 7, "start": 0.9, "end": 0.01}
    small, logsnr = laid(LINEAR, "nsr", k=1e-12, **ends), laid(LINEAR, "logsnr", **ends)
    large, rho = laid(LINEAR, "nsr", k=1e12, **ends), laid(LINEAR, "rho", **ends)
    assert times(small) == pytest.approx(times(logsnr), rel=1e-9)
    assert times(large) == pytest.approx(times(rho), rel=1e-7)
    default = laid(LINEAR, "nsr", **ends)
    assert times(default) != pytest.approx(times(logsnr), rel=1e-3)  # control


def test_limits_of_the_power_rule() -> None:
    """κ = 1 is uniform in ρ, κ → ∞ uniform in λ."""
    ends: dict[str, Any] = {"steps": 7, "start": 0.9, "end": 0.01}
    assert times(laid(LINEAR, "karras", rho=1.0, **ends)) == pytest.approx(
        times(laid(LINEAR, "rho", **ends)), rel=1e-13
    )
    assert times(laid(LINEAR, "karras", rho=1e9, **ends)) == pytest.approx(
        times(laid(LINEAR, "logsnr", **ends)), rel=1e-6
    )


@pytest.mark.parametrize("name", RULES)
@given(steps=st.integers(1, 40), start=st.floats(0.3, 0.99), end=st.floats(0.001, 0.2))
def test_rules_keep_their_ends_and_decrease(
    name: str, steps: int, start: float, end: float
) -> None:
    grid = laid(LINEAR, name, steps=steps, start=start, end=end)
    assert grid.steps == steps
    nodes = times(grid)
    assert (nodes[0], nodes[-1]) == (start, end)
    assert all(a > b for a, b in itertools.pairwise(nodes))


@pytest.mark.parametrize("name", RULES)
def test_the_same_rule_at_fifty_digits(name: str) -> None:
    ends: dict[str, Any] = {"steps": 6, "start": 0.9, "end": 0.01}
    floats, digits = laid(LINEAR, name, **ends), laid(LINEAR, name, F=MP(50), **ends)
    for p, q in zip(floats.points, digits.points, strict=True):
        assert float(MP(50).number(str(p.lam.v)) - q.lam) == pytest.approx(0, abs=1e-30)


@pytest.mark.parametrize("clock", CLOCKS)
def test_explicit_nodes_are_taken_exactly(clock: str) -> None:
    values = [-2.5, -1.0, 0.75] if clock == "lam" else [2.5, 0.7, 0.1]
    grid = explicit(EDM, clock, values)
    read = "rho" if clock == "sigma" else clock
    assert [FLOAT64.out(getattr(p, read)) for p in grid.points] == values


def test_ends_may_leave_the_range_by_rounding() -> None:
    assert explicit(LINEAR, "t", [1.0 + 1e-10, 0.5]).steps == 1
    assert explicit(schedule("ddpm_discrete"), "t", [999.0000000001, -1e-10]).steps == 1


def test_rectified_flow_may_start_at_one() -> None:
    assert explicit(FLOW, "t", [1.0, 0.5, 0.1]).points[0].silent


# --- bad input --------------------------------------------------------------------------------


def rule(name: Any, **changes: Any) -> Callable[[], Grid]:
    options: dict[str, Any] = {"steps": 5, "start": 0.9, "end": 0.1, **changes}
    return lambda: laid(
        changes.pop("on", LINEAR), name, **{k: v for k, v in options.items() if k != "on"}
    )


def nodes(clock: str, values: Any, on: Any = LINEAR) -> Callable[[], Grid]:
    return lambda: explicit(on, clock, values)


decreasing = "nodes of strictly decreasing noise are allowed"
BAD: list[tuple[Callable[[], Grid], str]] = [
    (rule("karas"), r"grid\.name: got 'karas'; nearest: karras; allowed: t, t2, logsnr"),
    (rule("logsnr", steps=0), r"grid\.steps: got 0; an integer from 1 to 100000 is allowed"),
    (rule("logsnr", steps=-3), r"grid\.steps: got -3; an integer"),
    (rule("logsnr", steps=2.0), r"grid\.steps: got 2\.0; an integer"),
    (rule("logsnr", steps=True), r"grid\.steps: got True; an integer"),
    (rule("logsnr", steps=10**6), r"grid\.steps: got 1000000; an integer"),
    (rule("logsnr", k=3.1), r"grid\.k: got 3\.1; rule logsnr takes no options"),
    (rule("nsr", rho=7.0), r"grid\.rho: got 7\.0; rule nsr takes k"),
    (rule("nsr", k=-1.0), r"grid\.k: got -1\.0; a positive number is allowed"),
    (rule("karras", rho=0), r"grid\.rho: got 0; a positive number is allowed"),
    (rule("karras", rho=math.nan), r"grid\.rho: got nan; a positive number is allowed"),
    (rule("t", start=math.inf), r"grid\.start: got inf; a finite time is allowed"),
    (rule("t", end="0.1"), r"grid\.end: got '0\.1'; a finite time is allowed"),
    (rule("t", end=True), r"grid\.end: got True; a finite time is allowed"),
    (rule("t", start=1.5), r"grid\[0\]: got 1\.5; 0\.0 <= t <= 1\.0 is allowed"),
    (rule("t", end=0.0), r"grid\[1\]: got 0\.0; alpha > 0 and sigma > 0 are allowed"),
    (rule("t", start=0.1, end=0.9), rf"grid\[1\]: got 0\.9 after 0\.1; {decreasing}"),
    (rule("t", start=0.5, end=0.5), rf"grid\[1\]: got 0\.5 after 0\.5; {decreasing}"),
    (
        rule("karras", on=FLOW, start=1.0),
        r"grid\.start: got alpha = 0; rule karras needs alpha > 0",
    ),
    (nodes("time", [0.9, 0.1]), r"grid: got 'time'; t, rho, lam, sigma are allowed"),
    (nodes("t", []), r"grid\.t: got \[\]; a list of at least two nodes is allowed"),
    (nodes("t", [0.5]), r"grid\.t: got \[0\.5\]; a list of at least two nodes is allowed"),
    (nodes("t", 0.5), r"grid\.t: got 0\.5; a list of at least two nodes is allowed"),
    (nodes("t", "0.9, 0.1"), r"grid\.t: got '0\.9, 0\.1'; a list"),
    (nodes("t", [0.9, "0.1"]), r"grid\.t\[1\]: got '0\.1'; a finite number is allowed"),
    (nodes("t", [0.9, None]), r"grid\.t\[1\]: got None; a finite number is allowed"),
    (nodes("t", [0.9, True]), r"grid\.t\[1\]: got True; a finite number is allowed"),
    (nodes("t", [0.9, math.nan]), r"grid\.t\[1\]: got nan; a finite number is allowed"),
    (nodes("lam", [-math.inf, 0.0]), r"grid\.lam\[0\]: got -inf; a finite number is allowed"),
    (nodes("t", [0.9, 0.5, 0.5, 0.1]), rf"grid\.t\[2\]: got 0\.5 after 0\.5; {decreasing}"),
    (nodes("t", [0.9, 0.5, 0.6]), rf"grid\.t\[2\]: got 0\.6 after 0\.5; {decreasing}"),
    (nodes("lam", [1.0, 0.0]), rf"grid\.lam\[1\]: got 0\.0 after 1\.0; {decreasing}"),
    (nodes("t", [0.9, 0.0]), r"grid\.t\[1\]: got 0\.0; alpha > 0 and sigma > 0 are allowed"),
    (nodes("t", [1.1, 0.5]), r"grid\.t\[0\]: got 1\.1; 0\.0 <= t <= 1\.0 is allowed"),
    (nodes("rho", [1.0, 0.0], EDM), r"grid\.rho\[1\]: got 0\.0; sigma > 0 is allowed \(finish="),
    (nodes("rho", [1.0, -1.0], EDM), r"grid\.rho\[1\]: got -1\.0; sigma > 0 is allowed"),
    (
        nodes("rho", [1e9, 1.0]),
        r"grid\.rho\[0\]: got 1000000000\.0 \(t = .*\); nodes with 0\.0 <= t",
    ),
    (nodes("sigma", [1.0, 0.1]), r"grid\.sigma: got schedule 'vp_linear'; sigma is allowed where"),
    (nodes("t", [999.0, -0.5], schedule("ddpm_discrete")), r"grid\.t\[1\]: got -0\.5; 0\.0 <= t"),
    (nodes("t", [0.5, 1.0], FLOW), r"grid\.t\[1\]: got 1\.0.*alpha > 0"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[m[:60] for _, m in BAD])
def test_bad_grids_name_argument_value_and_what_is_allowed(
    make: Callable[[], Grid], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()
