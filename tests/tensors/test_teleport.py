"""A teleport is the Gaussian's own flow for every schedule, prior, budget and solver; what follows
it (a corrected landing, a past, a change of form) does what its formula says."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.jump import cut
from experiments.solve import solve
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments
from gaussian_score.teleport import jump
from gaussian_score.transport import transport
from solvers.basis import Basis, InBasis
from solvers.denoiser import Known
from solvers.float64 import FLOAT64
from solvers.form import Form
from solvers.forms import DATA_LAMBDA, GAUSSIAN, NOISE_LAMBDA, Statistics
from solvers.grids import Grid, explicit, laid
from solvers.method import entry, registry
from solvers.ops import Jump, Recall, Switch
from solvers.plan import plan
from solvers.point import Point
from solvers.sample import sample, sample_adaptive
from solvers.schedules import schedule
from solvers.teleport import Teleport, above
from solvers.trajectory import Eval

F64 = torch.float64
MEAN, VARIANCES = (0.3, -1.0, 2.0), (0.02, 0.5, 4.0)
MOMENTS = Statistics(MEAN, VARIANCES)
ONE = GaussianMixture.diagonal([1.0], [MEAN], [VARIANCES])
OTHER = GaussianMixture.diagonal([0.4, 0.6], [MEAN, (1.0, 0.0, 1.0)], [VARIANCES, (0.2, 0.3, 0.4)])
X = torch.tensor([[0.4, 1.0, -0.2], [-1.3, 0.2, 2.0]], dtype=F64)
ROUNDING: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
STARTS = {"edm": 80.0, "vp_linear": 1.0, "vp_cosine": 0.99, "flow": 1.0}
"""The first t of each schedule; flow begins without signal."""


def at(name: str, key: str, value: float) -> Point:
    return Point(schedule(name), FLOAT64, key, FLOAT64.number(value))


def landed(x: Tensor, a: Point, b: Point) -> Tensor:
    """α_b m + √((α_b² v + σ_b²)/(α_a² v + σ_a²)) (x − α_a m), written for any α."""
    m, v = torch.tensor(MEAN, dtype=F64), torch.tensor(VARIANCES, dtype=F64)
    (p, q), (r, s) = ((float(c.alpha), float(c.sigma)) for c in (a, b))
    return r * m + ((r * r * v + s * s) / (p * p * v + q * q)).sqrt() * (x - p * m)


def below(name: str, rho: float = 4.0, steps: int = 4) -> Grid:
    rhos = np.geomspace(rho, 0.1, steps + 1).tolist()
    return explicit(schedule(name), "rho", [FLOAT64.number(r) for r in rhos])


@pytest.mark.parametrize("name", STARTS)
def test_the_jump_is_the_gaussians_flow_on_every_schedule(name: str) -> None:
    start, grid = at(name, "t", STARTS[name]), below(name)
    p = plan(entry("dpm_solver_pp_2m"), grid, teleport=Teleport(start, MOMENTS))
    x = X * float(start.sigma)
    result = sample(p, Known(ONE), x, states=True)
    torch.testing.assert_close(result.states[1], landed(x, start, grid.points[0]), **ROUNDING)
    assert result.nfe == p.nfe == 4
    assert result.landing.max() < 1e-12  # the first call sees that the law is the Gaussian


@pytest.mark.parametrize("name", STARTS)
def test_a_matched_prior_lands_as_a_draw_of_the_gaussian(name: str) -> None:
    start, grid = at(name, "t", STARTS[name]), below(name)
    jump = Teleport(start, MOMENTS, prior="matched")
    p = plan(entry("ddim"), grid, teleport=jump)
    result = sample(p, Known(ONE), X * float(start.sigma), states=True)
    b = grid.points[0]
    m, v = torch.tensor(MEAN, dtype=F64), torch.tensor(VARIANCES, dtype=F64)
    goal = float(b.alpha) * (m + (v + float(b.rho) ** 2).sqrt() * X)
    torch.testing.assert_close(result.states[1], goal, **ROUNDING)
    reference = plan(entry("ddim"), grid, teleport=Teleport(start, MOMENTS))
    assert reference.hash != p.hash


@pytest.mark.parametrize("method", sorted(registry()))
def test_in_the_gaussian_form_every_method_is_exact_on_a_gaussian(method: str) -> None:
    """On any grid, since N vanishes; with a jump in front it stays so."""
    e, grid = entry(method), below("edm", 40.0, 4)
    jump = Teleport(at("edm", "t", 80.0), MOMENTS)
    for how in ({}, {"teleport": jump}):
        begin = jump.start if how else grid.points[0]
        p = plan(e, grid, form=GAUSSIAN, statistics=MOMENTS, **how, **(e.quiet or {}))
        x = sample(p, Known(ONE), 40 * X).x
        torch.testing.assert_close(
            x, landed(40 * X, begin, grid.points[-1]), rtol=1e-10, atol=1e-10
        )
        off = sample(p, Known(OTHER), 40 * X).x - landed(40 * X, begin, grid.points[-1])
        assert float(off.abs().max()) > 0.01  # control


def test_truncating_karras_is_laying_it_again() -> None:
    """ρ^(1/7) is uniform: the grid rebuilt from its n-th node has the same remaining nodes."""
    s = schedule("edm")
    full = laid(s, "karras", steps=17, start=80.0, end=0.002)
    for n in (1, 5, 12):
        level = float(full.points[n].rho)
        kept, again = cut(full, level), laid(s, "karras", steps=17 - n, start=level, end=0.002)
        assert kept is not None
        rhos = [[float(p.rho) for p in g.points] for g in (kept, again)]
        assert rhos[0] == pytest.approx(rhos[1], rel=1e-12)
    other = laid(s, "karras", steps=12, start=float(full.points[5].rho), end=0.002, rho=5.0)
    kept = cut(full, float(full.points[5].rho))
    assert kept is not None
    assert float(other.points[4].rho) != pytest.approx(float(kept.points[4].rho), rel=1e-3)


WEIGHTS, MEANS, SPREAD = [0.8, 0.2], [1.0, -4.0], [0.25, 0.25]
SKEWED = GaussianMixture.isotropic(WEIGHTS, [[m] for m in MEANS], SPREAD)
SKEWED_MOMENTS = Statistics((0.0,), (4.25,))


def one_dimensional(sigma: float, *, corrected: bool) -> tuple[float, float]:
    """RMS over start points of the landing's error, and of its estimate."""
    w = np.linspace(-1.8, 1.8, 13)
    top = 1e5
    start = math.sqrt(4.25 + top**2) * w
    s = schedule("edm")
    grid = explicit(s, "rho", [FLOAT64.number(r) for r in (sigma, sigma * (1 - 1e-9))])
    jump = Teleport(at("edm", "t", top), SKEWED_MOMENTS, corrected=corrected)
    p = plan(entry("ddim"), grid, teleport=jump)
    result = sample(p, Known(SKEWED), torch.from_numpy(start)[:, None], states=True)
    true = transport(WEIGHTS, MEANS, SPREAD, start, top, sigma)
    error = result.states[1][:, 0].numpy() - true
    return float(np.sqrt(np.mean(error**2))), float(result.landing.square().mean().sqrt())


