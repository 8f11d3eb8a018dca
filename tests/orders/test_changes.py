"""A run that changes its form at a noise level keeps its method's order, at 50 digits."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from experiments.measure import DIGITS, PROBLEM, exact, grid, run_exactly, seeds, statistics
from solvers.form import Form
from solvers.forms import DATA_LAMBDA, GAUSSIAN, NOISE_LAMBDA
from solvers.method import entry
from solvers.ops import Plan, Switch
from solvers.plan import plan
from theory.fields import MP

LEVEL = 1.0
ORDERS = {
    "exp_ab_1": 1,
    "exp_ab_2": 2,
    "exp_ab_3": 3,
    "rho_heun2": 2,
    "unipc_2": 3,
    "whitened_ab2": 2,
}
STEPS = (128, 256, 512)
PAIRS = [(GAUSSIAN, DATA_LAMBDA), (NOISE_LAMBDA, GAUSSIAN)]


def changed(name: str, steps: int, above: Form, below: Form, *, forget: bool = False) -> float:
    """RMS error at the end; ``forget`` scales what is kept by the wrong factor."""
    e, F = entry(name), MP(DIGITS)
    g, first = grid(PROBLEM, steps, F, "exact"), seeds(e, {})
    known = statistics(PROBLEM, GAUSSIAN)
    p = plan(e, g, form=above, then=[(LEVEL, below)], statistics=known, first=first)
    p = wrong(p) if forget else p
    assert sum(isinstance(op, Switch) for op in p.ops) == 1
    ends = run_exactly(p, g, PROBLEM, first)
    goals = [exact(PROBLEM, s, g.points[-1]) for s in PROBLEM.starts]
    miss = [float(F.number(a) - b) for a, b in zip(ends, goals, strict=True)]
    return math.hypot(*miss)


def wrong(p: Plan) -> Plan:
    """History keeps its old scale."""

    def spoilt(op: Switch) -> Switch:
        return replace(op, kept=tuple(replace(k, n_u=0, n_constant=0) for k in op.kept))

    return replace(p, ops=tuple(spoilt(op) if isinstance(op, Switch) else op for op in p.ops))


@pytest.mark.parametrize(("above", "below"), PAIRS, ids=["to DATA_LAMBDA", "to GAUSSIAN"])
@pytest.mark.parametrize("name", ORDERS)
def test_the_order_survives_a_change_of_form(name: str, above: Form, below: Form) -> None:
    errors = [changed(name, n, above, below) for n in STEPS]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes[-1] == pytest.approx(ORDERS[name], abs=0.15), slopes


def test_a_past_that_stays_in_the_old_form_is_seen() -> None:
    errors = [changed("exp_ab_3", n, GAUSSIAN, DATA_LAMBDA, forget=True) for n in STEPS]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes[-1] < 1.5, slopes
