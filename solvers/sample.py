"""Running a plan in torch: the same ``run``, on tensors of any device and dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from solvers.denoiser import Denoiser
from solvers.forms import Form
from solvers.ops import Advance, Call, Denoise, Plan
from solvers.schedules import Schedule
from solvers.step import run
from solvers.trajectory import Eval, Trajectory


@torch.no_grad()
def sample(
    plan: Plan,
    denoiser: Denoiser,
    x: Tensor,
    *,
    history: Sequence[Eval] = (),
    noise: Callable[[], Tensor] | None = None,
    states: bool = False,
    state: torch.dtype = torch.float64,
) -> Trajectory:
    """The plan from x, shape (B, ...), at its first node.

    The state is kept in ``state`` and returned in x's dtype; per-coordinate weights act on the
    last axis.  No step waits for the device.  A prediction that is not finite raises
    ``ValueError`` with the step and the sample, after the run.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 1:
        raise ValueError(f"x: got {_shown(x)}; a floating tensor of shape (B, ...) is allowed")
    watched = _Watched(denoiser, torch.full(x.shape[:1], -1, device=x.device))

    def array(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=state, device=x.device)

    result = run(
        plan.realize(array), watched, x.to(state), history=history, noise=noise, states=states
    )
    watched.check(result.x, plan)
    return Trajectory(
        result.x.to(x.dtype), tuple(s.to(x.dtype) for s in result.states), result.nfe, result.jvp
    )


def _shown(x: Any) -> str:
    return f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else repr(x)


@dataclass
class _Watched:
    """A model that notes, on the device, each sample's first evaluation that was not finite."""

    model: Denoiser
    first: Tensor
    count: int = field(default=0)

    def predict(self, kind: str, x: Tensor, call: Call) -> Tensor:
        return self._note(self.model.predict(kind, x, call))

    def derivatives(
        self, schedule: Schedule, form: Form, tau: float, u: Tensor, count: int
    ) -> Sequence[Tensor]:
        N, *rest = self.model.derivatives(schedule, form, tau, u, count)
        return self._note(N), *rest

    def _note(self, P: Tensor) -> Tensor:
        finite = torch.isfinite(P.flatten(1)).all(1) if P.dim() > 1 else torch.isfinite(P)
        unseen = (self.first < 0) & ~finite
        self.first = torch.where(unseen, self.count, self.first)
        self.count += 1
        return P

    def check(self, x: Tensor, plan: Plan) -> None:
        """``ValueError`` for the first bad evaluation, or a state that overflowed by itself."""
        bad = torch.nonzero(self.first >= 0).flatten().tolist()
        if bad:
            sample = min(bad, key=lambda i: (int(self.first[i]), i))
            evaluation = int(self.first[sample])
            step = steps_of_evaluations(plan)[evaluation]
            raise ValueError(
                f"model: got a value that is not finite in step {step} (model call {evaluation}),"
                f" sample {sample} of {len(self.first)} ({len(bad)} bad in all);"
                " finite predictions are allowed"
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError(
                "state: overflowed; start and model values of moderate size are allowed"
            )


def steps_of_evaluations(plan: Plan) -> list[int]:
    """The step in which each model call happens; the final denoising counts as one more."""
    out: list[int] = []
    n, carried = -1, False
    for op in plan.ops:
        if isinstance(op, Advance):
            n += 1
            out += [n] * max(len(op.calls) - carried, 0)
            carried = op.weights.carry is not None
        elif isinstance(op, Denoise):
            out.append(n + 1)
    return out