def test_a_correction_raises_the_jumps_order_and_the_first_call_tells_its_error() -> None:
    """Error σ^-2 without, σ^-3 with; the estimate is the error up to O(1/σ)."""
    plain, better = (
        [one_dimensional(s, corrected=c)[0] for s in (32.0, 64.0, 128.0)] for c in (False, True)
    )
    slopes = [[math.log2(a / b) for a, b in itertools.pairwise(e)] for e in (plain, better)]
    assert slopes[0] == pytest.approx([2.0, 2.0], abs=0.1)
    assert min(slopes[1]) > 2.85
    both = (one_dimensional(s, corrected=False) for s in (16.0, 64.0, 256.0))
    gaps = [abs(estimate / error - 1) for error, estimate in both]
    assert gaps[0] < 0.2
    assert gaps[1] < 0.35 * gaps[0]
    assert gaps[2] < 0.35 * gaps[1]


@pytest.mark.parametrize("form", [GAUSSIAN, DATA_LAMBDA])
def test_a_correction_leaves_no_past(form: Form) -> None:
    """From the corrected landing on, the run is that of a fresh start there."""
    e, grid = entry("dpm_solver_pp_2m"), below("edm")
    jump = Teleport(at("edm", "t", 80.0), MOMENTS, corrected=True)
    how: dict[str, Any] = {"form": form, "statistics": MOMENTS}
    jumped = sample(plan(e, grid, teleport=jump, **how), Known(OTHER), X, states=True)
    assert len(jumped.states) == 6
    alone = sample(plan(e, grid, **how), Known(OTHER), jumped.states[1])
    torch.testing.assert_close(jumped.x, alone.x, **ROUNDING)


