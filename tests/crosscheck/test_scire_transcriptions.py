"""SciRE's loops as the paper and its code write them, in x, give what the registered methods give.

On a mixture of two correlated Gaussians in the plane, through ``solve``, to 1e-12.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import expm1
from typing import Any

import numpy as np
import pytest

from experiments.solve import solve
from solvers.ladders import apr2024, apr2024_multistep, by_calls
from tests.crosscheck.printed import label

WEIGHTS = (0.35, 0.65)
MEANS = ([-1.0, 0.4], [1.2, -0.3])
COVS = ([[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]])
LAM = (-2.5, -2.0, -1.7, -1.0, -0.7, -0.1, 0.3, 0.9, 1.1, 1.6)
STARTS = ([0.4, -1.1], [2.0, 0.3])
REL = 1e-12

Vector = np.ndarray


def alpha(rho: float) -> float:
    """Variance preserving."""
    return 1 / math.hypot(1, rho)


def noise(x: Vector, rho: float) -> Vector:
    """ε = ρ Σ_k γ_k C_k⁻¹ (v − m_k), C_k = S_k + ρ², v = x/α."""
    v, masses, pulls = x / alpha(rho), [], []
    for w, m, S in zip(WEIGHTS, MEANS, COVS, strict=True):
        C = np.array(S) + rho**2 * np.eye(2)
        pull = np.linalg.solve(C, v - m)
        masses.append(w * math.exp(-(v - m) @ pull / 2) / math.sqrt(np.linalg.det(C)))
        pulls.append(pull)
    return rho * np.average(pulls, axis=0, weights=masses)


def data(x: Vector, rho: float) -> Vector:
    return x / alpha(rho) - rho * noise(x, rho)


@dataclass(frozen=True)
class V:
    """V1 and V2: c the clock, scale the factor of the state, f what is evaluated."""

    c: Callable[[float], float]
    rho: Callable[[float], float]
    scale: Callable[[float], float]
    f: Callable[[Vector, float], Vector]


V1 = V(lambda rho: rho, lambda c: c, alpha, noise)
V2 = V(lambda rho: 1 / rho, lambda c: 1 / c, lambda rho: rho * alpha(rho), data)
RHO = [math.exp(-lam) for lam in LAM]


def factor(phi1: float | str) -> float:
    if isinstance(phi1, str):
        return sum((-1) ** (k - 1) / math.factorial(k) for k in range(1, int(phi1[1:]) + 1))
    return phi1


def at(values: Any, i: int) -> Any:
    return values[i] if isinstance(values, list) else values


# --- singlestep -------------------------------------------------------------------------------


def first(v: V, x: Vector, s: float, t: float) -> Vector:
    a, b, h = v.scale(s), v.scale(t), v.c(t) - v.c(s)
    return b / a * x + b * h * v.f(x, s)


def second(v: V, x: Vector, s: float, t: float, phi1: float, r1: float = 1 / 2) -> Vector:
    a, b, h = v.scale(s), v.scale(t), v.c(t) - v.c(s)
    s1 = v.rho(v.c(s) + r1 * h)
    e0 = v.f(x, s)
    u = v.scale(s1) / a * x + v.scale(s1) * r1 * h * e0
    return b / a * x + b * h * e0 + b * h / (2 * phi1 * r1) * (v.f(u, s1) - e0)


def third(
    v: V, x: Vector, s: float, t: float, phi1: float, r1: float = 1 / 3, r2: float = 2 / 3,
    inner: str = "published", outer: str = "published",
) -> Vector:  # fmt: skip
    slopes = {"published": r2 / (2 * r1 * phi1), "paper": 1 / phi1}
    slopes["corrected"] = r2**2 / (2 * r1 * phi1)
    a, b, h = v.scale(s), v.scale(t), v.c(t) - v.c(s)
    s1, s2 = (v.rho(v.c(s) + r * h) for r in (r1, r2))
    e0 = v.f(x, s)
    u1 = v.scale(s1) / a * x + v.scale(s1) * r1 * h * e0
    e1 = v.f(u1, s1)
    u2 = v.scale(s2) / a * x + v.scale(s2) * h * (r2 * e0 + slopes[inner] * (e1 - e0))
    e2 = v.f(u2, s2)
    last = 2 * r2 * (phi1 if outer == "published" else 1)
    return b / a * x + b * h * e0 + b * h / last * (e2 - e0)


def singlestep(
    v: V, x: Vector, orders: Sequence[int] = (), rho: Sequence[float] = RHO,
    phi1: Any = 2 / 3, **options: Any,
) -> Vector:  # fmt: skip
    for i, (s, t) in enumerate(pairwise(rho)):
        own = {k: at(o, i) for k, o in options.items()}
        p = factor(at(phi1, i))
        if orders[i] == 1:
            x = first(v, x, s, t)
        elif orders[i] == 2:
            x = second(v, x, s, t, p, **{k: r for k, r in own.items() if k == "r1"})
        else:
            x = third(v, x, s, t, p, **own)
    return x


def agile(v: V, x: Vector, nfe: int, target: int, phi1: Any = 2 / 3) -> Vector:
    orders = by_calls(nfe, target)
    rho = [RHO[sum(orders[:i])] for i in range(len(orders) + 1)]
    return singlestep(v, x, orders, rho, phi1)


def scirei_2(x: Vector, phi1: float = 2 / 3, r1: float = 1 / 2) -> Vector:
    for s, t in pairwise(RHO):
        h = math.log(s / t)
        s1 = s * math.exp(-r1 * h)
        e0 = noise(x, s)
        u = alpha(s1) / alpha(s) * x - s1 * alpha(s1) * expm1(r1 * h) * e0
        d = noise(u, s1) - e0
        sigma = t * alpha(t)
        x = alpha(t) / alpha(s) * x - sigma * expm1(h) * e0
        x = x - sigma * (expm1(h) - h) / (phi1 * r1 * h) * d
    return x


def scirei_3(x: Vector, phi1: float = 2 / 3, r1: float = 1 / 3, r2: float = 2 / 3) -> Vector:
    for s, t in pairwise(RHO):
        h = math.log(s / t)
        s1, s2 = (s * math.exp(-r * h) for r in (r1, r2))
        e0 = noise(x, s)
        u = alpha(s1) / alpha(s) * x - s1 * alpha(s1) * expm1(r1 * h) * e0
        d = noise(u, s1) - e0
        sigma = s2 * alpha(s2)
        u = alpha(s2) / alpha(s) * x - sigma * expm1(r2 * h) * e0
        u = u - sigma * r2 / (r1 * phi1) * (expm1(r2 * h) / (r2 * h) - 1) * d
        d = noise(u, s2) - e0
        sigma = t * alpha(t)
        x = alpha(t) / alpha(s) * x - sigma * expm1(h) * e0
        x = x - sigma / (r2 * phi1) * (expm1(h) / h - 1) * d
    return x


# --- multistep --------------------------------------------------------------------------------


def multistep(
    v: V, x: Vector, most: int, rule: str = "C", phi1: Any = 2 / 3, final: bool = False,
    orders: Sequence[int] = (),
) -> Vector:  # fmt: skip
    """y is x over the scale; the ratios R and R' are those of ρ in V2 too."""
    y, g, steps = x / v.scale(RHO[0]), [], len(RHO) - 1
    for n in range(steps):
        p = factor(at(phi1, n))
        g = [v.f(v.scale(RHO[n]) * y, RHO[n]), *g][:3]
        h = v.c(RHO[n + 1]) - v.c(RHO[n])
        order = orders[n] if orders else min(most, n + 1, steps - n if final else most)
        now, change = RHO[n + 1] - RHO[n], h * g[0]
        if order == 2:
            R = (RHO[n] - RHO[n - 1]) / now
            Rl = (LAM[n] - LAM[n - 1]) / (LAM[n + 1] - LAM[n])
            w = {"A": 1 / (p**2 * R), "B": 1 / (p * Rl), "C": 1 / (p * Rl**0.25)}[rule]
            change = change + h / 2 * w * (g[0] - g[1])
        if order == 3:
            before = RHO[n] - RHO[n - 1]
            r0 = p * before / now
            r1 = p / (1 + p) * (RHO[n - 1] - RHO[n - 2]) / before
            change = change + h / (2 * r0 * p) * (g[0] - g[1])
            change = change + h / (6 * r0 * r1 * p**2) * (g[0] - 2 * g[1] + g[2])
        y = y + change
    return v.scale(RHO[-1]) * y


