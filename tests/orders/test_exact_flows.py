"""A method of order p ends p-th order near the closed-form flow of every solvable family."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from experiments.measure import PROBLEM, Problem, estimate, grid, seed, seeds
from gaussian_score.flow import Flow
from gaussian_score.line import Line, two_point
from gaussian_score.products import Moved, Product, along
from gaussian_score.radial import Concentric
from gaussian_score.sphere import Sphere
from gaussian_score.trajectory import GaussianFlow
from gaussian_score.uniform import Uniform
from solvers.denoiser import Known
from solvers.float64 import FLOAT64
from solvers.grids import Grid
from solvers.method import entry
from solvers.ops import Advance, Plan
from solvers.plan import plan
from solvers.sample import sample
from theory.order import prove_order

F64 = torch.float64
TURN = torch.linalg.qr(torch.tensor([[2, 0.3, -0.5], [0.4, 2, 0.7], [-0.2, 0.6, 2]], dtype=F64)).Q
SHIFT = torch.tensor((0.5, -1, 0.25), dtype=F64)
MODES = Line((0.4, 0.6), (-1.2, 1.5), (0.25, 0.64))
LAWS: dict[str, Flow] = {
    "gaussian": GaussianFlow(SHIFT, torch.tensor((2, 0.5), dtype=F64), TURN[:, :2], 0.1),
    "mixture": MODES,
    "two_point": two_point(1.5),
    "uniform": Uniform(-1.0, 2.5),
    "concentric": Concentric((0.6, 0.4), (0.09, 4), 3),
    "sphere": Sphere(2.0, 3),
    "circle": Sphere(1.5, 2),
    "grid": Product((MODES, Line((0.5, 0.3, 0.2), (-1, 0, 2), (0.3, 0.2, 0.5)))),
    "line x gaussian": along(MODES, SHIFT, TURN, torch.tensor((0.5, 0.02), dtype=F64)),
    "moved": Moved(Product((MODES, Sphere(1.0, 2))), TURN, SHIFT, 0.8),
}
METHODS = {
    "ddim": 1,
    "dpm_solver_pp_2m": 2,
    "dpm_solver_2": 2,
    "deis_rho_ab2": 3,
    "dpm_solver_3": 3,
}
RUN = Problem(PROBLEM.mixture, PROBLEM.schedule, Fraction(3), Fraction(2, 5), ())
"""From ρ = 3 to 0.4: above it no family has a separatrix between the starts below."""


def starts(law: Flow, sigma: float) -> Tensor:
    """Two points of the law's own size and more, off every mirror plane."""
    rows = torch.tensor([[0.7, -0.4, 0.5], [-0.9, 1.1, 0.6]], dtype=F64)
    return 1.5 * sigma * rows[:, : law.dim]


@cache
def planned(name: str, steps: int) -> tuple[Plan, Grid, int]:
    """The run of a method, the same for every law, and how many steps its history takes."""
    e = entry(name)
    g, first = grid(RUN, steps, FLOAT64, "exact"), seeds(e, {})
    return plan(e, g, first=first), g, first


def curve(law: Flow, name: str, steps: list[int], model: Any = None) -> list[tuple[float, float]]:
    """(largest step, root mean square error at the end) with an exact history."""
    known, out = Known(model or law), []
    for n in steps:
        p, g, first = planned(name, n)
        levels = [(float(q.alpha), float(q.sigma)) for q in (*g.points[: first + 1], g.points[-1])]
        x = starts(law, levels[0][1])
        states = [x, *(law.flow(x, start=levels[0], end=b) for b in levels[1:-1])]
        history = [
            seed(p, q, s, known, lambda v: torch.tensor(v, dtype=F64))
            for q, s in zip(g.points[:first], states, strict=False)
        ]
        end = sample(p, known, states[-1], history=history[::-1]).x
        miss = end - law.flow(x, start=levels[0], end=levels[-1])
        h = max(abs(float(op.h)) for op in p.ops if isinstance(op, Advance))
        out.append((h, float(miss.square().mean().sqrt())))
    return out


def slope(law: Flow, name: str, order: int, model: Any = None) -> float:
    """The slope of the first doubling within 0.1 of the order, or of the last above rounding."""
    last = 0.0
    points = curve(law, name, [32], model)
    for n in (64, 128, 256, 512):
        points += curve(law, name, [n], model)
        if points[-1][1] < 1e-13:  # a few hundred roundings of a state of size one
            break
        last = estimate(points[-2:], 0.0).slope
        if abs(last - order) < 0.1:
            break
    return last


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", LAWS)
def test_order_against_the_closed_form(family: str, name: str) -> None:
    assert slope(LAWS[family], name, METHODS[name]) == pytest.approx(METHODS[name], abs=0.1)


def test_the_orders_are_the_proved_ones() -> None:
    assert {n: prove_order(entry(n)).graded for n in METHODS} == METHODS


@dataclass(frozen=True)
class Wrong:
    """Predictions that are off by a part in a thousand."""

    law: Any

    def noise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        return self.law.noise(x, alpha, sigma) * 1.001

    def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        return self.law.denoise(x, alpha, sigma) * 1.001


@pytest.mark.parametrize("family", ["gaussian", "two_point", "sphere", "moved"])
def test_control_a_wrong_denoiser_converges_elsewhere(family: str) -> None:
    """The error stops falling."""
    law = LAWS[family]
    assert slope(law, "dpm_solver_pp_2m", 2, Wrong(law)) < 1