def test_a_correction_costs_one_call() -> None:
    start, grid = at("edm", "t", 80.0), below("edm")
    plain, better = (
        plan(entry("unipc_3"), grid, teleport=Teleport(start, MOMENTS, corrected=c))
        for c in (False, True)
    )
    assert better.nfe == plain.nfe + 1
    assert sample(better, Known(OTHER), 80 * X).nfe == better.nfe


@pytest.mark.parametrize(
    "method", ["dpm_solver_pp_2m", "dpm_solver_pp_3m", "unipc_3", "deis_t_ab3"]
)
def test_a_past_holds_the_gaussians_own_evaluations(method: str) -> None:
    """The same run with the Gaussian's denoiser asked on the Gaussian's path, given as history."""
    e, name = entry(method), "vp_linear"
    start, grid = at(name, "t", 1.0), below(name)
    nodes = above(grid.points, 2, start)
    assert float(start.rho) >= float(nodes[0].rho) > float(nodes[1].rho) > 4
    longer = Grid(grid.schedule, FLOAT64, (*nodes, *grid.points))
    p = plan(e, longer, teleport=Teleport(start, MOMENTS), first=2)
    result = sample(p, Known(OTHER), X, states=True)
    assert p.nfe == result.nfe == 4
    assert [type(op) for op in p.ops[:2]] == [Jump, Recall]
    own, kind = plan(e, longer, first=2), DATA_LAMBDA.name
    history = []
    for q in nodes[::-1]:
        x = landed(X, start, q)
        form = own.form
        r = form.read(q)
        u = (x - float(form.shift(q))) / float(form.scale(q))
        P = Known(ONE).at(r.kind, x, float(q.t), float(q.alpha), float(q.sigma))
        N = float(r.u_weight) * u + float(r.p_weight) * P + float(r.constant)
        history.append(Eval(float(form.tau(q)), u, N))
    there = landed(X, start, grid.points[0])
    again = sample(own, Known(OTHER), there, history=history)
    torch.testing.assert_close(result.x, again.x, rtol=1e-11, atol=1e-11)
    short = sample(plan(e, grid), Known(OTHER), there)
    assert float((short.x - again.x).abs().max()) > 1e-4, kind  # control: the warm-up differs


def test_the_past_is_as_long_as_the_room_below_the_start_allows() -> None:
    """Nodes keep the first step's ratio: nearer ones would magnify what their N = 0 lacks."""
    grid = below("edm", 8.0, 4)  # whose steps are a factor 2.99
    for top, count in ((8.1, 0), (23.0, 0), (24.5, 1), (72.0, 2), (1e4, 2)):
        nodes = above(grid.points, 2, at("edm", "t", top))
        assert len(nodes) == count
        ratios = [float(p.rho) / 8 for p in nodes]
        step = 80 ** (1 / 4)
        assert ratios == pytest.approx([step**k for k in range(count, 0, -1)], rel=1e-12)


@pytest.mark.parametrize("level", [40.0, 70.0, 79.9])
def test_a_past_never_makes_a_run_much_worse(level: float) -> None:
    """Near the start, where the room is short, too."""
    for method in ("exp_ab_4", "unipc_3", "dpm_solver_3m"):
        run = {**RUN, "method": method, "grid": {**RUN["grid"], "steps": 12}}
        with_past, without = (
            solve({**run, "teleport": {"sigma_skip": level, "history": h}})["error_rms"]
            for h in ("gaussian", "none")
        )
        assert with_past < 1.5 * without


def test_options_of_every_step_go_with_a_past() -> None:
    """They have a value for each step from the landing on."""
    jump = {"sigma_skip": 8.0, "history": "gaussian"}
    run = {**RUN, "method": "dpm_solver_3m", "teleport": jump}
    for options in ({"lower_order_final": True}, {"orders": [3] * 7 + [1]}):
        done = solve({**run, "options": options})
        assert done["nfe"] == 8
        assert done["plan_hash"] != solve(run)["plan_hash"]
    with pytest.raises(ValueError, match=r"options\.orders"):
        solve({**run, "options": {"orders": [3] * 3}})


