"""method x form x grid -> plan: every weight evaluated in the grid's field and stored by it."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnnecessaryIsInstance=false
# Options come from callers, weight functions from authors: either may be anything.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from solvers.field import Field, Scalar
from solvers.float64 import FLOAT64
from solvers.forms import GAUSSIAN, VELOCITY_T, Form, GaussianPart, Statistics
from solvers.grids import Grid
from solvers.gridstep import GridStep, Uniform
from solvers.method import Entry, Row, Weights
from solvers.ops import Advance, Denoise, Op, Plan
from solvers.point import Point
from solvers.transfer import call, ends, jump, store, switch


@lru_cache(maxsize=512)
def memory(entry: Entry, q: int | None, options: tuple[tuple[str, Any], ...]) -> int:
    """Past evaluations that a step of order q uses, found by asking on a uniform grid."""
    return weights(entry, Uniform(FLOAT64), q, dict(options)).memory


def plan(
    entry: Entry,
    grid: Grid,
    *,
    form: Form | None = None,
    statistics: Statistics | None = None,
    orders: Sequence[int] | None = None,
    lower_order_final: bool = False,
    correct_last: bool = False,
    finish: str = "none",
    teleport: Point | None = None,
    first: int = 0,
    **options: Any,
) -> Plan:
    """The method on the grid.

    ``orders`` gives the order of every step; otherwise a method of order q that needs history
    warms up with 1, 2, .., q.  ``first`` leaves out the steps before it: their evaluations are
    then the run's ``history``.  ``teleport`` is where the grid was cut: the run starts there, at
    the first node of the uncut grid, and moves to the grid by the Gaussian's own flow.
    """
    form = form or entry.form(options)
    if isinstance(form, GaussianPart):
        form = form.with_statistics(_needed(statistics, entry.name))
    bound = entry.resolve(options)
    if finish not in ("none", "denoise"):
        raise ValueError(f"finish: got {finish!r}; 'none' or 'denoise' is allowed")
    for key, value in (("lower_order_final", lower_order_final), ("correct_last", correct_last)):
        if not isinstance(value, bool):
            raise ValueError(f"options.{key}: got {value!r}; true or false is allowed")
    if isinstance(first, bool) or not isinstance(first, int) or not 0 <= first < grid.steps:
        raise ValueError(f"first: got {first!r}; an integer 0..{grid.steps - 1} is allowed")
    silent = grid.points[0].silent
    if silent and teleport is not None:
        raise ValueError("teleport: got a start with alpha = 0; alpha > 0 is allowed")
    builder = _Builder(entry, grid, bound, orders, lower_order_final, correct_last)
    launched = silent and first == 0
    begin = VELOCITY_T if launched else form
    if teleport is not None:
        begin = GAUSSIAN.with_statistics(_needed(statistics, "teleport"))
    here = teleport or grid.points[first]
    ops: list[Op] = []
    leave: list[tuple[Any, Any]] = []
    if teleport is not None:
        ops += [jump(begin, teleport, grid.points[0]), switch(begin, form, grid.points[0], ())]
        leave += [ends(begin, grid.points[0]), ends(form, grid.points[0])]
    if launched:
        ops += [builder.launch(begin), switch(begin, form, grid.points[1], ())]
        leave += [ends(begin, grid.points[1]), ends(form, grid.points[1])]
    for n in range(max(first, int(silent)), grid.steps):
        ops.append(builder.advance(form, n))
        leave.append(ends(form, builder.nodes(form)[0][n + 1]))
    if finish == "denoise":
        ops.append(Denoise(call(form, grid.points[-1], kind="data")))
        leave.append((1.0, 0.0))
    shown = {**dict(options), **({"orders": list(orders)} if orders else {})}
    for key, value in (("lower_order_final", lower_order_final), ("correct_last", correct_last)):
        shown |= {key: True} if value else {}
    return Plan(
        grid.schedule, begin, entry.name, shown, (), ends(begin, here), tuple(leave), tuple(ops)
    )


def _needed(statistics: Statistics | None, name: str) -> Statistics:
    if statistics is None:
        raise ValueError(f"statistics: got None; {name} needs the data's mean and variances")
    return statistics


@dataclass(frozen=True, eq=False)
class _Builder:
    """What all steps of one plan share."""

    entry: Entry
    grid: Grid
    options: Mapping[str, Any]
    orders: Sequence[int] | None
    lower_order_final: bool
    correct_last: bool
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
    def _multistep(self) -> bool:
        return self.entry.q is not None and self._memory(self.entry.q) > 0

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

    def advance(self, form: Form, n: int) -> Advance:
        """Step n."""
        points, taus = self.nodes(form)
        s = GridStep(form, points, taus, n)
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


def weights(entry: Entry, s: Any, q: int | None, options: Mapping[str, Any]) -> Weights:
    """One step's weights, with per-step lists resolved and the row sums checked."""
    mine = {k: bind(s.F, v[s.index] if isinstance(v, tuple) else v) for k, v in options.items()}
    try:
        w = entry.fn(s, **({} if q is None else {"q": q}), **mine)
    except ArithmeticError as error:
        raise ValueError(
            f"options: got {named(options)}; {entry.name} divides by zero or overflows there,"
            " other values are allowed"
        ) from error
    if not isinstance(w, Weights):
        raise TypeError(f"{entry.name}: got {type(w).__name__}; a weight function returns Weights")
    well_formed(w, entry.name)
    for i, row in enumerate(w.rows if w.consistent else ()):
        integral = s.phi(1, row.c) * row.c
        defect = sum((*row.now, *row.past), s.F.lift(0)) - integral
        if abs(float(defect)) > 10.0 ** (12 - s.F.digits) * max(1.0, abs(float(integral))):
            which = "update" if i == len(w.stages) else f"stage {i + 1}"
            raise ValueError(
                f"weights: got a sum of {float(defect + integral)!r} in the {which} of"
                f" {entry.name}, step {s.index}; c phi_1(c) = {float(integral)!r} is allowed"
            )
    return w


