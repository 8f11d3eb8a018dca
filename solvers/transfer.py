"""Between forms and out of them: how a form reads the model, switches, takes in noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solvers.field import Exact, Field, Scalar
from solvers.form import Form, Prediction
from solvers.ops import Affine, Call, Renoise, Switch
from solvers.point import Point
from solvers.weights import Weight


def store(F: Field, w: Weight) -> Any:
    """What the plan keeps of one number."""
    scalar = F.lift(w) if isinstance(w, Exact) else w
    return scalar.F.out(scalar)


def call(form: Form, p: Point, kind: str | None = None) -> Call:
    """How the form reads the model at p; ``kind`` overrides it (the final data prediction)."""
    F, r = p.F, form.read(p)
    numbers = (
        p.t,
        p.alpha,
        p.sigma,
        form.scale(p),
        form.shift(p),
        r.u_weight,
        r.p_weight,
        r.constant,
    )
    return Call(kind or r.kind, *(store(F, x) for x in numbers))


def ends(form: Form, p: Point) -> tuple[Any, Any]:
    """(scale, shift) of the form at p."""
    return store(p.F, form.scale(p)), store(p.F, form.shift(p))


def switch(old: Form, new: Form, p: Point, kept: Sequence[Point]) -> Switch:
    """The change of form at p; ``kept`` are the points of the kept evaluations, newest first."""
    return Switch(new, affine(old, new, p), tuple(affine(old, new, q) for q in kept))


def affine(old: Form, new: Form, p: Point) -> Affine:
    """u and N of the old form in terms of the new one at p, both affine in (u, N)."""
    F = p.F
    a, b = old.read(p), new.read(p)
    scale, shift, scale2, shift2 = old.scale(p), old.shift(p), new.scale(p), new.shift(p)

    def convert(u: Exact, N: Exact) -> tuple[Scalar, Scalar]:
        x = scale * u + shift
        given = (N - a.constant - a.u_weight * u) / a.p_weight
        P = given if a.kind == b.kind else _other(p, b.kind, x, given)
        v = (x - shift2) / scale2
        return v, b.u_weight * v + b.p_weight * P + b.constant

    (u0, n0), (u1, n1), (_, n2) = convert(0, 0), convert(1, 0), convert(0, 1)
    return Affine(*(store(F, x) for x in (new.tau(p), u1 - u0, u0, n1 - n0, n2 - n0, n0)))


def _other(p: Point, kind: Prediction, x: Scalar, P: Scalar) -> Scalar:
    """The prediction of this kind from the other one, P: x = α D + σ ε."""
    return (x - p.sigma * P) / p.alpha if kind == "data" else (x - p.alpha * P) / p.sigma


def renoise(
    form: Form, start: Point, to: Point, scale: Weight | float = 1, *, arrives: bool = False
) -> Renoise:
    """x/α gains noise until its ρ is that of ``to``; ``scale`` is EDM's S_noise."""
    F = start.F
    factor = scale if isinstance(scale, Scalar) else F.number(scale)
    deviation = F.sqrt(to.rho * to.rho - start.rho * start.rho) * factor
    grow = to.alpha / start.alpha
    new, shift = form.scale(to), form.shift(to)
    factor = form.scale(start) * grow / new
    offset = (form.shift(start) * grow - shift) / new
    numbers = (form.tau(start), form.tau(to), factor, offset, to.alpha * deviation / new)
    return Renoise(*(store(F, x) for x in numbers), arrives=arrives)