# --- both ---------------------------------------------------------------------------------------

STEPS = len(RHO) - 1
PLACES: dict[str, Any] = {"r1": 0.25, "r2": 0.7, "phi1": 0.8}
MIXED = [3, 2, 3, 1, 3, 3, 2, 2, 1]
RISING = [1, 2, 3, 3, 2, 1, 3, 3, 2]
LISTS: dict[str, Any] = {
    "phi1": apr2024(STEPS),
    "r1": [0.3 + 0.02 * i for i in range(STEPS)],
    "r2": [0.6 + 0.03 * i for i in range(STEPS)],
}
Case = tuple[Callable[[Vector], Vector], str, dict[str, Any]]


def cases() -> list[Case]:
    found: list[Case] = []
    for name, v in (("scire_v1", V1), ("scire_v2", V2)):
        for k in (2, 3):
            own: list[dict[str, Any]] = [{}, {"phi1": "m6"}, {**LISTS}, {**PLACES}]
            if k == 2:
                own = [{k: o for k, o in given.items() if k != "r2"} for given in own]
            else:
                own += [{**PLACES, "inner": kind} for kind in ("paper", "corrected")]
                own += [{**PLACES, "inner": "corrected", "outer": "fd"}]
                own += [{"orders": MIXED}, {"orders": MIXED, **LISTS}]
            for o in own:
                loop = partial(singlestep, v, **{"orders": [k] * STEPS, **o})
                found.append((loop, f"{name}_{k}", o))
        for nfe, target in ((9, 3), (9, 2)):
            own_agile = {"nfe": nfe, "target": target}
            found.append((partial(agile, v, **own_agile), f"{name}_agile", own_agile))
        corrected = {"orders": [3] * STEPS, "inner": "corrected"}
        found.append((partial(singlestep, v, phi1=1, **corrected), f"{name}_3c", {}))
        found.append((partial(singlestep, v, outer="fd", **corrected), f"{name}_3h", {}))
        for k in (2, 3):
            for rule in "ABC":
                o = {"rule": rule, "phi1": apr2024_multistep(STEPS, k)}
                found.append(
                    (partial(multistep, v, most=k, rule=rule), f"{name}_{k}m", {**o, "phi1": "m3"})
                )
                found.append((partial(multistep, v, most=k, **o), f"{name}_{k}m", o))
            lowered = {"lower_order_final": True}
            found.append((partial(multistep, v, most=k, final=True), f"{name}_{k}m", lowered))
        given = {"orders": RISING, "phi1": 0.8}
        found.append((partial(multistep, v, most=3, **given), f"{name}_3m", given))
    for o in ({}, {"phi1": 0.8, "r1": 0.3}):
        found.append((partial(scirei_2, **o), "scirei_2", o))
        found.append((partial(scirei_3, **o), "scirei_3", o))
    return found


