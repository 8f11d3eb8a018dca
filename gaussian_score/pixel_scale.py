r"""Pixels between 0 and 1, −1 and 1, or 0 and 255, and statistics that are on the wrong one.

    x' = k x + b:      m' = k m + b,     λ' = k² λ,     U' = U

From [0,1] to [−1,1] k = 2, b = −1: the mean doubles and moves, the variances quadruple. Half of
that (a factor 2 in the variances, or none) is the likeliest mistake made with such statistics.
"""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from gaussian_score.moments import Floats, Moments, finite

SCALES = {"[0,1]": (0.0, 1.0), "[-1,1]": (-1.0, 1.0), "0..255": (0.0, 255.0)}
SAME_MEAN = 0.05  # of the total variance: how far the means of one law may be apart, squared
CONVERSIONS = tuple(itertools.permutations(SCALES, 2))


class PixelScaleWarning(UserWarning):
    """The numbers would also fit a smaller pixel scale than the one that is stated."""


def rescaled(moments: Moments, source: str, target: str) -> Moments:
    """m' = k m + b, λ' = k² λ, f' = k² f: moments on one pixel scale, on another.

    Raises:
        ValueError: no such scale, or the provenance says that the moments are on another one.
    """
    said = moments.provenance.get("scale") or source
    if said != source:
        raise ValueError(f"source is {source!r}; {said!r}, as the provenance says, is allowed")
    k, b = conversion(source, target)
    return replace(
        moments,
        mean=k * moments.mean + b,
        eigenvalues=k * k * moments.eigenvalues,
        floor=k * k * moments.floor,
        provenance={**moments.provenance, "scale": target},
    )


def conversion(source: str, target: str) -> tuple[float, float]:
    """k and b of x' = k x + b."""
    (low, high), (low2, high2) = limits(source), limits(target)
    k = (high2 - low2) / (high - low)
    return k, low2 - k * low


def limits(scale: str) -> tuple[float, float]:
    """Smallest and largest pixel of a scale.

    Raises:
        ValueError: no such scale.
    """
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; {', '.join(map(repr, SCALES))} are allowed")
    return SCALES[scale]


def fits(moments: Moments, scale: str) -> bool:
    """Whether a law on the scale can have them: low ≤ m ≤ high, Var ≤ (high − m)(m − low)."""
    low, high = limits(scale)
    m, variance = moments.mean, _variances(moments)
    # numbers of this size are sums of D products
    rounding = 100 * moments.dim * float(np.finfo(np.float64).eps) * (high - low) ** 2
    return bool(
        (m >= low - rounding).all()
        and (m <= high + rounding).all()
        and (variance <= (high - m) * (m - low) + rounding).all()
    )


def check_scale(moments: Moments, other: Moments | ArrayLike | str) -> None:
    r"""Refuse moments that are on another pixel scale than data, other moments or a network.

    Against data, mean and total variance are compared. Each conversion x' = k x + b predicts a
    mean and a factor k² in variance; the one whose mean is nearest is taken, and of the factors
    1, k, k² over all conversions the nearest. What one of them misses is named, half-done
    conversions (mean converted and variance not, or by k in place of k²) included, unless five
    standard errors of the samples could explain it. Data of another mean that no conversion
    explains are other data, and pass. Against a named scale the test is whether any law on the
    scale can have such moments (Bhatia & Davis 2000).

    Args:
        moments: those in question.
        other: data (n, ...), two samples or more, without noise; other `Moments`; or the scale
            that a network works on, such as "[-1,1]".

    Raises:
        ValueError: one line that says what is missing.

    Warns:
        PixelScaleWarning: moments that a named scale allows and a smaller one does too.
    """
    if isinstance(other, str):
        _check_named(moments, other)
        return
    mean, variance, count = _moments_of(other, moments.dim)
    if not (moments.trace > 0 and variance > 0):
        return  # a law of one point has no scale
    count = min(count, moments.count or math.inf)
    factor = _factor(moments, variance, count)
    pair = _pair(moments, mean, variance, count)
    apart = float(((mean - moments.mean) ** 2).sum())
    if pair is None and (factor == 1 or apart > max(SAME_MEAN, 25 / count) * variance):
        return
    line = f"total variance is {moments.trace:.4g} and that of the data {variance:.4g}"
    if pair is None:
        raise ValueError(
            f"moments: {line}, with the mean of the data: the eigenvalues miss the factor"
            f" {factor:.6g}; moments on the pixel scale of the data are allowed"
        )
    k, _ = conversion(*pair)
    rest = "" if factor == k * k else f" (of the mean; the eigenvalues miss {factor:.6g})"
    raise ValueError(
        f"moments: {line}; rescaled(moments, source={pair[0]!r}, target={pair[1]!r}),"
        f" x' = {k:.6g} x {conversion(*pair)[1]:+.6g}, is missing{rest}"
    )


