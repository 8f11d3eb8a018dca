"""Every measured order is within 0.1 of the proved one: in 50 digits and, above rounding, torch.

The small size refines each row until the slope of a doubling is there, at most to 512 steps; an
order that is off by one never comes near.  The full size measures the whole table as the report
does, where no proof is asked when to stop.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from experiments.measure import PROBLEM, Kind, Problem, errors, estimate
from experiments.orders import FLOOR, STEPS, TOLERANCE, order_rows, tolerance
from solvers.float64 import FLOAT64
from solvers.method import Entry, Weights, entry, rows
from theory.mixtures import Mixture
from theory.order import prove_order

CASES = [(e, {**v.options, **(e.quiet or {})}) for e, v in rows()]
"""Stochastic methods without their noise."""
HIDDEN = ("deis_t_ab3", {"as_published": True})
"""A left sum is off by 1/20,000 of DDIM's error: behind a warm-up it shows from 10⁴ steps on, with
fewer points, in the next row, at once."""


def near(e: Entry, options: dict[str, Any], kind: Kind, order: int, most: int = 512) -> float:
    """The slope of the first doubling within the tolerance, or of the last one that was tried."""
    slope, steps = 0.0, 64
    coarse = errors(e, kind, [steps], **options)
    while steps < most:
        steps *= 2
        fine = errors(e, kind, [steps], **options)
        slope = estimate([*coarse, *fine], 0.0).slope
        if abs(slope - order) < tolerance(order):
            break
        coarse = fine
    return slope


@pytest.mark.parametrize(
    ("e", "options"), [pytest.param(*c, id=f"{c[0].name} {c[1]}") for c in CASES]
)
def test_measured_is_proved(e: Entry, options: dict[str, Any]) -> None:
    proof = prove_order(e, **options)
    expected: dict[Kind, int] = {"exact": proof.graded, "irregular": proof.any_grid}
    hidden = (e.name, options) == HIDDEN
    if proof.memory and not hidden:
        expected["plain"] = proof.plain_start
    for kind, order in expected.items():
        slope = near(e, options, kind, order)
        assert abs(slope - order) < tolerance(order), (kind, slope, order)


@pytest.mark.nightly
def test_the_whole_table() -> None:
    for row in order_rows(size="full", workers=2):
        for measured, proved in (
            ("measured", "proved"),
            ("measured_irregular", "proved_any_grid"),
            ("measured_plain_start", "proved_plain_start"),
            ("measured_weak", "proved_weak"),
        ):
            hidden = (row["method"], row["options"]) == HIDDEN
            hidden = hidden and measured == "measured_plain_start"
            if row[proved] is not None and not hidden:
                allowed = tolerance(row[proved])
                assert abs(row[measured] - row[proved]) < allowed, (row["method"], measured)
        known = (row["method"], row["options"]) == HIDDEN
        assert ("not yet" in row["verdict"]) == known


FLOATS = ("ddim", "rho_rk4", "deis_rho_ab3", "dpm_solver_3", "unipc_2", "scire_v1_3c", "taylor_2")


@pytest.mark.parametrize("name", FLOATS)
def test_float64_errors_are_those_of_50_digits(name: str) -> None:
    """To rounding of a state of size one, so a slope above the floor is the same."""
    e, steps = entry(name), [16, 64]
    wide, floats = errors(e, "exact", steps), errors(e, "exact", steps, F=FLOAT64)
    for (h, error), (h64, error64) in zip(wide, floats, strict=True):
        assert h64 == pytest.approx(h, rel=1e-14)
        assert error64 == pytest.approx(error, abs=FLOOR)


def spoilt(e: Entry, amount: Fraction) -> Entry:
    """Part of the last weight of the update given to the first: constants are still integrated."""

    def changed(*args: Any, **options: Any) -> Weights:
        w = e.fn(*args, **options)
        moved = w.b.now[-1] * amount
        return replace(
            w, b=replace(w.b, now=(w.b.now[0] + moved, *w.b.now[1:-1], w.b.now[-1] - moved))
        )

    return replace(e, fn=functools.wraps(e.fn)(changed))


@pytest.mark.parametrize(
    "name", ["dpm_solver_2", "rho_heun2", "rho_rk4", "scire_v1_3c", "unipc_2"]
)
def test_control_a_wrong_coefficient_is_measured(name: str) -> None:
    e = entry(name)
    bad = spoilt(e, Fraction(1, 20))
    assert prove_order(bad).graded < prove_order(e).graded
    assert near(bad, {}, "exact", prove_order(e).graded) < prove_order(e).graded - TOLERANCE


def test_control_the_next_order_is_never_near() -> None:
    for name in ("ddim", "scire_v1_3", "dpm_solver_pp_2m"):
        order = prove_order(entry(name)).graded
        for wrong in (order - 1, order + 1):
            assert abs(near(entry(name), {}, "exact", wrong, most=256) - wrong) > TOLERANCE


def test_control_one_gaussian_superconverges() -> None:
    """There the midpoint's leading term vanishes, so an order must be measured on two."""
    one = Mixture((Fraction(1),), (Fraction(1, 2),), (Fraction(1, 4),))
    problem = Problem(one, PROBLEM.schedule, PROBLEM.rho_start, PROBLEM.rho_end, PROBLEM.starts)
    e, options = next((e, o) for e, o in CASES if e.name == "scire_v1_2" and o == {"phi1": "fd"})
    single = estimate(errors(e, "exact", [64, 128, 256], problem=problem, **options), 0.0).slope
    assert prove_order(e, **options).graded == 2
    assert single == pytest.approx(3, abs=TOLERANCE)
    assert near(e, options, "exact", 2) == pytest.approx(2, abs=TOLERANCE)


def test_float32_errors_leave_those_of_float64_where_rounding_begins() -> None:
    import torch

    steps = (16, 256)
    single, double = (
        [e for _, e in errors(entry("dpm_solver_3m"), "exact", steps, F=FLOAT64, dtype=dtype)]
        for dtype in (torch.float32, torch.float64)
    )
    assert abs(single[0] / double[0] - 1) < 1e-2  # 6e-4, far above float32's 6e-8 a step
    assert single[1] > 2 * double[1]  # 1e-7, below it


def test_start_up_is_told_from_coefficients() -> None:
    """The same weights: order 3 with an exact history, 2 with the usual warm-up."""
    e = entry("dpm_solver_pp_3m")
    assert near(e, {}, "exact", 3) == pytest.approx(3, abs=TOLERANCE)
    assert near(e, {}, "plain", 2) == pytest.approx(2, abs=TOLERANCE)


def test_a_grid_that_is_not_alternating_is_refused() -> None:
    with pytest.raises(ValueError, match=r"steps: got 15; an even number is allowed"):
        errors(entry("ddim"), "irregular", [15])


def test_an_estimate_needs_two_errors_above_the_floor() -> None:
    with pytest.raises(ArithmeticError, match="fewer than two above 1e-12"):
        estimate([(0.1, 1e-3), (0.05, 1e-13)], FLOOR)
    assert estimate([(0.1, 4.0), (0.05, 1.0), (0.025, 1e-13)], FLOOR).floor_reached
    assert STEPS["full"][-1] > STEPS["small"][-1]
