r"""The key ``ems`` of a run: where the model statistics of DPM-Solver-v3 come from.

A path          a table: ``lam`` (n+1,), ``l``, ``s`` and ``b`` (n+1, D) in one .npz
"exact"         the mixture's own, by ``gaussian_score.model_statistics``
"moments"       of the Gaussian with the data's mean and variances
{"samples": n}  l = E ε² over n draws; s and b follow from l, mean and variances

Functions of λ are interpolated in panels one unit long, which all runs on a law share.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from experiments.problems import Floats, Law, mapping, shown
from gaussian_score.mixture import GaussianMixture
from gaussian_score.model_statistics import Excess, excess, marginals, moments
from solvers.coordinatewise import ARRAYS
from solvers.empirical import Empirical, Matched, Source
from solvers.form import Form
from solvers.forms import Statistics
from solvers.grids import Grid
from solvers.piecewise import Piecewise, chebyshev, joined
from solvers.point import Point
from solvers.statistics import Smooth, Table

NOTHING = 1e-22
"""Of the data's variance: S levels off where Var f falls below, since s does not matter there."""
BATCH = 1 << 14
"""Draws at a time."""
INTERPOLATION = ((20, 1e-12), (14, 1e-9), (10, 1e-7))
"""Terms and tolerance where δ is an integral in 1, 2 or 3 dimensions; draws are as costly as 3."""


@dataclass(frozen=True)
class Ems:
    """What the key says: "table" and a path, "exact", "moments", "samples" and their number."""

    kind: str
    path: str = ""
    samples: int = 0


def read_ems(run: Mapping[str, Any], form: Form, method: str) -> Ems | None:
    """The key of a run; ``ValueError`` where it is missing, malformed or not wanted."""
    value = run.get("ems")
    if not isinstance(form, Empirical):
        if "ems" in run:
            raise ValueError(
                f"ems: got {shown(value)}; no model statistics are allowed with {method}"
            )
        return None
    if isinstance(value, str) and value:
        return Ems(value) if value in ("exact", "moments") else Ems("table", value)
    if not isinstance(value, dict):
        got = f"got {shown(value)}" if "ems" in run else f"the key is missing; {method} needs it"
        raise ValueError(
            f"ems: {got}; the path of a .npz, 'exact', 'moments' or {{'samples': n}} is allowed"
        )
    n = mapping(value, "ems", ("samples",), required=("samples",))["samples"]
    if isinstance(n, bool) or not isinstance(n, int) or not 2 <= n <= 10**8:
        raise ValueError(f"ems.samples: got {shown(n)}; an integer from 2 to 10^8 is allowed")
    return Ems("samples", samples=n)


@dataclass(frozen=True)
class Fit:
    """A form with its statistics, and the grid where it runs: in arrays, its nodes in place."""

    form: Form
    grid: Grid
    report: Mapping[str, Any]


def fit(ems: Ems, form: Form, law: Law, grid: Grid, *, rotated: bool) -> Fit:
    """For a run on this law, which is in its eigenbasis if ``rotated``."""
    if rotated and ems.kind == "table" and law.means.shape[1] > 1:
        raise ValueError(
            f"ems: got {ems.path!r} with teleport, which runs in the data's eigenbasis;"
            " 'exact', 'moments' or {'samples': n} is allowed"
        )
    try:
        fitted = form.with_statistics(statistics(ems, law, grid))  # type: ignore[attr-defined]
        points = fitted.places(tuple(map(in_arrays, grid.points)))
    except ValueError as error:  # the library's name for what the key gives
        raise ValueError(re.sub(r"^statistics\b", "ems", str(error))) from None
    grid = replace(grid, F=ARRAYS, points=points)
    return Fit(fitted, grid, report(ems, law, grid))


def in_arrays(p: Point) -> Point:
    """The point in numpy's float64."""
    return Point(p.schedule, ARRAYS, p.given, ARRAYS.number(float(p.value)))


def statistics(ems: Ems, law: Law, grid: Grid) -> Source:
    """The statistics on the grid's range of λ."""
    mean, variances = marginals(law.weights, law.means, law.covs)
    if ems.kind == "moments":
        return Matched(Statistics(tuple(mean.tolist()), tuple(variances.tolist())))
    if ems.kind == "table":
        table = _table(ems.path, _stamp(ems.path))
        if table.l.shape[1] != len(mean):
            raise ValueError(
                f"ems: got {ems.path!r} with {table.l.shape[1]} coordinates;"
                f" the law's {len(mean)} are allowed"
            )
        return table
    lams = [float(p.lam) for p in grid.points if not p.silent]
    first, last = math.floor(lams[0]), math.ceil(lams[-1])
    curves = joined([_panel(law, ems, i) for i in range(first, max(last, first + 1))])
    l, S = (Piecewise(curves.breaks, c) for c in np.split(curves.coefficients, 2, axis=2))
    return Smooth(l, l.integral(), S, l.scaled(-mean))


