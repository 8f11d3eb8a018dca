r"""A law seen in a convention: what it predicts along x = α x₀ + σ n, and how conventions change.

    score = ∇ log p,   ε = −σ score,   D = (x − σ ε)/α,   v = α ε − σ D,   u = α' D + σ' ε = dx/dt

(v where α² + σ² = 1, ' in the schedule's time.) Any two levels of one ρ = σ/α see the same law:
with x_b = (α_b/α_a) x_a the data and noise predictions are equal, and

    log p_b(x_b) = log p_a(x_a) − d log(α_b/α_a),   score_b(x_b) = (α_a/α_b) score_a(x_a)

for d coordinates. EDM's convention is α = 1, the variance-preserving one α² + σ² = 1, that of flow
matching α + σ = 1. Source: derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mpmath import mp
from torch import Tensor

from gaussian_score.law import Law
from solvers.field import Exact, Field, Scalar
from solvers.schedules import Schedule

Prediction = Literal["score", "noise", "data", "v", "velocity"]
DIGITS = 60


@dataclass(frozen=True)
class Level:
    """α and σ at one time, with their derivatives in it where velocities are asked for.

    Raises:
        ValueError: α or σ is not finite or negative, both are 0, or a derivative is not finite.
    """

    alpha: float
    sigma: float
    d_alpha: float | None = None
    d_sigma: float | None = None

    def __post_init__(self) -> None:
        for name in ("alpha", "sigma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; a finite number >= 0 is allowed")
        if self.alpha == self.sigma == 0:
            raise ValueError("alpha and sigma are 0; one of them > 0 is allowed")
        for name in ("d_alpha", "d_sigma"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} is {value}; a finite number is allowed")

    @classmethod
    def of(cls, schedule: Schedule, t: float) -> Level:
        """The schedule at time t with σ > 0, correct to the last bit.

        The derivatives are those towards larger t; at the last t, towards smaller.

        Raises:
            ValueError: t lies outside the schedule's span, or σ = 0 there.
        """
        low, high = schedule.span
        if not (math.isfinite(t) and low <= t <= high):
            raise ValueError(f"t is {t}; {low} <= t <= {high} is allowed")
        F = _DIGITS
        with mp.workdps(DIGITS):
            step = mp.mpf(10) ** (-DIGITS // 2) * (1 if t < high else -1)
            times = (F.number(t), Scalar(F, mp.mpf(t) + step))
            values = [[f(time, F).v for time in times] for f in (schedule.alpha, schedule.sigma)]
            if not all(mp.im(v) == 0 and mp.isfinite(v) for v in values[0] + values[1]) or not (
                values[1][0] > 0
            ):
                raise ValueError(f"t is {t}, where {schedule.name} has no α and σ > 0")
            slopes = [float((after - before) / step) for before, after in values]
        return cls(float(values[0][0]), float(values[1][0]), *slopes)

    @property
    def rho(self) -> float:
        """ρ = σ/α, infinite at α = 0."""
        return self.sigma / self.alpha if self.alpha else math.inf

    def rates(self) -> tuple[float, float]:
        """α' and σ'.

        Raises:
            ValueError: the level was given without them.
        """
        if self.d_alpha is None or self.d_sigma is None:
            raise ValueError("d_alpha, d_sigma are None; a velocity needs both")
        return self.d_alpha, self.d_sigma


@dataclass(frozen=True)
class Seen:
    """What a law predicts at one level; methods take x, (B, D), and answer in its dtype."""

    law: Law
    level: Level

    def log_density(self, x: Tensor) -> Tensor:
        """Log density log p(x), (B,)."""
        return self.law.log_density(x, self.level.alpha, self.level.sigma)

    def score(self, x: Tensor) -> Tensor:
        """∇ log p(x)."""
        return self.law.score(x, self.level.alpha, self.level.sigma)

    def noise(self, x: Tensor) -> Tensor:
        """ε = E[n|x]."""
        return self.law.noise(x, self.level.alpha, self.level.sigma)

    def data(self, x: Tensor) -> Tensor:
        """D = E[x₀|x]."""
        return self.law.denoise(x, self.level.alpha, self.level.sigma)

    def v(self, x: Tensor) -> Tensor:
        """v = α ε − σ D."""
        return self.level.alpha * self.noise(x) - self.level.sigma * self.data(x)

    def velocity(self, x: Tensor) -> Tensor:
        """u = α' D + σ' ε, the dx/dt of the probability flow."""
        d_alpha, d_sigma = self.level.rates()
        return d_alpha * self.data(x) + d_sigma * self.noise(x)


def convert(
    value: Tensor, x: Tensor, level: Level, *, given: Prediction, wanted: Prediction
) -> Tensor:
    """One prediction at (x, level) as another, through ε and D.

    Raises:
        ValueError: a name is not one of score, noise, data, v, velocity; the level has no rates
            and a velocity is involved; or it leaves the wanted one undetermined (a noise says
            nothing of the data at α = 0, a velocity neither where ρ' = 0).
    """
    if given == wanted:
        return value
    noise, data = _noise_and_data(value, x, level, given, wanted)
    if wanted == "noise":
        return noise
    if wanted == "data":
        return data
    if wanted == "score":
        return noise / -_nonzero("sigma", level.sigma, given, wanted)
    if wanted == "v":
        return level.alpha * noise - level.sigma * data
    if wanted == "velocity":
        d_alpha, d_sigma = level.rates()
        return d_alpha * data + d_sigma * noise
    raise ValueError(f"wanted is {wanted!r}; score, noise, data, v or velocity is allowed")


def carry(x: Tensor, start: Level, end: Level) -> Tensor:
    """x_b = (α_b/α_a) x_a; where both levels are pure noise, (σ_b/σ_a) x_a.

    Raises:
        ValueError: the levels differ in ρ beyond rounding.
    """
    return _scale(start, end) * x


def carry_log_density(log_p: Tensor, start: Level, end: Level, dim: int) -> Tensor:
    """log p_b = log p_a − d log(α_b/α_a) of d = dim coordinates; errors as `carry`."""
    return log_p - dim * math.log(_scale(start, end))


def carry_score(score: Tensor, start: Level, end: Level) -> Tensor:
    """score_b = (α_a/α_b) score_a; errors as `carry`."""
    return score / _scale(start, end)


def _scale(start: Level, end: Level) -> float:
    cross = start.alpha * end.sigma - start.sigma * end.alpha
    if abs(cross) > 1e-14 * (start.alpha * end.sigma + start.sigma * end.alpha):
        raise ValueError(
            f"end has rho {end.rho:.17g}; that of start, {start.rho:.17g}, is allowed"
        )
    # the larger of the two parts gives the quotient without 0/0
    return end.alpha / start.alpha if start.alpha >= start.sigma else end.sigma / start.sigma


def _noise_and_data(
    value: Tensor, x: Tensor, level: Level, given: str, wanted: str
) -> tuple[Tensor, Tensor]:
    a, s = level.alpha, level.sigma
    if given == "v":
        square = a * a + s * s
        return (s * x + a * value) / square, (a * x - s * value) / square
    if given == "velocity":
        d_alpha, d_sigma = level.rates()
        det = _nonzero("alpha sigma' - alpha' sigma", a * d_sigma - d_alpha * s, given, wanted)
        return (a * value - d_alpha * x) / det, (d_sigma * x - s * value) / det
    if given == "data":
        return (x - a * value) / _nonzero("sigma", s, given, wanted), value
    if given not in ("noise", "score"):
        raise ValueError(f"given is {given!r}; score, noise, data, v or velocity is allowed")
    noise = value if given == "noise" else -s * value
    if wanted in ("noise", "score"):
        return noise, noise  # the data are not asked for, and at α = 0 not known
    return noise, (x - s * noise) / _nonzero("alpha", a, given, wanted)


def _nonzero(name: str, value: float, given: str, wanted: str) -> float:
    if value == 0:
        raise ValueError(
            f"{name} is 0, where {given} does not fix {wanted}; another number is allowed"
        )
    return value


class _Digits(Field):
    """mpmath's numbers: α and σ lose no digits near an end of a schedule."""

    digits = quadrature = DIGITS
    takes_int = True

    def lift(self, q: Exact) -> Scalar:
        return Scalar(self, mp.mpf(q.numerator) / q.denominator)

    def exp(self, x: Scalar) -> Scalar:
        return Scalar(self, mp.exp(x.v))

    def log(self, x: Scalar) -> Scalar:
        return Scalar(self, mp.log(x.v))

    def expm1(self, x: Scalar) -> Scalar:
        return Scalar(self, mp.expm1(x.v))

    def log1p(self, x: Scalar) -> Scalar:
        return Scalar(self, mp.log1p(x.v))

    def sqrt(self, x: Scalar) -> Scalar:
        return Scalar(self, mp.sqrt(x.v))

    def cos(self, x: Scalar) -> Scalar:
        return Scalar(self, mp.cos(x.v))

    def sin(self, x: Scalar) -> Scalar:
        return Scalar(self, mp.sin(x.v))

    def acos(self, x: Scalar) -> Scalar:
        return Scalar(self, mp.acos(x.v))

    def asinh(self, x: Scalar) -> Scalar:
        return Scalar(self, mp.asinh(x.v))


_DIGITS = _Digits()  # one field for all: schedules keep their tables by field
