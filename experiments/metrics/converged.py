r"""Trajectories of a network without a solver's error, each with an estimate of its own.

    du/dq = D − tanh(q) u,    u = x/√(α² + σ²),    q = asinh(α/σ)

is the probability-flow ODE on every schedule: regular where α = 0 (q = 0), and q → λ + log 2 where
σ is small. Two solvers that share D alone follow it in float64, each with a copy of the network in
float64: DOP853 of scipy (order 8, with steps of its own) on this equation, and UniPC-3 (order 4)
in DATA_LAMBDA on nodes uniform in λ, whose steps are doubled until both agree.

    error of the reference, a sample:   e_b = √(mean over pixels (x_DOP853 − x_UniPC)²)
    trajectory error of a run:          E_b = √(mean over pixels (x_run − x_DOP853)²)

and over samples the root mean square and the median of E_b. Both are distances of states x at the
end level in the schedule's scale, and both runs begin at the same x_T = σ_T n: a run that
teleports is measured against the flow from σ_T as well, so its jump is part of its error. A figure
of a run that is not well above the reference's own is no figure of the solver.

Sources: Hairer, Norsett and Wanner 1993 (DOP853); Zhao et al. 2023 (UniPC).
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import cache
from experiments.sampling.draw import start
from experiments.sampling.source import Source
from experiments.terminal import Tick
from solvers.denoiser import Denoiser
from solvers.float64 import FLOAT64
from solvers.grids import Grid, rule
from solvers.method import entry
from solvers.ops import Plan
from solvers.plan import FINISHES, plan
from solvers.point import Point
from solvers.sample import sample
from solvers.schedules import Schedule

TOLERANCE = 1e-6
"""Fifty calls of a method of high order err by some 1e-5 of the data's standard deviation."""
METHOD, STEPS, DOUBLINGS = "unipc_3", 48, 8
TIGHTER, TIGHTEST = 16.0, 1e-12
BLOCK = 8
"""Samples that are solved together; more do not fit a CPU's cache."""
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Reference:
    """States (B, ...) at the end level, float64 on the CPU, and the error of each, (B,)."""

    x: Tensor
    error: Tensor

    @property
    def rms(self) -> float:
        """The root mean square of the errors over samples."""
        return _rms(self.error)


@dataclass(frozen=True)
class TrajectoryError:
    """Of a run: over samples, beside that of the reference that it was measured with."""

    rms: float
    median: float
    reference: float


def trajectory_error(x: Tensor, reference: Reference) -> TrajectoryError:
    """Of the states x, (B, ...), that a run ended with."""
    if x.shape != reference.x.shape:
        raise ValueError(
            f"x: got shape {tuple(x.shape)}; that of the reference, {tuple(reference.x.shape)}, is"
            " allowed"
        )
    each = apart(x.to(reference.x), reference.x)
    return TrajectoryError(_rms(each), float(each.median()), reference.rms)


def apart(x: Tensor, y: Tensor) -> Tensor:
    """√(mean over pixels (x − y)²) of each sample, (B,)."""
    return (x - y).flatten(1).square().mean(1).sqrt()


def converged(
    source: Source,
    seeds: Sequence[int],
    *,
    condition: Tensor | None = None,
    scale: float | None = None,
    unconditional: Tensor | None = None,
    schedule: Schedule | None = None,
    levels: tuple[float, float] | None = None,
    finish: str = "none",
    tolerance: float = TOLERANCE,
    block: int = BLOCK,
    folder: Path | None = None,
    progress: Tick | None = None,
) -> Reference:
    """The flow of the checkpoint's network from the noise of each seed, to the lowest level.

    Blocks of samples are kept as they are found, so a second call reads them, and one that was
    interrupted goes on.

    Args:
        source: its network is copied to float64; the source itself stays as it is.
        seeds: one a sample.
        condition: classes, (B,), or embeddings, (B, L, C), one a sample.
        scale: of guidance.
        unconditional: the empty text's embeddings, for networks of texts.
        schedule: the source's, if None.
        levels: σ/α, lowest and highest; the source's, if None.
        finish: "denoise" ends with D at the lowest level.
        tolerance: allowed error of a sample.
        block: samples solved together.
        folder: where blocks are kept; the user's cache, if None.
        progress: called after every block.

    Raises:
        ValueError: an argument outside its set, a network that is not finite, or one for which
            the two solvers do not come that near.
    """
    _check(source, seeds, condition, finish, tolerance)
    if schedule is not None:
        source = source.on(schedule)
    low, high = levels or source.levels
    network = replace(source, module=copy.deepcopy(source.module)).to(dtype=torch.float64)
    flow = Flow(source.schedule, low, high, finish)
    found: list[Reference] = []
    for first in range(0, len(seeds), block):
        here = slice(first, first + block)
        mine = None if condition is None else condition[here]
        decides = {
            "format": FORMAT,
            "digest": source.digest,
            "flow": repr(flow),
            "seeds": list(seeds[here]),
            "condition": None if mine is None else _hash(mine),
            "scale": scale,
            "unconditional": None if unconditional is None else _hash(unconditional),
            "tolerance": tolerance,
        }
        file = cache.place("trajectories", decides)
        file = file if folder is None else folder / file.name
        held = cache.load(file, ("x", "error"))
        if held is None:
            noise = start(seeds[here], source.shape)
            model = network.denoiser(mine, scale=scale, unconditional=unconditional)
            found.append(settled(model, flow, noise, tolerance=tolerance))
            arrays = {"x": found[-1].x.numpy(), "error": found[-1].error.numpy()}
            cache.store(file, arrays, decides)
        else:
            x, error = (torch.from_numpy(held[0][name]) for name in ("x", "error"))
            found.append(Reference(x, error))
        if progress is not None:
            progress(min(first + block, len(seeds)), len(seeds), "converged")
    return Reference(torch.cat([r.x for r in found]), torch.cat([r.error for r in found]))