def test_with_a_matched_prior_the_exact_flow_begins_where_the_run_does() -> None:
    one = {"weights": [1.0], "means": [[0.5]], "covs": [[[4.0]]]}
    run = {**RUN, "problem": one, "method": "whitened_ab2"}
    done = solve({**run, "teleport": {"sigma_skip": 8.0, "prior": "matched"}})
    assert done["error_max"] < 1e-12 + done["exact_error"]
    other = solve({**run, "teleport": {"sigma_skip": 8.0}})  # control: another start
    assert abs(other["exact"][0][0] - done["exact"][0][0]) > 1e-3


def test_an_adaptive_run_begins_with_the_same_jump() -> None:
    start, grid = at("vp_linear", "t", 1.0), below("vp_linear")
    e, jump = entry("dpm_solver_12"), Teleport(at("vp_linear", "t", 1.0), MOMENTS)
    done = sample_adaptive(e, grid, Known(OTHER), X, teleport=jump, states=True)
    there = landed(X, start, grid.points[0])
    torch.testing.assert_close(done.trajectory.states[1], there, **ROUNDING)
    alone = sample_adaptive(e, grid, Known(OTHER), there)
    torch.testing.assert_close(done.trajectory.x, alone.trajectory.x, **ROUNDING)
    assert done.trajectory.nfe == alone.trajectory.nfe
    assert len(done.points) == len(alone.points) + 1 == len(done.trajectory.states)
    torch.testing.assert_close(sample(done.plan, Known(OTHER), X).x, done.trajectory.x, **ROUNDING)
    assert float(done.trajectory.landing.min()) > 0.001
    better = Teleport(jump.start, MOMENTS, corrected=True)
    both = sample_adaptive(e, grid, Known(OTHER), X, teleport=better)
    plain = sample(plan(entry("ddim"), grid, teleport=better), Known(OTHER), X, states=True)
    again = sample_adaptive(e, grid, Known(OTHER), plain.states[1])
    assert both.trajectory.nfe == again.trajectory.nfe + 1
    torch.testing.assert_close(both.trajectory.x, again.trajectory.x, **ROUNDING)


@pytest.mark.parametrize("method", ["dpm_solver_pp_2m", "unipc_3", "rho_heun2", "taylor_2"])
def test_a_change_of_form_is_the_two_runs_one_after_the_other(method: str) -> None:
    e, grid = entry(method), below("edm", 10.0, 6)
    level = float(grid.points[3].rho)
    both = plan(e, grid, form=GAUSSIAN, statistics=MOMENTS, then=[(level, NOISE_LAMBDA)])
    result = sample(both, Known(OTHER), 10 * X, states=True)
    assert both.nfe == result.nfe
    first = plan(
        e, Grid(grid.schedule, FLOAT64, grid.points[:4]), form=GAUSSIAN, statistics=MOMENTS
    )
    middle = sample(first, Known(OTHER), 10 * X)
    if first.memory == 0:
        rest = plan(e, Grid(grid.schedule, FLOAT64, grid.points[3:]), form=NOISE_LAMBDA)
        end = sample(rest, Known(OTHER), middle.x).x
        torch.testing.assert_close(result.x, end, **ROUNDING)
        torch.testing.assert_close(result.states[3], middle.x, **ROUNDING)
    # above all nodes, and below them: one form alone
    whole = plan(e, grid, form=GAUSSIAN, statistics=MOMENTS, then=[(99.0, NOISE_LAMBDA)])
    torch.testing.assert_close(
        sample(whole, Known(OTHER), 10 * X).x,
        sample(plan(e, grid, form=NOISE_LAMBDA), Known(OTHER), 10 * X).x,
        **ROUNDING,
    )
    never = plan(e, grid, form=GAUSSIAN, statistics=MOMENTS, then=[(0.01, NOISE_LAMBDA)])
    assert never.hash == plan(e, grid, form=GAUSSIAN, statistics=MOMENTS).hash