@lru_cache(maxsize=16)
def _table(path: str, stamp: tuple[int, ...]) -> Table:
    """The file's table, read once in a batch."""
    return Table.load(path)


def _stamp(path: str) -> tuple[int, ...]:
    """What changes when another file takes the path."""
    try:
        status = os.stat(path)
        return status.st_ino, status.st_size, status.st_mtime_ns
    except OSError:
        return ()  # Table.load says why


@lru_cache(maxsize=512)
def _panel(law: Law, ems: Ems, i: int) -> Piecewise:
    """The functions l and S = ½ log Var f from λ = i to i + 1: (.., 2 D)."""
    _, variances = marginals(law.weights, law.means, law.covs)
    nothing = NOTHING * np.where(variances > 0, variances, 1)
    delta = _excess(law, ems)

    def curves(lam: Any) -> Floats:
        l, var = moments(delta, variances, lam)
        return np.concatenate([np.real(l), np.log(np.real(var) + nothing) / 2], axis=1)

    return chebyshev(curves, i, i + 1, *INTERPOLATION[max(delta.dimensions - 1, 0)])


@lru_cache(maxsize=16)
def _excess(law: Law, ems: Ems) -> Excess:
    """δ = l − g of λ."""
    if ems.kind == "samples":
        return Excess(Draws(law, ems.samples).excess, len(INTERPOLATION))
    other = "; 'moments' or {'samples': n} is allowed too"
    try:
        found = excess(law.weights, law.means, law.covs)
    except ValueError as error:
        raise ValueError(f"ems: got 'exact'; {error}{other}") from None

    def delta(lam: Any) -> Any:
        try:
            return found(lam)
        except ValueError as error:
            raise ValueError(f"ems: got 'exact'; {error}{other}") from None

    return replace(found, delta=delta)


@dataclass(frozen=True, eq=False)
class Draws:
    """The same draws of x₀ and noise at every λ: what they give is as smooth as the exact δ."""

    law: Law
    samples: int

    @cached_property
    def _mixture(self) -> GaussianMixture:
        return GaussianMixture.full(self.law.weights, self.law.means, self.law.covs)

    def squares(self, lam: float) -> Iterator[Floats]:
        """(ε − ε_G)² at z = x₀ + e^{−λ} n, some draws at a time: (.., D)."""
        mean, variances = marginals(self.law.weights, self.law.means, self.law.covs)
        rho = math.exp(-lam)
        generator = torch.Generator().manual_seed(0)
        for start in range(0, self.samples, BATCH):
            n = min(BATCH, self.samples - start)
            x0 = self._mixture.sample(n, generator=generator)
            noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
            z = x0 + rho * noise
            eps = self._mixture.noise(z, 1.0, rho).numpy()
            yield (eps - rho * (z.numpy() - mean) / (variances + rho**2)) ** 2

    def excess(self, lam: Any) -> Floats:
        """Their mean at every λ."""
        return np.array([sum(s.sum(0) for s in self.squares(x)) / self.samples for x in lam])

    def error(self, lam: float) -> Floats:
        """The standard error of the mean, and so of l: (D,)."""
        sums = sum(np.stack([s.sum(0), (s**2).sum(0)]) for s in self.squares(lam))
        mean, square = np.asarray(sums) / self.samples
        return np.sqrt((square - mean**2).clip(0) / (self.samples - 1))


def report(ems: Ems, law: Law, grid: Grid) -> dict[str, Any]:
    """For the output: l at the grid's nodes and, of draws, its standard error, (n+1, D)."""
    if ems.kind != "samples":
        return {}
    lams = [float(p.lam) for p in grid.points if not p.silent]
    draws = Draws(law, ems.samples)
    _, variances = marginals(law.weights, law.means, law.covs)
    l, _ = moments(draws.excess, variances, np.array(lams))
    errors = [draws.error(lam).tolist() for lam in lams]
    return {"ems": {"lam": lams, "l": l.tolist(), "standard_error": errors}}