CASES = cases()


def apart(loop: Callable[[Vector], Vector], method: str, options: dict[str, Any]) -> float:
    """The largest difference of the two ends, relative to the largest coordinate."""
    run = {
        "problem": {"weights": list(WEIGHTS), "means": list(MEANS), "covs": list(COVS)},
        "schedule": {"name": "vp_linear"},
        "method": method,
        "options": options,
        "grid": {"lam": list(LAM)},
        "x_start": list(STARTS),
    }
    ends = np.array(solve(run, exact=False)["x_final"])
    mine = np.array([loop(np.array(x)) for x in STARTS])
    return float(np.max(np.abs(ends - mine)) / np.max(np.abs(mine)))


@pytest.mark.parametrize(("loop", "method", "options"), CASES, ids=[label(*c[1:]) for c in CASES])
def test_same_ends(loop: Callable[[Vector], Vector], method: str, options: dict[str, Any]) -> None:
    assert apart(loop, method, options) < REL


@pytest.mark.parametrize(
    ("loop", "method"),
    [
        (partial(singlestep, V1, orders=[2] * STEPS, r1=0.5 + 1e-6), "scire_v1_2"),
        (partial(singlestep, V2, orders=[3] * STEPS, phi1=2 / 3 + 1e-6), "scire_v2_3"),
        (partial(scirei_3, r2=2 / 3 + 1e-6), "scirei_3"),
        (partial(multistep, V1, most=2, phi1=2 / 3 + 1e-6), "scire_v1_2m"),
        (partial(multistep, V2, most=3, phi1=2 / 3 + 1e-6), "scire_v2_3m"),
        (partial(multistep, V2, most=3, rule="A"), "scire_v2_3m"),
    ],
)
def test_control_a_millionth_is_seen(loop: Callable[[Vector], Vector], method: str) -> None:
    assert apart(loop, method, {}) > 1e3 * REL
