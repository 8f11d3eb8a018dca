"""Jumps, switches, noise and the final denoising follow their algebra; plans count and hash."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.solve import solve
from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Known
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import DATA_LAMBDA, FORMS, NOISE_RHO, Fitted, GaussianPart, Statistics
from solvers.grids import Grid, explicit, laid
from solvers.method import entry, registry
from solvers.ops import Advance, Op, Plan
from solvers.plan import plan
from solvers.point import Point
from solvers.sample import sample
from solvers.schedules import schedule
from solvers.step import step
from solvers.teleport import Teleport
from solvers.trajectory import Eval
from solvers.transfer import ends, renoise, switch
from tests.problems import DEIS

F64 = torch.float64
MEAN, VARIANCES = (0.3, -1.0, 2.0), (0.02, 0.5, 4.0)
MOMENTS = Statistics(MEAN, VARIANCES)
GAUSSIAN = GaussianMixture.diagonal([1.0], [MEAN], [VARIANCES])
OTHER = GaussianMixture.diagonal([0.4, 0.6], [MEAN, (1.0, 0.0, 1.0)], [VARIANCES, (0.2, 0.3, 0.4)])
LINEAR = schedule("vp_linear")
GRID = laid(LINEAR, "logsnr", steps=4, start=0.6, end=0.1)
ABOVE = Point(LINEAR, FLOAT64, "t", FLOAT64.number(0.95))
JUMP = Teleport(ABOVE, MOMENTS)
X = torch.tensor([[0.4, 1.0, -0.2], [-1.3, 0.2, 2.0]], dtype=F64)
# a run's few dozen operations on numbers of size ten
ROUNDING: dict[str, Any] = {"rtol": 1e-13, "atol": 1e-13}


def exact(x: Tensor, a: Point, b: Point) -> Tensor:
    """The flow of the Gaussian: (x/α − m)/√(v + ρ²) is kept."""
    m, v = torch.tensor(MEAN, dtype=F64), torch.tensor(VARIANCES, dtype=F64)
    width = ((v + float(b.rho) ** 2) / (v + float(a.rho) ** 2)).sqrt()
    return float(b.alpha) * (m + (x / float(a.alpha) - m) * width)


def on(method: str, **options: Any) -> Plan:
    e = entry(method)
    fitted = isinstance(e.form({}), Fitted)
    given = {**(e.quiet or {}), **options}
    return plan(e, GRID, statistics=MOMENTS if fitted else None, **given)


def with_ops(p: Plan, ops: tuple[Op, ...], **changes: Any) -> Plan:
    return dataclasses.replace(p, ops=ops, **changes)


# --- teleportation ----------------------------------------------------------------------------


def test_a_teleport_is_exact_on_a_gaussian() -> None:
    p = on("gaussian_ab2", teleport=JUMP)  # whose own steps are exact on a Gaussian, too
    result = sample(p, Known(GAUSSIAN), X, states=True)
    torch.testing.assert_close(result.x, exact(X, ABOVE, GRID.points[-1]), **ROUNDING)
    torch.testing.assert_close(result.states[1], exact(X, ABOVE, GRID.points[0]), **ROUNDING)
    assert result.nfe == p.nfe == 4
    wrong = sample(p, Known(OTHER), X).x  # control
    assert float((wrong - exact(X, ABOVE, GRID.points[-1])).abs().max()) > 0.1


@pytest.mark.parametrize("method", sorted(registry()))
def test_after_a_teleport_every_method_goes_on_as_usual(method: str) -> None:
    jumped = sample(on(method, teleport=JUMP), Known(OTHER), X)
    there = exact(X, ABOVE, GRID.points[0])
    plainly = sample(on(method), Known(OTHER), there)
    torch.testing.assert_close(jumped.x, plainly.x, **ROUNDING)
    assert jumped.nfe == plainly.nfe


@pytest.mark.parametrize(
    "grid", [{"lam": [-3.0, -1.0, 0.5]}, {"name": "logsnr", "steps": 2, "start": 0.9, "end": 0.1}]
)
def test_a_run_with_a_teleport_in_any_basis(grid: dict[str, Any]) -> None:  # fmt: skip
    q, _ = np.linalg.qr(np.array([[2.0, 1, 0], [0, 2, 1], [1, 0, 3]]))
    law = {
        "weights": [1.0],
        "means": [(q @ MEAN).tolist()],
        "covs": [(q @ np.diag(VARIANCES) @ q.T).tolist()],
    }
    run = {
        "problem": law,
        "schedule": {"name": "vp_linear"},
        "method": "gaussian_ab2",
        "grid": grid,
        "x_start": X.tolist(),
        "teleport": {"sigma_skip": 5.0},
    }
    out = solve(run)
    assert (out["nfe"], out["sigma_skip"]) == (2, 5.0)
    # the eigenbasis of the covariance is itself found in float64
    assert out["error_max"] < 1e-11 + out["exact_error"]


# --- switches ---------------------------------------------------------------------------------


def bound(name: str) -> Form:
    form = FORMS[name]
    return form.with_statistics(MOMENTS) if isinstance(form, GaussianPart) else form


@pytest.mark.parametrize("new", sorted(FORMS))
@pytest.mark.parametrize("old", sorted(FORMS))
def test_a_switch_leaves_x_alone(old: str, new: str) -> None:
    a, b = bound(old), bound(new)
    p = GRID.points[1]
    moved = Plan(LINEAR, a, "", {}, (), ends(a, p), (ends(b, p),), (switch(a, b, p, ()),))
    torch.testing.assert_close(sample(moved, Known(OTHER), X).x, X, **ROUNDING)


@pytest.mark.parametrize("new", ["NOISE_LAMBDA", "DATA_LAMBDA", "DATA_SNR", "GAUSSIAN_LAMBDA"])
def test_a_switch_carries_history(new: str) -> None:
    """A step in ρ, then two-value steps in another form: as if its history had been there."""
    form, (a, b, *_) = bound(new), GRID.points
    first = plan(entry("ddim"), Grid(LINEAR, FLOAT64, (a, b)))
    rest = plan(entry("deis_rho_ab1"), GRID, form=form, statistics=MOMENTS, first=1)
    change = switch(NOISE_RHO, form, b, [a])
    leave = (*first.leave, ends(form, b), *rest.leave)
    joined = with_ops(first, (*first.ops, change, *rest.ops), leave=leave)
    middle = sample(first, Known(OTHER), X).x
    r, alpha, sigma = form.read(a), float(a.alpha), float(a.sigma)
    weight, shift, scale, base, pull = (
        torch.tensor(FLOAT64.out(n) if not isinstance(n.v, tuple) else [float(c) for c in n.v],
                     dtype=F64)
        for n in (r.p_weight, form.shift(a), form.scale(a), r.constant, r.u_weight)
    )  # fmt: skip
    u = (X - shift) / scale
    P = (OTHER.noise if r.kind == "noise" else OTHER.denoise)(X, alpha, sigma)
    history = [Eval(0.0, u, weight * P + pull * u + base)]
    want = sample(rest, Known(OTHER), middle, history=history).x
    torch.testing.assert_close(sample(joined, Known(OTHER), X).x, want, **ROUNDING)
    # controls: without the history the run is refused, with another one it ends elsewhere
    bare = with_ops(joined, (*first.ops, replace(change, kept=()), *rest.ops))
    with pytest.raises(ValueError, match="history: got 0 evaluations; 1 or more"):
        sample(bare, Known(OTHER), X)
    kept = tuple(replace(k, n_constant=1.0) for k in change.kept)
    moved = with_ops(joined, (*first.ops, replace(change, kept=kept), *rest.ops))
    assert float((sample(moved, Known(OTHER), X).x - want).abs().max()) > 1e-3


# --- noise ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FORMS))
@pytest.mark.parametrize("extra", [1.0, 1.007])
def test_renoise_raises_x_to_the_marginal_of_more_noise(name: str, extra: float) -> None:
    form, low, high = bound(name), GRID.points[2], GRID.points[1]
    op = renoise(form, low, high, extra)
    p = Plan(LINEAR, form, "", {}, (), ends(form, low), (ends(form, high),), (op,))

    def raised(xi: Tensor) -> Tensor:
        return sample(p, Known(OTHER), X, noise=lambda: xi).x

    still, moved = raised(torch.zeros_like(X)), raised(torch.ones_like(X)) - raised(0 * X)
    grow = float(high.alpha) / float(low.alpha)
    torch.testing.assert_close(still, grow * X, **ROUNDING)  # α m goes to α' m
    added = float(high.sigma) ** 2 - (grow * float(low.sigma)) ** 2  # σ² goes to σ'²
    torch.testing.assert_close(moved, extra * math.sqrt(added) * torch.ones_like(X), **ROUNDING)
    with pytest.raises(ValueError, match=r"noise: got None; this plan draws noise"):
        sample(p, Known(OTHER), X)


# --- the final denoising ----------------------------------------------------------------------


@pytest.mark.parametrize("method", sorted(registry()))
def test_denoise_is_the_data_prediction_at_the_last_state(method: str) -> None:
    plainly = sample(on(method), Known(OTHER), X)
    p = on(method, finish="denoise")
    done = sample(p, Known(OTHER), X)
    last = GRID.points[-1]
    want = OTHER.denoise(plainly.x, float(last.alpha), float(last.sigma))
    torch.testing.assert_close(done.x, want, **ROUNDING)
    assert done.nfe == p.nfe == plainly.nfe + 1


# --- counts and hashes ------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the floats of a plan are."""
    if isinstance(value, float):
        yield path
    elif isinstance(value, tuple):
        for i, v in enumerate(value):
            yield from places(v, (*path, i))
    elif dataclasses.is_dataclass(value) and not isinstance(value, Form):
        for f in dataclasses.fields(value):
            yield from places(getattr(value, f.name), (*path, f.name))


