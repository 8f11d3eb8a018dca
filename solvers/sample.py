"""Running a plan in torch: the same ``run``, on tensors of any device and dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from solvers.denoiser import Denoiser
from solvers.forms import Form
from solvers.ops import Call, Plan
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
    if plan.coordinates not in (None, x.shape[-1]):
        raise ValueError(
            f"x: got shape {tuple(x.shape)}; {plan.coordinates} coordinates on the last axis,"
            " as in the plan's statistics, are allowed"
        )
    if not isinstance(state, torch.dtype) or not state.is_floating_point:
        raise ValueError(f"state: got {state!r}; a floating dtype such as float64 is allowed")
    watched = _Watched(denoiser, torch.full(x.shape[:1], -1, device=x.device))

    def array(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=state, device=x.device)

    result = run(
        plan.realize(array), watched, x.to(state), history=history, noise=noise, states=states
    )
    watched.check(x, result.x, plan)
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

    def check(self, start: Tensor, x: Tensor, plan: Plan) -> None:
        """``ValueError`` for a bad start, evaluation or state, whichever came first."""
        bad = torch.nonzero(self.first >= 0).flatten().tolist()
        if bad:
            sample = min(bad, key=lambda i: (int(self.first[i]), i))
            evaluation = int(self.first[sample])
            unfit = start[sample][~torch.isfinite(start[sample])].tolist()
            if unfit:
                raise ValueError(
                    f"x: got {unfit[0]} in sample {sample} of {len(x)}; finite states are allowed"
                )
            step = plan.evaluations[evaluation]
            raise ValueError(
                f"model: got a value that is not finite in step {step} (model call {evaluation}),"
                f" sample {sample} of {len(self.first)} ({len(bad)} bad in all);"
                " finite predictions are allowed"
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError(
                "state: overflowed; start and model values of moderate size are allowed"
            )
