"""method x form x grid -> plan: every weight evaluated in the grid's field and stored by it."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnnecessaryIsInstance=false
# Options come from callers, weight functions from authors: either may be anything.

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from solvers.advance import bind, memory, named, stored, weights
from solvers.empirical import Source
from solvers.field import Scalar
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import VELOCITY_T, Fitted, Statistics
from solvers.grids import Grid
from solvers.gridstep import GridStep
from solvers.method import Entry
from solvers.ops import Advance, Denoise, Op, Plan
from solvers.point import Point
from solvers.schedules import ROUNDING
from solvers.teleport import Teleport
from solvers.transfer import call, ends, renoise, switch
from solvers.weights import Row, Weights

FINISHES = ("none", "denoise")
"""What may follow the last step."""


def plan(
    entry: Entry,
    grid: Grid,
    *,
    form: Form | None = None,
    then: Sequence[tuple[Any, Form]] = (),
    statistics: Statistics | Source | None = None,
    orders: Sequence[int] | None = None,
    lower_order_final: bool = False,
    correct_last: bool = False,
    finish: str = "none",
    teleport: Teleport | None = None,
    first: int = 0,
    model: Sequence[str] = (),
    **options: Any,
) -> Plan:
    """The method on the grid.

    ``orders`` gives the order of every step; otherwise a method of order q that needs history
    warms up with 1, 2, .., q.  ``first`` leaves out the steps before it: their evaluations are
    then the run's ``history``.  A ``teleport`` starts above the grid and moves to its first node,
    or to the node ``first``: the nodes before it then get the Gaussian's own evaluations.
    ``then`` has pairs (ρ, form): from the first node at ρ or below on, the run is in this form.
    ``statistics`` are those of the data or, in the form EMS, of the model; a form that has its own
    keeps them.  ``model`` names what was put around the model (``Denoiser.parts``).
    """
    given = orders
    if orders is None:
        grid, orders = climbed(entry, grid, options)
    form = _fitted(form or entry.form(options), statistics, entry.name)
    grid = replace(grid, points=form.places(grid.points))
    ahead = first if teleport is not None else 0
    bound = {k: _ahead(v, ahead) for k, v in entry.resolve(options).items()}
    orders = orders and [1] * ahead + list(orders) if isinstance(orders, list | tuple) else orders
    if finish not in FINISHES:
        raise ValueError(f"finish: got {finish!r}; {' or '.join(map(repr, FINISHES))} is allowed")
    for key, value in (("lower_order_final", lower_order_final), ("correct_last", correct_last)):
        if not isinstance(value, bool):
            raise ValueError(f"options.{key}: got {value!r}; true or false is allowed")
    if isinstance(first, bool) or not isinstance(first, int) or not 0 <= first < grid.steps:
        raise ValueError(f"first: got {first!r}; an integer 0..{grid.steps - 1} is allowed")
    silent = grid.points[0].silent
    later = [(rho, _fitted(new, statistics, entry.name)) for rho, new in then]
    later.sort(key=lambda change: -float(change[0]))

    def changed(p: Point, form: Form) -> Form:
        due = [new for rho, new in later if float(p.rho) <= float(rho) * (1 + ROUNDING)]
        return due[-1] if due else form

    noise = entry.part(entry.renoise, options) if entry.renoise else {}
    builder = _Builder(entry, grid, bound, orders, lower_order_final, correct_last, noise)
    reach = builder.reach
    launched = silent and first == 0
    form = form if launched else changed(grid.points[first], form)
    begin = teleport.form if teleport else VELOCITY_T if launched else form
    enter = teleport.enter if teleport else ends(begin, grid.points[first])
    ops: list[Op] = []
    leave: list[tuple[Any, Any]] = []
    if teleport is not None:
        jumped = teleport.ops(form, grid.points[first], grid.points[:first][::-1])
        ops += [op for op, _ in jumped]
        leave += [end for _, end in jumped]
    if launched:
        ops += [builder.launch(begin), switch(begin, form, grid.points[1], ())]
        leave += [ends(begin, grid.points[1]), ends(form, grid.points[1])]
    for n in range(max(first, int(silent)), grid.steps):
        here = grid.points[n]
        new = changed(here, form)
        if new != form:
            ops.append(switch(form, new, here, grid.points[int(silent) : n][: -reach - 1 : -1]))
            form = new
            leave.append(ends(form, here))
        for op, end in builder.step(form, n):
            ops.append(op)
            leave.append(ends(form, end))
    if finish == "denoise":
        ops.append(Denoise(call(form, grid.points[-1], kind="data")))
        leave.append((1.0, 0.0))
    shown = {**dict(options), **({"orders": list(given)} if given else {})}
    for key, value in (("lower_order_final", lower_order_final), ("correct_last", correct_last)):
        shown |= {key: True} if value else {}
    return Plan(
        grid.schedule,
        begin,
        entry.name,
        shown,
        tuple(model),
        enter,
        tuple(leave),
        tuple(ops),
    )


def climbed(
    entry: Entry, grid: Grid, options: Mapping[str, Any]
) -> tuple[Grid, Sequence[int] | None]:
    """The nodes and orders of a method with a ladder; of others the grid and None.

    The grid itself if it has a step for each order, else every node after Σ orders steps.
    """
    if entry.ladder is None:
        return grid, None
    orders = entry.ladder(grid.steps, **entry.part(entry.ladder, options))
    if grid.steps == len(orders):
        return grid, orders
    if grid.steps != sum(orders):
        raise ValueError(
            f"grid: got {grid.steps} steps; {len(orders)}, or one for each of the {sum(orders)}"
            " model calls, are allowed"
        )
    places = itertools.accumulate(orders, initial=0)
    return replace(grid, points=tuple(grid.points[i] for i in places)), orders


def _ahead(value: Any, count: int) -> Any:
    """A list has a value for each step from the landing on; those before it are never taken."""
    return (value[0],) * count + value if isinstance(value, tuple) else value


def _fitted(form: Form, statistics: Statistics | Source | None, name: str) -> Form:
    """The form with its statistics."""
    if not isinstance(form, Fitted) or form.statistics is not None:
        return form
    if statistics is None:
        raise ValueError(f"statistics: got None; {name} needs those of the data or of the model")
    return form.with_statistics(statistics)


@dataclass(frozen=True, eq=False)
class _Builder:
    """What all steps of one plan share."""

    entry: Entry
    grid: Grid
    options: Mapping[str, Any]
    orders: Sequence[int] | None
    lower_order_final: bool
    correct_last: bool
    noise: Mapping[str, Any]
    memo: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        steps = self.grid.steps
        q = self.entry.q
        for key, value in self.options.items():
            if isinstance(value, tuple) and len(value) != steps:
                raise ValueError(
                    f"options.{key}: got {len(value)} values;"
                    f" one value per step, {steps}, is allowed"
                )
        if self.orders is not None:
            if q is None:
                raise ValueError(
                    f"options.orders: got {self.orders!r}; {self.entry.name} has one order"
                )
            if not isinstance(self.orders, list | tuple) or len(self.orders) != steps:
                raise ValueError(
                    f"options.orders: got {self.orders!r}; a list of {steps} integers is allowed"
                )
            for i, o in enumerate(self.orders):
                if not isinstance(o, int) or isinstance(o, bool) or not 1 <= o <= q:
                    raise ValueError(
                        f"options.orders[{i}]: got {o!r}; an integer 1..{q} is allowed"
                    )
        if self.lower_order_final and q != 1 and not self._multistep:
            raise ValueError(
                f"options.lower_order_final: got True; {self.entry.name} is no multistep method"
            )

    def _memory(self, q: int | None) -> int:
        one = {k: v[0] if isinstance(v, tuple) else v for k, v in self.options.items()}
        rough = {k: float(v) if isinstance(v, Scalar) else v for k, v in one.items()}
        bound = {k: bind(FLOAT64, v) for k, v in rough.items()}
        return memory(self.entry, q, tuple(bound.items()))

    @property
    def reach(self) -> int:
        """Past evaluations that the full order uses."""
        return self._memory(self.entry.q)

    @property
    def _multistep(self) -> bool:
        return self.entry.q is not None and self.reach > 0

    def nodes(self, form: Form) -> tuple[tuple[Point, ...], tuple[Scalar, ...]]:
        """The nodes at the clock values that the plan stores, and these values."""
        if form.name not in self.memo:
            F, s = self.grid.F, self.grid.schedule
            points = list(self.grid.points)
            taus = [F.lift(0)] * len(points)
            for i, p in enumerate(points):
                if not p.silent:
                    taus[i] = F.nearest(form.tau(p))
                    points[i] = p if F.nearest(p.value) is p.value else form.point(s, F, taus[i])
            self.memo[form.name] = tuple(points), tuple(taus)
        return self.memo[form.name]

    def order(self, n: int) -> int | None:
        """Of step n: the list's, or the largest that the history allows."""
        q = self.entry.q
        if q is None:
            return None
        available = n - int(self.grid.points[0].silent)
        if self.orders is not None:
            q = self.orders[n]
            if self._memory(q) > available:
                raise ValueError(
                    f"options.orders[{n}]: got {q}; it needs {self._memory(q)} earlier values,"
                    f" {available} are there"
                )
        while q > 1 and self._memory(q) > available:
            q -= 1
        if self.lower_order_final and self.orders is None:
            q = min(q, self.grid.steps - n)
        return q

    def step(self, form: Form, n: int) -> list[tuple[Op, Point]]:
        """Step n and where it ends; a noise rule adds noise before or after it."""
        points, taus = self.nodes(form)
        a, b = points[n : n + 2]
        rule = self.entry.renoise
        if rule is None:
            return [(self.advance(GridStep(form, points, taus, n)), b)]
        noise = {k: bind(a.F, v) for k, v in self.noise.items()}
        high, low, scale = rule(a.rho, b.rho, self.grid.steps, **noise)
        p, q = (self._moved(form, *pair) for pair in ((a, high), (b, low)))
        points, taus = list(points), list(taus)
        points[n : n + 2], taus[n : n + 2] = (p, q), (form.tau(p), form.tau(q))
        before = [] if p is a else [(renoise(form, a, p, scale), p)]
        after = [] if q is b else [(renoise(form, q, b, scale, arrives=True), b)]
        s = GridStep(form, tuple(points), tuple(taus), n)
        return [*before, (self.advance(s), q), *after]

    def _moved(self, form: Form, p: Point, rho: Scalar) -> Point:
        """The point of this ρ, at a clock value that a plan stores; p itself if it is there."""
        if rho == p.rho:
            return p
        there = Point(p.schedule, p.F, "rho", rho)
        return form.point(p.schedule, p.F, p.F.nearest(form.tau(there)))

    def advance(self, s: GridStep) -> Advance:
        """The method's own step."""
        n = s.index
        w = weights(self.entry, s, self.order(n), self.options)
        if self.correct_last and w.carry is None:
            raise ValueError(f"options.correct_last: got True; {self.entry.name} has no corrector")
        if w.carry is not None and n == s.steps - 1 and not self.correct_last:
            w = Weights(b=w.stages[w.carry - 1], stages=w.stages[: w.carry - 1])
        try:
            return stored(s, w)
        except ArithmeticError as error:
            raise ValueError(
                f"options: got {named(self.options)}; a stage of {self.entry.name} in step {n}"
                " lies where alpha and sigma have no value, other places are allowed"
            ) from error

    def launch(self, form: Form) -> Advance:
        """The first step from α = 0: x' = x + (t' − t) dx/dt, which equals DDIM."""
        a, b = self.grid.points[:2]
        h = b.t - a.t
        one = a.F.lift(1)
        w = Weights(b=Row(now=(a.F.out(one),), c=a.F.out(one)))
        zero = a.F.out(a.F.lift(0))
        start = call(form, a)
        return Advance(a.F.out(a.t), a.F.out(h), w, (a.F.out(one),), (zero,), (zero,), (start,))
