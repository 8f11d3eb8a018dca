"""Running a plan: sums and products only, so any scalar, array or tensor will do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from solvers.form import Form
from solvers.ops import Advance, Affine, Call, Denoise, Plan, Recall, Renoise, Switch
from solvers.schedules import Schedule
from solvers.trajectory import Eval, Trajectory
from solvers.weights import Row


class Model(Protocol):
    """What a run asks of a model."""

    def predict(self, kind: str, x: Any, call: Call) -> Any:
        """The noise or data prediction at x, where the call gives t, α and σ."""
        ...

    def derivatives(
        self, schedule: Schedule, form: Form, tau: Any, u: Any, count: int
    ) -> Sequence[Any]:
        """N, N', .., N^{(count)} in the form's clock along the flow through u."""
        ...


def combine(
    row: Row,
    phi0: Any,
    force: Any,
    h: Any,
    u: Any,
    now: Sequence[Any],
    past: Sequence[Any],
    d: Sequence[Any],
) -> Any:
    """φ₀ u + h [Σ now_j N_j + Σ past_j N_{−j} + Σ d_k h^k N^{(k)}] + h γ: the one formula."""
    terms = [*zip(row.now, now, strict=False), *zip(row.past, past, strict=False)]
    power = 1
    for w, derivative in zip(row.d, d, strict=False):
        power = power * h
        terms.append((w * power, derivative))
    total: Any = None
    for w, N in terms:
        if not _is(w, 0):
            total = w * N if total is None else total + w * N
    result = phi0 * u if total is None else phi0 * u + h * total
    return result if _is(force, 0) else result + h * force


def evaluate(model: Model, call: Call, u: Any) -> Any:
    """N at u."""
    P = model.predict(call.kind, leave(u, (call.scale, call.shift)), call)
    value = P if _is(call.p_weight, 1) else call.p_weight * P
    if not _is(call.u_weight, 0):
        value = value + call.u_weight * u
    return value if _is(call.constant, 0) else value + call.constant


def step(
    op: Advance,
    model: Model,
    u: Any,
    start: Eval | None,
    past: Sequence[Eval],
    derivatives: Callable[[int, Any], Sequence[Any]],
    xi: Callable[[], Any] | None = None,
) -> tuple[Any, list[Eval]]:
    """One step from u: the new state and this step's evaluations (none if the step needs none)."""
    w, h = op.weights, op.h
    rows = list(zip(w.rows, op.phi0, op.force, op.deviation, strict=True))
    evals: list[Eval] = []
    d: Sequence[Any] = ()
    if op.calls:
        if w.derivatives:  # at the state where N₀ was taken
            where = u if start is None else start.u
            N, *d = derivatives(w.derivatives, where)
            start = Eval(op.tau, where, N)
        evals.append(start or Eval(op.tau, u, evaluate(model, op.calls[0], u)))
    noise = drawn(xi) if any(not _is(row.noise, 0) for row in w.rows) else None
    back = [e.N for e in past]
    v = u
    for i, (row, phi0, force, deviation) in enumerate(rows):
        v = combine(row, phi0, force, h, u, [e.N for e in evals], back, d)
        if noise is not None and not _is(row.noise, 0):
            v = v + row.noise * deviation * noise
        if i < len(w.stages):
            evals.append(Eval(op.tau + row.c * h, v, evaluate(model, op.calls[i + 1], v)))
    return v, evals


def _is(w: Any, value: int) -> bool:
    """Whether w is this plain number; arrays and other scalars never are."""
    return isinstance(w, int | float) and w == value


def drawn(noise: Callable[[], Any] | None) -> Any:
    """One ξ."""
    if noise is None:
        raise ValueError("noise: got None; this plan draws noise, a source of it is needed")
    return noise()


def run(
    plan: Plan,
    model: Model,
    x: Any,
    *,
    history: Sequence[Eval] = (),
    noise: Callable[[], Any] | None = None,
    states: bool = False,
) -> Trajectory:
    """The plan from x at its first node; ``history`` holds earlier evaluations, newest first.

    ``noise`` draws one standard normal ξ of the state's shape, where the plan needs one.
    """
    u = enter(x, plan.enter)
    form, past, carried = plan.form, list(history), None
    nfe = jvp = 0
    memory = plan.memory
    seen = [x]
    for op, end in zip(plan.ops, plan.leave, strict=True):
        if isinstance(op, Advance):

            def derivatives(
                count: int, where: Any, op: Advance = op, form: Form = form
            ) -> Sequence[Any]:
                return model.derivatives(plan.schedule, form, op.tau, where, count)

            if op.weights.memory > len(past):
                raise ValueError(
                    f"history: got {len(history)} evaluations;"
                    f" {op.weights.memory} or more are allowed in this plan"
                )
            u, evals = step(op, model, u, carried, past, derivatives, noise)
            nfe += len(evals) - (carried is not None)
            jvp += op.weights.derivatives
            carry = op.weights.carry
            carried = evals[carry] if carry is not None else None
            past = [*evals[:1], *past][:memory]
            if states:
                seen.append(leave(u, end))
            continue
        if isinstance(op, Switch):
            form = op.form
            u = op.state.u_weight * u + op.state.constant
            past = [moved(k, e) for k, e in zip(op.kept, past, strict=False)]
            carried = None if carried is None else moved(op.state, carried)
            continue
        carried = None
        if isinstance(op, Recall):
            past = [Eval(tau, u, 0 * u) for tau in op.taus]
        elif isinstance(op, Renoise):
            u = op.factor * u + op.offset + op.noise * drawn(noise)
            if states and op.arrives:
                seen[-1] = leave(u, end)
        else:
            u = denoised(op, model, u)
            nfe += 1
    return Trajectory(leave(u, plan.leave[-1]), tuple(seen) if states else (), nfe, jvp)


def moved(to: Affine, e: Eval) -> Eval:
    """An evaluation in another form."""
    N = to.n_u * e.u + to.n_n * e.N + to.n_constant
    return Eval(to.tau, to.u_weight * e.u + to.constant, N)


def denoised(op: Denoise, model: Model, u: Any) -> Any:
    """The data prediction at u."""
    return model.predict("data", leave(u, (op.call.scale, op.call.shift)), op.call)


def enter(x: Any, ends: tuple[Any, Any]) -> Any:
    """u of x = scale u + shift."""
    scale, shift = ends
    moved = x if _is(shift, 0) else x - shift
    return moved if _is(scale, 1) else moved / scale


def leave(u: Any, ends: tuple[Any, Any]) -> Any:
    """x = scale u + shift."""
    scale, shift = ends
    scaled = u if _is(scale, 1) else scale * u
    return scaled if _is(shift, 0) else scaled + shift
