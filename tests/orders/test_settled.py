"""A measurement ends when its slopes have come to rest, and equal runs are measured once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from experiments.measure import fingerprint
from experiments.orders import SETTLED, TOGETHER, Task, alike, settled, tasks
from solvers.method import entry


def curve(slopes: Sequence[float]) -> list[tuple[float, float]]:
    """Errors at halved steps with these slopes of log error."""
    out = [(1.0, 1.0)]
    for slope in slopes:
        h, error = out[-1]
        out.append((h / 2, error / 2**slope))
    return out


@pytest.mark.parametrize(
    ("slopes", "ends"),
    [
        ([2.0, 2.0, 2.0], True),
        ([1.8, 1.9, 1.951], False),  # what is left, 0.051²/0.049, is just above SETTLED
        ([1.9, 1.95, 1.975], True),
        ([1.2, 1.6, 1.8], False),  # on its way, 0.2 from the limit
        ([1.0, 2.0, 2.01], False),  # too far from each other, though the last two are near
        ([2.18, 2.09, 2.045], True),  # from above
        ([1.9, 2.1, 1.9], False),  # to and fro
        ([2.02, 2.0, 2.03], True),  # to and fro, but hardly
        ([1.9, 1.95], False),  # three slopes are asked for
    ],
)
def test_slopes_come_to_rest(slopes: list[float], ends: bool) -> None:
    assert settled(curve(slopes), 0.0) is ends


def test_the_limits_are_those_of_the_names() -> None:
    """Geometric slopes p − c 2^(−k) end where c 2^(−k) of the last one is below SETTLED."""
    for c in (0.3, 0.1):
        slopes = [2 - c * 2.0**-k for k in range(8)]
        first = next(n for n in range(3, 9) if settled(curve(slopes[:n]), 0.0))
        assert c * 2.0 ** -(first - 1) < SETTLED
        assert first == 3 or c * 2.0 ** -(first - 2) >= SETTLED
    assert SETTLED < TOGETHER


def test_errors_below_the_floor_do_not_count() -> None:
    rest = curve([2.0, 2.0, 2.0])
    assert settled(rest, 0.0)
    assert not settled(rest, rest[-1][1])
    assert math.isclose(rest[-1][1], 2.0**-6)


def test_equal_runs_are_measured_once() -> None:
    """DDIM in ρ has four names; a changed option is another run."""
    groups = alike(tasks(None, "small"))
    of = {(t.method, str(t.options)): i for i, same in enumerate(groups) for t in same}
    assert sum(map(len, groups)) == len(of) == len(tasks(None, "small"))
    assert of["ddim", "{}"] == of["deis_rho_ab0", "{}"] == of["ipndm_1", "{}"]
    assert of["dpm_solver_2", "{}"] != of["dpm_solver_2", "{'weights': 'taylor'}"]
    assert of["ddim", "{}"] != of["dpm_solver_1", "{}"]  # the same end, by another clock's steps
    assert len({fingerprint(entry(n), {}) for n in ("ddim", "unip_1", "rho_heun2")}) == 3
    assert alike([Task("ddim", {}, "small")] * 2) == [[Task("ddim", {}, "small")] * 2]
