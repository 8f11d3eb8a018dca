"""``solve``: one JSON object in, the run and its exact error out (the replay format).

The run goes through the registry, a plan and ``solvers.sample``; the exact solution comes from
``gaussian_score.reference``, which shares no code with them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from experiments.problems import (
    Floats,
    Law,
    mapping,
    shown,
)
from experiments.setting import Setting, read_setting
from gaussian_score.mixture import GaussianMixture
from gaussian_score.reference import reference_flow
from solvers.denoiser import Known
from solvers.grids import Grid
from solvers.ops import Plan
from solvers.plan import climbed, plan
from solvers.point import Point
from solvers.sample import SEEDS, normals, sample, sample_adaptive
from solvers.trajectory import Trajectory

REQUIRED = ("problem", "schedule", "method", "grid", "x_start")
KEYS = (*REQUIRED, "options", "teleport", "switch", "finish", "dtype", "ems")


def solve(run: Any, *, states: bool = False, exact: bool = True) -> dict[str, Any]:
    """One run; ``ValueError`` with one line that names the key, the value and what is allowed.

    Noise is drawn from ``options.seed`` (default 0); ``exact`` and the errors compare with the
    flow without noise from the same start.
    """
    obj = mapping(run, "run", KEYS, required=REQUIRED)
    try:
        return _solve(obj, states, exact)
    except ValueError:
        raise
    except Exception as error:  # a function from a user's file may raise anything
        if not (isinstance(error, ArithmeticError | TypeError) or ".py:" in str(obj["method"])):
            raise
        text = f"{type(error).__name__}: {error}"
        raise ValueError(f"run: {shown(obj['method'])} fails: {text}") from error


def _solve(obj: Mapping[str, Any], states: bool, exact: bool) -> dict[str, Any]:
    s = read_setting(obj)
    began = time.perf_counter()
    p, result, points = _run(s, states)
    seconds = time.perf_counter() - began
    final = _back(result.x, s.basis)
    out: dict[str, Any] = {
        "x_final": final.tolist(),
        "nfe": result.nfe,
        "jvp": result.jvp,
        "nodes": {"t": [float(q.t) for q in points], "lam": [_lam(q) for q in points]},
        "plan_hash": p.hash,
        "seconds": seconds,
    }
    out |= s.report
    if s.teleport is not None:
        out["sigma_skip"] = float(s.grid.points[s.first].rho)
        out["landing"] = result.landing.tolist()
        out["landing_entropy"] = float(result.entropy.mean())
    if states:
        out["states"] = [_back(x, s.basis).tolist() for x in result.states]
    if exact:
        out |= _compare(s.law, s.full, _started(s), s.basis, final, s.finish)
    return out


def _run(s: Setting, states: bool) -> tuple[Plan, Trajectory, tuple[Point, ...]]:
    """The plan, its run and the nodes."""
    mixture = GaussianMixture.full(s.law.weights, s.law.means, s.law.covs).to(dtype=s.dtype)
    model, start = Known(mixture), torch.tensor(s.x, dtype=s.dtype)
    if s.entry.controller:
        if s.then:
            raise ValueError(f"switch: got one with {s.entry.name}; none is allowed with it")
        how = {"teleport": s.teleport, "finish": s.finish, "states": states, **s.options}
        done = sample_adaptive(s.entry, s.grid, model, start, state=s.dtype, **how)
        return done.plan, done.trajectory, done.points
    grid = s.grid
    if s.options.get("orders") is None:
        grid, _ = climbed(s.entry, grid, s.options)
    how = {"form": s.form, "statistics": s.statistics, "finish": s.finish}
    how |= {"teleport": s.teleport, "first": s.first, "then": s.then}
    p = plan(s.entry, grid, **how, **s.options)
    noise = normals(_seeds(s.options, len(s.x)), start) if p.noisy else None
    result = sample(p, model, start, noise=noise, states=states, state=s.dtype)
    above = (s.teleport.start,) if s.teleport else ()
    return p, result, (*above, *grid.points[s.first :])


def _started(s: Setting) -> Floats:
    """The point of the flow that the run begins at: with a matched prior not x itself."""
    if s.teleport is None or s.teleport.prior == "reference":
        return s.x
    p, known = s.teleport.start, s.teleport.statistics
    alpha, sigma = float(p.alpha), float(p.sigma)
    mean, variances = np.array(known.mean), np.array(known.variances)
    return alpha * mean + np.sqrt(alpha**2 * variances + sigma**2) * s.x / sigma


def _seeds(options: Mapping[str, Any], count: int) -> list[int]:
    """Sample b draws from seed + b: alone, with the seed seed + b, it is the same."""
    seed, most = options.get("seed", 0), SEEDS - count
    if seed > most:
        raise ValueError(f"options.seed: got {seed}; an integer from 0 to {most} is allowed")
    return [seed + b for b in range(count)]


def _back(x: torch.Tensor, basis: Floats) -> Floats:
    return x.to(torch.float64).numpy() @ basis.T


def _lam(p: Point) -> float | None:
    """λ; null where α = 0, since JSON has no infinity."""
    return None if p.silent else float(p.lam)


def _compare(
    law: Law, grid: Grid, x: Floats, basis: Floats, final: Floats, finish: str
) -> dict[str, Any]:
    """The true solution from the same start, its error estimate, the run's distance from it.

    With finish="denoise" both are data predictions: the exact one, at the exact last state.
    """
    first, last = grid.points[0], grid.points[-1]
    start, end = ((float(p.alpha), float(p.sigma)) for p in (first, last))
    key = (law.key, x.tobytes(), x.shape, start, end)
    true, error = _reference(_Hashed(key, law, x), start, end)
    if finish == "denoise":
        mixture = GaussianMixture.full(law.weights, law.means, law.covs)
        true = mixture.denoise(torch.tensor(true), *end).numpy()
    true = true @ basis.T
    miss = final - true
    return {
        "exact": true.tolist(),
        "exact_error": error,
        "error_rms": float(np.sqrt(np.mean(miss**2))),
        "error_max": float(np.max(np.abs(miss))),
    }


class _Hashed:
    """A problem and its starts, equal by value."""

    def __init__(self, key: tuple[Any, ...], law: Law, x: Floats) -> None:
        self.key, self.law, self.x = key, law, x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@lru_cache(maxsize=4096)
def _reference(
    problem: _Hashed, start: tuple[float, float], end: tuple[float, float]
) -> tuple[Floats, float]:
    """Once for each problem, ends and starts of a batch."""
    law = problem.law
    r = reference_flow(law.weights, law.means, law.covs, problem.x, start, end)
    return r.x, float(np.max(r.error))


def parse(text: str) -> Any:
    """Strict JSON: NaN, Infinity and numbers that float64 cannot hold are refused."""

    def number(token: str) -> Any:
        if not math.isfinite(float(token)):
            raise ValueError(f"json: got {shown(token)}; finite numbers of float64 are allowed")
        return float(token) if set(token) & set(".eE") else int(token)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"json: got the key {shown(key)} twice; once is allowed")
            found[key] = value
        return found

    try:
        return json.loads(
            text,
            parse_constant=number,
            parse_int=number,
            parse_float=number,
            object_pairs_hook=once,
        )
    except RecursionError:
        raise ValueError(f"json: got {shown(text)}; lists in fewer lists are allowed") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"json: {error.msg} at line {error.lineno}, column {error.colno};"
            " one JSON value is allowed"
        ) from None


def solve_lines(
    lines: Iterable[str], *, states: bool = False, exact: bool = True
) -> Iterator[dict[str, Any]]:
    """One result a line, in order; a refused line gives ``{"error": ".."}``, the rest run."""
    for line in lines:
        if line.strip():
            try:
                yield solve(parse(line), states=states, exact=exact)
            except ValueError as error:
                yield {"error": str(error)}