def test_changes_of_form_come_in_the_order_of_their_levels() -> None:
    e, grid = entry("exp_ab_2"), below("edm", 10.0, 6)
    levels = [float(grid.points[n].rho) for n in (2, 4)]
    pairs = [(levels[0], NOISE_LAMBDA), (levels[1], DATA_LAMBDA)]
    plans = [
        plan(e, grid, form=GAUSSIAN, statistics=MOMENTS, then=then)
        for then in (pairs, pairs[::-1])
    ]
    assert plans[0].hash == plans[1].hash
    forms = [op.form.name for op in plans[0].ops if isinstance(op, Switch)]
    assert forms == ["NOISE_LAMBDA", "DATA_LAMBDA"]
    where = [n for n, op in enumerate(plans[0].ops) if isinstance(op, Switch)]
    assert where == [2, 5]


@pytest.mark.parametrize("method", ["ddim", "dpm_solver_pp_2m", "gaussian_ab2"])
def test_a_jump_is_the_gaussians_flow_in_any_basis(method: str) -> None:
    q, _ = np.linalg.qr(np.array([[2.0, 1, 0], [0, 2, 1], [1, 0, 3]]))
    cov = q @ np.diag(VARIANCES) @ q.T
    law = {
        "weights": [1.0],
        "means": [(q @ MEAN).tolist()],
        "covs": [((cov + cov.T) / 2).tolist()],
    }
    start, end = at("edm", "t", 80.0), at("edm", "t", 4.0)
    x = 80 * X.numpy() @ q.T
    run = {**RUN, "problem": law, "method": method, "x_start": x.tolist()}
    done = solve({**run, "teleport": {"sigma_skip": 4.0}}, states=True)
    goal = landed(80 * X, start, end).numpy() @ q.T
    # the eigenbasis of the covariance is itself found in float64
    np.testing.assert_allclose(done["states"][1], goal, rtol=1e-11, atol=1e-11)


def test_a_run_in_a_basis_is_the_run_of_states() -> None:
    """A low-rank basis, images of shape (1, 2, 3): jump, floor and network in the right places."""
    generator = torch.Generator().manual_seed(1)
    d, r, floor = 6, 2, 0.05
    u, _ = torch.linalg.qr(torch.randn(d, r, generator=generator, dtype=F64))
    lam = torch.tensor([3.0, 0.7], dtype=F64)
    mean = torch.randn(d, generator=generator, dtype=F64)
    law = GaussianMixture.low_rank([1.0], mean[None], u[None], lam[None], [floor])
    flat = Known(law)

    class Images(Known):
        def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
            assert x.shape[1:] == (1, 2, 3)
            return flat.at(kind, x.flatten(1), t, alpha, sigma).reshape(x.shape)

    basis = Basis.of(u, (1, 2, 3))
    variances = (*(lam + floor).tolist(), *[floor] * (d - r))
    inside = basis.coordinates(mean.reshape(1, 1, 2, 3))[0]
    known = Statistics(tuple(inside.tolist()), variances)
    grid = below("edm")
    p = plan(entry("dpm_solver_pp_2m"), grid, teleport=Teleport(at("edm", "t", 80.0), known))
    x = 80 * torch.randn(5, 1, 2, 3, generator=generator, dtype=F64)
    model = InBasis(Images(law), basis)
    result = sample(p, model, basis.coordinates(x), states=True)
    cov = u @ torch.diag(lam) @ u.mT + floor * torch.eye(d, dtype=F64)
    values, vectors = torch.linalg.eigh(cov)
    w = ((x.flatten(1) - mean) @ vectors) / (values + 80.0**2).sqrt()
    there = mean + (w * (values + 16.0).sqrt()) @ vectors.mT
    torch.testing.assert_close(basis.states(result.states[1]).flatten(1), there, **ROUNDING)
    plainly = sample(plan(entry("dpm_solver_pp_2m"), grid), flat, there)
    torch.testing.assert_close(basis.states(result.x).flatten(1), plainly.x, **ROUNDING)
    assert model.parts == ()


RUN: dict[str, Any] = {
    "problem": {"weights": [0.8, 0.2], "means": [[1.0], [-4.0]], "covs": [[[0.25]], [[0.25]]]},
    "schedule": {"name": "edm"},
    "method": "dpm_solver_pp_2m",
    "grid": {"name": "karras", "steps": 8, "start": 80.0, "end": 0.05},
    "x_start": [[30.0], [-90.0], [100.0]],
}


