"""Each published stochastic algorithm, written as a plain loop, gives what the method gives.

The loops draw the same numbers: sample b of a run takes them from the seed b.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from math import exp, expm1, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from tests.crosscheck.printed import label
from tests.crosscheck.test_transcriptions import LAM, PATHS, REL, STARTS, Run, solved
from tests.problems import DEIS

Noise = Iterator[float]
ONES = [1] * (len(LAM) - 1)


def normals(seed: int) -> Noise:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield float(torch.randn(1, generator=generator, dtype=torch.float64))


def alpha(r: Run, i: int) -> float:
    return r.at(LAM[i])[0]


# --- one value held over the step ---------------------------------------------------------------


def held_data(r: Run, x: float, xi: Noise, eta: float = 1.0) -> float:
    """x' = α' D + (σ'/σ) e^{−ηh} (x − α D) + σ' √(1 − e^{−2ηh}) z."""
    for _, a, _, h, alpha_s, sigma_s, alpha_t, sigma_t in r.steps():
        D = r.data(x, a)
        pulled = sigma_t / sigma_s * exp(-eta * h) * (x - alpha_s * D)
        x = alpha_t * D + pulled + sigma_t * sqrt(1 - exp(-2 * eta * h)) * next(xi)
    return x


def held_noise(r: Run, x: float, xi: Noise, eta: float = 1.0) -> float:
    """x' = (α'/α) x + (1+η) α' (ρ' − ρ) ε + α' √(η (ρ² − ρ'²)) z."""
    for _, a, b, _, alpha_s, _, alpha_t, _ in r.steps():
        rho, to = exp(-a), exp(-b)
        drift = (1 + eta) * alpha_t * (to - rho) * r.noise(x, a)
        z = next(xi)
        x = alpha_t / alpha_s * x + drift + alpha_t * sqrt(eta * (rho**2 - to**2)) * z
    return x


def ancestral(r: Run, v: float, xi: Noise, eta: float = 1.0) -> float:
    """An Euler step to ρ_down, then ρ_up z."""
    v /= alpha(r, 0)
    for _, a, b, _, _, _, _, _ in r.steps():
        rho, to = exp(-a), exp(-b)
        up = min(to, eta * sqrt(to**2 * (rho**2 - to**2) / rho**2))
        down = sqrt(to**2 - up**2)
        v = v + (down - rho) * DEIS.noise(v, rho) + up * next(xi)
    return alpha(r, -1) * v


def ddpm(r: Run, x: float, xi: Noise) -> float:
    """The posterior q(x' | x, x₀ = D) of a VP process."""
    for _, a, _, _, alpha_s, sigma_s, alpha_t, sigma_t in r.steps():
        ratio = alpha_s / alpha_t
        beta = 1 - ratio**2
        mean = (ratio * sigma_t**2 * x + alpha_t * beta * r.data(x, a)) / sigma_s**2
        x = mean + sqrt(beta) * sigma_t / sigma_s * next(xi)
    return x


# --- several values -----------------------------------------------------------------------------


def churned_heun(
    r: Run,
    v: float,
    xi: Noise,
    churn: float = 0.0,
    low: float = 0.0,
    high: float = math.inf,
    loud: float = 1.0,
) -> float:
    v /= alpha(r, 0)
    for _, a, b, _, _, _, _, _ in r.steps():
        rho, to = exp(-a), exp(-b)
        gamma = min(churn / (len(LAM) - 1), sqrt(2) - 1) if low <= rho <= high else 0.0
        hat = rho * (1 + gamma)
        if gamma:
            v += loud * sqrt(hat**2 - rho**2) * next(xi)
        slope = DEIS.noise(v, hat)
        end = DEIS.noise(v + (to - hat) * slope, to)
        v += (to - hat) * (slope + end) / 2
    return alpha(r, -1) * v


def sde_2m(r: Run, v: float, xi: Noise, eta: float = 1.0, kind: str = "midpoint") -> float:
    v /= alpha(r, 0)
    old = last = 0.0
    for i, a, b, h, _, _, _, _ in r.steps():
        D, z = r.data(v * r.at(a)[0], a), (1 + eta) * h
        v = exp(-z) * v - expm1(-z) * D
        if i:
            slope = (D - old) / (last / h)
            v += (-expm1(-z) / 2 if kind == "midpoint" else expm1(-z) / z + 1) * slope
        v += exp(-b) * sqrt(-expm1(-2 * eta * h)) * next(xi)
        old, last = D, h
    return alpha(r, -1) * v


def sde_3m(r: Run, v: float, xi: Noise, eta: float = 1.0, factor: float = 2) -> float:
    """Two values with φ₂; the published second difference lacks the factor."""
    v /= alpha(r, 0)
    f: list[float] = []
    for i, a, b, h, _, _, _, _ in r.steps():
        f, z = [r.data(v * r.at(a)[0], a), *f][:3], (1 + eta) * h
        v = exp(-z) * v - expm1(-z) * f[0]
        ratios = [(LAM[i - j] - LAM[i - j - 1]) / h for j in range(min(i, 2))]
        slopes = [(f[j] - f[j + 1]) / ratio for j, ratio in enumerate(ratios)]
        phi_2 = expm1(-z) / z + 1
        if i == 1:
            v += phi_2 * slopes[0]
        if i > 1:
            bent = (slopes[0] - slopes[1]) / sum(ratios)
            v += phi_2 * (slopes[0] + ratios[0] * bent) - (phi_2 / z - 0.5) * factor * bent
        v += exp(-b) * sqrt(-expm1(-2 * eta * h)) * next(xi)
    return alpha(r, -1) * v


def sde_noise_2m(r: Run, x: float, xi: Noise) -> float:
    """η = 1: twice the deterministic noise terms, and σ' √(e^{2h} − 1) z."""
    old = last = 0.0
    for i, a, _, h, alpha_s, _, alpha_t, sigma_t in r.steps():
        e = r.noise(x, a)
        x = alpha_t / alpha_s * x - 2 * sigma_t * expm1(h) * e
        x -= sigma_t * expm1(h) * (e - old) / (last / h) if i else 0.0
        x += sigma_t * sqrt(expm1(2 * h)) * next(xi)
        old, last = e, h
    return x


def area(f: Callable[[Any], Any], low: float, high: float) -> float:
    """∫ f by Gauss's rule; f is analytic far beyond these short intervals."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    return float(weights @ f(low + (nodes + 1) / 2 * (high - low))) / 2 * (high - low)


def summed(f: Callable[[Any], Any], low: float, high: float) -> float:
    """100 rectangles."""
    return float(np.sum(f(low + np.arange(100) / 100 * (high - low)))) * (high - low) / 100


def weighed(nodes: Sequence[float], a: float, b: float, speed: float, few: bool) -> list[float]:
    """speed ∫_a^b e^{speed (λ − b)} ℓ_j(λ) dλ; in few steps h²/2 is put for that of λ − a."""
    out: list[float] = []
    for j, node in enumerate(nodes):
        others = [m for k, m in enumerate(nodes) if k != j]
        bottom = math.prod(node - m for m in others)

        def f(lam: Any, others: list[float] = others, bottom: float = bottom) -> Any:
            return (
                speed * np.exp(speed * (lam - b)) * np.prod([lam - m for m in others], 0) / bottom
            )

        out.append(area(f, a, b))
    if few and len(nodes) == 2:
        h = b - a
        short = speed * (h**2 / 2 - (h * speed + expm1(-speed * h)) / speed**2)
        short /= nodes[0] - nodes[1]
        out = [out[0] + short, out[1] - short]
    return out


def sa(r: Run, x: float, xi: Noise, q: int = 1, tau: float = 1.0, few: bool = False) -> float:
    """PEC with q and q + 1 values and one z for both; the last step only predicts."""
    speed, f = 1 + tau**2, [r.data(x, LAM[0])]
    for i, a, b, h, _, sigma_s, alpha_t, sigma_t in r.steps():
        kept = exp(-(tau**2) * h) * sigma_t / sigma_s * x
        kept += sigma_t * sqrt(1 - exp(-2 * tau**2 * h)) * next(xi)
        nodes = [LAM[i - j] for j in range(min(q, i + 1))]
        x = kept + alpha_t * np.dot(weighed(nodes, a, b, speed, few), f[: len(nodes)])
        if i + 2 < len(LAM):
            f, nodes = [r.data(x, b), *f], [b, *nodes]
            x = kept + alpha_t * np.dot(weighed(nodes, a, b, speed, few), f[: len(nodes)])
    return x


PHI: dict[str, Callable[[Any], Any]] = {
    "default": lambda s: s * (np.exp(s**0.3) + 10),
    "ode": lambda s: s,
    "sde": lambda s: s**2,
}


def er(
    r: Run,
    x: float,
    xi: Noise,
    q: int = 1,
    phi: str = "default",
    slip: bool = False,
    integral: Callable[..., float] = area,
) -> float:
    """Taylor's form: D, its backward difference, and a second one; v = x/α, all in ρ."""
    f, rho = PHI[phi], [exp(-lam) for lam in LAM]
    v, D, slope, bent = x / alpha(r, 0), 0.0, 0.0, 0.0
    for i, (s, t) in enumerate(pairwise(rho)):
        new = r.data(v * alpha(r, i), LAM[i])
        kept = f(t) / f(s)
        end = kept * v + (1 - kept) * new
        if q > 1 and i > 0:
            step = (new - D) / (s - rho[i - 1])
            if q > 2 and i > 1:
                bent = 2 * (step - slope) / (s - rho[i - 2])
                moment = integral(lambda y, s=s: (y - s) / f(y), t, s)
                end += ((t - s) ** 2 / 2 + f(t) * moment) * bent
            slope, mended = step, step + (0 if slip else (s - rho[i - 1]) / 2 * bent)
            end += (t - s + f(t) * integral(lambda y: 1 / f(y), t, s)) * mended
        v, D = end, new
        if phi != "ode":
            v += sqrt(t**2 - s**2 * kept**2) * next(xi)
    return alpha(r, -1) * v


OLD: dict[str, Any] = {"as_published": True}
HEUN: dict[str, Any] = {"weights": "heun"}
EDM: dict[str, Any] = {"s_churn": 2.0, "s_tmin": 0.5, "s_tmax": 12.0, "s_noise": 1.007}
Loop = Callable[[Run, float, Noise], float]
TABLE: list[tuple[Loop, str, dict[str, Any]]] = [
    (held_data, "sde_dpm_solver_pp_2m", {"orders": ONES}),
    (partial(held_data, eta=0.3), "sde_dpm_solver_pp_2m", {"orders": ONES, "eta": 0.3}),
    (held_noise, "sde_dpm_solver_2m", {"orders": ONES}),
    (partial(held_noise, eta=0.3), "sde_dpm_solver_2m", {"orders": ONES, "eta": 0.3}),
    (held_data, "euler_ancestral", {}),
    (ancestral, "euler_ancestral", {}),
    (partial(ancestral, eta=0.6), "euler_ancestral", {"eta": 0.6}),
    (churned_heun, "edm_churn", {}),
    (partial(churned_heun, churn=2.0, low=0.5, high=12.0, loud=1.007), "edm_churn", EDM),
    (partial(churned_heun, churn=40.0), "edm_churn", {"s_churn": 40}),
    (sde_2m, "sde_dpm_solver_pp_2m", {}),
    (partial(sde_2m, eta=0.4), "sde_dpm_solver_pp_2m", {"eta": 0.4}),
    (partial(sde_2m, kind="heun"), "sde_dpm_solver_pp_2m", HEUN),
    (sde_3m, "sde_dpm_solver_pp_3m", HEUN),
    (partial(sde_3m, eta=0.4, factor=1), "sde_dpm_solver_pp_3m", {**HEUN, **OLD, "eta": 0.4}),
    (sde_noise_2m, "sde_dpm_solver_2m", {}),
    *((partial(sa, q=q), f"sa_solver_{q}", {}) for q in (1, 2, 3)),
    (partial(sa, q=3, tau=0.5), "sa_solver_3", {"tau": 0.5}),
    (partial(sa, q=1, tau=0.5, few=True), "sa_solver_1", {"tau": 0.5, **OLD}),
    (partial(sa, q=2, few=True), "sa_solver_2", OLD),
    *((partial(er, q=q, phi=p), f"er_sde_{q}", {"phi": p}) for q in (1, 2, 3) for p in PHI),
    *((partial(er, q=2, phi=p, integral=summed), "er_sde_2", {"phi": p, **OLD}) for p in PHI),
    *(
        (partial(er, q=3, phi=p, slip=True, integral=summed), "er_sde_3", {"phi": p, **OLD})
        for p in PHI
    ),
    (partial(er, q=3, slip=True), "er_sde_3", {**OLD, "integrals": "accurate"}),
]
VP = [(ddpm, "euler_ancestral", {}), (ddpm, "sde_dpm_solver_pp_2m", {"orders": ONES})]


def apart(path: str, f: Loop, method: str, options: Any) -> float:
    """The largest relative difference of the two ends."""
    run = Run(PATHS[path])
    starts = [3 * run.at(LAM[0])[0] + x for x in STARTS]
    ends = solved(path, method, options, starts)
    mine = [f(run, x, normals(seed)) for seed, x in enumerate(starts)]
    return max(abs(a / b - 1) for a, b in zip(mine, ends, strict=True))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("f", "method", "options"), TABLE, ids=[label(*f[1:]) for f in TABLE])
