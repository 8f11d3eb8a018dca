"""Noise schedules: x_t = α(t) x₀ + σ(t) n with n standard normal.

Clocks of every schedule: its own t; ρ = σ/α; λ = log(α/σ) = −log ρ, which grows while sampling.
A schedule states log α and λ in t and the inverse t(λ), once, for scalars of any field; the
derivatives in t follow from evaluating these on first-order series.

Sources: Song et al. 2021 (VP, sub-VP, VE), Nichol and Dhariwal 2021 (cosine), Karras et al. 2022
(EDM), Liu et al. 2023 (rectified flow), Ho et al. 2020 (discrete DDPM).
"""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar

from solvers.field import Field, Scalar
from solvers.float64 import FLOAT64

ROUNDING = 1e-9
"""How far a time may leave the clock's range: rounding of the caller's grid."""


@dataclass(frozen=True)
class Schedule(ABC):
    """log α(t), λ(t), t(λ); times decrease while sampling.  Parameters are exact floats."""

    name: ClassVar[str]
    silent: ClassVar[float | None] = None
    """The time with α = 0, where a run may start although λ = −∞ there."""

    @property
    def span(self) -> tuple[float, float]:
        """Smallest and largest time; σ = 0 at the smallest is excluded by the grid."""
        return 0.0, 1.0

    @property
    def knots(self) -> tuple[float, ...]:
        """Values of λ where t(λ) is not smooth."""
        return ()

    def label(self, t: float) -> float:
        """The time as rules in the papers' own clock read it."""
        return t

    def rules(self) -> tuple[tuple[bool, str], ...]:
        """Conditions on the parameters: (does it hold, what is allowed)."""
        return ()

    @abstractmethod
    def log_alpha(self, t: Scalar, F: Field) -> Scalar:
        """log α(t)."""

    @abstractmethod
    def lam(self, t: Scalar, F: Field) -> Scalar:
        """λ(t) = log(α/σ)."""

    @abstractmethod
    def t_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """The inverse of ``lam``."""

    def log_alpha_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """log α where the half log-SNR is λ."""
        return self.log_alpha(self.t_of_lam(lam, F), F)

    def alpha(self, t: Scalar, F: Field) -> Scalar:
        """α(t)."""
        return F.exp(self.log_alpha(t, F))

    def sigma(self, t: Scalar, F: Field) -> Scalar:
        """σ(t) = α e^{−λ}."""
        return F.exp(self.log_alpha(t, F) - self.lam(t, F))


@dataclass(frozen=True)
class _VP(Schedule):
    """α² + σ² = 1."""

    def log_alpha_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """−½ log(1 + e^{−2λ})."""
        return F.log1p(F.exp(-2 * lam)) / -2


@dataclass(frozen=True)
class VPLinear(_VP):
    """β(t) = β₀ + (β₁−β₀)t, B = ∫β: α = e^{−B/2}, ρ² = e^B − 1."""

    name = "vp_linear"
    beta_min: float = 0.1
    beta_max: float = 20.0

    def rules(self) -> tuple[tuple[bool, str], ...]:
        """B grows; a slightly negative β₀ occurs in EDM's fit of this schedule."""
        return ((self.beta_max > abs(self.beta_min), "beta_max > |beta_min| is allowed"),)

    def integral(self, t: Scalar, F: Field) -> Scalar:
        """B(t) = β₀ t + ½(β₁−β₀)t²."""
        low, high = F.number(self.beta_min), F.number(self.beta_max)
        return t * (low + (high - low) * t / 2)

    def time(self, B: Scalar, F: Field) -> Scalar:
        """t = 2B/(β₀ + √(β₀² + 2(β₁−β₀)B)), free of cancellation."""
        low, high = F.number(self.beta_min), F.number(self.beta_max)
        return 2 * B / (low + F.sqrt(low * low + 2 * (high - low) * B))

    def log_alpha(self, t: Scalar, F: Field) -> Scalar:
        """−B/2."""
        return self.integral(t, F) / -2

    def lam(self, t: Scalar, F: Field) -> Scalar:
        """−½ log(e^B − 1)."""
        return F.log(F.expm1(self.integral(t, F))) / -2

    def t_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """B = log(1 + e^{−2λ})."""
        return self.time(F.log1p(F.exp(-2 * lam)), F)


