"""Networks of every kind and known laws give the mixture's predictions and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Denoiser, Known, Network, Predicts
from solvers.field import Scalar
from solvers.float64 import FLOAT64
from solvers.forms import FORMS, GaussianPart, Statistics
from solvers.ops import Call
from solvers.point import Point
from solvers.schedules import Schedule, schedule
from tests.crosscheck.printed import M, law
from theory.mixtures import Analytic, Mixture, flow

# torch scripts its own derivative formulas the first time forward mode is used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

LAW = law("0.4 0.6", "-1.2 1.5", "0.5 0.8")
KINDS: tuple[Predicts, ...] = get_args(Predicts)
ON: dict[str, tuple[float, ...]] = {"vp_linear": (0.02, 0.5, 0.9), "ddpm_discrete": (400.25,)}
ON |= {"vp_cosine": (0.4,), "sub_vp": (0.3,), "ve": (0.6,), "edm": (2.5,), "flow": (0.7,)}
PLACES = [(name, t) for name, times in ON.items() for t in times]
X = torch.tensor([[0.4], [-1.3], [2.0]], dtype=torch.float64)


def torched(m: Mixture, dtype: torch.dtype = torch.float64) -> GaussianMixture:
    means = [[float(a)] for a in m.means]
    found = GaussianMixture.isotropic(
        [float(w) for w in m.weights], means, [float(s) for s in m.variances]
    )
    return found.to(dtype=dtype)


class Exact(nn.Module):
    """A network that knows the answer, in its own dtype; its time is the schedule's."""

    def __init__(self, kind: str, s: Schedule, dtype: torch.dtype) -> None:
        super().__init__()
        self.kind, self.s, self.law = kind, s, torched(LAW, dtype)
        self.unused = nn.Parameter(torch.zeros(1, dtype=dtype))
        self.seen: list[tuple[torch.dtype, torch.dtype, tuple[int, ...]]] = []

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        self.seen.append((x.dtype, times.dtype, tuple(times.shape)))
        p = Point(self.s, FLOAT64, "t", FLOAT64.number(float(times[0])))
        alpha, sigma = float(p.alpha), float(p.sigma)
        noise, data = self.law.noise(x, alpha, sigma), self.law.denoise(x, alpha, sigma)
        if self.kind == "velocity":
            return float(p.rate(self.s.alpha)) * data + float(p.rate(self.s.sigma)) * noise
        return {
            "noise": noise,
            "data": data,
            "v": alpha * noise - sigma * data,
            "score": self.law.score(x, alpha, sigma),
        }[self.kind]