def test_same_ends(path: str, f: Loop, method: str, options: dict[str, Any]) -> None:
    assert apart(path, f, method, options) < REL


@pytest.mark.parametrize(("f", "method", "options"), VP, ids=[label(*f[1:]) for f in VP])
def test_ddpm_is_the_ancestral_sampler(f: Loop, method: str, options: dict[str, Any]) -> None:
    assert apart("vp_linear", f, method, options) < REL


@pytest.mark.parametrize(
    ("f", "method", "options"),
    [
        (partial(sde_2m, eta=1 + 1e-6), "sde_dpm_solver_pp_2m", {}),
        (partial(sa, q=2, tau=1 + 1e-6), "sa_solver_2", {}),
        (partial(sde_3m, factor=2 + 1e-6), "sde_dpm_solver_pp_3m", HEUN),
        (partial(ancestral, eta=1 - 1e-6), "euler_ancestral", {}),
        (partial(er, q=3, slip=True), "er_sde_3", OLD),
        (sde_2m, "sde_dpm_solver_pp_2m", {"seed": 1}),
    ],
    ids=["sde eta", "sa tau", "factor", "ancestral eta", "sums", "seed"],
)
def test_control_a_small_change_is_seen(f: Loop, method: str, options: dict[str, Any]) -> None:
    assert apart("vp_linear", f, method, options) > 1e3 * REL


def test_the_reference_integrates_polynomials() -> None:
    """Σ_j b_j λ_j^k = speed ∫ e^{speed (λ − b)} λ^k dλ, for as many powers as there are nodes."""
    nodes, a, b, speed = [-0.3, -0.5, -0.9], -0.3, 0.1, 1.7
    weights = weighed(nodes, a, b, speed, False)
    for k in range(3):
        power = quad(lambda lam, k=k: speed * exp(speed * (lam - b)) * lam**k, a, b)[0]
        assert np.dot(weights, np.power(nodes, k)) == pytest.approx(power, rel=1e-12)
    assert summed(lambda s: s, 0.0, 1.0) == pytest.approx(0.495)