@dataclass(frozen=True)
class SubVP(VPLinear):
    """α = e^{−B/2}, σ = 1 − e^{−B}, so ρ = 2 sinh(B/2)."""

    name = "sub_vp"

    def lam(self, t: Scalar, F: Field) -> Scalar:
        """B/2 − log(e^B − 1)."""
        B = self.integral(t, F)
        return B / 2 - F.log(F.expm1(B))

    def t_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """B = 2 asinh(ρ/2)."""
        return self.time(2 * F.asinh(F.exp(-lam) / 2), F)

    def log_alpha_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """−asinh(ρ/2)."""
        return -F.asinh(F.exp(-lam) / 2)


@dataclass(frozen=True)
class VPCosine(_VP):
    """α = cos(u(t))/cos(u(0)), u = (π/2)(t+s)/(1+s); without ``normalize`` α = cos(u(t))."""

    name = "vp_cosine"
    s: float = 0.008
    normalize: bool = True

    def rules(self) -> tuple[tuple[bool, str], ...]:
        """u stays within (0, π/2]."""
        return ((0 < self.s < 1, "0 < s < 1 is allowed"),)

    def _angle(self, t: Scalar, F: Field) -> Scalar:
        s = F.number(self.s)
        return F.acos(F.lift(0)) * (t + s) / (1 + s)

    def _top(self, F: Field) -> Scalar:
        return F.cos(self._angle(F.lift(0), F)) if self.normalize else F.lift(1)

    def log_alpha(self, t: Scalar, F: Field) -> Scalar:
        """log cos u(t) − log cos u(0)."""
        return F.log(F.cos(self._angle(t, F)) / self._top(F))

    def lam(self, t: Scalar, F: Field) -> Scalar:
        """−½ log(e^{−2 log α} − 1)."""
        return F.log(F.expm1(-2 * self.log_alpha(t, F))) / -2

    def t_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """u = arccos(α cos u(0))."""
        s = F.number(self.s)
        alpha = F.exp(self.log_alpha_of_lam(lam, F))
        return F.acos(alpha * self._top(F)) / F.acos(F.lift(0)) * (1 + s) - s


@dataclass(frozen=True)
class VE(Schedule):
    """α = 1, σ = σ_min (σ_max/σ_min)^t."""

    name = "ve"
    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def rules(self) -> tuple[tuple[bool, str], ...]:
        """σ grows with t."""
        return ((0 < self.sigma_min < self.sigma_max, "0 < sigma_min < sigma_max is allowed"),)

    def _rate(self, F: Field) -> Scalar:
        return F.log(F.number(self.sigma_max) / F.number(self.sigma_min))

    def log_alpha(self, t: Scalar, F: Field) -> Scalar:
        """0."""
        return F.lift(0)

    def lam(self, t: Scalar, F: Field) -> Scalar:
        """−log σ."""
        return -F.log(F.number(self.sigma_min)) - t * self._rate(F)

    def t_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """log(σ/σ_min)/log(σ_max/σ_min)."""
        return -(lam + F.log(F.number(self.sigma_min))) / self._rate(F)


@dataclass(frozen=True)
class EDM(Schedule):
    """α = 1, σ = t."""

    name = "edm"

    @property
    def span(self) -> tuple[float, float]:
        """Every σ."""
        return 0.0, float("inf")

    def log_alpha(self, t: Scalar, F: Field) -> Scalar:
        """0."""
        return F.lift(0)

    def lam(self, t: Scalar, F: Field) -> Scalar:
        """−log t."""
        return -F.log(t)

    def t_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """e^{−λ}."""
        return F.exp(-lam)


@dataclass(frozen=True)
class Flow(Schedule):
    """Rectified flow: α = 1 − t, σ = t; data at t = 0, noise at t = 1."""

    name = "flow"
    silent = 1.0

    def log_alpha(self, t: Scalar, F: Field) -> Scalar:
        """log(1−t)."""
        return F.log1p(-t)

    def lam(self, t: Scalar, F: Field) -> Scalar:
        """log((1−t)/t)."""
        return F.log1p(-t) - F.log(t)

    def t_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """ρ/(1+ρ)."""
        return 1 / (1 + F.exp(lam))

    def log_alpha_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """−log(1+ρ)."""
        return -F.log1p(F.exp(-lam))

    def alpha(self, t: Scalar, F: Field) -> Scalar:
        """1 − t, also at t = 1."""
        return 1 - t

    def sigma(self, t: Scalar, F: Field) -> Scalar:
        """t."""
        return t


