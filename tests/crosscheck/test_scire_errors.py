"""Errors of the SciRE methods are those of the SciRE tables: section 8.1, TV-9 and TV-10."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from solvers.denoiser import Known
from solvers.float64 import FLOAT64
from solvers.grids import explicit
from solvers.gridstep import Uniform
from solvers.method import entry
from solvers.methods.scire import factor
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import schedule
from solvers.step import run
from tests.crosscheck.printed import M, Task, law, missed, read
from theory.mixtures import Analytic, flow

LAW = law("0.4 0.6", "-1 1.5", "0.5 0.3")
NFE = (6, 12, 18, 48)
TABLE = """
ddim - 1 nsr 2.881e-01 1.502e-01 1.012e-01 3.879e-02
scire_v1_2 phi1=fd 2 nsr 2.372e-01 5.686e-02 2.809e-02 6.146e-03
scire_v1_2 phi1=m3 2 nsr 1.873e-01 1.228e-01 8.920e-02 3.391e-02
scire_v1_2 phi1=inf 2 nsr 1.881e-01 1.451e-01 1.048e-01 3.968e-02
scire_v1_3 phi1=fd 3 nsr 2.832e-01 1.245e-01 5.642e-02 5.909e-03
scire_v1_3 phi1=m3 3 nsr 5.216e-01 1.661e-01 5.242e-02 3.745e-02
scire_v1_3 phi1=inf 3 nsr 5.774e-01 1.851e-01 5.856e-02 4.352e-02
scire_v1_3c - 3 nsr 2.311e-01 1.023e-01 3.918e-02 2.794e-03
scire_v1_2 phi1=fd,DATA_SNR 2 nsr 1.695e-01 5.900e-02 2.840e-02 6.134e-03
scire_v1_2 phi1=m3,DATA_SNR 2 nsr 1.088e-01 1.064e-01 8.242e-02 3.367e-02
scire_v1_2 phi1=fd,NOISE_LAMBDA 2 nsr 2.245e-01 7.163e-02 3.148e-02 5.737e-03
scire_v1_2 phi1=m3,NOISE_LAMBDA 2 nsr 5.967e-01 2.525e-01 1.326e-01 3.808e-02
dpm_solver_2 - 2 nsr 9.657e-01 1.773e-01 6.468e-02 7.771e-03
dpm_solver_3 - 3 nsr 5.260e-01 1.584e-01 3.371e-02 1.191e-03
scire_v1_3 phi1=m3,NOISE_LAMBDA,inner=corrected 3 nsr 8.238e-01 3.749e-01 9.340e-02 4.601e-02
ddim - 1 t2 2.052e-01 1.048e-01 7.048e-02 2.683e-02
scire_v1_2 phi1=fd 2 t2 1.408e-01 3.122e-02 1.460e-02 2.624e-03
scire_v1_2 phi1=m3 2 t2 1.556e-01 7.621e-02 5.785e-02 2.449e-02
scire_v1_2 phi1=inf 2 t2 1.772e-01 9.194e-02 6.874e-02 2.867e-02
scire_v1_3 phi1=fd 3 t2 3.808e-01 8.410e-02 3.216e-02 3.795e-03
scire_v1_3 phi1=m3 3 t2 5.242e-01 9.559e-02 3.456e-02 2.928e-02
scire_v1_3 phi1=inf 3 t2 5.603e-01 1.052e-01 4.103e-02 3.405e-02
scire_v1_3c - 3 t2 3.178e-01 5.354e-02 1.777e-02 1.077e-03
scire_v1_2 phi1=fd,DATA_SNR 2 t2 1.049e-01 2.701e-02 1.361e-02 2.589e-03
scire_v1_2 phi1=m3,DATA_SNR 2 t2 1.106e-01 8.424e-02 6.202e-02 2.477e-02
scire_v1_2 phi1=fd,NOISE_LAMBDA 2 t2 1.529e-01 3.143e-02 1.579e-02 2.707e-03
scire_v1_2 phi1=m3,NOISE_LAMBDA 2 t2 4.549e-01 1.406e-01 8.278e-02 2.687e-02
dpm_solver_2 - 2 t2 5.362e-01 7.910e-02 3.262e-02 4.232e-03
dpm_solver_3 - 3 t2 3.112e-01 3.361e-02 8.811e-03 3.613e-04
scire_v1_3 phi1=m3,NOISE_LAMBDA,inner=corrected 3 t2 3.980e-01 8.854e-02 6.593e-02 3.441e-02
"""
"""Method, form and options, stages, grid, RMS errors where NFE is 6, 12, 18, 48."""


def quantiles(rho: float) -> np.ndarray:
    """v of the mid-point quantiles (i + 1/2)/256, by bisection."""
    goal = (np.arange(256) + 0.5) / 256
    reach = 10 * math.hypot(1, rho)
    low, high = np.full(256, -reach), np.full(256, reach)
    for _ in range(100):
        middle = (low + high) / 2
        below = np.zeros(256)
        for w, m, s in zip(LAW.weights, LAW.means, LAW.variances, strict=True):
            below += float(w) * ndtr((middle - float(m)) / math.sqrt(float(s) + rho * rho))
        low, high = np.where(below < goal, middle, low), np.where(below < goal, high, middle)
    return low


@pytest.mark.parametrize("row", TABLE.strip().splitlines())
def test_errors_over_the_quantiles(row: str) -> None:
    method, options, stages, rule, *errors = row.split()
    for nfe, error in zip(NFE, errors, strict=True):
        task = Task(LAW, rule, nfe // int(stages), "1", "1e-3", "0")
        grid = task.grid(FLOAT64)
        a, b = grid.points[0], grid.points[-1]
        x = torch.tensor(quantiles(float(a.rho)) * float(a.alpha))[:, None]
        got = sample(plan(entry(method), grid, **read(options)), Known(task.known()), x).x[:, 0]
        miss = got.numpy() - quantiles(float(b.rho)) * float(b.alpha)
        assert missed(math.sqrt(np.mean(miss**2)), error) <= 1, nfe


# --- TV-9, TV-10 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "full", "truncated"),
    [
        ("m3", "0.541772970830177", "0.872161127706197"),
        ("inf", "0.541690758769399", "0.919825725778725"),
    ],
)
def test_tv9_recursive_difference_of_the_sine(m: str, full: str, truncated: str) -> None:
    p, h = M.lift(1) * factor(Uniform(M), m), M.number("-0.1")
    there = 1 + h
    sine, slope = M.sin(there), M.cos(there)
    short = (sine - M.sin(M.lift(1))) / (p * h)
    whole = short - (1 - p) / p * slope + (p - Fraction(1, 2)) / p * h * sine
    assert missed(M.cos(M.lift(1)), "0.540302305868140") <= 1
    assert max(missed(short, truncated), missed(whole, full)) <= 1


JET = {"F": "-0.304057581812918", "DF": "0.545808088155085", "D2F": "-1.99259526465699",
       "FyDF": "-0.0685454259504871"}  # fmt: skip


def jet() -> dict[str, Any]:
    """F, DF, D²F and F_y DF at τ = 1, y = 0.4, from numerical partial derivatives."""
    ctx = M.ctx

    def f(tau: Any, y: Any) -> Any:
        return LAW.predictions(M.number(y), M.number(tau))[0].v

    at = (ctx.mpf(1), ctx.mpf("0.4"))
    F, Ft, Fy, Ftt, Fty, Fyy = (
        ctx.diff(f, at, n) for n in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
    )
    DF = Ft + F * Fy
    return {"F": F, "DF": DF, "D2F": Ftt + 2 * F * Fty + F * F * Fyy, "FyDF": Fy * DF}


def test_tv10_jets() -> None:
    got = jet()
    assert max(missed(M.number(got[key]), text) for key, text in JET.items()) <= 1
    N = Analytic(LAW).derivatives(
        schedule("edm"), entry("ddim").form({}), M.lift(1), M.number("0.4"), 2
    )
    sums = (got["F"], got["DF"], got["D2F"] + got["FyDF"])
    assert all(abs(float(n - M.number(s))) < 1e-15 for n, s in zip(N, sums, strict=True))


@pytest.mark.parametrize(
    ("method", "phi1", "measured", "predicted"),
    [
        ("scire_v1_2", "m3", "-0.2500055095", "-0.2500055126"),
        ("scire_v1_2", "fd", "1.730867371e-5", "1.730444132e-5"),
        ("scire_v1_3", "m3", "-0.250035399", "-0.2500353938"),
        ("scire_v1_3", "fd", "-1.046586375e-6", "-1.046543456e-6"),
    ],
)
def test_tv10_error_of_one_step(method: str, phi1: str, measured: str, predicted: str) -> None:
    h, y, at = M.number("-1e-4"), M.number("0.4"), {k: M.number(v) for k, v in jet().items()}
    grid = explicit(schedule("edm"), "rho", [M.lift(1), 1 + h], F=M)
    end = run(plan(entry(method), grid, phi1=phi1), Analytic(LAW), y).x
    exact = M.number(flow(LAW, y.v, M.lift(1).v, (1 + h).v))
    assert missed((exact - end) / (h * h * at["DF"]), measured) <= 1
    i = 1 / (M.lift(1) * factor(Uniform(M), phi1))
    if method == "scire_v1_2":  # section 7, with r₁ = 1/2; then r₂ = 2/3
        cubic = (Fraction(1, 6) - i / 8) * at["D2F"] + at["FyDF"] / 6
    else:
        cubic = (Fraction(1, 6) - i / 6) * at["D2F"]
        cubic = cubic + (Fraction(1, 6) - i * i / 4) * at["FyDF"]
    assert missed((1 - i) / 2 + h * cubic / at["DF"], predicted) <= 1
