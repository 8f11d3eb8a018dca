"""DPM-Solver-v3 written as a plain loop from its paper and code gives what the methods give.

The loop follows the v3 tables, sections 4 to 6: prefix integrals from the first node, g anchored
anew at every step's start, derivatives from a linear system or from divided differences, eps kept
as it was evaluated and changed when x is corrected.  Its integrals are trapezoid sums over a table
or, in the accurate mode, nested Gauss rules.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from gaussian_score.mixture import GaussianMixture
from solvers.coordinatewise import ARRAYS
from solvers.denoiser import Known
from solvers.grids import Grid, laid
from solvers.method import entry
from solvers.piecewise import chebyshev
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import schedule
from solvers.statistics import Smooth, Table

Array = np.ndarray[Any, Any]
LAW = GaussianMixture.full(
    [0.3, 0.7],
    [[-1.0, 0.5], [0.8, -0.2]],
    [[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]]],
)
LINEAR = schedule("vp_linear")
START, END = 0.95, 0.08
X = np.array([[0.6, -0.9], [-1.1, 0.3], [0.05, 1.7]])
NODES = 180
REL = 1e-12


# statistics of two coordinates, smooth and of no mixture: the loops must agree on any


def l_of(lam: Array) -> Array:
    return np.stack([1 / (1 + np.exp(2 * lam)), 0.5 - 0.3 * np.tanh(lam)], -1)


def s_of(lam: Array) -> Array:
    return np.stack([1 - np.tanh(lam), np.cos(lam) - 0.2], -1)


def b_of(lam: Array) -> Array:
    return np.stack([0.2 * np.sin(lam), 0.1 + 0.05 * lam], -1)


def noise(x: Array, t: float) -> Array:
    """The model in the schedule's own clock."""
    log_alpha = -19.9 / 4 * t * t - 0.1 / 2 * t
    alpha = math.exp(log_alpha)
    return LAW.noise(torch.tensor(x), alpha, math.sqrt(1 - alpha**2)).numpy()


def time(lam: float) -> float:
    """t(λ) of the linear schedule."""
    spread = 2 * 19.9 * math.log1p(math.exp(-2 * lam))
    return spread / (math.sqrt(0.01 + spread) + 0.1) / 19.9


def alpha_sigma(lam: float) -> tuple[float, float]:
    alpha = 1 / math.sqrt(1 + math.exp(-2 * lam))
    return alpha, alpha * math.exp(-lam)


class Sums:
    """Prefix sums on a table, and the nodes nearest to the steps."""

    def __init__(self, lam: Array, steps: Sequence[float]) -> None:
        n = len(lam) - 1
        self.table = lam
        self.index = [int(np.rint(n * (x - lam[0]) / (lam[-1] - lam[0]))) for x in steps]
        self.lam = [lam[0] + (lam[-1] - lam[0]) * i / n for i in self.index]
        self.l, s, b = l_of(lam), s_of(lam), b_of(lam)
        self.L, self.S = self.prefix(self.l), self.prefix(s)
        self.I = self.prefix(np.exp(self.L + self.S))
        self.B = self.prefix(np.exp(-self.S) * b)
        self.C = self.prefix(np.exp(self.L + self.S) * self.B)

    def prefix(self, f: Array) -> Array:
        steps = (f[1:] + f[:-1]) / 2 * np.diff(self.table)[:, None]
        return np.concatenate([np.zeros_like(f[:1]), np.cumsum(steps, 0)])

    def linear(self, m: int) -> Array:
        return self.l[self.index[m]]

    def factor(self, s: int, t: int) -> Array:
        return np.exp(self.L[self.index[s]] - self.L[self.index[t]])

    def E(self, k: int, s: int, t: int) -> Array:
        i, j = self.index[s], self.index[t]
        if k == 0:
            return np.exp(-self.L[i] - self.S[i]) * (self.I[j] - self.I[i])
        part, at = slice(i, j + 1), self.table[i : j + 1]
        power = (at - at[0])[:, None] ** k / math.factorial(k)
        f = np.exp((self.L + self.S)[part] - (self.L + self.S)[i]) * power
        return ((f[1:] + f[:-1]) / 2 * np.diff(at)[:, None]).sum(0)

    def EB(self, s: int, t: int) -> Array:
        i, j = self.index[s], self.index[t]
        rest = self.C[j] - self.C[i] - self.B[i] * (self.I[j] - self.I[i])
        return np.exp(-self.L[i]) * rest

    def g(self, f: Array, s: int, m: int) -> Array:
        i, j = self.index[s], self.index[m]
        kept = np.exp(self.S[i] - self.S[j]) * f
        return kept - np.exp(self.S[i]) * (self.B[j] - self.B[i])