@dataclass(frozen=True)
class Flow:
    """From ρ = high, or α = 0 where that is infinite, to ρ = low on a schedule."""

    schedule: Schedule
    low: float
    high: float
    finish: str = "none"

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"levels: got {self.low}, {self.high}; 0 < low < high is allowed")
        if math.isinf(self.high) and self.schedule.silent is None:
            raise ValueError(
                f"levels: got an infinite one; a finite one is allowed on {self.schedule.name}"
            )

    @property
    def first(self) -> Point:
        """Where it begins."""
        if math.isinf(self.high) and self.schedule.silent is not None:
            return Point(self.schedule, FLOAT64, "t", FLOAT64.number(self.schedule.silent))
        return self.at(self.high)

    def at(self, rho: float) -> Point:
        """The point at a level."""
        return Point(self.schedule, FLOAT64, "rho", FLOAT64.number(rho))

    def nodes(self, steps: int, tolerance: float) -> Grid:
        """Uniform in λ; from α = 0 a first step to a level at which it errs by less than that."""
        first = self.first
        if not first.silent:
            return rule("logsnr", steps, first, self.at(self.low))
        grid = rule("logsnr", steps, self.at(10 / math.sqrt(tolerance)), self.at(self.low))
        return replace(grid, points=(first, *grid.points))


def settled(model: Denoiser, flow: Flow, noise: Tensor, *, tolerance: float) -> Reference:
    """Both solvers from x_T = σ_T n until they agree; ``noise`` is n, (B, ...), float64."""
    x = float(flow.first.sigma) * noise
    inner = tolerance / 4
    high, before = _dop853(model, flow, x, inner), None
    for doubling in range(DOUBLINGS):
        now = sample(_plan(flow, STEPS << doubling, tolerance, model.parts), model, x).x
        late = before is not None and float(apart(now, before).max()) <= tolerance
        if late and inner > TIGHTEST and float(apart(now, high).max()) > tolerance:
            inner = max(inner / TIGHTER, TIGHTEST)
            high = _dop853(model, flow, x, inner)
        error = apart(now, high)
        if float(error.max()) <= tolerance:
            return Reference(high, error)
        before = now
    raise ValueError(
        f"tolerance: got {tolerance}; with {STEPS << DOUBLINGS - 1} steps two solvers agree to"
        f" {float(error.max()):.2g}, and that or more is allowed"  # type: ignore[possibly-undefined]
    )


@lru_cache(maxsize=DOUBLINGS)
def _plan(flow: Flow, steps: int, tolerance: float, parts: tuple[str, ...]) -> Plan:
    """Its weights, of many digits, take as long as a small network's calls: blocks share them."""
    nodes = flow.nodes(steps, tolerance)
    return plan(entry(METHOD), nodes, finish=flow.finish, model=parts)


def _dop853(model: Denoiser, flow: Flow, x: Tensor, tolerance: float) -> Tensor:
    from scipy.integrate import solve_ivp

    first, last = flow.first, flow.at(flow.low)
    begin, end = (0.0 if p.silent else math.asinh(1 / float(p.rho)) for p in (first, last))

    def data(p: Point, state: Tensor) -> Tensor:
        with torch.no_grad():
            found = model.at("data", state, float(p.t), float(p.alpha), float(p.sigma))
        if not bool(found.isfinite().all()):
            raise ValueError(
                f"model: got a number that is not finite at sigma = {float(p.sigma):.4g};"
                " finite ones are allowed"
            )
        return found

    def slope(q: float, values: Any) -> Any:
        p = first if q == begin else flow.at(1 / math.sinh(q))
        u = torch.from_numpy(values).reshape(x.shape)
        return (data(p, _size(p) * u) - math.tanh(q) * u).flatten().numpy()

    y = (x / _size(first)).flatten().numpy()
    run = solve_ivp(slope, (begin, end), y, method="DOP853", rtol=tolerance, atol=tolerance)
    if not run.success:
        raise ValueError(f"model: DOP853 stops ({run.message}); a finite model is allowed")
    state = _size(last) * torch.from_numpy(run.y[:, -1].copy()).reshape(x.shape)
    return data(last, state) if flow.finish == "denoise" else state


def _size(p: Point) -> float:
    """√(α² + σ²)."""
    return math.hypot(float(p.alpha), float(p.sigma))


def _rms(each: Tensor) -> float:
    return float(each.double().square().mean().sqrt())


def _hash(values: Tensor) -> str:
    kept = values.detach().cpu().contiguous()
    head = f"{kept.dtype} {tuple(kept.shape)}".encode()
    return hashlib.sha256(head + kept.numpy().tobytes()).hexdigest()


def _check(
    source: Source,
    seeds: Sequence[int],
    condition: Tensor | None,
    finish: str,
    tolerance: float,
) -> None:
    if not len(seeds):
        raise ValueError("seeds: got none; one a sample is allowed")
    if condition is not None and len(condition) != len(seeds):
        raise ValueError(
            f"condition: got {len(condition)} entries; one a sample, {len(seeds)}, are allowed"
        )
    if finish not in FINISHES:
        raise ValueError(f"finish: got {finish!r}; {' or '.join(map(repr, FINISHES))} is allowed")
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance: got {tolerance!r}; a number > 0 is allowed")
