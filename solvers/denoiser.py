"""torch models as a run sees them: noise and data predictions, and derivatives along the flow.

All casts happen here: the state keeps its dtype, the network sees its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from solvers.each import vector
from solvers.field import Exact, Field, Scalar
from solvers.form import Form
from solvers.ops import Call
from solvers.schedules import Schedule

Predicts = Literal["noise", "data", "v", "velocity", "score"]


class TorchField(Field):
    """0-d tensors, so that forms and schedules can be differentiated in the clock."""

    digits, quadrature = 16, 18
    takes_int = True

    def __init__(self, like: Tensor) -> None:
        self.like = like

    def _function(self, f: Callable[[Tensor], Tensor], x: Scalar) -> Scalar:
        return Scalar(self, f(x.v))

    def lift(self, q: Exact) -> Scalar:
        """The nearest number of the state's dtype."""
        return Scalar(self, self.like.new_full((), float(Fraction(q))))

    def vanishes(self, raw: Any) -> bool:
        """Never left out: a zero may have a tangent."""
        return False

    def exp(self, x: Scalar) -> Scalar:
        """e^x."""
        return self._function(torch.exp, x)

    def log(self, x: Scalar) -> Scalar:
        """Natural logarithm."""
        return self._function(torch.log, x)

    def expm1(self, x: Scalar) -> Scalar:
        """e^x − 1."""
        return self._function(torch.expm1, x)

    def log1p(self, x: Scalar) -> Scalar:
        """log(1 + x)."""
        return self._function(torch.log1p, x)

    def sqrt(self, x: Scalar) -> Scalar:
        """Square root."""
        return self._function(torch.sqrt, x)

    def cos(self, x: Scalar) -> Scalar:
        """Cosine."""
        return self._function(torch.cos, x)

    def sin(self, x: Scalar) -> Scalar:
        """Sine."""
        return self._function(torch.sin, x)

    def acos(self, x: Scalar) -> Scalar:
        """Inverse cosine."""
        return self._function(torch.acos, x)

    def asinh(self, x: Scalar) -> Scalar:
        """Inverse hyperbolic sine."""
        return self._function(torch.asinh, x)

    def __repr__(self) -> str:
        return "TorchField"


@vector.register
def _(F: TorchField, values: Sequence[float | Exact]) -> Scalar:
    numbers = [float(v) for v in values]
    return Scalar(F, torch.tensor(numbers, dtype=F.like.dtype, device=F.like.device))


