"""A run in torch keeps shapes, dtypes, history and counts, and refuses what it cannot run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Denoiser, Known, Network, Predicts
from solvers.forms import ConstantForm, Statistics
from solvers.grids import Grid, explicit, laid
from solvers.method import entry, registry
from solvers.ops import Advance, Call, Plan
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import schedule
from solvers.trajectory import Eval

LAW = GaussianMixture.isotropic([0.4, 0.6], [[-1.2, 0.3], [1.5, -0.4]], [0.25, 0.64])
X = torch.tensor([[0.4, 1.0], [-1.3, 0.2], [0.9, -0.7]], dtype=torch.float64)
LINEAR = schedule("vp_linear")
MOMENTS = Statistics(mean=(0.4, -0.1), variances=(2.0, 0.7))
GRID = laid(LINEAR, "logsnr", steps=6, start=0.9, end=0.1)
METHODS = [
    name
    for name, e in registry().items()
    if isinstance(e.form({}), ConstantForm) and e.quiet is None
]
CARRIES = {
    name
    for name, e in registry().items()
    if any(
        isinstance(op, Advance) and op.weights.carry
        for op in plan(e, GRID, statistics=MOMENTS).ops
    )
}
STEPPERS = [n for n in METHODS if n not in CARRIES and entry(n).ladder is None]
EXACT: dict[str, Any] = {"rtol": 1e-13, "atol": 1e-13}


class Counted(Denoiser):
    """Known, with a list of its calls; from the call ``bad`` on, sample 1 is spoilt."""

    def __init__(self, bad: int = 10**6, value: float = 0.0) -> None:
        self.calls: list[str] = []
        self.bad, self.value = bad, value

    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        return Known(LAW).at(kind, x, t, alpha, sigma)

    def predict(self, kind: str, x: Tensor, call: Call) -> Tensor:
        return self._note(kind, super().predict(kind, x, call))

    def derivatives(self, *args: Any) -> Sequence[Tensor]:
        N, *rest = super().derivatives(*args)
        return self._note("derivatives", N), *rest

    def _note(self, kind: str, out: Tensor) -> Tensor:
        self.calls.append(kind)
        row = torch.arange(len(out))[:, None] == 1
        return torch.where(row, self.value, out) if len(self.calls) > self.bad else out


def run(p: Plan, x: Any = X, **options: Any) -> Tensor:
    return sample(p, Known(LAW), x, **options).x


def on(grid: Grid, method: str, **options: Any) -> Plan:
    return plan(entry(method), grid, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("finish", ["none", "denoise"])
def test_nfe_is_what_the_model_counted(method: str, finish: str) -> None:
    p, model = on(GRID, method, finish=finish), Counted()
    result = sample(p, model, X)
    assert result.nfe == p.nfe == len(model.calls)
    assert result.jvp == GRID.steps * (int(method[-1]) - 1 if "taylor" in method else 0)


@pytest.mark.parametrize("method", STEPPERS)
def test_states_are_the_ends_of_shorter_runs(method: str) -> None:
    states = sample(on(GRID, method), Known(LAW), X, states=True).states
    assert len(states) == len(GRID.points)
    assert torch.equal(states[0], X)
    for n in (1, 3, 6):
        short = Grid(LINEAR, GRID.F, GRID.points[: n + 1])
        torch.testing.assert_close(states[n], run(on(short, method)), **EXACT)
    assert sample(on(GRID, method), Known(LAW), X).states == ()


MULTISTEP = ["deis_rho_ab2", "deis_logrho_ab3", "deis_t_ab1", "dpm_solver_pp_3m", "dpm_solver_2m"]


@pytest.mark.parametrize("method", MULTISTEP)
def test_history_continues_a_run(method: str) -> None:
    states = sample(on(GRID, method), Known(LAW), X, states=True).states
    first = 3
    p = on(GRID, method, first=first)
    history = []
    for q, x in zip(GRID.points[:first], states, strict=False):
        r, alpha, sigma = p.form.read(q), float(q.alpha), float(q.sigma)
        prediction = (LAW.noise if r.kind == "noise" else LAW.denoise)(x, alpha, sigma)
        history.insert(
            0,
            Eval(float(p.form.tau(q)), x / float(p.form.scale(q)), float(r.p_weight) * prediction),
        )
    torch.testing.assert_close(run(p, states[first], history=history), states[-1], **EXACT)
    changed = [Eval(e.tau, e.u, e.N + 1e-6) for e in history]
    assert float((run(p, states[first], history=changed) - states[-1]).abs().max()) > 1e-9


@pytest.mark.parametrize("method", ["ddim", "dpm_solver_3", "unipc_3", "deis_t_ab2", "taylor_2"])
def test_float32_follows_float64(method: str) -> None:
    p, low = on(GRID, method), LAW.to(dtype=torch.float32)
    kept = sample(p, Known(low), X.float())
    all_low = sample(p, Known(low), X.float(), state=torch.float32, states=True)
    assert kept.x.dtype == all_low.x.dtype == torch.float32
    assert {s.dtype for s in all_low.states} == {torch.float32}
    eps = torch.finfo(torch.float32).eps
    # the start at x/α = 60 x and a handful of roundings a step of a state of size two
    for result in (kept, all_low):
        assert float((result.x.double() - run(p)).abs().max()) < 60 * 8 * eps


@pytest.mark.parametrize("method", ["ddim", "rho_rk4", "unipc_2", "dpm_solver_pp_3m", "taylor_2"])
def test_images_equal_the_flattened_run(method: str) -> None:
    law = GaussianMixture.isotropic(
        [0.4, 0.6], torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 12), [0.3, 0.1]
    )
    x = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def net(x: Tensor, times: Tensor) -> Tensor:
        t = times.reshape(-1)[0]
        return law.noise(x.reshape(len(x), -1), 1 - t, t).reshape(x.shape)

    grid = laid(schedule("flow"), "t", steps=4, start=0.95, end=0.1)
    flat = sample(on(grid, method), Network(net, "noise"), x, states=True)
    image = sample(on(grid, method), Network(net, "noise"), x.reshape(3, 1, 3, 4), states=True)
    assert image.x.shape == (3, 1, 3, 4)
    assert torch.equal(image.x.reshape(3, 12), flat.x)
    assert all(
        torch.equal(a.reshape(3, 12), b) for a, b in zip(image.states, flat.states, strict=True)
    )


# --- a start at α = 0 -------------------------------------------------------------------------

FLOW = schedule("flow")


@pytest.mark.parametrize(
    "method", ["ddim", *MULTISTEP[:4], "dpm_solver_3", "rho_heun2", "unipc_2"]
)
def test_a_start_at_alpha_0_is_the_limit_of_ddim(method: str) -> None:
    p = on(explicit(FLOW, "t", [1.0, 0.7, 0.45, 0.2]), method)
    result = sample(p, Known(LAW), X, states=True)
    # x is the noise, and tells nothing of the data but its mean
    first = 0.3 * LAW.mean + 0.7 * X
    torch.testing.assert_close(result.states[1], first, **EXACT)
    rest = on(explicit(FLOW, "t", [0.7, 0.45, 0.2]), method)
    torch.testing.assert_close(result.x, run(rest, first), **EXACT)
    near = run(on(explicit(FLOW, "t", [1 - 1e-9, 0.7]), "ddim"))
    torch.testing.assert_close(result.states[1], near, rtol=1e-7, atol=1e-7)
    assert result.nfe == p.nfe == 1 + rest.nfe


def test_the_steps_after_a_start_at_alpha_0_run_alone() -> None:
    grid = explicit(FLOW, "t", [1.0, 0.7, 0.45, 0.2])
    states = sample(on(grid, "ddim"), Known(LAW), X, states=True).states
    rest = run(on(grid, "ddim", first=1), states[1])
    torch.testing.assert_close(rest, states[-1], **EXACT)


def test_listed_orders_are_kept_or_refused_after_a_start_at_alpha_0() -> None:
    with pytest.raises(ValueError, match=r"options\.orders\[1\]: got 2; .* 0 are there"):
        on(explicit(FLOW, "t", [1.0, 0.7, 0.45, 0.2]), "deis_rho_ab1", orders=[1, 2, 2])


@pytest.mark.parametrize("predicts", ["data", "v", "velocity"])
def test_networks_may_start_at_alpha_0(predicts: Predicts) -> None:
    def net(x: Tensor, times: Tensor) -> Tensor:
        t = times[0]
        data, noise = LAW.denoise(x, 1 - t, t), LAW.noise(x, 1 - t, t)
        return {"data": data, "v": (1 - t) * noise - t * data, "velocity": noise - data}[predicts]

    p = on(explicit(FLOW, "t", [1.0, 0.6, 0.2]), "dpm_solver_pp_2m")
    got = sample(p, Network(net, predicts, FLOW), X).x
    torch.testing.assert_close(got, run(p), rtol=1e-12, atol=1e-12)


# --- bad values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "bad_call", "step", "finish"),
    [
        ("ddim", 0, 0, "none"),
        ("ddim", 4, 4, "none"),
        ("dpm_solver_3", 7, 2, "none"),
        ("unipc_2", 0, 0, "none"),
        ("unipc_2", 1, 0, "none"),
        ("unipc_2", 4, 3, "none"),
        ("deis_rho_ab2", 6, 6, "denoise"),
        ("taylor_2", 3, 3, "none"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_name_step_and_sample(
    method: str, bad_call: int, step: int, finish: str, value: float
) -> None:
    said = rf"model: got .* in step {step} \(model call {bad_call}\), sample 1 of 3 \(1 bad"
    with pytest.raises(ValueError, match=said):
        sample(on(GRID, method, finish=finish), Counted(bad_call, value), X)


def test_a_state_that_overflows_by_itself() -> None:
    huge = Network(lambda x, t: torch.full_like(x, 1e308), "noise")
    with pytest.raises(ValueError, match=r"state: overflowed; .* moderate size are allowed"):
        sample(on(laid(schedule("edm"), "t", steps=3, start=50.0, end=0.1), "ddim"), huge, X)


NAN = torch.full((2, 2), float("nan"))
BAD: list[Any] = [
    (lambda: run(on(GRID, "ddim"), X.long()), r"x: got \(3, 2\) torch\.int64; a floating tensor"),
    (lambda: run(on(GRID, "ddim"), X[0, 0]), r"x: got \(\) torch\.float64; .* \(B, \.\.\.\)"),
    (lambda: run(on(GRID, "ddim"), X + 0j), r"x: got \(3, 2\) torch\.complex128; a float"),
    (lambda: run(on(GRID, "ddim"), X.tolist()), r"x: got \[\[0\.4, .* a floating tensor of shape"),
    (lambda: run(on(GRID, "ddim"), X[:, :1]), r"x has shape \(3, 1\) .* \(B, 2\) is allowed"),
    (lambda: run(on(GRID, "ddim"), X[0]), r"x has shape \(2,\) .* \(B, 2\) is allowed"),
    pytest.param(lambda: run(on(GRID, "ddim"), NAN), r"^x: got .*nan.* finite"),
    pytest.param(lambda: run(on(GRID, "ddim"), state=torch.int64), r"state: got torch\.int64; "),
    pytest.param(lambda: run(on(GRID, "ddim"), state="float64"), r"state: got 'float64'; "),
    pytest.param(lambda: run(on(GRID, "deis_rho_ab2", first=2)), r"history: got 0 .*2 .* allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input_names_argument_value_and_what_is_allowed(
    make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()