class Integrals:
    """The same by Gauss's rule, from the start of every step."""

    def __init__(self, steps: Sequence[float]) -> None:
        self.lam = list(steps)

    @staticmethod
    def gauss(f: Any, a: float, b: float, pieces: int, points: int = 20) -> Array:
        nodes, weights = np.polynomial.legendre.leggauss(points)
        out: Any = 0
        for p, q in itertools.pairwise(np.linspace(a, b, pieces + 1)):
            for x, w in zip(nodes, weights, strict=True):
                out = out + f((p + q) / 2 + (q - p) / 2 * x) * w * (q - p) / 2
        return out

    def whole(self, f: Any, s: float, t: float) -> Array:
        """∫ of l or s."""
        return self.gauss(lambda x: f(np.array(x)), s, t, pieces=2)

    def anchored(self, s: float, t: float) -> Array:
        """∫ e^{−∫_s^r s} b dr."""
        return self.gauss(lambda r: np.exp(-self.whole(s_of, s, r)) * b_of(np.array(r)), s, t, 2)

    def grown(self, s: float, t: float) -> Array:
        """e^{∫(l+s)}."""
        return np.exp(self.whole(l_of, s, t) + self.whole(s_of, s, t))

    def linear(self, m: int) -> Array:
        return l_of(np.array(self.lam[m]))

    def factor(self, s: int, t: int) -> Array:
        return np.exp(-self.whole(l_of, self.lam[s], self.lam[t]))

    def E(self, k: int, s: int, t: int) -> Array:
        a, b = self.lam[s], self.lam[t]
        return self.gauss(lambda x: self.grown(a, x) * (x - a) ** k / math.factorial(k), a, b, 2)

    def EB(self, s: int, t: int) -> Array:
        a, b = self.lam[s], self.lam[t]
        return self.gauss(lambda x: self.grown(a, x) * self.anchored(a, x), a, b, 2)

    def g(self, f: Array, s: int, m: int) -> Array:
        a, b = self.lam[s], self.lam[m]
        return np.exp(-self.whole(s_of, a, b)) * f - self.anchored(a, b)


def derivatives(deltas: list[float], g: list[Array], pseudo: bool) -> list[Array]:
    """The estimates of g', g'', .. from the values at the distances δ, the first zero."""
    n = len(deltas) - 1
    if pseudo:
        D = [g]
        for k in range(1, n + 1):
            D.append(
                [(D[-1][j] - D[-1][j + 1]) / (deltas[j] - deltas[j + k]) for j in range(n - k + 1)]
            )
        return [D[k][0] * math.factorial(k) for k in range(1, n + 1)]
    matrix = np.array([[d**k / math.factorial(k) for k in range(1, n + 1)] for d in deltas[1:]])
    right = np.stack([v - g[0] for v in g[1:]])
    return list(np.linalg.solve(matrix, right.reshape(n, -1)).reshape(n, *g[0].shape))


def loop(
    q: Sums | Integrals,
    x: Array,
    order: int,
    *,
    p_pseudo: bool = False,
    corrector: str = "none",
    more: int = 0,
    c_pseudo: bool = False,
    lower: bool = False,
) -> Array:
    """The sampling loop; ``more`` is added to the predictor's order for the corrector's."""
    steps = len(q.lam) - 1
    xs: list[Array] = []
    eps: list[Array] = []

    def f(m: int) -> Array:
        alpha, sigma = alpha_sigma(q.lam[m])
        return (sigma * eps[m] - q.linear(m) * xs[m]) / alpha

    def local(s: int, t: int, points: list[int], pseudo: bool) -> Array:
        (a, _), (b, _) = alpha_sigma(q.lam[s]), alpha_sigma(q.lam[t])
        g = [q.g(f(m), s, m) for m in points]
        total = q.EB(s, t) + q.E(0, s, t) * g[0]
        if len(points) > 1:
            deltas = [q.lam[m] - q.lam[s] for m in points]
            for k, d in enumerate(derivatives(deltas, g, pseudo), 1):
                total = total + q.E(k, s, t) * d
        return b * q.factor(s, t) * (xs[s] / a - total)

    def wanted(m: int) -> bool:
        t = time(q.lam[m])
        return {"none": False, "full": True, "half_code": t > 0.5, "half_paper": t <= 0.5}[
            corrector
        ]

    taken = 0
    for m in range(1, steps + 1):
        xs.append(x)
        eps.append(noise(x, time(q.lam[m - 1])))
        c = taken + more
        if wanted(m - 1) and c > 1:
            new = local(m - 2, m - 1, [m - 2, m - 1, *range(m - 3, m - 1 - c, -1)], c_pseudo)
            sigma = alpha_sigma(q.lam[m - 1])[1]
            eps[-1] = eps[-1] + q.linear(m - 1) * (new - x) / sigma
            xs[-1] = new
        taken = min(order, m)
        if lower:
            taken = min(taken, steps + 1 - m)
        x = local(m - 1, m, list(range(m - 1, m - 1 - taken, -1)), p_pseudo)
    return x


