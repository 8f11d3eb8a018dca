"""Lists with one entry a step are the printed ones: orders, their nodes, SciRE's factors."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest

from solvers.float64 import FLOAT64
from solvers.grids import explicit, inner_nodes, laid
from solvers.ladders import agile, apr2024, apr2024_multistep, by_calls, fast, oct2023
from solvers.method import entry
from solvers.ops import Advance, Plan
from solvers.plan import plan
from solvers.schedules import schedule

LINEAR = schedule("vp_linear")


def evaluations(p: Plan) -> list[int]:
    """Of every step."""
    return [1 + len(op.weights.stages) for op in p.ops if isinstance(op, Advance)]


# --- orders -----------------------------------------------------------------------------------

PRINTED = {  # the SciRE tables, TV-11
    (6, 3): [3, 2, 1],
    (7, 3): [3, 3, 1],
    (8, 3): [3, 3, 2],
    (12, 3): [3, 3, 3, 2, 1],
    (15, 3): [3, 3, 3, 3, 2, 1],
    (20, 3): [3, 3, 3, 3, 3, 3, 2],
    (6, 2): [2, 2, 2],
    (7, 2): [2, 2, 2, 1],
}


@pytest.mark.parametrize(("nfe", "order"), PRINTED)
def test_printed_lists(nfe: int, order: int) -> None:
    assert by_calls(nfe, order) == PRINTED[nfe, order]
    assert agile(1, nfe=nfe, target=order) == PRINTED[nfe, order]
    assert order != 3 or fast(1, nfe=nfe) == PRINTED[nfe, order]


@pytest.mark.parametrize("order", [2, 3])
def test_every_call_is_spent_and_orders_fall(order: int) -> None:
    for nfe in range(1, 60):
        orders = by_calls(nfe, order)
        assert sum(orders) == nfe
        assert orders == sorted(orders, reverse=True)
        assert len(orders) == nfe // order + (nfe % order > 0 or order == 3)
        assert set(orders[:-2]) <= {order}


@pytest.mark.parametrize(("ladder", "target"), [(fast, {}), (agile, {}), (agile, {"target": 2})])
def test_without_a_number_of_calls_the_list_fills_the_steps(ladder: Any, target: Any) -> None:
    for steps in range(1, 30):
        assert len(ladder(steps, **target)) == steps


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"options\.nfe: got 0; an integer >= 1 is allowed"):
        agile(3, nfe=0)
    with pytest.raises(ValueError, match=r"options\.target: got 4; 2 or 3 is allowed"):
        agile(3, target=4)


@pytest.mark.parametrize(("target", "nfe"), [(3, 12), (3, 10), (2, 11)])
def test_agile_steps_run_between_the_nodes_at_the_sums_of_the_orders(
    target: int, nfe: int
) -> None:
    fine = laid(LINEAR, "nsr", steps=nfe, start=1.0, end=1e-3)
    orders = by_calls(nfe, target)
    nodes = [float(fine.points[i].t) for i in accumulate(orders, initial=0)]
    coarse = explicit(LINEAR, "t", nodes)
    for family in ("scire_v1", "scire_v2"):
        p = plan(entry(f"{family}_agile"), fine, nfe=nfe, target=target)
        assert evaluations(p) == orders
        same = plan(entry(f"{family}_3"), coarse, orders=orders)
        for a, b in zip(p.ops, same.ops, strict=True):
            assert isinstance(a, Advance)
            assert isinstance(b, Advance)
            assert a.h == pytest.approx(b.h, rel=1e-12)
            assert a.weights == b.weights


@pytest.mark.parametrize("nfe", [12, 13, 14, 15])
def test_calls_of_every_mode(nfe: int) -> None:
    """Fixed order k: k ⌊NFE/k⌋; agile and multistep: NFE."""
    for k in (2, 3):
        fixed = laid(LINEAR, "nsr", steps=nfe // k, start=1.0, end=1e-3)
        assert plan(entry(f"scire_v1_{k}"), fixed).nfe == k * (nfe // k)
    whole = laid(LINEAR, "nsr", steps=nfe, start=1.0, end=1e-3)
    assert plan(entry("scire_v1_agile"), whole, nfe=nfe).nfe == nfe
    assert plan(entry("scire_v1_3m"), whole).nfe == nfe


# --- SciRE's factors --------------------------------------------------------------------------


def terms(factors: list[str]) -> list[int]:
    return [int(f.removeprefix("m")) for f in factors]


def test_printed_factors() -> None:
    assert terms(apr2024(5)) == [3, 5, 7, 6, 4]
    assert terms(apr2024(6)) == [3, 5, 7, 8, 6, 4]
    assert terms(apr2024(10)) == [3, 5, 7, 9, 11, 12, 10, 8, 6, 4]
    assert terms(apr2024(4, 5)) == [3, 5, 6, 4, 6]
    assert terms(apr2024_multistep(10, 2)) == [4, 4, 6, 8, 13, 11, 9, 7, 5, 3]
    assert terms(apr2024_multistep(10, 3)) == [4, 6, 4, 6, 13, 11, 9, 7, 5, 3]


@pytest.mark.parametrize("K", range(1, 20))
def test_october_2023_from_its_definition(K: int) -> None:
    """Φ_j = φ₁(j + 3), j < K: the odd j rising in the first half, the even ones falling."""
    half = K // 2
    rising = [j + 3 for j in range(K) if j % 2][:half]
    falling = [j + 3 for j in range(K) if j % 2 == 0][::-1][-(K - half) :]
    assert terms(oct2023(K)) == rising + falling


def test_long_lists_stay_within_what_is_allowed() -> None:
    grid = laid(LINEAR, "logsnr", steps=400, start=1.0, end=1e-3)
    for factors in (oct2023(400), apr2024(400), apr2024_multistep(400, 2)):
        assert len(plan(entry("scire_v1_2"), grid, phi1=factors).ops) == 400


def test_a_list_gives_each_step_its_factor() -> None:
    grid = laid(LINEAR, "nsr", steps=5, start=1.0, end=1e-3)
    p = plan(entry("scire_v1_2"), grid, phi1=apr2024(5))
    for op, factor in zip(p.ops, apr2024(5), strict=True):
        (alone, *_) = plan(entry("scire_v1_2"), grid, phi1=factor).ops
        assert isinstance(op, Advance)
        assert isinstance(alone, Advance)
        assert op.weights.b == alone.weights.b  # at L = 0 weights do not depend on the step


# --- inner nodes ------------------------------------------------------------------------------


def test_inner_nodes_are_those_of_the_rule() -> None:
    grid = explicit(LINEAR, "t", [0.6, 0.4])
    assert inner_nodes(grid, [3], "rho") == {
        "r1": [pytest.approx(1 / 3, rel=1e-15)],
        "r2": [pytest.approx(2 / 3, rel=1e-15)],
    }
    two = inner_nodes(grid, [2], "nsr", {"k": 3.1})
    assert two["r1"] == [pytest.approx(0.549616001667863, rel=1e-14)]
    assert two["r2"] == [None]
    assert inner_nodes(grid, [1], "nsr") == {"r1": [None], "r2": [None]}


def test_inner_nodes_go_into_a_plan_step_by_step() -> None:
    grid = laid(LINEAR, "nsr", steps=4, start=1.0, end=1e-3)
    orders = [3, 3, 2, 1]
    nodes: dict[str, Any] = inner_nodes(grid, orders, "nsr", {"k": 3.1})
    for name in ("scire_v1_3", "scire_v2_3"):
        p = plan(entry(name), grid, orders=orders, **nodes)
        for n, op in enumerate(p.ops):
            assert isinstance(op, Advance)
            places = [row.c for row in op.weights.stages]
            assert places == [r[n] for r in nodes.values() if r[n] is not None]
    assert plan(entry("scire_v1_3"), grid, orders=orders).hash != p.hash  # control


def test_inner_nodes_need_an_order_for_each_step() -> None:
    with pytest.raises(ValueError, match=r"orders: got 2; one for each of 1 steps is allowed"):
        inner_nodes(explicit(LINEAR, "t", [0.6, 0.4], F=FLOAT64), [3, 2], "nsr")
