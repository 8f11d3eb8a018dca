r"""DPM-Solver-v3's statistics of a network, from sums that do not grow with the number of samples.

In z = x/α with u = e^{−λ} ε(x, λ), at z = x₀ + e^{−λ} n of data x₀ and noise n, per coordinate:

    by_jvp      l = E v (∂u/∂z v), v = ±1; u' along the flow z' = −u; s and b regress f' on f,
                f = u − l z, f' = u' + l u − l' z                       (the paper's estimator)
    by_moments  l = β + E(u − β z)²/τ with β the regression of u on z, τ = e^{−2λ};
                s = ½ (log Var f)', b = (E f)' − s E f                  (no derivatives of u)

The second rests on identities of an exact score (``theory.model_statistics``); of a network both
are estimates.  Every λ sees the same draws, so derivatives in λ are those of smooth functions.
Statistics of the model without guidance are reused with guidance, as in the paper.

Source: Zheng et al. 2023, "DPM-Solver-v3", for the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from solvers.denoiser import Denoiser, TorchField
from solvers.field import Scalar
from solvers.piecewise import Floats, slopes
from solvers.point import Point
from solvers.schedules import Schedule
from solvers.statistics import Table

GROUPS = 16
"""Parts of the draws, each left out once: the jackknife's standard errors."""
NOTHING = 1e-18
"""Of the variance of l z: a smaller Var f counts as none, and then s = 0 and b = (E f)'."""

Draw = Callable[[int, torch.Generator], Tensor]
"""n data points, (n, ..), from a generator."""
Sums = dict[str, Floats]
"""Sums over draws by name, each (parts, nodes, D); "n" counts them."""


@dataclass(frozen=True)
class Estimate:
    """The table and, of the same shape, the standard errors of its entries."""

    table: Table
    errors: dict[str, Floats]


