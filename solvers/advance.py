"""One step of a method: its weights in the grid's field, checked, and rounded once."""

# pyright: reportUnnecessaryIsInstance=false
# Weight functions come from authors, who may return anything.

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from solvers.field import Field, Scalar
from solvers.float64 import FLOAT64
from solvers.gridstep import GridStep, Uniform
from solvers.method import Entry
from solvers.ops import Advance
from solvers.point import Point
from solvers.transfer import call, store
from solvers.weights import Row, Weights


@lru_cache(maxsize=512)
def memory(entry: Entry, q: int | None, options: tuple[tuple[str, Any], ...]) -> int:
    """Past evaluations that a step of order q uses, found by asking on a uniform grid."""
    return weights(entry, Uniform(FLOAT64), q, dict(options)).memory


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
        quiet = r.noise == 0 or form.deviation(F.lift(1) * r.c, s.start, s.h) == 0
        return replace(r, **keep, c=store(F, r.c), noise=0 if quiet else store(F, r.noise))

    kept = replace(
        w, b=row(w.b), stages=tuple(map(row, w.stages)), low=row(w.low) if w.low else None
    )
    cs = [F.lift(1) * r.c for r in w.rows]
    places = [s.start, *(_end(s, c) for c in cs[:-1])]
    evaluates = any(r.now or r.d for r in w.rows)

    def each(f: Callable[[Scalar, Point, Scalar], Scalar]) -> tuple[Any, ...]:
        places = {r.c: c for r, c in zip(w.rows, cs, strict=True)}
        known = {place: store(F, f(c, s.start, s.h)) for place, c in places.items()}
        return tuple(known[r.c] for r in w.rows)

    return Advance(
        store(F, s.taus[s.index]),
        store(F, s.h),
        kept,
        tuple(store(F, s.phi(0, r.c)) for r in w.rows),
        each(form.force),
        each(form.deviation),
        tuple(call(form, p) for p in places) if evaluates else (),
    )


def _end(s: GridStep, c: Scalar) -> Point:
    """The point at c; the next node itself at c = 1."""
    return s.points[s.index + 1] if c == 1 else s.form.end(c, s.start, s.h)
