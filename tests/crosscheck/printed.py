"""Comparing runs with printed decimals: half a unit in the last digit, and what rounding adds.

The tables of numbers that these tests name (DEIS, SciRE, UniPC, v3, schedules) were computed from
the papers' formulas by programs that share no code with this one; the numbers stand in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import torch

from experiments.measure import Problem, exact, run_torch, seeds
from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Known
from solvers.field import Field, Scalar
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import FORMS
from solvers.grids import Grid, explicit, laid
from solvers.method import entry
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import Schedule, schedule
from solvers.step import run
from theory.fields import MP
from theory.mixtures import Analytic, Mixture, flow

M = MP(50)
ULP = 2.0**-52
FLOAT_RUN = 1e-12
"""Relative, of a run in float64; the DEIS tables section 8 allows ten times as much."""


def law(weights: str, means: str, deviations: str) -> Mixture:
    """A mixture from decimals; the specifications give standard deviations."""
    w, m, s = (tuple(map(Fraction, text.split())) for text in (weights, means, deviations))
    return Mixture(w, m, tuple(x * x for x in s))


def half_unit(text: str) -> Fraction:
    """Half a unit in the last printed digit."""
    exponent = Decimal(text).as_tuple().exponent
    assert isinstance(exponent, int)
    return Fraction(10) ** exponent / 2


def missed(value: Any, text: str, rounding: float = 0.0) -> float:
    """|value − printed| as a multiple of half a unit plus ``rounding``; agreement is <= 1.

    The specifications' inputs (times, β, weights) are decimals or their nearest floats, so one
    ulp of the value is left to them.
    """
    there = M.number(text)
    allowed = float(half_unit(text)) + (rounding + ULP) * abs(float(there))
    given = value if isinstance(value, Scalar) else M.number(value)
    return abs(float(given - there)) / allowed


def label(method: str, options: Mapping[str, Any], *_: Any) -> str:
    """A test's name."""
    values = (f"{k}={getattr(v, 'name', v)}" for k, v in options.items())
    return " ".join((method, *values))


def read(text: str) -> dict[str, Any]:
    """``r2=1/2,weights=heun``, the name of a form, or a flag."""
    out: dict[str, Any] = {}
    for part in text.split(",") if text != "-" else ():
        key, _, value = part.partition("=")
        if key in FORMS:
            out["form"] = FORMS[key]
        elif key in ("r1", "r2", "c2", "c3"):
            out[key] = Fraction(value)
        else:
            out[key] = value or True
    return out


@dataclass(frozen=True)
class Task:
    """A law, a schedule, the nodes and the start x of runs with printed ends."""

    mixture: Mixture
    rule: str
    steps: int
    start: str
    end: str
    x: str
    schedule: Schedule = schedule("vp_linear")  # noqa: RUF009

    def grid(self, F: Field = M) -> Grid:
        """The nodes in a field; ``rule`` "explicit" is the two ends alone."""
        ends = [Fraction(self.start), Fraction(self.end)]
        if self.rule == "explicit":
            return explicit(self.schedule, "t", ends, F=F)
        start, end = ends
        rest: Any = {"steps": self.steps, "start": start, "end": end}
        return laid(self.schedule, self.rule, F=F, **rest)

    def digits(self, method: str, form: Form | None = None, **options: Any) -> Scalar:
        """The run's end with 50 digits."""
        p = plan(entry(method), self.grid(), form=form, **options)
        return run(p, Analytic(self.mixture), M.number(self.x)).x

    def floats(self, method: str, form: Form | None = None, **options: Any) -> float:
        """The same in float64, by the path that samples images."""
        p = plan(entry(method), self.grid(FLOAT64), form=form, **options)
        start = torch.tensor([[float(self.x)]], dtype=torch.float64)
        return float(sample(p, Known(self.known()), start).x)

    def known(self) -> GaussianMixture:
        """The law for torch."""
        m = self.mixture
        means = [[float(a)] for a in m.means]
        return GaussianMixture.isotropic(
            [float(w) for w in m.weights], means, [float(s) for s in m.variances]
        )

    def exact(self) -> Scalar:
        """The true end."""
        a, *_, b = self.grid().points
        v = M.number(self.x) / a.alpha
        return M.number(flow(self.mixture, v.v, a.rho.v, b.rho.v)) * b.alpha

    def worst(self, text: str, method: str, form: Form | None = None, **options: Any) -> float:
        """The larger miss of both runs."""
        return max(
            missed(self.digits(method, form, **options), text),
            missed(self.floats(method, form, **options), text, FLOAT_RUN),
        )

    def signed(self, method: str, **options: Any) -> float:
        """Numerical − exact from x in float64, the history on the exact flow."""
        (miss,) = self._misses([self.x], method, True, **options)
        return miss

    def rms(self, starts: Sequence[str], method: str, known: bool, **options: Any) -> float:
        """Error over these starts in float64, its history on the exact flow if ``known``."""
        misses = self._misses(starts, method, known, **options)
        return math.sqrt(sum(m * m for m in misses) / len(misses))

    def _misses(
        self, starts: Sequence[str], method: str, known: bool, **options: Any
    ) -> list[float]:
        grid, xs = self.grid(FLOAT64), tuple(map(Fraction, starts))
        a, b = (Fraction(str(p.rho.v)) for p in (grid.points[0], grid.points[-1]))
        problem = Problem(self.mixture, self.schedule, a, b, xs)
        e = entry(method)
        own = {k: v for k, v in options.items() if k in e.options}
        first = seeds(e, own) if known else 0
        got = run_torch(plan(e, grid, first=first, **options), grid, problem, first)
        goals = [float(exact(problem, x, grid.points[-1])) for x in xs]
        return [a - b for a, b in zip(got, goals, strict=True)]