def smooth(grid: Grid) -> Smooth:
    """Our statistics of the same functions; M from b by Gauss's rule, zero at the end.

    Zero at the start it would grow like e^S, to 600, and so would its rounding.
    """
    low, high = (float(grid.points[i].lam) for i in (0, -1))
    rule = Integrals([])

    def M(lam: Array) -> Array:
        at = [np.exp(rule.whole(s_of, high, x)) * rule.anchored(high, x) for x in lam]
        return np.array(at)

    l, s, M_ = (chebyshev(f, low, high, 24, 1e-14) for f in (l_of, s_of, M))
    return Smooth(l, l.integral(), s.integral(), M_)


def table(grid: Grid) -> Table:
    low, high = (float(grid.points[i].lam) for i in (0, -1))
    lam = np.linspace(low, high, NODES + 1)
    return Table(lam, l_of(lam), s_of(lam), b_of(lam))


@dataclass(frozen=True)
class Switches:
    """One setting of everything that may be set."""

    order: int
    p_pseudo: bool
    corrector: str
    kind: str
    lower: bool

    def ours(self) -> dict[str, Any]:
        kinds: dict[str, dict[str, Any]] = {
            "same": {},
            "plus_one": {"corrector_order": "plus_one"},
            "pseudo": {"c_pseudo": True},
        }
        named = {"corrector": self.corrector, "p_pseudo": self.p_pseudo, **kinds[self.kind]}
        return named | ({"lower_order_final": True} if self.lower else {})

    def theirs(self) -> dict[str, Any]:
        more = {"more": int(self.kind != "same"), "c_pseudo": self.kind == "pseudo"}
        return {
            "p_pseudo": self.p_pseudo,
            "corrector": self.corrector,
            "lower": self.lower,
            **more,
        }


ALL = [
    Switches(q, p, corrector, kind, lower)
    for q, p, corrector, kind, lower in itertools.product(
        (1, 2, 3),
        (False, True),
        ("none", "full", "half_code", "half_paper"),
        ("same", "plus_one", "pseudo"),
        (False, True),
    )
    if (corrector != "none" or kind == "same") and (q == 3 or not p)
]


@pytest.mark.parametrize("integrals", ["table", "accurate"])
@pytest.mark.parametrize("rule", ["logsnr", "t"])
def test_every_switch(rule: str, integrals: str, size: int) -> None:
    """Predictors, correctors, their orders and halves, on both kinds of grid, to rounding."""
    grid = laid(LINEAR, rule, steps=7, start=START, end=END, F=ARRAYS)
    lams = [float(p.lam) for p in grid.points]
    found: Any = table(grid) if integrals == "table" else smooth(grid)
    theirs: Any = Sums(found.lam, lams) if integrals == "table" else Cached(lams)
    for case in ALL if size > 1 or integrals == "table" else ALL[::5]:
        e = entry(f"dpm_solver_v3_{case.order}")
        p = plan(e, grid, statistics=found, integrals=integrals, **case.ours())
        ours = sample(p, Known(LAW), torch.tensor(X))
        assert ours.nfe == 7
        goal = loop(theirs, X, case.order, **case.theirs())
        assert np.abs(ours.x.numpy() - goal).max() < REL * np.abs(goal).max(), case


class Cached(Integrals):
    """Integrals that are asked for again and again."""

    def __init__(self, steps: Sequence[float]) -> None:
        super().__init__(steps)
        self.memo: dict[Any, Array] = {}

    def E(self, k: int, s: int, t: int) -> Array:
        return self.once(("E", k, s, t), super().E, k, s, t)

    def EB(self, s: int, t: int) -> Array:
        return self.once(("EB", s, t), super().EB, s, t)

    def anchored(self, s: float, t: float) -> Array:
        return self.once(("B", s, t), super().anchored, s, t)

    def once(self, key: Any, f: Any, *arguments: Any) -> Array:
        if key not in self.memo:
            self.memo[key] = f(*arguments)
        return self.memo[key]


def test_control_the_loops_can_differ() -> None:
    """A corrector of another order, and a table of another size, are seen."""
    grid = laid(LINEAR, "logsnr", steps=7, start=START, end=END, F=ARRAYS)
    lams = [float(p.lam) for p in grid.points]
    found = table(grid)
    theirs = Sums(found.lam, lams)
    a, b = (loop(theirs, X, 2, corrector="full", more=m) for m in (0, 1))
    assert np.abs(a - b).max() > 1e-4
    p = plan(entry("dpm_solver_v3_2"), grid, statistics=found)
    accurate = sample(p, Known(LAW), torch.tensor(X)).x.numpy()
    assert np.abs(accurate - loop(theirs, X, 2)).max() > 1e-7
