r"""The level that a jump may land on, within a tolerance in nats, and the error at the landing.

    K(ρ) = KL(p_ρ ‖ g_ρ) ≤ tolerance,  by a bound or an estimate;  K does not increase with ρ.

A sampler that starts at ρ from the matched Gaussian g_ρ ends within K of what it makes of p_ρ. At
run time, e = c/(3 ρ²) (D_θ − D_G), c = ρ² + λ, estimates each sample's distance from the exact
flow's: about a third of the disagreement of the two denoisers, at no further model call.

Source: derived in this project; proofs in `theory.teleportation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gaussian_score.certificate import lowest_level, tighter
from gaussian_score.sources import MixtureSource, Source, Trial

TOLERANCE = 0.05
"""Nats; smaller distances were never seen in published image scores."""


@dataclass(frozen=True)
class Skip:
    """Where to land, and what is known of the error made by landing there, in nats.

    Attributes:
        rho: the level; noise above it is skipped.
        bound: a rigorous bound of K, log(1 + χ²); None where the source gives an estimate.
        estimate: K.
        error: one standard error of K.
        source: "mixture", "data" or "network".
        target: whose error it is: "the data law" or "the network's own flow".
        sampling: the part that comes from the moments' own errors.
        tolerance: what was asked for.
        rho_max: where sampling would have started.
        tried: every level tried, in that order.
    """

    rho: float
    bound: float | None
    estimate: float
    error: float
    source: str
    target: str
    sampling: float
    tolerance: float
    rho_max: float
    tried: tuple[Trial, ...] = field(repr=False)

    @property
    def text(self) -> str:
        """One line: what is skipped, why, and which error that certifies."""
        found = f"KL = {self.estimate:.3g} +- {self.error:.1g}"
        if self.bound is None:
            why = f"{found} nat, an estimate, and {self.sampling:.2g} for the moments' own errors"
        elif self.bound <= self.tolerance:
            why = f"KL <= log(1 + chi2) = {self.bound:.3g} nat, a rigorous bound ({found})"
        else:
            why = f"{found} nat, by draws; the rigorous bound log(1 + chi2) is {self.bound:.3g}"
        below = max((t for t in self.tried if t.rho < self.rho), key=lambda t: t.rho, default=None)
        stop = f"; {below.rho:.4g} is refused: {below.note}" if below and below.note else ""
        what = f"noise from {self.rho_max:.4g} to {self.rho:.4g}"
        return (
            f"skipped: {what if self.rho < self.rho_max else 'nothing'}, source {self.source}: "
            f"{why}; tolerance {self.tolerance:.3g}{stop}; the error belongs to {self.target}, "
            "for any sampler started from the matched Gaussian"
        )


def auto_skip(
    source: Source,
    *,
    tolerance: float = TOLERANCE,
    levels: Sequence[float] | None = None,
    rho_max: float = 80.0,
    rho_min: float = 0.002,
    progress: Callable[[Trial], None] | None = None,
) -> Skip:
    """The lowest level at which the source stays within the tolerance.

    Args:
        source: `MixtureSource`, `DataSource` or `NetworkSource`.
        tolerance: of K, in nats, positive.
        levels: a solver's grid; it is walked down until a level fails. Without it, bisection
            between rho_max and rho_min to 1e-3 relative.
        rho_max: highest level, where levels are not given.
        rho_min: lowest level, where levels are not given.
        progress: told each trial.

    Raises:
        ValueError: an argument is outside these sets, or even the highest level fails; the message
            then says how many samples are needed, where more of them would help.
    """
    tried: list[Trial] = []

    def value(rho: float) -> float:
        tried.append(source.trial(rho))
        if len(tried) == 1 and not tried[0].value <= tolerance:
            message = source.needed(tried[0], tolerance) or _refusal(tried[0])
            if message:
                raise ValueError(message)
        if progress is not None:
            progress(tried[-1])
        return tried[-1].value

    if levels is None:
        highest, rho = rho_max, lowest_level(value, tolerance, rho_max, rho_min)
    else:
        highest, rho = _walked(value, levels, tolerance)
    found = next(t for t in tried if t.rho == rho)
    limit, estimate, error = None, found.estimate, found.error
    if isinstance(source, MixtureSource):
        both = tighter(source.weights, source.means, source.covs, rho, samples=source.samples)
        limit, estimate, error = both.chi2, both.entropy, both.error
    return Skip(
        rho,
        limit,
        estimate,
        error,
        source.name,
        source.target,
        found.sampling,
        tolerance,
        highest,
        tuple(tried),
    )


def _refusal(first: Trial) -> str:
    """Why even the highest level is refused, where the source says so."""
    allowed = "more samples, or other levels, are allowed"
    return f"x at rho = {first.rho:.4g}: {first.note}; {allowed}" if first.note else ""


def _walked(
    value: Callable[[float], float], levels: Sequence[float], tolerance: float
) -> tuple[float, float]:
    """The highest of the levels, and the last one, from above, whose value is within tolerance."""
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}; a number of nats > 0 is allowed")
    falling = sorted({float(level) for level in levels if level > 0}, reverse=True)
    if not falling:
        raise ValueError(f"levels are {list(levels)}; at least one > 0 is allowed")
    best = None
    for level in falling:
        found = value(level)
        if not found <= tolerance:
            if best is None:
                raise ValueError(
                    f"levels begin at {level:.6g}, where KL may be {found:.3g} nat; a level where "
                    f"it is at most tolerance = {tolerance:.3g} is allowed"
                )
            break
        best = level
    return falling[0], float(best or falling[0])


def landing_shift(d: Any, mean: Any, variances: Any, rho: float, x: Any) -> Any:
    """c/(3 ρ²) (D_θ − D_G), (B, D): the exact flow minus the jump, to leading order at high noise.

    Exact to O(ρ⁻³) for isotropic λ; for symmetric data 3 becomes 4. Arrays or tensors, all in the
    eigenbasis: D_θ and x = (state/α), (B, D), m and λ, (D,).
    """
    c = rho * rho + variances
    return c / (3 * rho * rho) * (d - mean - variances / c * (x - mean))
