"""Points of a schedule's path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from solvers.field import Field, Scalar
from solvers.schedules import Schedule
from solvers.series import series_over


@dataclass(frozen=True, eq=False)
class Point:
    """One place on a schedule's path, in the field F; built from t, λ or ρ, the rest follows."""

    schedule: Schedule
    F: Field
    given: str
    value: Scalar

    @cached_property
    def silent(self) -> bool:
        """Whether α = 0 here."""
        end = self.schedule.silent
        return self.given == "t" and end is not None and float(self.value) == end

    @cached_property
    def lam(self) -> Scalar:
        """λ = log(α/σ)."""
        if self.given == "lam":
            return self.value
        if self.given == "rho":
            return -self.F.log(self.value)
        if self.silent:
            raise ZeroDivisionError(f"lam: alpha = 0 at t = {float(self.value)}")
        return self.schedule.lam(self.value, self.F)

    @cached_property
    def t(self) -> Scalar:
        """The schedule's own clock."""
        return self.value if self.given == "t" else self.schedule.t_of_lam(self.lam, self.F)

    @cached_property
    def rho(self) -> Scalar:
        """σ/α."""
        return self.value if self.given == "rho" else self.F.exp(-self.lam)

    @cached_property
    def log_alpha(self) -> Scalar:
        """log α."""
        if self.given == "t":
            return self.schedule.log_alpha(self.value, self.F)
        return self.schedule.log_alpha_of_lam(self.lam, self.F)

    @cached_property
    def alpha(self) -> Scalar:
        """α."""
        return self.schedule.alpha(self.t, self.F) if self.silent else self.F.exp(self.log_alpha)

    @cached_property
    def sigma(self) -> Scalar:
        """σ."""
        if self.silent:
            return self.schedule.sigma(self.t, self.F)
        return self.F.exp(self.log_alpha - self.lam)

    def rate(self, f: Callable[[Scalar, Field], Scalar]) -> Scalar:
        """df/dt here, for a schedule's function f(t, F): evaluated on t + ε."""
        S = series_over(self.F, 1)
        return f(S.variable(self.t), S).v[1]
