"""Adaptive steps: an embedded pair and a controller decide how long the next step may be.

Source: Lu et al. 2022, "DPM-Solver", and its released code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from solvers.advance import stored, weights
from solvers.control import Controller
from solvers.grids import Grid
from solvers.gridstep import GridStep
from solvers.method import Entry
from solvers.ops import Advance, Denoise, Op, Plan
from solvers.plan import FINISHES
from solvers.point import Point
from solvers.step import Model, combine, denoised, enter, leave, step
from solvers.teleport import Teleport
from solvers.trajectory import Trajectory
from solvers.transfer import call, ends

TRIALS = 10_000
NEAR = 1e-5
"""A run ends within this of the last node's t, as published."""
Distance = Callable[[Any, Any, Any, Controller], float]
"""E of x_high, x_low and x_prev."""


@dataclass(frozen=True)
class Adapted:
    """A run, and the plan of its accepted steps."""

    trajectory: Trajectory
    plan: Plan
    points: tuple[Point, ...]


def run_adaptive(
    entry: Entry,
    grid: Grid,
    model: Model,
    x: Any,
    distance: Distance,
    *,
    finish: str = "none",
    states: bool = False,
    **options: Any,
) -> Adapted:
    """From the grid's first node to its last one, with steps that the controller chooses."""
    if entry.controller is None:
        raise ValueError(f"method: got {entry.name}; a method with an embedded pair is allowed")
    if finish not in FINISHES:
        raise ValueError(f"finish: got {finish!r}; {' or '.join(map(repr, FINISHES))} is allowed")
    controller = entry.controller(**entry.part(entry.controller, options))
    form, resolved = entry.form(options), entry.resolve(options)
    start, goal = grid.points[0], grid.points[-1]
    F, here, last = grid.F, start, float(form.tau(goal))
    ops: list[Op] = []
    scales = [ends(form, start)]
    points, seen = [start], [x]
    u, previous, nfe = enter(x, scales[0]), x, 0
    h = float(controller.h_init)
    for _ in range(TRIALS):
        if float(here.t) - float(goal.t) <= NEAR:
            break
        rest = last - float(form.tau(here))
        end = goal if h >= rest else form.point(grid.schedule, F, form.tau(here) + F.number(h))
        h = min(h, rest)
        taus = (form.tau(here), form.tau(end))
        s = GridStep(form, (here, end), taus, 0)
        w = weights(entry, s, entry.q, resolved)
        op = stored(s, w)
        high, evals = step(op, model, u, None, (), _none)
        nfe += len(evals)
        scale = ends(form, end)
        low = leave(_lower(op, u, [e.N for e in evals]), scale)
        error = distance(leave(high, scale), low, previous, controller)
        if error <= 1:
            u, here, previous = high, end, low
            ops.append(op)
            scales.append(scale)
            points.append(end)
            seen += [leave(u, scale)] if states else []
        h = controller.next(h, error, len(evals))
    else:
        raise ValueError(
            f"options.rtol: got {float(controller.rtol)!r}, with which {TRIALS} trials do not"
            " reach the end; a larger rtol or atol is allowed"
        )
    ending = [Denoise(call(form, here, kind="data"))] if finish == "denoise" else []
    out = leave(u, scales[-1]) if not ending else denoised(ending[0], model, u)
    made = Plan(
        grid.schedule,
        form,
        entry.name,
        dict(options),
        (),
        scales[0],
        (*scales[1:], *(((1.0, 0.0),) * len(ending))),
        (*ops, *ending),
    )
    run = Trajectory(out, tuple(seen) if states else (), nfe + len(ending), 0)
    return Adapted(run, made, tuple(points))


def joined(teleport: Teleport, jump: Plan, landed: Trajectory, rest: Adapted) -> Adapted:
    """A run that begins with a jump."""
    a, b = jump, rest.plan
    p = replace(b, form=a.form, enter=a.enter, leave=(*a.leave, *b.leave), ops=(*a.ops, *b.ops))
    t = rest.trajectory
    states = (*landed.states, *t.states) if t.states else ()
    t = replace(t, states=states, nfe=landed.nfe + t.nfe)
    return Adapted(t, p, (teleport.start, *rest.points))


def _lower(op: Advance, u: Any, now: Sequence[Any]) -> Any:
    """The embedded update."""
    assert op.weights.low is not None
    return combine(op.weights.low, op.phi0[-1], op.force[-1], op.h, u, now, (), ())


def _none(count: int, where: Any) -> Sequence[Any]:
    raise TypeError("an embedded pair takes no derivatives")