def well_formed(w: Weights, name: str) -> None:
    """Rows use evaluations that exist, the update ends the step, and so does what is carried."""
    for i, row in enumerate(w.rows):
        if len(row.now) > i + 1:
            which = "update" if i == len(w.stages) else f"stage {i + 1}"
            raise ValueError(
                f"now: got {len(row.now)} weights in the {which} of {name};"
                f" one for each evaluation before it, {i + 1} or fewer, are allowed"
            )
    if w.b.c != 1:
        raise ValueError(f"c: got {w.b.c} in the update of {name}; 1, the step's end, is allowed")
    if w.carry is not None and not (
        1 <= w.carry <= len(w.stages) and w.stages[w.carry - 1].c == 1
    ):
        raise ValueError(
            f"carry: got {w.carry} of {len(w.stages)} stages in {name};"
            " the number of a stage at c = 1 is allowed"
        )


def named(options: Mapping[str, Any]) -> str:
    """The options as a caller would write them."""
    pairs = ((k, float(v) if isinstance(v, Scalar) else v) for k, v in options.items())
    return ", ".join(f"{k}={v}" for k, v in pairs)


def bind(F: Field, value: Any) -> Any:
    """Floats become exact scalars of F; everything else stays."""
    return F.number(value) if isinstance(value, float) else value


def stored(s: GridStep, w: Weights) -> Advance:
    """The step's numbers, rounded once."""
    F, form = s.F, s.form

    def row(r: Row) -> Row:
        keep = {k: tuple(store(F, x) for x in getattr(r, k)) for k in ("now", "past", "d")}
        return replace(r, **keep, c=store(F, r.c), noise=store(F, r.noise))

    kept = replace(
        w, b=row(w.b), stages=tuple(map(row, w.stages)), low=row(w.low) if w.low else None
    )
    cs = [F.lift(1) * r.c for r in w.rows]
    places = [s.start, *(_end(s, c) for c in cs[:-1])]
    evaluates = any(r.now or r.d for r in w.rows)
    return Advance(
        store(F, s.taus[s.index]),
        store(F, s.h),
        kept,
        tuple(store(F, s.phi(0, r.c)) for r in w.rows),
        tuple(store(F, form.force(c, s.start, s.h)) for c in cs),
        tuple(store(F, form.deviation(c, s.start, s.h)) for c in cs),
        tuple(call(form, p) for p in places) if evaluates else (),
    )


def _end(s: GridStep, c: Scalar) -> Point:
    """The point at c; the next node itself at c = 1."""
    return s.points[s.index + 1] if c == 1 else s.form.end(c, s.start, s.h)
