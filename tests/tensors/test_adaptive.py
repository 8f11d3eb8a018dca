"""Adaptive runs are the published algorithm, and their error follows the tolerance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from experiments.solve import solve
from gaussian_score.mixture import GaussianMixture
from solvers import adaptive
from solvers.control import Controller
from solvers.denoiser import Known
from solvers.grids import Grid, explicit
from solvers.method import Entry, Weights, entry
from solvers.sample import sample, sample_adaptive
from solvers.schedules import schedule
from theory.order import prove_order

PROBLEM = {
    "weights": [0.4, 0.6],
    "means": [[-1.2, 0.3], [1.5, -0.5]],
    "covs": [[[0.25, 0.05], [0.05, 0.3]], [[0.64, 0.0], [0.0, 0.2]]],
}
START = [[0.4, -0.3], [-1.3, 2.0], [0.1, 0.7]]
NAMES = ("dpm_solver_12", "dpm_solver_23", "dpm_solver_pp_12", "dpm_solver_pp_23")
VP = schedule("vp_linear")


def law() -> GaussianMixture:
    return GaussianMixture.full(*(np.array(PROBLEM[k]) for k in ("weights", "means", "covs")))


def start() -> torch.Tensor:
    return torch.tensor(START, dtype=torch.float64)


def ends(first: float = 1.0, last: float = 1e-3) -> Grid:
    return explicit(VP, "t", [first, last])


def run(name: str, x: Any = START, **options: Any) -> dict[str, Any]:
    return solve(
        {
            "problem": PROBLEM,
            "schedule": {"name": "vp_linear"},
            "method": name,
            "options": options,
            "grid": {"t": [1.0, 1e-3]},
            "x_start": x,
        },
        states=True,
    )


# --- the published algorithm, written out in x ------------------------------------------------


def log_alpha(t: float) -> float:
    return -(19.9 * t * t) / 4 - 0.05 * t


def time_of(lam: float) -> float:
    root = 2 * 19.9 * np.logaddexp(-2 * lam, 0.0)
    return float(root / ((math.sqrt(0.01 + root) + 0.1) * 19.9))


def alpha_sigma(lam: float) -> tuple[float, float]:
    a = math.exp(log_alpha(time_of(lam)))
    return a, math.sqrt(1 - a * a)


def transcribed(data: bool, order: int, rtol: float, atol: float) -> tuple[np.ndarray, int]:
    """Noise form x' = (α'/α) x − σ' (e^h − 1) ε, data form x' = (σ'/σ) x + α' (1 − e^{−h}) D."""
    mixture = law()

    def model(x: np.ndarray, lam: float) -> np.ndarray:
        f = mixture.denoise if data else mixture.noise
        return f(torch.tensor(x), *alpha_sigma(lam)).numpy()

    def move(x: np.ndarray, a: float, b: float, N: np.ndarray) -> np.ndarray:
        (a0, s0), (a1, s1), h = alpha_sigma(a), alpha_sigma(b), b - a
        if data:
            return s1 / s0 * x - a1 * math.expm1(-h) * N
        return a1 / a0 * x - s1 * math.expm1(h) * N

    def second(h: float) -> float:
        """φ₂ without its factor h: (e^h − 1)/h − 1, in the data form (e^{−h} − 1)/h + 1."""
        return math.expm1(-h) / h + 1 if data else math.expm1(h) / h - 1

    lam, last = (log_alpha(t) - math.log(-math.expm1(2 * log_alpha(t))) / 2 for t in (1.0, 1e-3))
    x, previous, h, calls = np.array(START), np.array(START), 0.05, 0
    while abs(time_of(lam) - 1e-3) > 1e-5:
        end = lam + h
        r1 = 1 / order
        N0 = model(x, lam)
        N1 = model(move(x, lam, lam + r1 * h, N0), lam + r1 * h)
        one = move(x, lam, end, N0)
        middle = move(x, lam, end, N0 + (N1 - N0) / (2 * r1))
        sign = alpha_sigma(end)[0] if data else -alpha_sigma(end)[1]
        low, high = one, middle
        if order == 3:
            r2, there = 2 / 3, lam + 2 * h / 3
            a, s = alpha_sigma(there)
            stage = move(x, lam, there, N0) + (a if data else -s) * r2 / r1 * second(r2 * h) * (
                N1 - N0
            )
            N2 = model(stage, there)
            low, high = middle, one + sign * second(h) / r2 * (N2 - N0)
        calls += order
        delta = np.maximum(atol, rtol * np.maximum(abs(low), abs(previous)))
        error = np.sqrt((((high - low) / delta) ** 2).mean(axis=1)).max()
        if error <= 1:
            x, lam, previous = high, end, low
        h = min(0.9 * h * error ** (-1 / order), last - lam)
    return x, calls


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rtol", "atol"), [(0.05, 0.0078), (0.01, 0.001)])
def test_a_run_is_the_published_algorithm(name: str, rtol: float, atol: float) -> None:
    """Same calls; the state to 1e-8, since a step's length is a rounded function of the state."""
    expected, calls = transcribed("_pp_" in name, int(name[-1]), rtol, atol)
    ours = run(name, rtol=rtol, atol=atol)
    assert ours["nfe"] == calls
    assert np.abs(np.array(ours["x_final"]) - expected).max() < 1e-8


@pytest.mark.parametrize("name", NAMES)
def test_the_error_follows_the_tolerance(name: str) -> None:
    loose, tight = (run(name, rtol=r, atol=r / 10) for r in (1e-2, 1e-4))
    assert tight["error_rms"] < loose["error_rms"] / 10
    assert tight["nfe"] > 2 * loose["nfe"]
    assert len(tight["nodes"]["t"]) == len(tight["states"])


@pytest.mark.parametrize("name", NAMES)
def test_the_accepted_plan_gives_the_same_run(name: str) -> None:
    model = Known(law())
    done = sample_adaptive(entry(name), ends(), model, start(), states=True, finish="denoise")
    again = sample(done.plan, model, start(), states=True)
    assert torch.equal(again.x, done.trajectory.x)
    pairs = zip(again.states, done.trajectory.states, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert again.nfe < done.trajectory.nfe  # the run also paid for the refused trials


@pytest.mark.parametrize("name", NAMES)
def test_the_lower_row_has_the_lower_order(name: str) -> None:
    e = entry(name)

    def lower(*args: Any, **options: Any) -> Weights:
        w = e.fn(*args, **options)
        assert w.low is not None
        return replace(w, b=w.low, low=None)

    assert prove_order(e).graded == int(name[-1])
    assert prove_order(replace(e, fn=lower)).graded == int(name[-1]) - 1


def test_the_worst_sample_decides() -> None:
    """Copies of a sample change nothing; beside a harder one it takes the steps of both."""
    alone = run("dpm_solver_23", [START[0]])
    copies = run("dpm_solver_23", [START[0]] * 3)
    assert copies["nfe"] == alone["nfe"]
    assert copies["x_final"] == alone["x_final"] * 3
    together = run("dpm_solver_23", [START[0], START[1]])
    assert together["nodes"]["lam"] != alone["nodes"]["lam"]


def test_a_step_after_perfect_agreement_is_finite() -> None:
    assert math.isfinite(Controller().next(0.05, 0.0, 2))
    assert Controller().next(0.05, 1.0, 2) == pytest.approx(0.045)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rtol": 0}, r"options\.rtol: got 0; a positive number is allowed"),
        ({"rtol": [0.1]}, r"options\.rtol: got \[0\.1\]; a positive number is allowed"),
        ({"orders": [2]}, r"options\.orders: got \[2\]; dpm_solver_12 takes rtol, atol"),
        ({"rtol": 1e-14, "atol": 1e-14}, r"options\.rtol: got 1e-14, with which 100 trials"),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptive, "TRIALS", 100)
    with pytest.raises(ValueError, match=message):
        run("dpm_solver_12", [START[0]], **options)


def test_a_method_without_a_pair_is_refused() -> None:
    e: Entry = entry("ddim")
    with pytest.raises(ValueError, match=r"method: got ddim; a method with an embedded pair"):
        sample_adaptive(e, ends(), Known(law()), start())
