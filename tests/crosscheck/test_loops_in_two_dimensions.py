"""PNDM, iPNDM, DEIS, ρRK, RES, Krogstad and HO-5, as plain loops, give what the methods give.

The loops were written from the formulas, in numpy, with nothing taken from ``solvers``; the runs
go through ``solve`` on a mixture of two correlated Gaussians.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import exp, expm1, factorial
from typing import Any

import numpy as np
import pytest

from experiments.solve import solve
from tests.crosscheck.printed import label

LAM = (-2.6, -2.0, -1.65, -1.1, -0.7, -0.25, 0.1, 0.6, 0.95)
WEIGHTS = [0.35, 0.65]
MEANS = [[-1.2, 0.4], [0.9, -0.3]]
COVS = [[[0.3, 0.1], [0.1, 0.5]], [[0.6, -0.2], [-0.2, 0.25]]]
STARTS = ((0.7, -1.1), (-1.6, 0.3))
REL = 1e-12

Vector = Any
Path = tuple[Callable[[float], float], Callable[[float], float], Callable[[float], float]]
PATHS: dict[str, Path] = {  # α(ρ), t(ρ), ρ(t)
    "vp_linear": (
        lambda rho: 1 / math.hypot(1, rho),
        lambda rho: 2 * math.log1p(rho**2)
        / (0.1 + math.sqrt(0.01 + 2 * 19.9 * math.log1p(rho**2))),
        lambda t: math.sqrt(expm1(t * (0.1 + 19.9 * t / 2))),
    ),
    "flow": (lambda rho: 1 / (1 + rho), lambda rho: rho / (1 + rho), lambda t: t / (1 - t)),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """ε and D at v = x/α; loops run in v, whose DDIM step is v + (ρ' − ρ) ε."""

    path: Path

    def noise(self, v: Vector, rho: float) -> Vector:
        """ρ Σ_k γ_k V_k⁻¹ (v − m_k), V_k = C_k + ρ²."""
        pulls, logs = [], []
        for w, m, c in zip(WEIGHTS, MEANS, COVS, strict=True):
            V = np.array(c) + rho**2 * np.eye(2)
            pull = np.linalg.solve(V, v - m)
            pulls.append(pull)
            logs.append(math.log(w) - math.log(np.linalg.det(V)) / 2 - (v - m) @ pull / 2)
        g = np.exp(np.array(logs) - max(logs))
        return rho * sum(a * p for a, p in zip(g / g.sum(), pulls, strict=True))

    def data(self, v: Vector, rho: float) -> Vector:
        return v - rho * self.noise(v, rho)

    def middle(self, a: float, b: float) -> float:
        """ρ halfway in t."""
        _, t, rho = self.path
        return rho((t(a) + t(b)) / 2)


RHO = [exp(-lam) for lam in LAM]


# --- weights of equal steps -------------------------------------------------------------------


FIXED = {1: [1.0], 2: [3 / 2, -1 / 2], 3: [23 / 12, -16 / 12, 5 / 12]}
FIXED[4] = [55 / 24, -59 / 24, 37 / 24, -9 / 24]


def mixed(weights: Sequence[float], history: Sequence[Vector]) -> Vector:
    return sum(w * e for w, e in zip(weights, history, strict=True))


def ipndm(r: Run, v: Vector, q: int) -> Vector:
    e: list[Vector] = []
    for a, b in pairwise(RHO):
        e = [r.noise(v, a), *e][:q]
        v = v + (b - a) * mixed(FIXED[len(e)], e)
    return v


def ipndm_v(r: Run, v: Vector, q: int, old: float = 1.0) -> Vector:
    """As published, by the differences that its code forms; ``old`` scales its oldest weight."""
    e: list[Vector] = []
    for i, (a, b) in enumerate(pairwise(RHO)):
        e = [r.noise(v, a), *e][:q]
        H = b - a
        H1, H2, H3 = [RHO[i - j] - RHO[i - j - 1] if j < i else math.nan for j in range(3)]
        first = H / (2 * H1)
        T = 0.5 - H**2 / (6 * H1 * (H1 + H2))
        S = H1 * (H1 + H2) / (H2 * (H2 + H3))
        low = (1 - H / (3 * (H + H1))) / 2
        high = (1 - H / (2 * (H + H1))) * H / (6 * (H + H1 + H2))
        U = (low + high) * H * (H + H1) * (H + H1 + H2) / (H1 * (H1 + H2) * (H1 + H2 + H3))
        two = [1 + first, -first]
        three = [1 + first + T, -first - T * (1 + H1 / H2), T * H1 / H2]
        more = [U, -U * (1 + H1 / H2 + S), U * (H1 / H2 + S * (1 + H2 / H3))]
        four = [*(x + y for x, y in zip(three, more, strict=True)), -U * S * H1 / H2 * old]
        v = v + H * mixed([[1.0], two, three, four][len(e) - 1], e)
    return v


def s_pndm(r: Run, v: Vector) -> Vector:
    before: Any = None
    for a, b in pairwise(RHO):
        e = r.noise(v, a)
        if before is None:
            mean = (e + r.noise(v + (b - a) * e, b)) / 2
        else:
            mean = (3 * e - before) / 2
        v, before = v + (b - a) * mean, e
    return v


def f_pndm(r: Run, v: Vector, nodes: Callable[[Run, float, float], float] = Run.middle) -> Vector:
    e: list[Vector] = []
    for i, (a, b) in enumerate(pairwise(RHO)):
        e = [r.noise(v, a), *e][:4]
        if i < 3:
            m = nodes(r, a, b)
            second = r.noise(v + (m - a) * e[0], m)
            third = r.noise(v + (m - a) * second, m)
            last = r.noise(v + (b - a) * third, b)
            mean = (e[0] + 2 * second + 2 * third + last) / 6
        else:
            mean = mixed(FIXED[4], e)
        v = v + (b - a) * mean
    return v


# --- Runge-Kutta in ρ -------------------------------------------------------------------------

TABLEAUX: dict[str, tuple[list[float], list[list[float]], list[float]]] = {
    "kutta": ([0, 1 / 2, 1], [[], [1 / 2], [-1, 2]], [1 / 6, 4 / 6, 1 / 6]),
    "ralston": ([0, 1 / 2, 3 / 4], [[], [1 / 2], [0, 3 / 4]], [2 / 9, 1 / 3, 4 / 9]),
    "heun": ([0, 1 / 3, 2 / 3], [[], [1 / 3], [0, 2 / 3]], [1 / 4, 0, 3 / 4]),
    "vdh": ([0, 8 / 15, 2 / 3], [[], [8 / 15], [1 / 4, 5 / 12]], [1 / 4, 0, 3 / 4]),
    "ssp": ([0, 1, 1 / 2], [[], [1], [1 / 4, 1 / 4]], [1 / 6, 1 / 6, 2 / 3]),
}


def runge_kutta(r: Run, v: Vector, name: str, shift: float = 0.0) -> Vector:
    c, A, b = TABLEAUX[name]
    for p, q in pairwise(RHO):
        k: list[Vector] = []
        for place, row in zip(c, A, strict=True):
            k.append(r.noise(v + (q - p) * mixed(row, k[: len(row)]), p + place * (q - p)))
        v = v + (q - p) * (mixed(b, k) + shift * (k[-1] - k[0]))
    return v


# --- exponential methods in λ -----------------------------------------------------------------


def phi(k: int, z: float) -> float:
    """Σ_j z^j/(j+k)!."""
    return math.fsum(z**j / factorial(j + k) for j in range(30))


def a_res_3(z: float, c2: float = 0.5, c3: float = 1.0, power: int = 2) -> Any:
    g = (3 * c3**power - 2 * c3) / (c2 * (2 - 3 * c2))
    a32 = g * c2 * phi(2, c2 * z) + c3**2 / c2 * phi(2, c3 * z)
    A = [[], [c2 * phi(1, c2 * z)], [c3 * phi(1, c3 * z) - a32, a32]]
    b2, b3 = g / (g * c2 + c3) * phi(2, z), phi(2, z) / (g * c2 + c3)
    return [0, c2, c3], A, [phi(1, z) - b2 - b3, b2, b3]


def krogstad(z: float) -> Any:
    f1, f2, f3 = (phi(k, z) for k in (1, 2, 3))
    A = [[], [phi(1, z / 2) / 2], [phi(1, z / 2) / 2 - phi(2, z / 2), phi(2, z / 2)]]
    A.append([f1 - 2 * f2, 0, 2 * f2])
    return [0, 0.5, 0.5, 1], A, [f1 - 3 * f2 + 4 * f3, *[2 * f2 - 4 * f3] * 2, 4 * f3 - f2]


def ho_5(z: float) -> Any:
    f1, f2, f3 = (phi(k, z) for k in (1, 2, 3))
    c, A, _ = krogstad(z)
    A[3] = [f1 - 2 * f2, f2, f2]
    a = phi(2, z / 2) / 2 - f3 + f2 / 4 - phi(3, z / 2) / 2
    last = phi(2, z / 2) / 4 - a
    A.append([phi(1, z / 2) / 2 - 2 * a - last, a, a, last])
    return [*c, 0.5], A, [f1 - 3 * f2 + 4 * f3, 0, 0, 4 * f3 - f2, 4 * f2 - 8 * f3]


def exponential(r: Run, v: Vector, scheme: Callable[[float], Any], sign: int) -> Vector:
    """``sign`` −1: v' = −v + D; +1: y' = y − ε for y = v/ρ."""
    read = (lambda y, rho: r.data(y, rho)) if sign < 0 else (lambda y, rho: -r.noise(y * rho, rho))
    u = v if sign < 0 else v / RHO[0]
    for a, b in pairwise(LAM):
        h = b - a
        c, A, weights = scheme(sign * h)
        k: list[Vector] = []
        for place, row in zip(c, A, strict=True):
            stage = exp(place * sign * h) * u + h * mixed(row, k[: len(row)])
            k.append(read(stage, exp(-a - place * h)))
        u = exp(sign * h) * u + h * mixed(weights, k)
    return u if sign < 0 else u * RHO[-1]


def exp_ab(r: Run, v: Vector, q: int, sign: int) -> Vector:
    """Σ_j b_j c_j^k = k! φ_{k+1}(z), solved as it stands."""
    u, f = (v if sign < 0 else v / RHO[0]), list[Vector]()
    for i, (a, b) in enumerate(pairwise(LAM)):
        h, rho = b - a, exp(-a)
        f = [r.data(u, rho) if sign < 0 else -r.noise(u * rho, rho), *f][:q]
        c = [(LAM[i - j] - a) / h for j in range(len(f))]
        matrix = [[x**k for x in c] for k in range(len(c))]
        right = [factorial(k) * phi(k + 1, sign * h) for k in range(len(c))]
        u = exp(sign * h) * u + h * mixed(np.linalg.solve(matrix, right).tolist(), f)
    return u if sign < 0 else u * RHO[-1]


# --- the released DEIS: left sums of ten thousand points --------------------------------------


def deis(r: Run, v: Vector, degree: int, clock: str, points: int = 10_000) -> Vector:
    _, t, rho = r.path
    tau = [t(x) for x in RHO] if clock == "t" else RHO
    e: list[Vector] = []
    for i, (a, b) in enumerate(pairwise(tau)):
        e = [r.noise(v, RHO[i]), *e][: degree + 1]
        places = a + (b - a) * np.arange(points) / points
        slope = np.ones(points)
        if clock == "t":  # ρ' by a difference of eighth order, h = 10⁻³
            d = 1e-3
            rows = [(1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280)]
            at = np.vectorize(rho)
            slope = sum(w * (at(places + j * d) - at(places - j * d)) / d for j, w in rows)
        for j, value in enumerate(e):
            others = [tau[i - m] for m in range(len(e)) if m != j]
            ell = np.prod([(places - o) / (tau[i - j] - o) for o in others], axis=0)
            v = v + (b - a) / points * float(np.sum(slope * ell)) * value
    return v


# --- the comparison ---------------------------------------------------------------------------

OLD: dict[str, Any] = {"as_published": True}
NOISE: dict[str, Any] = {"prediction": "noise"}
EARLY: dict[str, Any] = {"c2": 0.4, "c3": 0.7}
LOOPS: list[tuple[Callable[..., Vector], str, dict[str, Any]]] = [
    *((partial(ipndm, q=q), f"ipndm_{q}", {}) for q in (1, 2, 3, 4)),
    *((partial(ipndm_v, q=q), f"ipndm_v_{q}", OLD) for q in (2, 3, 4)),
    (s_pndm, "s_pndm", {}),
    (f_pndm, "f_pndm", {}),
    *((partial(runge_kutta, name=name), f"rho_{name}3", {}) for name in TABLEAUX),
    *(
        (partial(exponential, scheme=scheme, sign=sign), name, chosen)
        for name, scheme in (("res_3s", a_res_3), ("krogstad_4", krogstad), ("ho_5", ho_5))
        for sign, chosen in ((-1, {}), (1, NOISE))
    ),
    (partial(exponential, scheme=partial(a_res_3, **EARLY), sign=-1), "res_3s", EARLY),
    (
        partial(exponential, scheme=partial(a_res_3, **EARLY, power=3), sign=-1),
        "res_3s",
        {**EARLY, **OLD},
    ),
    *(
        (partial(exp_ab, q=q, sign=sign), f"exp_ab_{q}", chosen)
        for q in (2, 3, 4)
        for sign, chosen in ((-1, {}), (1, NOISE))
    ),
    *((partial(deis, degree=d, clock="rho"), f"deis_rho_ab{d}", OLD) for d in (0, 1, 3)),
    *((partial(deis, degree=d, clock="t"), f"deis_t_ab{d}", OLD) for d in (0, 1, 3)),
]


def apart(path: str, f: Callable[[Run, Vector], Vector], method: str, options: Any) -> float:
    """The largest relative difference of the two ends."""
    alpha, _, _ = PATHS[path]
    starts = [alpha(RHO[0]) * np.array(v) for v in STARTS]
    result = solve(
        {
            "problem": {"weights": WEIGHTS, "means": MEANS, "covs": COVS},
            "schedule": {"name": path},
            "method": method,
            "options": options,
            "grid": {"lam": list(LAM)},
            "x_start": [x.tolist() for x in starts],
        },
        exact=False,
    )
    mine = [alpha(RHO[-1]) * f(Run(PATHS[path]), np.array(v)) for v in STARTS]
    return float(np.max(np.abs(np.array(result["x_final"]) - mine)) / np.max(np.abs(mine)))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("f", "method", "options"), LOOPS, ids=[label(*f[1:]) for f in LOOPS])
