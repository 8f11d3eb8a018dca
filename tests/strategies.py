"""Hypothesis strategies: runs whose exact end is known, written as the JSON of ``solve``.

A law is a product of one-dimensional mixtures, rotated: isotropic noise keeps the product, so each
coordinate of the rotated state follows its own one-dimensional flow, known by its CDF.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from solvers.float64 import FLOAT64
from solvers.grids import Grid, explicit
from solvers.schedules import Schedule, schedule
from theory.fields import MP
from theory.mixtures import Mixture


@dataclass(frozen=True)
class Case:
    """One drawn run: everything but the method."""

    schedule_json: dict[str, Any]
    lam: tuple[float, ...]
    factors: tuple[Mixture, ...]
    rotation: tuple[tuple[float, ...], ...]
    start: tuple[tuple[float, ...], ...]
    """Starting v = x/α in the rotated coordinates, (B, D)."""

    @property
    def schedule(self) -> Schedule:
        return schedule(**self.schedule_json)

    @property
    def basis(self) -> np.ndarray:
        return np.array(self.rotation)

    def grid(self, F: Any = FLOAT64) -> Grid:
        return explicit(self.schedule, "lam", list(self.lam), F=F)

    def x_start(self) -> np.ndarray:
        alpha = float(self.grid().points[0].alpha)
        return alpha * np.array(self.start) @ self.basis.T

    def law(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, means and covariances of the rotated product."""
        w, m, c = [], [], []
        for picks in itertools.product(*(range(len(f.weights)) for f in self.factors)):
            pairs = list(zip(self.factors, picks, strict=True))
            w.append(math.prod(float(f.weights[i]) for f, i in pairs))
            m.append(self.basis @ np.array([float(f.means[i]) for f, i in pairs]))
            spread = np.diag([float(f.variances[i]) for f, i in pairs])
            c.append(self.basis @ spread @ self.basis.T)
        return np.array(w) / sum(w), np.array(m), np.array(c)

    def json(self, method: str, options: dict[str, Any], dtype: str) -> dict[str, Any]:
        """The run as ``scoreproof solve`` takes it."""
        w, m, c = self.law()
        return {
            "problem": {"weights": w.tolist(), "means": m.tolist(), "covs": c.tolist()},
            "schedule": self.schedule_json,
            "method": method,
            "options": options,
            "grid": {"lam": list(self.lam)},
            "x_start": self.x_start().tolist(),
            "dtype": dtype,
        }


def number(low: float, high: float) -> st.SearchStrategy[float]:
    """Two digits after the point are enough to explore and short to read."""
    return st.integers(round(low * 100), round(high * 100)).map(lambda i: i / 100)


SCHEDULES = st.one_of(
    st.builds(
        lambda a, b: {"name": "vp_linear", "beta_min": a, "beta_max": b},
        number(0.05, 1),
        number(5, 30),
    ),
    st.builds(lambda s: {"name": "vp_cosine", "s": s}, number(0.01, 0.05)),
    st.builds(lambda b: {"name": "sub_vp", "beta_max": b}, number(5, 30)),
    st.just({"name": "ve", "sigma_min": 0.01, "sigma_max": 80.0}),
    st.just({"name": "edm"}),
    st.just({"name": "flow"}),
    st.just({"name": "ddpm_discrete"}),
)


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    """One to three components, neither so narrow nor so far apart that 12 steps see nothing."""
    k = draw(st.integers(1, 3))
    raw = [draw(st.integers(1, 5)) for _ in range(k)]
    means = tuple(Fraction(str(draw(number(-1.2, 1.2)))) for _ in range(k))
    variances = tuple(Fraction(str(draw(number(0.25, 1)))) for _ in range(k))
    return Mixture(tuple(Fraction(r, sum(raw)) for r in raw), means, variances)


@st.composite
def rotations(draw: st.DrawFn, d: int) -> tuple[tuple[float, ...], ...]:
    """An orthogonal matrix: the Q of a drawn one."""
    raw = np.array([[draw(number(-1, 1)) for _ in range(d)] for _ in range(d)])
    q, _ = np.linalg.qr(raw + 2 * np.eye(d))
    return tuple(map(tuple, q.tolist()))


@st.composite
def cases(draw: st.DrawFn, *, uneven: bool = True, smooth: bool = False) -> Case:
    """A run of 12 to 24 steps; ``uneven`` ones differ by up to a factor 2 from each other."""
    chosen = draw(SCHEDULES.filter(lambda s: not smooth or s["name"] != "ddpm_discrete"))
    n = draw(st.integers(12, 24))
    begin, span = draw(number(-1.2, -0.2)), draw(number(0.6, 1.2))
    steps = [draw(number(0.5, 1)) if uneven else 1.0 for _ in range(n)]
    places = [begin + span * sum(steps[:i]) / sum(steps) for i in range(n + 1)]
    d = draw(st.integers(1, 2))
    factors = tuple(draw(mixtures()) for _ in range(d))
    batch = draw(st.integers(1, 2))
    start = tuple(tuple(draw(number(-3, 3)) for _ in range(d)) for _ in range(batch))
    return Case(chosen, tuple(places), factors, draw(rotations(d)), start)


WIDE = MP(20)
"""Enough digits for bounds that are used to one."""
