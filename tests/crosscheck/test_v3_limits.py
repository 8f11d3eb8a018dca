"""Where DPM-Solver-v3 must be something known: another method, one call a step, unbiased."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.measure import seed
from gaussian_score.mixture import GaussianMixture
from gaussian_score.model_statistics import excess, marginals, moments
from gaussian_score.transport import transport
from solvers.coordinatewise import ARRAYS
from solvers.denoiser import Denoiser
from solvers.empirical import DATA, NOISE, Constant
from solvers.grids import explicit, laid
from solvers.method import entry
from solvers.ops import Advance
from solvers.piecewise import Piecewise, chebyshev
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import schedule
from solvers.statistics import Smooth
from solvers.step import run
from tests.crosscheck.printed import M, Task, law
from theory.mixtures import Analytic

LAW = law("0.4 0.6", "-1 0.8", "0.4 0.25")
TASK = Task(LAW, "t", 7, "0.9", "0.2", "0.6")
PLUS: dict[str, Any] = {"corrector": "full", "corrector_order": "plus_one"}


# --- degenerate statistics: the v3 tables, section 2.2 -------------------------------------------


@pytest.mark.parametrize(("known", "prediction"), [(DATA, "data"), (NOISE, "noise")])
@pytest.mark.parametrize("q", [1, 2, 3])
def test_degenerate_statistics_are_unip_and_unipc(
    q: int, known: Constant, prediction: str
) -> None:
    """To all digits, on an uneven grid, with warm-up, final lowering and a corrected last step."""
    model, start, grid = Analytic(LAW), M.number(TASK.x), TASK.grid()
    cases: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
        ({}, f"unip_{q}", {}),
        (PLUS, f"unipc_{q}", {}),
        (PLUS, f"unipc_{q}", {"correct_last": True}),
        (PLUS, f"unipc_{q}", {"lower_order_final": True}),
    ]
    for ours, theirs, more in cases:
        mine = plan(entry(f"dpm_solver_v3_{q}"), grid, statistics=known, **ours, **more)
        other = plan(entry(theirs), grid, prediction=prediction, **more)
        ends = [run(p, model, start).x for p in (mine, other)]
        assert abs(float(ends[0] - ends[1])) < 1e-45
        assert mine.nfe == other.nfe
    if q > 1:  # control: a corrector of the predictor's order is another method
        mine = plan(entry(f"dpm_solver_v3_{q}"), grid, statistics=known, corrector="full")
        other = plan(entry(f"unipc_{q}"), grid, prediction=prediction)
        assert abs(float(run(mine, model, start).x - run(other, model, start).x)) > 1e-6


def test_first_order_is_ddim() -> None:
    """Both ways; other statistics give another method."""
    model, start, grid = Analytic(LAW), M.number(TASK.x), TASK.grid()
    ddim = run(plan(entry("ddim"), grid), model, start).x
    for known in (DATA, NOISE):
        end = run(plan(entry("dpm_solver_v3_1"), grid, statistics=known), model, start).x
        assert abs(float(end - ddim)) < 1e-45
    known = Constant(1, -1)
    end = run(plan(entry("dpm_solver_v3_1"), grid, statistics=known), model, start).x
    assert abs(float(end - ddim)) > 1e-3


# --- model calls ---------------------------------------------------------------------------------

CHOICES: dict[str, tuple[Any, ...]] = {
    "corrector": ("none", "full", "half_paper", "half_code"),
    "corrector_order": ("same", "plus_one"),
    "p_pseudo": (False, True),
    "c_pseudo": (False, True),
}
OPTIONS = [
    dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())
]


@pytest.mark.parametrize("q", [1, 2, 3])
def test_one_call_a_step(q: int) -> None:
    """Whatever is switched on, the last step's correction aside."""
    grid = laid(schedule("vp_linear"), "t", steps=6, start=0.9, end=0.2)
    for options in OPTIONS:
        e = entry(f"dpm_solver_v3_{q}")
        assert plan(e, grid, statistics=DATA, **options).nfe == 6
        assert plan(e, grid, statistics=DATA, lower_order_final=True, **options).nfe == 6
    last = plan(entry("dpm_solver_v3_2"), grid, statistics=DATA, correct_last=True, **PLUS)
    assert last.nfe == 7