def call_at(s: Schedule, t: float) -> Call:
    p = Point(s, FLOAT64, "t", FLOAT64.number(t))
    return Call("", t, float(p.alpha), float(p.sigma), 1.0, 0.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("predicts", KINDS)
@pytest.mark.parametrize(("name", "t"), PLACES)
def test_every_prediction_becomes_noise_and_data(
    name: str, t: float, predicts: Predicts, dtype: torch.dtype
) -> None:
    s = schedule(name)
    t = float(torch.tensor(t, dtype=dtype))  # the time that a network of this dtype is told
    call, net = call_at(s, t), Exact(predicts, s, dtype)
    model, known = Network(net, predicts, s), torched(LAW)
    x = call.alpha * X + call.sigma * X.flip(0)
    want = {
        "noise": known.noise(x, call.alpha, call.sigma),
        "data": known.denoise(x, call.alpha, call.sigma),
    }
    # x = α D + σ ε: what one prediction is off by reaches the other multiplied by σ/α or α/σ;
    # the network is off by a few roundings of x and of its own output
    size = float(x.abs().max()) + call.alpha + call.sigma
    worst = max(1.0, size) / min(call.alpha, call.sigma, 1.0) ** 2
    for kind, values in want.items():
        got = model.predict(kind, x, call)
        assert got.dtype == torch.float64
        assert float((got - values).abs().max()) <= 16 * torch.finfo(dtype).eps * worst
    assert set(net.seen) == {(dtype, dtype, (3,))}


def test_known_takes_both_predictions_from_the_law() -> None:
    call, m = call_at(schedule("edm"), 2.5), torched(LAW)
    known = Known(m)
    assert torch.equal(known.predict("noise", X, call), m.noise(X, 1.0, 2.5))
    assert torch.equal(known.predict("data", X, call), m.denoise(X, 1.0, 2.5))


@pytest.mark.parametrize("predicts", KINDS)
def test_control_a_swapped_kind_is_seen(predicts: Predicts) -> None:
    s = schedule("vp_linear")
    call, other = call_at(s, 0.5), KINDS[(KINDS.index(predicts) + 1) % len(KINDS)]
    got = Network(Exact(predicts, s, torch.float64), other, s).predict("noise", X, call)
    want = torched(LAW).noise(X, call.alpha, call.sigma)
    assert float((got - want).abs().max()) > 1e-3


def test_label_maps_the_time() -> None:
    told: list[Tensor] = []

    def net(x: Tensor, times: Tensor) -> Tensor:
        told.append(times)
        return x

    model = Network(net, "noise", label=lambda t: 1000 * t - 1)
    model.predict("noise", X.float(), call_at(schedule("vp_linear"), 0.5))
    assert torch.equal(told[0], torch.full((3,), 499.0))


@pytest.mark.parametrize("predicts", ["data", "v", "velocity"])
def test_predictions_that_exist_at_alpha_0(predicts: Predicts) -> None:
    """flow at t = 1: x is noise, the data prediction is the mean."""
    s = schedule("flow")
    call = Call("", 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0)

    def net(x: Tensor, times: Tensor) -> Tensor:
        mean = float(LAW.mean)
        return {"data": 0 * x + mean, "v": 0 * x - mean, "velocity": x - mean}[predicts]

    model = Network(net, predicts, s)
    mean = torch.full_like(X, float(LAW.mean))
    torch.testing.assert_close(model.predict("data", X, call), mean, rtol=1e-15, atol=1e-15)
    torch.testing.assert_close(model.predict("noise", X, call), X, rtol=1e-15, atol=1e-15)


# --- total derivatives ------------------------------------------------------------------------

# nested forward mode: each level differentiates the rounding of the one below, of ~10^2 operations
NESTED = 1e-9


def differences(form: GaussianPart, tau: float, v: Any) -> list[Any]:
    """N .. N''' of a Gaussian form: its definition on the exact flow, central differences."""
    mean, variance, sign = LAW.mean, LAW.variance, -1 if form.clock == "log_rho" else 1
    rho_start = M.exp(M.number(-sign * tau))

    def N(shift: Scalar) -> Scalar:
        rho = M.exp(-sign * (M.number(tau) + shift))
        there = M.number(flow(LAW, v.v, rho_start.v, rho.v))
        total = rho * rho + variance
        away = LAW.predictions(there, rho)[1] - mean - variance * (there - mean) / total
        return away if sign == 1 else -away / M.sqrt(total)

    h = M.number("1e-9")
    a, b, c, d, e = (N(h * k) for k in (-2, -1, 0, 1, 2))
    return [
        c,
        (d - b) / (2 * h),
        (d - 2 * c + b) / (h * h),
        (e - 2 * d + 2 * b - a) / (2 * h * h * h),
    ]


@pytest.mark.parametrize("name", sorted(FORMS))
@pytest.mark.parametrize(("on", "t"), [("vp_linear", 0.3), ("vp_cosine", 0.4), ("flow", 0.6)])
def test_derivatives_along_the_flow(name: str, on: str, t: float) -> None:
    s, form = schedule(on), FORMS[name]
    if isinstance(form, GaussianPart):
        form = form.with_statistics(Statistics((float(LAW.mean),), (float(LAW.variance),)))
    for x in (0.5, -0.8):
        q = Point(s, M, "t", M.number(t))
        tau = float(form.tau(q))
        q = form.point(s, M, M.number(tau))  # where the rounded clock is
        u = float(bare((M.number(x) - form.shift(q)) / form.scale(q)))
        if isinstance(form, GaussianPart):
            v = (M.number(u) * bare(form.scale(q)) + bare(form.shift(q))) / q.alpha
            want = differences(form, tau, v)
        else:
            want = Analytic(LAW).derivatives(s, form, M.number(tau), M.number(u), 3)
        start = torch.tensor([[u]], dtype=torch.float64)
        got = Known(torched(LAW)).derivatives(s, form, tau, start, 3)
        size = 1.0
        for k, (a, b) in enumerate(zip(got, want, strict=True)):
            size = max(size, abs(float(b)))
            assert abs(float(a) - float(b)) <= NESTED * size, k


def bare(x: Scalar) -> Scalar:
    """The one coordinate of a per-coordinate scalar."""
    return x.v[0] if isinstance(x.v, tuple) else x


@pytest.mark.parametrize("predicts", KINDS)
def test_derivatives_of_a_network(predicts: Predicts) -> None:
    """Time and state both carry tangents through the conversions."""
    s, form, m = schedule("flow"), FORMS["NOISE_RHO"], torched(LAW)

    def net(x: Tensor, times: Tensor) -> Tensor:
        t = times[0]
        noise, data = m.noise(x, 1 - t, t), m.denoise(x, 1 - t, t)
        return {
            "noise": noise,
            "data": data,
            "v": (1 - t) * noise - t * data,
            "velocity": noise - data,
            "score": -noise / t,
        }[predicts]

    got = Network(net, predicts, s).derivatives(s, form, 1.5, X, 2)
    want = Known(m).derivatives(s, form, 1.5, X, 2)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# --- bad input --------------------------------------------------------------------------------


def ask(net: Callable[..., Any], x: Tensor = X) -> Callable[[], Any]:
    return lambda: Network(net, "noise").predict("noise", x, call_at(schedule("edm"), 1.0))


BAD = [
    pytest.param(lambda: Network(lambda x, t: x, "eps"),  # type: ignore[arg-type]
                 r"predicts: got 'eps'; noise, data, v, velocity, score are allowed"),
    pytest.param(lambda: Network(lambda x, t: x, "velocity"),
                 r"schedule: got None; a velocity prediction needs the schedule"),
    pytest.param(ask(lambda x, t: x[:, 0]),
                 r"model: got output \(3,\); the input's shape \(3, 1\) is allowed"),
    pytest.param(ask(lambda x, t: x[:1]), r"model: got output \(1, 1\); .* \(3, 1\) is allowed"),
    pytest.param(ask(lambda x, t: None), r"model: got output NoneType; .* \(3, 1\) is allowed"),
    pytest.param(ask(lambda x, t: x.long()), r"model: got .*int64.* is allowed"),
    pytest.param(ask(lambda x, t: torch.complex(x, x)), r"model: got .*complex128.* is allowed"),
    pytest.param(ask(lambda x, t: x.to("meta")), r"model: got .*meta.* is allowed"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_networks_name_argument_value_and_what_is_allowed(
    make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_denoisers_are_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Denoiser()  # type: ignore[abstract]
