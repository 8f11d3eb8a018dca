r"""How far a denoiser's own flow is from its data's Gaussian, from its values at noised data.

    J_θ(s) = E |D_θ − D_G|²/s⁴  at  x = x₀ + s n,      K_θ(σ) = ½ ∫_{σ²}^∞ J_θ d(s²),
    (lmmse − E|D_θ − x₀|²)/s⁴ ≤ J(s) = E|D − D_G|²/s⁴,      lmmse = s² tr(Σ (Σ + s² I)⁻¹)

for the network D_θ, the ideal denoiser D and the Gaussian one D_G. Between levels J is a power of
s; above the highest one it falls on with the local exponent q there, and the rest of the integral
is ½ J s²/(q/2 − 1). At s ≳ 30 a float32 network's rounding, and what it has not learned, exceed
D − D_G for images: such levels are not used.

The error belongs to the flow that the network implements, not to the law of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_score.moments import Moments, finite

Floats = NDArray[np.float64]
RELIABLE = 30.0
"""The highest level used, in units of data on [−1, 1]."""
GROUPS = 20  # of samples, left out one after the other


@dataclass(frozen=True, eq=False)
class NetworkEntropy:
    """Estimates at L increasing levels, (L,) each, with standard errors.

    Attributes:
        levels: s.
        left_out: the levels asked for that are not reliable.
        fisher: J_θ.
        fisher_error: of J_θ.
        entropy: K_θ, in nats.
        entropy_error: of K_θ.
        lower: (lmmse − denoising loss)/s⁴, a lower bound of the data's own J.
        lower_error: of the bound.
        exponent: q.
    """

    levels: Floats
    left_out: tuple[float, ...]
    fisher: Floats
    fisher_error: Floats
    entropy: Floats
    entropy_error: Floats
    lower: Floats
    lower_error: Floats
    exponent: float

    def at(self, rho: float) -> tuple[float, float]:
        """K_θ and its error at ρ: a power of ρ between levels, and above them.

        Raises:
            ValueError: ρ is below the lowest level.
        """
        if not self.levels[0] * (1 - 1e-9) <= rho < math.inf:
            raise ValueError(f"rho is {rho}; levels from {self.levels[0]:.6g} on are allowed")
        log_rho, log_k = math.log(rho), np.log(self.entropy)
        value = math.exp(np.interp(log_rho, np.log(self.levels), log_k))
        error = float(np.interp(log_rho, np.log(self.levels), self.entropy_error / self.entropy))
        beyond = max(1.0, rho / float(self.levels[-1]))
        value *= beyond ** (2 - self.exponent)
        return value, value * error


def network_entropy(
    denoiser: Callable[[Any, float], Any],
    x: Any,
    moments: Moments,
    levels: Sequence[float],
    *,
    reliable: float = RELIABLE,
    batch: int = 256,
    seed: int = 0,
) -> NetworkEntropy:
    """Measure D_θ at x₀ + s n for every reliable level, with fresh noise for each.

    Args:
        denoiser: D_θ(x, s), (B, D) -> (B, D), at α = 1; given tensors of x's dtype and device
            where x is a tensor, and arrays otherwise.
        x: data, (N, D), in the scale of `moments`; N ≥ 40.
        moments: of the data.
        levels: s, positive, at least three reliable ones; they need no order.
        reliable: levels above it are left out.
        batch: samples in one call.
        seed: of the noise.

    Raises:
        ValueError: an argument is outside these sets; the denoiser answers in another shape or
            not in finite numbers; J falls no faster than s⁻² at the highest level, so that the
            rest of the integral is unknown.
    """
    plain = _plain("x", x)
    if plain.ndim != 2 or plain.shape[1] != moments.dim or len(plain) < 2 * GROUPS:
        raise ValueError(
            f"x has shape {plain.shape}; (N, {moments.dim}) with N >= {2 * GROUPS} is allowed"
        )
    asked = np.unique(finite("levels", levels))
    used = asked[asked <= reliable]
    if len(used) < 3 or used[0] <= 0:
        raise ValueError(
            f"levels are {list(asked)}; three or more in (0, {reliable:g}] are allowed"
        )
    rng = np.random.default_rng(seed)
    squares, gains = [], []
    for level in used:
        square, gain = _measured(denoiser, x, plain, moments, float(level), batch, rng)
        squares.append(square / level**4)
        gains.append(gain / level**4)
    j, lower = np.array(squares), np.array(gains)  # (L, N)
    k, q = _integrated(used, j.mean(1))
    left = [_integrated(used, j[:, keep].mean(1))[0] for keep in _groups(len(plain))]
    k_error = np.sqrt((GROUPS - 1) / GROUPS * ((np.array(left) - np.mean(left, 0)) ** 2).sum(0))
    root = math.sqrt(len(plain))
    return NetworkEntropy(
        used,
        tuple(asked[asked > reliable].tolist()),
        j.mean(1),
        j.std(1, ddof=1) / root,
        k,
        k_error,
        lower.mean(1),
        lower.std(1, ddof=1) / root,
        q,
    )


def _measured(
    denoiser: Callable[[Any, float], Any],
    x: Any,
    plain: Floats,
    moments: Moments,
    level: float,
    batch: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """|D_θ − D_G|² and |D_G − x₀|² − |D_θ − x₀|², of mean lmmse − loss, for every sample."""
    noised = plain + level * rng.standard_normal(plain.shape)
    gain, floor = (v / (v + level**2) for v in (moments.eigenvalues, moments.floor))
    squares, gains = [], []
    for start in range(0, len(plain), batch):
        rows = slice(start, start + batch)
        given: Any = x.new_tensor(noised[rows]) if hasattr(x, "new_tensor") else noised[rows]
        r = _plain("x", given) - moments.mean  # at the point that the network sees, rounded
        t = (r @ moments.basis) * (gain - floor)
        gaussian = moments.mean + floor * r + t @ moments.basis.T
        with _no_gradients(x):
            d = _plain(f"denoiser at level {level:g}", denoiser(given, level))
        if d.shape != r.shape:
            raise ValueError(f"denoiser gives shape {d.shape}; {r.shape} is allowed")
        squares.append(((d - gaussian) ** 2).sum(1))
        loss = ((d - plain[rows]) ** 2).sum(1)
        gains.append(((gaussian - plain[rows]) ** 2).sum(1) - loss)
    return np.concatenate(squares), np.concatenate(gains)


def _integrated(levels: Floats, j: Floats) -> tuple[Floats, float]:
    """K at every level and the exponent q of J ~ s^{−q} at the highest."""
    q = -np.diff(np.log(np.maximum(j, 1e-300))) / np.diff(np.log(levels))
    if not q[-1] > 2:
        raise ValueError(
            f"levels end at {levels[-1]:.6g}, where J falls like s^{-q[-1]:.3g}; levels whose "
            "last two show a fall faster than s^-2 are allowed"
        )
    u = (2 - q) * np.diff(np.log(levels))
    with np.errstate(invalid="ignore"):
        mean = np.where(np.abs(u) > 1e-12, np.expm1(u) / u, 1.0)
    pieces = j[:-1] * levels[:-1] ** 2 * np.diff(np.log(levels)) * mean  # ½ ∫ J d(s²) = ∫ J s ds
    tail = 0.5 * j[-1] * levels[-1] ** 2 / (q[-1] / 2 - 1)
    return tail + np.append(np.cumsum(pieces[::-1])[::-1], 0.0), float(q[-1])


def _no_gradients(x: Any) -> AbstractContextManager[Any]:
    if not hasattr(x, "new_tensor"):
        return nullcontext()
    import torch  # only for those who came with tensors

    return torch.no_grad()


def _plain(name: str, value: Any) -> Floats:
    """A tensor's or an array's numbers, finite, in float64."""
    return finite(name, value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _groups(count: int) -> list[NDArray[np.bool_]]:
    """For each group, the samples outside it."""
    which = np.arange(count) % GROUPS
    return [which != group for group in range(GROUPS)]