def by_jvp(
    model: Denoiser,
    draw: Draw,
    schedule: Schedule,
    lam: Sequence[float] | Floats,
    *,
    samples: int,
    batch: int = 64,
    seed: int = 0,
    l: float | None = None,
) -> Estimate:
    """Two directional derivatives a sample and node; ``l`` replaces E ∂u/∂z."""

    def terms(u: Any, z: Tensor, at: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        signs = torch.randint(0, 2, z.shape, generator=generator).to(z) * 2 - 1
        value, slope, *_ = torch.func.jvp(lambda y: u(y, at), (z,), (signs,))
        _, along, *_ = torch.func.jvp(u, (z, at), (-value, torch.ones_like(at)))
        names = {"u": value, "z": z, "v": along}
        pairs = ("uu", "uz", "zz", "uv", "zv")
        return {"l": signs * slope, **names, **{k: names[k[0]] * names[k[1]] for k in pairs}}

    sums = _streamed(model, draw, schedule, lam, samples, batch, seed, terms)

    def found(E: dict[str, Floats], x: Floats) -> tuple[Floats, Floats, Floats]:
        a = E["l"] if l is None else np.full_like(E["l"], l)
        rate = slopes(x, a)
        mean, speed = E["u"] - a * E["z"], E["v"] + a * E["u"] - rate * E["z"]
        c = {k: E[k] - E[k[0]] * E[k[1]] for k in ("uu", "uz", "zz", "uv", "zv")}
        var = c["uu"] - 2 * a * c["uz"] + a**2 * c["zz"]
        cov = c["uv"] + a * c["uu"] - rate * c["uz"]
        cov -= a * (c["zv"] + a * c["uz"] - rate * c["zz"])
        s = np.where(var > NOTHING * a**2 * c["zz"], cov / np.where(var > 0, var, 1), 0)
        return a, s, speed - s * mean

    return _jackknifed(sums, np.asarray(lam, dtype=float), found)


def by_moments(
    model: Denoiser,
    draw: Draw,
    schedule: Schedule,
    lam: Sequence[float] | Floats,
    *,
    samples: int,
    batch: int = 64,
    seed: int = 0,
    l: float | None = None,
) -> Estimate:
    """One model call a sample and node; ``l`` replaces E ε²."""

    def terms(u: Any, z: Tensor, at: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        value = u(z, at)
        return {"u": value, "z": z, "uu": value * value, "uz": value * z, "zz": z * z}

    sums = _streamed(model, draw, schedule, lam, samples, batch, seed, terms)

    def found(E: dict[str, Floats], x: Floats) -> tuple[Floats, Floats, Floats]:
        tau = np.exp(-2 * x)[:, None]
        uu, uz, zz = (E[k] - E[k[0]] * E[k[1]] for k in ("uu", "uz", "zz"))
        beta = uz / zz
        rest = (uu - uz * beta).clip(0)
        a = beta + rest / tau if l is None else np.full_like(beta, l)
        var = rest + (a - beta) ** 2 * zz
        nothing = NOTHING * (a**2 * zz + tau)
        s = np.where(var > nothing, slopes(x, np.log(var + nothing)) / 2, 0)
        mean = E["u"] - a * E["z"]
        return a, s, slopes(x, mean) - s * mean

    return _jackknifed(sums, np.asarray(lam, dtype=float), found)


def _streamed(
    model: Denoiser,
    draw: Draw,
    schedule: Schedule,
    lam: Sequence[float] | Floats,
    samples: int,
    batch: int,
    seed: int,
    terms: Callable[..., dict[str, Tensor]],
) -> Sums:
    """The sums of the terms over all draws, batch by batch, by node and group."""
    for name, count in (("samples", samples), ("batch", batch)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}: got {count!r}; an integer >= 1 is allowed")
    sums: Sums = {}
    for j, value in enumerate(lam):
        for i, (x0, noise, generator) in enumerate(_batches(draw, samples, batch, seed)):
            at = torch.tensor(float(value), dtype=x0.dtype, device=x0.device)
            z = x0 + torch.exp(-at) * noise
            with torch.no_grad():
                found = terms(_scaled(model, schedule), z, at, generator)
            ones = {"n": torch.ones_like(z)}
            for name, term in (ones | found).items():
                total = term.double().flatten(1).sum(0).cpu().numpy()
                if name not in sums:
                    sums[name] = np.zeros((GROUPS, len(lam), len(total)))
                sums[name][i % GROUPS, j] += total
    return sums


def _batches(
    draw: Draw, samples: int, batch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor, torch.Generator]]:
    """Data and noise, the same at every λ."""
    for i, start in enumerate(range(0, samples, batch)):
        generator = torch.Generator().manual_seed(seed + i)
        x0 = draw(min(batch, samples - start), generator)
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
        yield x0, noise.to(x0.device), generator


def _scaled(model: Denoiser, schedule: Schedule) -> Callable[[Tensor, Tensor], Tensor]:
    """The function u(z, λ) = e^{−λ} ε(α z, λ)."""

    def u(z: Tensor, at: Tensor) -> Tensor:
        F = TorchField(z)
        p = Point(schedule, F, "lam", Scalar(F, at))
        eps = model.at("noise", p.alpha.v * z, p.t.v, p.alpha.v, p.sigma.v)
        return torch.exp(-at) * eps

    return u


def _jackknifed(
    sums: Sums, lam: Floats, found: Callable[..., tuple[Floats, Floats, Floats]]
) -> Estimate:
    """The estimate from all groups; its errors from leaving out one group at a time."""
    whole = {k: v.sum(0) for k, v in sums.items()}

    def estimate(left_out: Sums | None = None) -> tuple[Floats, Floats, Floats]:
        kept = {k: v - (left_out[k] if left_out else 0) for k, v in whole.items()}
        return found({k: v / kept["n"] for k, v in kept.items()}, lam)

    best = np.array(estimate())
    used = [g for g in range(GROUPS) if sums["n"][g].any()]
    n = len(used)
    away, square = np.zeros_like(best), np.zeros_like(best)
    for g in used if n > 1 else ():  # one by one: as many as there are groups need not fit
        apart = np.array(estimate({k: v[g] for k, v in sums.items()})) - best
        away += apart
        square += apart**2
    spread = np.sqrt((square - away**2 / n).clip(0) * (n - 1) / n) if n > 1 else best * np.nan
    l, s, b = best
    return Estimate(Table(lam, l, s, b), dict(zip("lsb", spread, strict=True)))
