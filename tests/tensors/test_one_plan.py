"""One plan, three arithmetics: torch, numpy floats and 50 digits agree to rounding.

The plan has a stage, history, a carried evaluation, one weight per coordinate and a Taylor row, so
nothing that a run does with numbers is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Known
from solvers.each import each_over
from solvers.form import Form
from solvers.forms import DATA_LAMBDA, GAUSSIAN_LAMBDA, NOISE_RHO, Statistics
from solvers.grids import laid
from solvers.method import Row, Step, Weights, interpolate, method, unpublished
from solvers.ops import Advance, Call, Plan
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import Schedule, schedule
from solvers.step import run
from theory.fields import MP
from theory.mixtures import Analytic, Mixture

WIDE = MP(50)
PAIR = each_over(WIDE, 2)
MIXTURE = Mixture(
    (Fraction(2, 5), Fraction(3, 5)),
    (Fraction(-6, 5), Fraction(3, 2)),
    (Fraction(1, 4), Fraction(16, 25)),
)
"""The law of each of two independent coordinates."""
MODEL = Analytic(MIXTURE)
MOMENTS = Statistics(mean=(0.25, 0.5), variances=(2.0, 0.75))
"""Not the law's own, so that the two coordinates have different weights."""
START = ((0.4, -1.3), (-0.9, 0.2), (2.0, 1.0))
STEPS = 12
EPS = float(np.finfo(np.float64).eps)


@method
def everything(s: Step, *, q: int) -> Weights:
    """A middle stage, a predicted end that is carried, one past value, a slope at the start."""
    half = Fraction(1, 2)
    past = [s.past(j) for j in range(1, q)]
    middle = interpolate(s, half, [0, *past])
    end = interpolate(s, 1, [0, half, *past])
    b = interpolate(s, 1, [0, half, 1, *past])
    return Weights(
        stages=(
            Row(now=middle[:1], past=middle[1:], c=half),
            Row(now=end[:2], past=end[2:], d=(s.phi(2) / 50,)),
        ),
        b=Row(now=b[:3], past=b[3:], d=(s.phi(2) / 100,)),
        carry=2,
    )


@cache
def made(form: Form) -> Plan:
    """In float64."""
    grid = laid(schedule("vp_linear"), "karras", steps=STEPS, start=0.8, end=0.05)
    return plan(unpublished(everything, form, q=2), grid, statistics=MOMENTS)


@dataclass(frozen=True)
class Converted:
    """The exact model for states of another kind: in to 50 digits, out to that kind."""

    into: Callable[[Any], Any]
    out: Callable[[Any], Any]

    def predict(self, kind: str, x: Any, call: Call) -> Any:
        a, s = WIDE.number(float(call.alpha)), WIDE.number(float(call.sigma))
        wide = replace(call, alpha=PAIR.lift(1) * a, sigma=PAIR.lift(1) * s)
        return self.out(MODEL.predict(kind, self.into(x), wide))

    def derivatives(
        self, schedule: Schedule, form: Form, tau: Any, u: Any, count: int
    ) -> Sequence[Any]:
        clock = PAIR.lift(1) * WIDE.number(float(tau))
        found = MODEL.derivatives(schedule, form, clock, self.into(u), count)
        return [self.out(N) for N in found]


def pair(values: Sequence[float]) -> Any:
    return PAIR.collect([WIDE.number(float(v)) for v in values])


def in_torch(p: Plan) -> np.ndarray:
    """Both coordinates at once: the product law has four components."""
    parts = list(zip(MIXTURE.weights, MIXTURE.means, MIXTURE.variances, strict=True))
    law = GaussianMixture.diagonal(
        [float(a[0] * b[0]) for a, b in product(parts, parts)],
        [[float(a[1]), float(b[1])] for a, b in product(parts, parts)],
        [[float(a[2]), float(b[2])] for a, b in product(parts, parts)],
    )
    return sample(p, Known(law), torch.tensor(START, dtype=torch.float64)).x.numpy()


def in_numpy(p: Plan) -> np.ndarray:
    """The model rounded once, everything else in float64."""
    model = Converted(pair, lambda wide: np.array([float(v) for v in wide.v]))
    return np.array([run(p.realize(np.array), model, np.array(x)).x for x in START])


def in_50_digits(p: Plan) -> np.ndarray:
    """The plan's floats taken as exact."""
    model = Converted(lambda u: u, lambda wide: wide)
    exact = p.realize(pair, WIDE.number)
    return np.array([[float(v) for v in run(exact, model, pair(x)).x.v] for x in START])


FORMS = {"per coordinate": GAUSSIAN_LAMBDA, "data": DATA_LAMBDA, "noise": NOISE_RHO}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_three_runs_agree(form: Form) -> None:
    p = made(form)
    exact = in_50_digits(p)
    # three evaluations and about ten operations a step, each rounded to a state of size three
    allowed = 3 * 10 * STEPS * EPS * (1 + np.abs(exact).max())
    assert np.abs(in_numpy(p) - exact).max() < allowed
    assert np.abs(in_torch(p) - exact).max() < allowed


def test_the_plan_has_every_part() -> None:
    p = made(GAUSSIAN_LAMBDA)
    op = p.ops[3]
    assert isinstance(op, Advance)
    assert len(op.weights.stages) == 2
    assert op.weights.memory == 1
    assert op.weights.derivatives == 1
    assert op.weights.carry == 2
    assert len(op.weights.b.now[0]) == 2
    assert op.weights.b.now[0][0] != op.weights.b.now[0][1]
    assert p.nfe == 2 * STEPS  # one to begin, two a step, one in the uncorrected last step


def test_control_one_weight_off_by_a_millionth_is_seen() -> None:
    p = made(NOISE_RHO)
    op = p.ops[3]
    assert isinstance(op, Advance)
    b = replace(op.weights.b, now=(op.weights.b.now[0] * (1 + 1e-6), *op.weights.b.now[1:]))
    bad = replace(p, ops=(*p.ops[:3], replace(op, weights=replace(op.weights, b=b)), *p.ops[4:]))
    assert bad.hash != p.hash
    assert np.abs(in_torch(bad) - in_50_digits(p)).max() > 1e-9
    assert np.abs(in_torch(bad) - in_50_digits(bad)).max() < 1e-12