@dataclass(frozen=True)
class DDPMDiscrete(_VP):
    """A model trained at n = 0..steps−1 with ᾱ_n = Π(1−β_k), β linear; the clock is n itself.

    log ᾱ is piecewise linear between the integers, as in DPM-Solver's discrete schedule.
    """

    name = "ddpm_discrete"
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    steps: int = 1000

    def rules(self) -> tuple[tuple[bool, str], ...]:
        """Every β is a probability."""
        ordered = 0 < self.beta_start <= self.beta_end < 1
        return (
            (ordered, "0 < beta_start <= beta_end < 1 is allowed"),
            (2 <= self.steps <= 100_000, "2 <= steps <= 100000 is allowed"),
        )

    @property
    def span(self) -> tuple[float, float]:
        """The trained range; beyond it α may exceed 1."""
        return 0.0, float(self.steps - 1)

    @property
    def knots(self) -> tuple[float, ...]:
        """λ at the integers."""
        return _knots(self)

    def label(self, t: float) -> float:
        """(n+1)/steps, in (0, 1]."""
        return (t + 1) / self.steps

    def beta(self, n: int, F: Field) -> Scalar:
        """β_n, even from the first to the last."""
        low, high = F.number(self.beta_start), F.number(self.beta_end)
        return low + (high - low) * n / (self.steps - 1)

    def _piece(self, i: int, F: Field) -> tuple[Scalar, Scalar]:
        table = _log_alphas(self, F.base)
        return table[i], table[i + 1] - table[i]

    def log_alpha(self, t: Scalar, F: Field) -> Scalar:
        """½ log ᾱ, linear between the integers."""
        i = min(max(int(float(t)), 0), self.steps - 2)
        value, slope = self._piece(i, F)
        return value + slope * (t - i)

    def lam(self, t: Scalar, F: Field) -> Scalar:
        """−½ log(e^{−2 log α} − 1)."""
        return F.log(F.expm1(-2 * self.log_alpha(t, F))) / -2

    def t_of_lam(self, lam: Scalar, F: Field) -> Scalar:
        """The inverse of the piecewise linear log α."""
        log_alpha = self.log_alpha_of_lam(lam, F)
        i = bisect_right(_approximate(self), -float(log_alpha)) - 1
        i = min(max(i, 0), self.steps - 2)
        value, slope = self._piece(i, F)
        return i + (log_alpha - value) / slope


@lru_cache(maxsize=16)
def _log_alphas(schedule: DDPMDiscrete, F: Field) -> tuple[Scalar, ...]:
    """½ Σ_{k<=n} log(1−β_k), n = 0..steps−1."""
    total = F.lift(0)
    out: list[Scalar] = []
    for n in range(schedule.steps):
        total = total + F.log1p(-schedule.beta(n, F))
        out.append(total / 2)
    return tuple(out)


@lru_cache(maxsize=16)
def _approximate(schedule: DDPMDiscrete) -> list[float]:
    """−log α at the integers, growing, for the search."""
    return [-float(a) for a in _log_alphas(schedule, FLOAT64)]


@lru_cache(maxsize=16)
def _knots(schedule: DDPMDiscrete) -> tuple[float, ...]:
    """λ at the integers."""
    return tuple(float(schedule.lam(FLOAT64.lift(n), FLOAT64)) for n in range(schedule.steps))


SCHEDULES: dict[str, type[Schedule]] = {
    s.name: s for s in (VPLinear, VPCosine, SubVP, VE, EDM, Flow, DDPMDiscrete)
}


def schedule(name: str, **parameters: Any) -> Schedule:
    """The registered schedule; ``ValueError`` for unknown names and parameters."""
    if name not in SCHEDULES:
        near = difflib.get_close_matches(str(name), SCHEDULES, n=3, cutoff=0.3)
        raise ValueError(
            f"schedule: got {name!r}; nearest: {', '.join(near) or 'none'};"
            f" allowed: {', '.join(SCHEDULES)}"
        )
    kind = SCHEDULES[name]
    known = {f.name: f.type for f in fields(kind)}
    for key, value in parameters.items():
        if key not in known:
            raise ValueError(
                f"schedule.{key}: got {value!r}; {name} takes"
                f" {', '.join(known) or 'no parameters'}"
            )
    return check_parameters(kind(**parameters))


def check_parameters(s: Schedule) -> Schedule:
    """s itself, if every parameter is a finite number that the schedule allows."""
    for f in fields(s):
        value = getattr(s, f.name)
        kinds = {"float": (int, float), "int": (int,), "bool": (bool,)}[str(f.type)]
        mistyped = isinstance(value, bool) != (bool in kinds) or not isinstance(value, kinds)
        if mistyped or not math.isfinite(value):
            raise ValueError(f"schedule.{f.name}: got {value!r}; a finite {f.type} is allowed")
    for holds, allowed in s.rules():
        if not holds:
            raise ValueError(f"schedule: got {s!r}; {allowed}")
    return s