def nudged(value: Any, path: tuple[Any, ...]) -> Any:
    """The same with the float at ``path`` one step further."""
    if not path:
        return math.nextafter(value, math.inf)
    key, *rest = path
    if isinstance(key, int):
        return (*value[:key], nudged(value[key], tuple(rest)), *value[key + 1 :])
    return dataclasses.replace(value, **{key: nudged(getattr(value, key), tuple(rest))})


@pytest.mark.parametrize(
    "options",
    [{"method": "unipc_3", "finish": "denoise"}, {"method": "gaussian_ab2", "teleport": JUMP},
     {"method": "taylor_2"}, {"method": "scire_v1_3"}],
    ids=lambda o: o["method"],
)  # fmt: skip
def test_the_hash_sees_every_number(options: dict[str, Any]) -> None:
    p = on(**options)
    assert p.hash == on(**options).hash
    found = list(places(p))
    assert len(found) > 60
    hashes = {p.hash, *(nudged(p, path).hash for path in found)}
    assert len(hashes) == len(found) + 1


def test_the_hash_sees_names_options_and_order() -> None:
    p = plan(entry("rho_heun2"), GRID)
    others = [
        dataclasses.replace(p, method="other"),
        dataclasses.replace(p, options={"alpha": 1}),
        dataclasses.replace(p, form=DATA_LAMBDA),
        dataclasses.replace(p, schedule=schedule("vp_linear", beta_max=19.0)),
        dataclasses.replace(p, model=("v3",)),
        dataclasses.replace(p, ops=p.ops[::-1]),
    ]
    assert len({q.hash for q in [p, *others]}) == 7
    assert json.loads(json.dumps(p.to_json())) == p.to_json()


