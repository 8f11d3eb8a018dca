"""Running a plan in torch: the same ``run``, on tensors of any device and dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from solvers.adaptive import Adapted, joined, run_adaptive
from solvers.control import Controller
from solvers.denoiser import Denoiser
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import Statistics
from solvers.grids import Grid
from solvers.method import Entry
from solvers.ops import Call, Plan, realize
from solvers.schedules import Schedule
from solvers.step import leave, run
from solvers.teleport import Teleport, leading
from solvers.trajectory import Eval, Trajectory
from solvers.transfer import call

SEEDS = 2**32
"""So many seeds are told apart: torch's generator on the CPU takes 32 bits of one."""


class NotFinite(ValueError):
    """A model gave NaN or infinity: for which sample first, and in which step."""

    def __init__(self, message: str, *, sample: int, step: int) -> None:
        super().__init__(message)
        self.sample, self.step = sample, step


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
    last axis.  A plan that draws noise takes it from ``noise`` (see ``normals``).  No step waits
    for the device.  A prediction that is not finite raises ``ValueError`` with the step and the
    sample, after the run.
    """
    _fit(x, state)
    if plan.coordinates not in (None, x.shape[-1]):
        raise ValueError(
            f"x: got shape {tuple(x.shape)}; {plan.coordinates} coordinates on the last axis,"
            " as in the plan's statistics, are allowed"
        )
    if plan.model != denoiser.parts:
        raise ValueError(
            f"plan: got the model parts {list(plan.model)};"
            f" those of the denoiser, {list(denoiser.parts)}, are allowed"
        )
    watched = _Watched(denoiser, torch.full(x.shape[:1], -1, device=x.device))

    begin = x.to(state)
    realized = plan.realize(_array(begin))
    result = run(realized, watched, begin, history=history, noise=noise, states=states)
    watched.check(x, result.x, plan.evaluations)
    landing, entropy = watched.landing(plan)
    return _cast(replace(result, landing=landing, entropy=entropy), x.dtype)


def _array(like: Tensor) -> Callable[[tuple[float, ...]], Tensor]:
    return lambda values: torch.tensor(values, dtype=like.dtype, device=like.device)


def normals(seeds: Sequence[int], like: Tensor) -> Callable[[], Tensor]:
    """A source of ξ: each call one standard normal tensor of the shape, dtype and device of x.

    Sample b is drawn from the seed b alone, in float64 on the CPU, so that neither the rest of the
    batch nor device or dtype changes it.  ``like`` is x in the dtype of the run's state.
    """
    if len(seeds) != len(like):
        raise ValueError(f"seeds: got {len(seeds)}; one a sample, {len(like)}, are allowed")
    for b, seed in enumerate(seeds):
        if not 0 <= seed < SEEDS:
            raise ValueError(f"seeds[{b}]: got {seed}; integers from 0 to {SEEDS - 1} are allowed")
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw() -> Tensor:
        each = [torch.randn(like.shape[1:], generator=g, dtype=torch.float64) for g in generators]
        return torch.stack(each).to(like)

    return draw


@torch.no_grad()
def sample_adaptive(
    entry: Entry,
    grid: Grid,
    denoiser: Denoiser,
    x: Tensor,
    *,
    teleport: Teleport | None = None,
    state: torch.dtype = torch.float64,
    **how: Any,
) -> Adapted:
    """From the grid's first node to its last with steps that suit the worst sample of the batch.

    A ``teleport`` ends at the first node.  ``how``: the method's options, ``finish`` and
    ``states``.  Every trial waits for the device.
    """
    _fit(x, state)
    watched = _Watched(denoiser, torch.full(x.shape[:1], -1, device=x.device))
    begin = x.to(state)
    jump = teleport and teleport.alone(entry.form(how), grid.points[0])
    landed = jump and run(jump.realize(_array(begin)), watched, begin)
    start = landed.x if landed else begin
    done = run_adaptive(entry, grid, watched, start, _distance, **how)
    watched.check(x, done.trajectory.x, range(watched.count))
    if teleport and jump and landed:
        done = joined(teleport, jump, replace(landed, states=(begin,)), done)
    landing, entropy = watched.landing(done.plan)
    made = replace(done.trajectory, landing=landing, entropy=entropy)
    plan = replace(done.plan, model=denoiser.parts)
    return replace(done, trajectory=_cast(made, x.dtype), plan=plan)


def _distance(high: Tensor, low: Tensor, previous: Tensor, control: Controller) -> float:
    """The largest root mean square of (high − low)/δ of a sample."""
    delta = (float(control.rtol) * torch.maximum(low.abs(), previous.abs())).clamp_min(
        float(control.atol)
    )
    error = ((high - low) / delta).flatten(1).square().mean(1).sqrt()
    return float(error.max())


def _fit(x: Tensor, state: torch.dtype) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 1:
        raise ValueError(f"x: got {_shown(x)}; a floating tensor of shape (B, ...) is allowed")
    if not isinstance(state, torch.dtype) or not state.is_floating_point:
        raise ValueError(f"state: got {state!r}; a floating dtype such as float64 is allowed")


def _cast(t: Trajectory, dtype: torch.dtype) -> Trajectory:
    return replace(t, x=t.x.to(dtype), states=tuple(s.to(dtype) for s in t.states))


def _shown(x: Any) -> str:
    return f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else repr(x)


@dataclass
class _Watched:
    """A model that notes, on the device, each sample's first evaluation that was not finite."""

    model: Denoiser
    first: Tensor
    count: int = field(default=0)
    begun: tuple[str, Tensor, Call, Tensor] | None = None
    """The first call of all, and its prediction."""

    def predict(self, kind: str, x: Tensor, call: Call) -> Tensor:
        P = self._note(self.model.predict(kind, x, call))
        self.begun = self.begun or (kind, x, call, P)
        return P

    def landing(self, plan: Plan) -> tuple[Tensor | None, Tensor | None]:
        """Where the plan begins with a teleport: what the first call shows of it, twice (B,)."""
        if self.begun is None or not plan.teleports:
            return None, None
        kind, x, at, P = self.begun
        known: Statistics = plan.form.needed("the data's moments")  # type: ignore[attr-defined]
        m, v = map(_array(x), (known.mean, known.variances))
        z, rho = x / at.alpha, at.sigma / at.alpha
        D = P if kind == "data" else z - rho * P
        share = rho * rho / (v + rho * rho)
        gap = D - m - (1 - share) * (z - m)
        error = (leading(share) * gap).square().mean(-1).sqrt()
        return error, (gap.square() / share).sum(-1) / (6 * rho * rho)

    def derivatives(
        self, schedule: Schedule, form: Form, tau: float, u: Tensor, count: int
    ) -> Sequence[Tensor]:
        N, *rest = self.model.derivatives(schedule, form, tau, u, count)
        if self.begun is None:
            here = form.point(schedule, FLOAT64, FLOAT64.number(float(tau)))
            c = realize(call(form, here), _array(u))
            P = (N - c.u_weight * u - c.constant) / c.p_weight
            self.begun = c.kind, leave(u, (c.scale, c.shift)), c, P
        return self._note(N), *rest

    def _note(self, P: Tensor) -> Tensor:
        finite = torch.isfinite(P.flatten(1)).all(1) if P.dim() > 1 else torch.isfinite(P)
        unseen = (self.first < 0) & ~finite
        self.first = torch.where(unseen, self.count, self.first)
        self.count += 1
        return P

    def check(self, start: Tensor, x: Tensor, steps: Sequence[int]) -> None:
        """``ValueError`` for a bad start, evaluation or state, whichever came first.

        ``steps`` has the step of each evaluation.
        """
        bad = torch.nonzero(self.first >= 0).flatten().tolist()
        if bad:
            sample = min(bad, key=lambda i: (int(self.first[i]), i))
            evaluation = int(self.first[sample])
            unfit = start[sample][~torch.isfinite(start[sample])].tolist()
            if unfit:
                raise ValueError(
                    f"x: got {unfit[0]} in sample {sample} of {len(x)}; finite states are allowed"
                )
            step = steps[evaluation]
            raise NotFinite(
                f"model: got a value that is not finite in step {step} (model call {evaluation}),"
                f" sample {sample} of {len(self.first)} ({len(bad)} bad in all);"
                " finite predictions are allowed",
                sample=sample,
                step=step,
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError(
                "state: overflowed; start and model values of moderate size are allowed"
            )
