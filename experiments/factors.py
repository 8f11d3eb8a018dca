r"""The locally best factor 1/φ* of a recursive difference, step by step along the exact flow.

From the exact state at a node one step is taken three times: with the run's φ₁ (rd), with φ₁ = 1,
the finite difference (fd), and by DDIM.  The result is affine in 1/φ₁, so the best factor of the
step is known, and for short steps ``theory.local_errors.best_factor`` predicts it:

    best       1/φ* = ⟨x − x_DDIM, x_FD − x_DDIM⟩/|x_FD − x_DDIM|²
    predicted  1/φ* = 1 + h ⟨(1/3 − r₁/2) N'' + r₁/2 N_u N', N'⟩/|N'|² + O(h²)
    rd is nearer than fd just if  1/φ* > (1 + 1/φ₁)/2,  the threshold (φ₁ < 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from experiments.methods import find
from experiments.problems import array, mapping, read_grid, read_law, read_schedule, word
from experiments.solve import REQUIRED
from gaussian_score.mixture import GaussianMixture
from gaussian_score.reference import reference_flow
from solvers.denoiser import Known
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.grids import Grid
from solvers.gridstep import Uniform
from solvers.method import Entry, entry
from solvers.methods.scire import factor, scire
from solvers.plan import plan
from solvers.point import Point
from solvers.sample import sample
from theory.local_errors import best_inverse

HEADS = ("step", "from t", "to t", "1/φ*\npredicted", "1/φ*", "threshold",
         "rd wins\npredicted", "rd wins", "error rd", "error fd", "error ddim")  # fmt: skip
ALLOWED = ("scire_v1_2", "scire_v2_2", "scirei_2")
ROUNDING = 1e-13
"""A step that φ₁ moves by less has no best factor."""


@dataclass(frozen=True)
class Study:
    """A two-stage method, a grid, a model; x of shape (B, D) everywhere."""

    entry: Entry
    options: Mapping[str, Any]
    grid: Grid
    model: Known

    @property
    def form(self) -> Form:
        """Of the method."""
        return self.entry.form({})

    def ends(self, x: Tensor, grid: Grid, options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Where rd, fd and DDIM end."""
        plans = {
            "rd": plan(self.entry, grid, **options),
            "fd": plan(self.entry, grid, **{**options, "phi1": "fd"}),
            "ddim": plan(entry("ddim"), grid, form=self.form),
        }
        return {key: sample(p, self.model, x).x for key, p in plans.items()}

    def step(self, n: int, x: Tensor, goal: Tensor) -> dict[str, Any]:
        """One step from exact x to exact goal; one number a start, or the RMS over them."""
        a, b = points = self.grid.points[n : n + 2]
        bound = self.entry.resolve(self.options)
        own = {k: v[n] if isinstance(v, tuple) else v for k, v in bound.items()}
        ends = self.ends(x, replace(self.grid, points=points), own)
        away = ends["fd"] - ends["ddim"]
        moved = dot(away, away) > ROUNDING**2 * (1 + dot(goal, goal))
        best = torch.where(moved, dot(goal - ends["ddim"], away) / dot(away, away), math.nan)
        r1 = 0.5 if own["r1"] is None else float(own["r1"])
        predicted = self.predicted(a, x, float(self.form.tau(b) - self.form.tau(a)), r1)
        inverse = 1 / float(factor(Uniform(FLOAT64), own["phi1"]))
        threshold = (1 + inverse) / 2
        miss = {key: (end - goal).norm(dim=1) for key, end in ends.items()}
        return {
            "t": [float(a.t), float(b.t)],
            "lam": [float(a.lam), float(b.lam)],
            "inverse_phi1": inverse,
            "threshold": threshold,
            "best": plain(best),
            "best_predicted": plain(predicted),
            "rd_wins": share(miss["rd"] < miss["fd"]),
            "rd_wins_predicted": share((predicted - threshold) * (inverse - 1) > 0),
            **{f"error_{key}": rms(m) for key, m in miss.items()},
        }

    def predicted(self, a: Point, x: Tensor, h: float, r1: float) -> Tensor:
        """1/φ* from N's derivatives at the start of the step."""
        form, schedule = self.form, self.grid.schedule
        tau, u = float(form.tau(a)), (x - float(form.shift(a))) / float(form.scale(a))

        def N(state: Tensor) -> Tensor:
            return self.model.derivatives(schedule, form, tau, state, 0)[0]

        _, slope, curve = self.model.derivatives(schedule, form, tau, u, 2)
        pull = torch.func.jvp(N, (u,), (slope,))[1]  # pyright: ignore
        return best_inverse(h, r1, *(dot(v, slope) for v in (slope, curve, pull)))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Over the coordinates."""
    return (a * b).sum(1)


def share(won: Tensor) -> float:
    """Of the starts."""
    return float(won.double().mean())


def rms(errors: Tensor) -> float:
    """Over the starts."""
    return float(errors.square().mean().sqrt())


def plain(values: Tensor) -> list[float | None]:
    """JSON has no NaN: None where nothing depends on φ₁."""
    return [v if math.isfinite(v) else None for v in values.tolist()]


def best_factors(run: Any) -> dict[str, Any]:
    """The study of one run as ``solve`` takes it; errors name the key and what is allowed."""
    obj = mapping(run, "run", (*REQUIRED, "options"), required=REQUIRED)
    law, schedule = read_law(obj["problem"]), read_schedule(obj["schedule"])
    method = find(word(obj["method"], "method"))
    if method.fn is not scire or method.q != 2:
        raise ValueError(f"method: got {method.name!r}; one of {', '.join(ALLOWED)} is allowed")
    options = mapping(obj.get("options", {}), "options", tuple(method.options))
    grid = read_grid(obj["grid"], schedule)
    if grid.points[0].silent:
        raise ValueError("grid: got alpha = 0 at the first node; alpha > 0 is allowed here")
    x = array(obj["x_start"], "x_start", 2)
    if x.shape[1] != law.means.shape[1]:
        raise ValueError(
            f"x_start: got {x.shape[1]} coordinates; the law's {law.means.shape[1]} are allowed"
        )
    mixture = (law.weights, law.means, law.covs)
    start, *levels = ((float(p.alpha), float(p.sigma)) for p in grid.points)
    exact = [x, *(reference_flow(*mixture, x, start, to).x for to in levels)]
    states = [torch.tensor(v) for v in exact]
    study = Study(method, options, grid, Known(GaussianMixture.full(*mixture)))
    whole = study.ends(states[0], grid, options)
    steps = [study.step(n, *pair) for n, pair in enumerate(pairwise(states))]
    return {
        "method": method.name,
        "options": dict(options),
        "steps": steps,
        **{f"error_{k}": rms((end - states[-1]).norm(dim=1)) for k, end in whole.items()},
    }


def cells(study: Mapping[str, Any]) -> list[Sequence[Any]]:
    """The study as a table: medians over the starts, and the whole run below."""

    def median(values: Sequence[float | None]) -> float | None:
        known = sorted(v for v in values if v is not None)
        return known[len(known) // 2] if known else None

    names = ("error_rd", "error_fd", "error_ddim")
    rows: list[Sequence[Any]] = []
    for n, s in enumerate(study["steps"]):
        ts = (f"{t:.4g}" for t in s["t"])
        factors = (median(s["best_predicted"]), median(s["best"]), s["threshold"])
        shares = (f"{s[k]:.0%}" for k in ("rd_wins_predicted", "rd_wins"))
        rows.append((n, *ts, *factors, *shares, *(f"{s[k]:.3g}" for k in names)))
    ends = (f"{study['steps'][i]['t'][i]:.4g}" for i in (0, -1))
    return [*rows, ("run", *ends, *(None,) * 5, *(f"{study[k]:.3g}" for k in names))]