class Denoiser(ABC):
    """A model whose predictions may be asked at numbers or at 0-d tensors t, α, σ."""

    @property
    def parts(self) -> tuple[str, ...]:
        """What was put around a model, innermost first, as a plan names it."""
        return ()

    @abstractmethod
    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        """The noise (kind "noise") or data prediction (kind "data") at x; x of shape (B, ...)."""

    def predict(self, kind: str, x: Tensor, call: Call) -> Tensor:
        """The same where a plan calls."""
        return self.at(kind, x, call.t, call.alpha, call.sigma)

    def derivatives(
        self, schedule: Schedule, form: Form, tau: float, u: Tensor, count: int
    ) -> Sequence[Tensor]:
        """N, N', .., N^{(count)} along u' = L u + K N + G, by nested forward mode."""
        F = TorchField(u)

        def values(clock: Tensor, state: Tensor) -> tuple[Tensor, ...]:
            return (self._reading(schedule, form, F, clock, state)[0],)

        def lifted(f: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
            def g(clock: Tensor, state: Tensor) -> tuple[Tensor, ...]:
                velocity = self._reading(schedule, form, F, clock, state)[1]
                tangent = (torch.ones_like(clock), velocity)
                value, slope = torch.func.jvp(f, (clock, state), tangent)  # pyright: ignore
                return (value[0], *slope)

            return g

        f = values
        for _ in range(count):
            f = lifted(f)
        return f(torch.as_tensor(tau, dtype=u.dtype, device=u.device), u)

    def _reading(
        self, schedule: Schedule, form: Form, F: TorchField, clock: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor]:
        """N and u' at (τ, u)."""
        p = form.point(schedule, F, Scalar(F, clock))
        r = form.read(p)
        x = form.scale(p).v * u + form.shift(p).v
        P = self.at(r.kind, x, p.t.v, p.alpha.v, p.sigma.v)
        N = r.p_weight.v * P + r.u_weight.v * u + r.constant.v
        L, K, G = form.coefficients(p)
        return N, L.v * u + K.v * N + G.v


class Target(Protocol):
    """A law whose predictions are known, such as ``gaussian_score.mixture.GaussianMixture``."""

    def noise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        """E[n | x]."""
        ...

    def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        """E[x₀ | x]."""
        ...


@dataclass(frozen=True)
class Known(Denoiser):
    """The exact predictions of a known law."""

    target: Target

    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        """Both kinds from the law itself, neither from the other."""
        f = self.target.noise if kind == "noise" else self.target.denoise
        return f(x, alpha, sigma)


@dataclass(frozen=True)
class Network(Denoiser):
    """A network net(x, label) that predicts noise, data, v = α ε − σ x₀, velocity x' or the score.

    ``label`` maps the schedule's time to the network's; x goes in and comes out in the dtype of
    the network's parameters.  The velocity needs ``schedule``: x' = α' x₀ + σ' ε.
    """

    net: Callable[[Tensor, Tensor], Tensor]
    predicts: Predicts
    schedule: Schedule | None = None
    label: Callable[[Any], Any] = lambda t: t

    def __post_init__(self) -> None:
        allowed = ("noise", "data", "v", "velocity", "score")
        if self.predicts not in allowed:
            raise ValueError(f"predicts: got {self.predicts!r}; {', '.join(allowed)} are allowed")
        if self.schedule is not None and not isinstance(self.schedule, Schedule):  # pyright: ignore
            raise ValueError(f"schedule: got {self.schedule!r}; a Schedule is allowed")
        if self.predicts == "velocity" and self.schedule is None:
            raise ValueError("schedule: got None; a velocity prediction needs the schedule")

    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        """The network's output, converted by the schedule's α and σ."""
        parameters = getattr(self.net, "parameters", tuple)
        dtype = next((p.dtype for p in parameters()), x.dtype)
        label = self.label(t)
        if not isinstance(label, Tensor):  # a fill waits for no device, a copy does
            label = torch.full((), label, dtype=dtype, device=x.device)
        times = label.to(x.device, dtype).expand(x.shape[0])
        out = self.net(x.to(dtype), times)
        if not isinstance(out, Tensor) or out.shape != x.shape:
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"model: got output {got}; the input's shape {tuple(x.shape)} is allowed"
            )
        if not out.is_floating_point() or out.device != x.device:
            raise ValueError(
                f"model: got output of {out.dtype} on {out.device};"
                f" a floating dtype on {x.device} is allowed"
            )
        return self._convert(kind, x, out.to(x.dtype), t, alpha, sigma)

    def _convert(self, kind: str, x: Tensor, y: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        if self.predicts == kind:
            return y
        if self.predicts in ("noise", "score"):
            if kind == "data" and not isinstance(alpha, Tensor) and alpha == 0:
                raise ValueError(
                    f"predicts: got {self.predicts!r} at alpha = 0;"
                    " data, v or velocity is allowed there"
                )
            noise = y if self.predicts == "noise" else -sigma * y
            return noise if kind == "noise" else (x - sigma * noise) / alpha
        if self.predicts == "data":
            return (x - alpha * y) / sigma
        if self.predicts == "v":
            square = alpha * alpha + sigma * sigma
            return (sigma * x + alpha * y if kind == "noise" else alpha * x - sigma * y) / square
        a, s = self._rates(t, x)
        determinant = alpha * s - a * sigma
        return (alpha * y - a * x if kind == "noise" else s * x - sigma * y) / determinant

    def _rates(self, t: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """α' and σ' at t."""
        from solvers.point import Point

        assert self.schedule is not None
        F = TorchField(x)
        p = Point(
            self.schedule, F, "t", Scalar(F, torch.as_tensor(t, dtype=x.dtype, device=x.device))
        )
        return p.rate(self.schedule.alpha).v, p.rate(self.schedule.sigma).v