def test_an_explicit_grid_of_these_nodes_has_the_same_plan() -> None:
    values = [FLOAT64.out(p.lam) for p in GRID.points]
    again = plan(entry("dpm_solver_pp_3m"), explicit(LINEAR, "lam", values))
    assert again.hash == plan(entry("dpm_solver_pp_3m"), GRID).hash


def negative() -> Statistics:
    return Statistics(MEAN, (-1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: on("ddim", finish="clean"),
            r"finish: got 'clean'; 'none' or 'denoise' is allowed",
        ),
        (lambda: plan(entry("gaussian_ab2"), GRID), r"statistics: got None; gaussian_ab2 needs"),
        (
            lambda: Teleport(ABOVE, MOMENTS, prior="exact"),
            r"teleport.prior: got 'exact'; 'reference' or 'matched' is allowed",
        ),
        pytest.param(lambda: on("deis_rho_ab1", first=5), r"first: got 5; .* allowed"),
        pytest.param(lambda: on("deis_rho_ab1", first=-1), r"first: got -1; .* allowed"),
        pytest.param(
            lambda: plan(entry("gaussian_ab2"), GRID, statistics=negative()),
            r"statistics.variances\[0\]: got -1.0; .* allowed",
        ),
    ],
)
def test_bad_plans_name_argument_value_and_what_is_allowed(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_evaluations_know_where_they_were_made() -> None:
    """Their clocks are those of the calls: the form's own clock at each call's noise level."""
    for name in ("dpm_solver_3", "rho_rk4"):
        p = on(name)
        for op in p.ops:
            assert isinstance(op, Advance)
            _, evals = step(op, DEIS, 0.4, None, (), lambda count, where: ())
            clocks = [-math.log(c.sigma / c.alpha) for c in op.calls]
            places = clocks if p.form.clock == "lam" else [math.exp(-c) for c in clocks]
            assert [e.tau for e in evals] == pytest.approx(places, rel=1e-12)


@pytest.mark.parametrize("method", ["unipc_3", "dpm_solver_pp_2m", "rho_heun2"])
def test_history_and_the_carried_evaluation_go_on_through_a_switch(method: str) -> None:
    """A change into the method's own form is no change: same end, same number of calls."""
    p = on(method)
    plain = sample(p, Known(OTHER), X)
    for n in range(1, len(p.ops)):
        change = switch(p.form, p.form, GRID.points[n], GRID.points[n - 1 :: -1])
        leave = (*p.leave[:n], p.leave[n - 1], *p.leave[n:])
        changed = with_ops(p, (*p.ops[:n], change, *p.ops[n:]), leave=leave)
        result = sample(changed, Known(OTHER), X)
        torch.testing.assert_close(result.x, plain.x, **ROUNDING)
        assert result.nfe == plain.nfe == p.nfe == changed.nfe
        if p.memory:  # control: without its past the run cannot go on
            empty = replace(change, kept=())
            with pytest.raises(ValueError, match="history"):
                sample(with_ops(p, (*p.ops[:n], empty, *p.ops[n:]), leave=leave), Known(OTHER), X)


def test_a_state_has_the_coordinates_of_the_statistics() -> None:
    p = on("gaussian_ab2")
    assert p.coordinates == X.shape[-1]
    assert on("ddim").coordinates is None
    with pytest.raises(ValueError, match=r"x: got shape \(2, 1\); 3 coordinates .* are allowed"):
        sample(p, Known(OTHER), X[:, :1])
