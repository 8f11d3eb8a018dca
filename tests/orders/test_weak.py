"""The law of every stochastic run tends to the exact one at the proved weak order, on two grids.

No numbers are drawn: the run carries the coefficients of its normals.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from experiments.measure import PROBLEM, Kind, estimate, grid
from experiments.orders import FLOOR, TOLERANCE, row
from experiments.weak import DATA, Normal, errors, law, transition
from solvers.float64 import FLOAT64
from solvers.method import Entry, Variant, entry, rows
from solvers.plan import plan
from solvers.stochastic import NOISY, NoiseSDE
from theory.weak import louder, prove_weak_order

CASES = [(e, dict(v.options)) for e, v in rows() if e.quiet is not None]


def slope(e: Entry, kind: Kind, order: int, most: int = 1024, **options: Any) -> float:
    """Of the first doubling within the tolerance, or of the last one that was tried."""
    found, steps = 0.0, 64
    curve = errors(e, kind, [steps], **options)
    while steps < most:
        steps *= 2
        curve += errors(e, kind, [steps], **options)
        found = estimate(curve, FLOOR).slope
        if abs(found - order) < TOLERANCE:
            break
    return found


@pytest.mark.parametrize("kind", ["exact", "irregular"])
@pytest.mark.parametrize(("e", "options"), CASES, ids=[f"{e.name} {o}" for e, o in CASES])
def test_measured_weak_order_is_proved(e: Entry, options: dict[str, Any], kind: Kind) -> None:
    order = prove_weak_order(e, **options).order
    assert slope(e, kind, order, **options) == pytest.approx(order, abs=TOLERANCE)


@pytest.mark.parametrize("name", ["er_sde_2", "sde_dpm_solver_pp_2m", "sa_solver_2"])
def test_control_wrong_noise_does_not_converge(name: str) -> None:
    """A deviation that is one percent too large: the variance ends two percent too large."""
    e = louder(entry(name), Fraction(101, 100))
    assert abs(slope(e, "exact", 0)) < TOLERANCE
    assert errors(e, "exact", [512])[0][1] > 20 * errors(entry(name), "exact", [512])[0][1]


@pytest.mark.parametrize(("e", "options"), CASES, ids=[f"{e.name} {o}" for e, o in CASES])
def test_one_point_of_data_is_sampled_exactly(e: Entry, options: dict[str, Any]) -> None:
    """D is constant, so steps of any length keep the marginal; ε, and wrong noise, are not."""
    point = Normal(Fraction(3, 10), Fraction(0))
    ((_, off),) = errors(e, "plain", [6], data=point, **options)
    if options.get("s_noise") or isinstance(e.form(options), NoiseSDE):
        assert off > 1e-3  # control: noise that is 0.7% too large, ε held over a step
    else:
        assert off < 1e-13


@pytest.mark.parametrize("name", sorted(NOISY))
def test_the_exact_start_is_exact(name: str) -> None:
    """Φ over one interval is the product over its halves, and Φ² V is less than the new V."""
    form = NOISY[name]
    a, b, c = grid(PROBLEM, 2, FLOAT64, "exact").points
    whole, first, second = (float(transition(form, *ends)) for ends in ((a, c), (a, b), (b, c)))
    assert whole == pytest.approx(first * second, rel=1e-14)
    kept = whole**2 * float(DATA.marginal(a))
    assert 0 < kept < float(DATA.marginal(c))
    eta = float(getattr(form, "eta", 1))
    if form.clock == "lam":  # L + K dN/du is known: Φ = (V'/V)^{(1+η)/2}
        known = (float(DATA.marginal(c)) / float(DATA.marginal(a))) ** ((1 + eta) / 2)
        assert whole == pytest.approx(known, rel=1e-14)


def test_the_law_is_that_of_sampled_runs() -> None:
    """Mean and variance of 4,000 runs, all seeds given, within 4 standard errors."""
    import torch

    from gaussian_score.mixture import GaussianMixture
    from solvers.denoiser import Known
    from solvers.sample import normals, sample

    count, m, v = 4000, float(DATA.mean), float(DATA.variance)
    target = Known(GaussianMixture.isotropic([1.0], [[m]], [v]))
    g = grid(PROBLEM, 6, FLOAT64, "exact")
    first, last = g.points[0], g.points[-1]
    seeds = range(count)
    shape = torch.empty(count, 1, dtype=torch.float64)
    spread = float(first.alpha) * float(DATA.marginal(first)) ** 0.5
    start = float(first.alpha) * m + spread * normals(range(count, 2 * count), shape)()
    for e, options in CASES:
        p = plan(e, g, **options)
        known = law(p, g.points[:1])
        variance = float(known[1:] @ known[1:])
        drawn = sample(p, target, start, noise=normals(seeds, shape)).x if p.noisy else None
        if drawn is not None:
            errors_of = np.array([variance / count, 2 * variance**2 / count]) ** 0.5
            off = np.array([float(drawn.mean()) - known[0], float(drawn.var()) - variance])
            assert np.all(np.abs(off) < 4 * errors_of), (e.name, off / errors_of)
    assert float(last.alpha) > 0.9


def test_the_table_has_both_orders() -> None:
    e = entry("euler_ancestral")
    found = row(e, Variant(), size="small")
    assert (found["proved"], found["proved_weak"]) == (1, 1)
    assert found["measured_weak"] == pytest.approx(1, abs=TOLERANCE)
    assert found["verdict"] == "no claim; order 1; weak order 1"
    still = row(entry("ddim"), Variant({}, 1), size="small")
    assert (still["proved_weak"], still["measured_weak"]) == (None, None)
    assert found["curves"]["exact"] == still["curves"]["exact"]  # measured without its noise
