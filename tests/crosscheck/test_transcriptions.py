"""Each published algorithm, written as a plain loop, gives what the registered method gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import expm1
from typing import Any

import numpy as np
import pytest
import torch

from experiments.solve import solve
from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Known
from solvers.forms import DATA_LAMBDA
from solvers.grids import explicit
from solvers.method import entry
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import schedule
from tests.crosscheck.printed import label
from tests.problems import DEIS

LAM = (-3.0, -2.3, -1.9, -1.2, -0.85, -0.2, 0.1, 0.75, 1.0)
STARTS = (0.4, -1.1)
REL = 1e-12

Pair = tuple[float, float]
PATHS: dict[str, Callable[[float], Pair]] = {  # ρ -> α, σ
    "vp_linear": lambda rho: (1 / math.hypot(1, rho), rho / math.hypot(1, rho)),
    "flow": lambda rho: (1 / (1 + rho), rho / (1 + rho)),
}


@dataclass(frozen=True)
class Run:
    """The model and the steps, as an algorithm needs them; nodes are given by λ."""

    path: Callable[[float], Pair]

    def at(self, lam: float) -> Pair:
        return self.path(math.exp(-lam))

    def noise(self, x: float, lam: float) -> float:
        alpha, sigma = self.at(lam)
        return DEIS.noise(x / alpha, sigma / alpha)

    def data(self, x: float, lam: float) -> float:
        alpha, sigma = self.at(lam)
        return (x - sigma * self.noise(x, lam)) / alpha

    def steps(self) -> Iterator[tuple[int, float, float, float, float, float, float, float]]:
        """i, λ_s, λ_t, h, α_s, σ_s, α_t, σ_t."""
        for i, (a, b) in enumerate(pairwise(LAM)):
            yield i, a, b, b - a, *self.at(a), *self.at(b)


def ddim(r: Run, x: float) -> float:
    for _, a, _, _, alpha_s, sigma_s, alpha_t, sigma_t in r.steps():
        x = alpha_t / alpha_s * x + (sigma_t - alpha_t / alpha_s * sigma_s) * r.noise(x, a)
    return x


def dpm_solver_2(r: Run, x: float) -> float:
    for _, a, _, h, alpha_s, _, alpha_t, sigma_t in r.steps():
        alpha_m, sigma_m = r.at(a + h / 2)
        u = alpha_m / alpha_s * x - sigma_m * expm1(h / 2) * r.noise(x, a)
        x = alpha_t / alpha_s * x - sigma_t * expm1(h) * r.noise(u, a + h / 2)
    return x


def dpm_solver_3(r: Run, x: float, r1: float = 1 / 3, r2: float = 2 / 3) -> float:
    for _, a, _, h, alpha_s, _, alpha_t, sigma_t in r.steps():
        (alpha_1, sigma_1), (alpha_2, sigma_2) = r.at(a + r1 * h), r.at(a + r2 * h)
        e = r.noise(x, a)
        u = alpha_1 / alpha_s * x - sigma_1 * expm1(r1 * h) * e
        d = r.noise(u, a + r1 * h) - e
        u = alpha_2 / alpha_s * x - sigma_2 * expm1(r2 * h) * e
        u -= sigma_2 * r2 / r1 * (expm1(r2 * h) / (r2 * h) - 1) * d
        d = r.noise(u, a + r2 * h) - e
        x = alpha_t / alpha_s * x - sigma_t * expm1(h) * e - sigma_t / r2 * (expm1(h) / h - 1) * d
    return x


def dpm_solver_pp_2m(r: Run, x: float) -> float:
    old = step = 0.0
    for i, a, _, h, _, sigma_s, alpha_t, sigma_t in r.steps():
        new = r.data(x, a)
        mixed = new if i == 0 else new + h / (2 * step) * (new - old)
        x = sigma_t / sigma_s * x - alpha_t * expm1(-h) * mixed
        old, step = new, h
    return x


def dpm_solver_pp_3m(r: Run, x: float, factor: float = 2) -> float:
    f: list[float] = []
    for i, a, _, h, _, sigma_s, alpha_t, sigma_t in r.steps():
        f = [r.data(x, a), *f][:3]
        back = [LAM[i - j] - LAM[i - j - 1] for j in range(min(i, 2))]
        slopes = [(f[j] - f[j + 1]) * h / back[j] for j in range(len(back))]
        phi_1 = expm1(-h)
        phi_2 = phi_1 / h + 1
        phi_3 = phi_2 / h - 0.5
        x = sigma_t / sigma_s * x - alpha_t * phi_1 * f[0]
        if i == 1:
            x -= 0.5 * alpha_t * phi_1 * slopes[0]
        if i > 1:
            r0, r1 = back[0] / h, back[1] / h
            d1 = slopes[0] + r0 / (r0 + r1) * (slopes[0] - slopes[1])
            d2 = factor / (r0 + r1) * (slopes[0] - slopes[1])
            x += alpha_t * phi_2 * d1 - alpha_t * phi_3 * d2
    return x


def edm_heun(r: Run, x: float) -> float:
    for _, a, b, _, alpha_s, _, alpha_t, _ in r.steps():
        v, rho, to = x / alpha_s, math.exp(-a), math.exp(-b)
        slope = (v - r.data(x, a)) / rho
        guess = v + (to - rho) * slope
        end = (guess - r.data(alpha_t * guess, b)) / to
        x = alpha_t * (v + (to - rho) * (slope + end) / 2)
    return x


def rho_rk4(r: Run, x: float) -> float:
    def f(v: float, rho: float) -> float:
        return DEIS.noise(v, rho)

    for _, a, b, _, alpha_s, _, alpha_t, _ in r.steps():
        v, rho, H = x / alpha_s, math.exp(-a), math.exp(-b) - math.exp(-a)
        k1 = f(v, rho)
        k2 = f(v + H / 2 * k1, rho + H / 2)
        k3 = f(v + H / 2 * k2, rho + H / 2)
        k4 = f(v + H * k3, rho + H)
        x = alpha_t * (v + H / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return x


def deis_rho_ab2(r: Run, x: float) -> float:
    """c_ij = ∫ ℓ_j dρ, from the polynomial with the other nodes as roots."""
    rho, e = [math.exp(-lam) for lam in LAM], []
    for i, a, _, _, alpha_s, _, alpha_t, _ in r.steps():
        e = [r.noise(x, a), *e][:3]
        nodes = [rho[i - j] for j in range(len(e))]
        total = 0.0
        for j, value in enumerate(e):
            others = [m for k, m in enumerate(nodes) if k != j]
            ell = np.poly1d(others, r=True) / math.prod(nodes[j] - m for m in others)
            area = np.polyint(ell)
            total += (area(rho[i + 1]) - area(rho[i])) * value
        x = alpha_t * (x / alpha_s + total)
    return x


def scire_v1_2(r: Run, x: float, phi1: float = 2 / 3) -> float:
    for _, a, b, _, alpha_s, _, alpha_t, _ in r.steps():
        rho, h = math.exp(-a), math.exp(-b) - math.exp(-a)
        middle = -math.log(rho + h / 2)
        alpha_m, _ = r.at(middle)
        e = r.noise(x, a)
        u = alpha_m / alpha_s * x + alpha_m * h / 2 * e
        x = alpha_t / alpha_s * x + alpha_t * h * e + alpha_t * h / phi1 * (r.noise(u, middle) - e)
    return x


def scire_v1_3(
    r: Run,
    x: float,
    phi1: float = 2 / 3,
    r1: float = 1 / 3,
    r2: float = 2 / 3,
    inner: str = "published",
    outer: str = "published",
) -> float:
    weight = {
        "published": r2 / (2 * r1 * phi1),
        "paper": 1 / phi1,
        "corrected": r2 * r2 / (2 * r1 * phi1),
    }[inner]
    last = 1 / (2 * r2 * (phi1 if outer == "published" else 1))
    for _, a, b, _, alpha_s, _, alpha_t, _ in r.steps():
        rho, h = math.exp(-a), math.exp(-b) - math.exp(-a)
        one, two = -math.log(rho + r1 * h), -math.log(rho + r2 * h)
        (alpha_1, _), (alpha_2, _) = r.at(one), r.at(two)
        e = r.noise(x, a)
        u = alpha_1 / alpha_s * x + alpha_1 * r1 * h * e
        d = r.noise(u, one) - e
        u = alpha_2 / alpha_s * x + alpha_2 * h * (r2 * e + weight * d)
        d = r.noise(u, two) - e
        x = alpha_t / alpha_s * x + alpha_t * h * e + alpha_t * h * last * d
    return x


def etd3rk(r: Run, x: float) -> float:
    """Cox and Matthews' third-order scheme for v' = -v + D in λ."""
    for _, a, _, h, alpha_s, _, alpha_t, _ in r.steps():
        half, whole = -expm1(-h / 2), -expm1(-h)
        v, middle = x / alpha_s, a + h / 2
        alpha_m, _ = r.at(middle)
        first = r.data(x, a)
        second = r.data(alpha_m * (math.exp(-h / 2) * v + half * first), middle)
        end = math.exp(-h) * v + whole * (2 * second - first)
        third = r.data(alpha_t * end, a + h)
        z, e = -h, math.exp(-h)
        update = first * (-4 - z + e * (4 - 3 * z + z * z))
        update += second * 4 * (2 + z + e * (-2 + z)) + third * (-4 - 3 * z - z * z + e * (4 - z))
        x = alpha_t * (e * v + h * update / z**3)
    return x


def unipc_2(r: Run, x: float, variant: str = "bh2") -> float:
    """x₀-form; the last step is not corrected, and one unknown takes the released 1/2."""
    f = [r.data(x, LAM[0])]
    for i, a, b, h, _, sigma_s, alpha_t, sigma_t in r.steps():
        psi_1 = expm1(-h)
        psi_2 = psi_1 / -h - 1
        psi_3 = psi_2 / -h - 0.5
        B = psi_1 if variant == "bh2" else -h
        base = sigma_t / sigma_s * x - alpha_t * psi_1 * f[0]
        nodes = [(LAM[i - 1] - a) / h] if i else []
        past = [(f[1] - f[0]) / nodes[0]] if i else []
        x = base - alpha_t * B * 0.5 * sum(past)
        if i + 2 == len(LAM):
            break
        new = r.data(x, b)
        nodes, past = [*nodes, 1.0], [*past, new - f[0]]
        matrix = [[m**k for m in nodes] for k in range(len(nodes))]
        weights = [0.5]
        if len(nodes) == 2:
            weights = np.linalg.solve(matrix, [psi_2 / B, 2 * psi_3 / B]).tolist()
        x = base - alpha_t * B * sum(w * d for w, d in zip(weights, past, strict=True))
        f = [new, f[0]]
    return x


SCIRE: list[dict[str, Any]] = [
    {"r1": 0.25, "r2": 0.7, "phi1": 0.8},
    {"inner": "paper", "r1": 0.25, "r2": 0.7, "phi1": 0.8},
    {"inner": "corrected", "r1": 0.25, "r2": 0.7, "phi1": 0.8},
    {"inner": "corrected", "outer": "fd"},
]
OLD: dict[str, Any] = {"as_published": True}
BY_NAME = [ddim, dpm_solver_2, dpm_solver_3, dpm_solver_pp_2m, dpm_solver_pp_3m, edm_heun, rho_rk4,
           deis_rho_ab2, scire_v1_2, scire_v1_3]  # fmt: skip
TABLE: list[tuple[Callable[..., float], str, dict[str, Any]]] = [
    *((f, f.__name__, {}) for f in BY_NAME),
    *((partial(scire_v1_3, **o), "scire_v1_3", o) for o in SCIRE),
    (partial(dpm_solver_pp_3m, factor=1), "dpm_solver_pp_3m", OLD),
    (unipc_2, "unipc_2", OLD),
    (partial(unipc_2, variant="bh1"), "unipc_2", {**OLD, "variant": "bh1"}),
]


def solved(path: str, method: str, options: Any, starts: Sequence[float]) -> list[float]:
    """Where ``solve`` ends from these x, on the nodes LAM."""
    result = solve(
        {
            "problem": {
                "weights": list(DEIS.weights),
                "means": [[m] for m in DEIS.means],
                "covs": [[[s * s]] for s in DEIS.deviations],
            },
            "schedule": {"name": path},
            "method": method,
            "options": options,
            "grid": {"lam": list(LAM)},
            "x_start": [[x] for x in starts],
        },
        exact=False,
    )
    return [end for (end,) in result["x_final"]]


def apart(path: str, f: Callable[[Run, float], float], method: str, options: Any) -> float:
    """The largest relative difference of the two ends."""
    run = Run(PATHS[path])
    alpha = run.at(LAM[0])[0]
    starts = [3 * alpha + x for x in STARTS]
    ends = solved(path, method, options, starts)
    mine = [f(run, x) for x in starts]
    return max(abs(a / b - 1) for a, b in zip(mine, ends, strict=True))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("f", "method", "options"), TABLE, ids=[label(*f[1:]) for f in TABLE])
def test_same_ends(
    path: str, f: Callable[[Run, float], float], method: str, options: dict[str, Any]
) -> None:
    assert apart(path, f, method, options) < REL


@pytest.mark.parametrize("path", PATHS)
def test_kutta_becomes_exponential_in_another_form(path: str) -> None:
    r = Run(PATHS[path])
    grid = explicit(schedule(path), "lam", list(LAM))
    law = GaussianMixture.isotropic(
        DEIS.weights, [[m] for m in DEIS.means], [s * s for s in DEIS.deviations]
    )
    x = torch.tensor([[x] for x in STARTS], dtype=torch.float64)
    ends = sample(plan(entry("rho_kutta3"), grid, form=DATA_LAMBDA), Known(law), x).x
    mine = [etd3rk(r, x) for x in STARTS]
    # z³ in its denominator loses three digits at the shortest steps
    np.testing.assert_allclose(ends.flatten().numpy(), mine, rtol=1e3 * REL)


@pytest.mark.parametrize(
    ("f", "constants"),
    [
        (dpm_solver_3, {"r2": 2 / 3}),
        (dpm_solver_pp_3m, {"factor": 2}),
        (scire_v1_2, {"phi1": 2 / 3}),
        (scire_v1_3, {"phi1": 2 / 3}),
    ],
    ids=["r2", "factor", "phi1 in v1_2", "phi1 in v1_3"],
)
def test_control_a_millionth_of_a_coefficient_is_seen(
    f: Callable[..., float], constants: dict[str, float]
) -> None:
    def changed(r: Run, x: float) -> float:
        return f(r, x, **{k: v * (1 + 1e-6) for k, v in constants.items()})

    assert apart("vp_linear", changed, f.__name__, {}) > 1e3 * REL