def _check_named(moments: Moments, scale: str) -> None:
    said = moments.provenance.get("scale") or scale
    if said != scale:
        raise ValueError(
            f"moments: they are on {said!r}, as their provenance says, and {scale!r} is asked for;"
            f" rescaled(moments, source={said!r}, target={scale!r}) is missing"
        )
    possible = [name for name in SCALES if fits(moments, name)]
    if scale not in possible:
        hint = (
            f"rescaled(moments, source={possible[0]!r}, target={scale!r}) is missing"
            if possible
            else "they fit no pixel scale"
        )
        raise ValueError(
            f"moments: no law on {scale!r} has a mean from {moments.mean.min():.4g} to"
            f" {moments.mean.max():.4g} with a variance up to {_variances(moments).max():.4g};"
            f" {hint}"
        )
    smaller = [name for name in possible if name != scale and _width(name) < _width(scale)]
    if smaller and not moments.provenance.get("scale"):
        warnings.warn(
            f"moments fit {smaller[0]!r} as well as {scale!r}: if that is their scale,"
            f" rescaled(moments, source={smaller[0]!r}, target={scale!r}) is missing",
            PixelScaleWarning,
            stacklevel=3,
        )


def _pair(moments: Moments, mean: Floats, variance: float, count: float) -> tuple[str, str] | None:
    """The conversion whose mean is nearest to the data's; None where that is the present one."""

    def distance(k: float, b: float) -> float:
        return float(((k * moments.mean + b - mean) ** 2).sum())

    best = min(CONVERSIONS, key=lambda pair: distance(*conversion(*pair)))
    now, then = distance(1.0, 0.0), distance(*conversion(*best))
    # the mean of n samples is off by variance/n, squared; that of few samples is itself no guide
    chance = max(1e-3, 25 / count) * max(variance, moments.trace)
    return best if now > chance and then < 0.25 * now else None


def _factor(moments: Moments, variance: float, count: float) -> float:
    """The nearest of 1, k and k² to variance/tr Σ; 1 where none is within a factor √2."""
    factors = {1.0} | {conversion(*pair)[0] ** n for pair in CONVERSIONS for n in (1, 2)}
    ratio = variance / moments.trace
    best = min(factors, key=lambda f: abs(math.log(ratio / f)))
    squares = float((moments.eigenvalues**2).sum()) + moments.floor**2 * (
        moments.dim - moments.rank
    )
    chance = 5 * math.sqrt(2 * squares / count) / moments.trace
    if abs(math.log(ratio / best)) > math.log(2) / 2 or abs(math.log(ratio)) < chance:
        return 1.0
    return best


def _moments_of(other: Moments | ArrayLike, dim: int) -> tuple[Floats, float, float]:
    if isinstance(other, Moments):
        mean, variance, count = other.mean, other.trace, other.count or math.inf
    else:
        rows = finite("other", other)
        count = len(rows) if rows.ndim > 1 else 0
        rows = rows.reshape(count, -1) if count else rows
        mean, variance = rows.mean(0), float(rows.var(0).sum())
    if mean.shape != (dim,) or count < 2:
        raise ValueError(
            f"other has {count} samples of shape {mean.shape}; two or more of ({dim},) are allowed"
        )
    return mean, variance, count


def _variances(moments: Moments) -> Floats:
    """The diagonal of Σ."""
    return moments.basis**2 @ (moments.eigenvalues - moments.floor) + moments.floor


def _width(scale: str) -> float:
    low, high = limits(scale)
    return high - low