def corrected(p: Any) -> list[bool]:
    """Of every step, whether its new point is corrected."""
    return [op.weights.carry is not None for op in p.ops if isinstance(op, Advance)]


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("vp_linear", [0.9, 0.7, 0.5, 0.3, 0.2]),
        ("ddpm_discrete", [899.0, 699.0, 499.0, 299.0, 199.0]),
    ],
)
def test_halves_are_told_by_the_time(name: str, times: list[float]) -> None:
    """Late is t <= ½, a node there included; of 1000 discrete times the clock is (n+1)/1000."""
    grid = explicit(schedule(name), "t", times)

    def at(kind: str) -> list[bool]:
        options = {**PLUS, "corrector": kind}
        return corrected(plan(entry("dpm_solver_v3_2"), grid, statistics=DATA, **options))

    assert at("full") == [True, True, True, False]  # the last step is not corrected
    assert at("half_code") == [True, False, False, False]
    assert at("half_paper") == [False, True, True, False]


# --- the mean error: the v3 tables, section 8 ----------------------------------------------------

LINE = ([0.4, 0.6], [[-1.0], [0.8]], [[[0.16]], [[0.0625]]])


def offset(lam: Any) -> Any:
    """How far this model's trajectories are carried from the mixture's, z̃ = z + d(λ)."""
    return 0.2 * np.sin(1.5 * lam)


def rate(lam: Any) -> Any:
    return 0.3 * np.cos(1.5 * lam)


@dataclass(frozen=True)
class Drifting(Denoiser):
    """ũ(z, λ) = u(z − d, λ) − d': a network whose mean prediction drifts with λ."""

    mixture: GaussianMixture

    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        lam = -math.log(sigma)
        noise = self.mixture.noise(x - offset(lam), 1.0, sigma) - rate(lam) / sigma
        return noise if kind == "noise" else x - sigma * noise


def of_drifting(low: float, high: float) -> Smooth:
    """The same l and s; the mean of f is −l m − l d − d'."""
    delta, (mean, variance) = excess(*LINE), marginals(*LINE)

    def curves(lam: Any) -> Any:
        l, var = moments(delta, variance, lam)
        d = offset(lam)[:, None]
        return np.concatenate([l, np.log(var) / 2, -l * (mean + d) - rate(lam)[:, None]], axis=1)

    found = chebyshev(curves, low, high, 20, 1e-12)
    l, S, f = (Piecewise(found.breaks, c) for c in np.split(found.coefficients, 3, axis=2))
    return Smooth(l, l.integral(), S, f)


@pytest.mark.parametrize(("name", "biased"), [
    ("dpm_solver_v3_1", False), ("dpm_solver_v3_2", False), ("ddim", True),
    ("dpm_solver_pp_2m", True),
])  # fmt: skip
def test_the_mean_error_of_a_step(name: str, biased: bool) -> None:
    """Over the law of exact trajectories v3 with its own statistics has none; others have."""
    w, m, v = LINE[0], [a[0] for a in LINE[1]], [c[0][0] for c in LINE[2]]
    nodes = [-1.1, -0.4, 0.3]
    grid = explicit(schedule("edm"), "lam", nodes, F=ARRAYS)
    rho = [float(p.rho) for p in grid.points]
    mixture = GaussianMixture.full(*LINE)
    model = Drifting(mixture)
    spread = math.sqrt(1 + rho[1] ** 2)
    z = np.linspace(-9 * spread, 9 * spread, 1201)
    density = mixture.log_density(torch.tensor(z[:, None]), 1.0, rho[1]).exp().numpy()
    share = density / density.sum()
    states = [
        torch.tensor((points + offset(lam))[:, None])
        for points, lam in ((transport(w, m, v, z, rho[1], rho[0]), nodes[0]), (z, nodes[1]))
    ]
    found = of_drifting(nodes[0] - 0.1, nodes[2] + 0.1)
    p = plan(entry(name), grid, statistics=found, first=1, orders=[1, entry(name).q or 1])

    def array(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    history = [seed(p, grid.points[0], states[0], model, array)]
    end = sample(p, model, states[1], history=history).x[:, 0].numpy()
    mean = share @ z + offset(nodes[2])  # the law's own mean never moves
    bias = share @ end - mean
    exact = transport(w, m, v, z, rho[1], rho[2]) + offset(nodes[2])
    assert share @ abs(end - exact) > 1e-3  # single errors are there
    assert abs(bias) > 3e-3 if biased else abs(bias) < 1e-13