def test_same_ends(
    path: str, f: Callable[[Run, Vector], Vector], method: str, options: dict[str, Any]
) -> None:
    assert apart(path, f, method, options) < REL


@pytest.mark.parametrize(
    ("f", "method", "options"),
    [
        (partial(ipndm_v, q=4, old=1 + 1e-6), "ipndm_v_4", OLD),
        (partial(runge_kutta, name="vdh", shift=1e-7), "rho_vdh3", {}),
        (partial(f_pndm, nodes=lambda r, a, b: (a + b) / 2), "f_pndm", {}),
        (partial(deis, degree=3, clock="t", points=9_999), "deis_t_ab3", OLD),
        (partial(exponential, scheme=partial(a_res_3, power=2), sign=-1), "res_3s", EARLY),
    ],
    ids=["oldest weight", "tableau", "middle in ρ", "points", "nodes"],
)
def test_control_a_small_change_is_seen(
    f: Callable[[Run, Vector], Vector], method: str, options: dict[str, Any]
) -> None:
    assert apart("vp_linear", f, method, options) > 1e3 * REL


def test_dpm_2_is_dpm_solver_2() -> None:
    """The midpoint rule in ρ with the geometric mean as its middle: r₁ = 1/2 in λ, noise."""

    def dpm_2(r: Run, v: Vector) -> Vector:
        for a, b in pairwise(RHO):
            m = math.sqrt(a * b)
            v = v + (b - a) * r.noise(v + (m - a) * r.noise(v, a), m)
        return v

    for path in PATHS:
        assert apart(path, dpm_2, "dpm_solver_2", {}) < REL
    assert apart("flow", dpm_2, "dpm_solver_pp_2s", {}) > 1e3 * REL  # control


def test_euler_of_rectified_flow_is_ddim() -> None:
    """x' = x + (t' − t)(ε − D) on x = (1−t) x₀ + t ε."""

    def euler(r: Run, v: Vector) -> Vector:
        x = v / (1 + RHO[0])
        for a, b in pairwise(RHO):
            t, to = a / (1 + a), b / (1 + b)
            e = r.noise(x / (1 - t), a)
            x = x + (to - t) * (e - (x - t * e) / (1 - t))
        return x * (1 + RHO[-1])

    assert apart("flow", euler, "ddim", {}) < REL
    assert apart("vp_linear", euler, "rho_heun2", {}) > 1e3 * REL  # control