def test_the_replay_format_says_all_of_it() -> None:
    ways = [
        {"sigma_skip": 8.0},
        {"sigma_skip": 8.0, "prior": "matched"},
        {"sigma_skip": 8.0, "corrected": True},
        {"sigma_skip": 8.0, "history": "gaussian"},
        {"sigma_skip": 8.0, "budget": "truncate"},
    ]
    runs = [solve({**RUN, "teleport": way}) for way in ways]
    assert len({r["plan_hash"] for r in runs}) == len(ways)
    kept = sum(math.exp(-lam) < 8 * (1 - 1e-9) for lam in solve(RUN)["nodes"]["lam"])
    assert [r["nfe"] for r in runs] == [8, 8, 9, 8, kept]
    assert all(r["sigma_skip"] == 8.0 and len(r["landing"]) == 3 for r in runs)
    assert "landing" not in solve(RUN)
    change = {"sigma": 2.0, "form": "DATA_LAMBDA"}
    here = {**RUN, "options": {"form": "GAUSSIAN"}, "switch": change}
    assert solve(here)["plan_hash"] != solve({**RUN, "options": here["options"]})["plan_hash"]
    assert solve(here)["nfe"] == 8
    assert solve({**here, "switch": [here["switch"]]})["x_final"] == solve(here)["x_final"]


@pytest.mark.parametrize("steps", [4, 8])
def test_a_level_at_the_start_leaves_the_plain_run_bit_for_bit(steps: int) -> None:
    run = {**RUN, "grid": {**RUN["grid"], "steps": steps}}
    plain = solve(run, states=True)
    for more in ({}, {"prior": "matched"}, {"corrected": True}, {"history": "gaussian"}):
        same = solve({**run, "teleport": {"sigma_skip": 80.0, **more}}, states=True)
        keys = ("x_final", "states", "plan_hash", "nfe", "nodes")
        assert [same[k] for k in keys] == [plain[k] for k in keys]
    near = solve({**run, "teleport": {"sigma_skip": 79.9}})
    assert near["plan_hash"] != plain["plan_hash"]  # control


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teleport": {"sigma_skip": 8.0, "prior": "x"}}, r"teleport.prior: got 'x'; 'reference'"),
        ({"teleport": {"sigma_skip": 8.0, "corrected": 1}}, r"teleport.corrected: got 1; true or"),
        ({"teleport": {"sigma_skip": 8.0, "budget": 2}}, r"teleport.budget: got 2; a name is"),
        ({"teleport": {"sigma_skip": 8.0, "history": "a"}}, r"teleport.history: got 'a'; 'none'"),
        (
            {"grid": {"rho": [80, 1]}, "teleport": {"sigma_skip": 8.0, "budget": "redistribute"}},
            r"teleport.budget: got 'redistribute'; 'truncate' is allowed",
        ),
        ({"teleport": {"sigma_skip": 81.0}}, r"teleport.sigma_skip: got 81.0; a level in \(0.05"),
        ({"switch": {"sigma": 1.0}}, r"switch: the key 'form' is missing"),
        ({"switch": {"sigma": -1, "form": "GAUSSIAN"}}, r"switch.sigma: got -1; a level in"),
        ({"switch": [{"sigma": 1, "form": "X"}]}, r"form: got 'X'; nearest"),
    ],
)
def test_bad_keys_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve({**RUN, **change})


@pytest.mark.parametrize("dim", [1, 2])
def test_moments_of_a_law_jump_as_its_gaussian_flows(dim: int) -> None:
    # A correlated law, or a line: its eigenbasis must be one that torch can read.
    means = np.array([[0.5, -1.0], [1.5, 0.0]])[:, :dim]
    covs = np.array([[[0.4, 0.1], [0.1, 0.3]], [[0.2, 0.0], [0.0, 0.6]]])[:, :dim, :dim]
    known = Moments.from_law([0.3, 0.7], means, covs)
    mixed = GaussianMixture.full([0.3, 0.7], means, covs)
    points = torch.tensor([[20.0, -31.0], [4.0, 7.0]], dtype=F64)[:, :dim]
    values, basis = torch.linalg.eigh(mixed.covariance)
    shrink = torch.sqrt((values + 2.0**2) / (values + 40.0**2))
    expected = mixed.mean + ((points - mixed.mean) @ basis * shrink) @ basis.mT
    found = jump(points, known, start=(1.0, 40.0), end=(1.0, 2.0))
    torch.testing.assert_close(found, expected, **ROUNDING)
