r"""How much of a learned score known scores explain, noise level by noise level.

With x = y + σ n of data y and noise n, D_θ the learned data prediction and D a known law's,

    s = (D − x)/σ²,    R = |s_θ − s|²/|s_θ|² = |D_θ − D|²/|D_θ − x|²,    EV = 1 − R

of every sample; then mean and spread over samples: a mean of ratios, not the ratio of means.
Reversed, |s|² stands below; for data, |D_θ|² or |D|². What is kept is R, from a difference of
data predictions: 1 − R in float32 has no value between 1 and 1 − 6e-8, and s_θ − s taken from two
scores loses as many digits as it is smaller than they are. Where s_θ vanishes at a point, 1/|s_θ|²
has no mean in one and two dimensions; the quantiles of R always exist.

    J_θ = E|s_θ − s_G|²,    J = E|s − s_G|² = (lmmse − mmse)/σ⁴ = E|s|² − tr C⁻¹,    C = Σ + σ² I

for the law's own score s and its Gaussian's s_G. A denoiser's loss is mmse or more, so that
(lmmse − loss)/σ⁴ ≤ J says how far from Gaussian the data is, with no second score evaluated.

Source: Wang & Vastola, arXiv 2412.09726, for the protocol; the identities are derived here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments

SIGMAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 80.0)
"""The protocol's noise levels."""
QUANTILES = (0.1, 0.5, 0.9)
RIDGE = 1e-4
"""What one of the baselines adds to every variance."""


class Predicts(Protocol):
    """A known law such as ``gaussian_score.mixture.GaussianMixture``, or a network like it."""

    def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        """D at x, (B, D)."""
        ...


def baselines(moments: Moments) -> dict[str, GaussianMixture]:
    """Four Gaussians in float64: no variance, one for all directions, all, and all + 1e-4."""
    arrays = (moments.mean, moments.basis, moments.eigenvalues)
    mean, basis, values = (torch.from_numpy(a.copy())[None] for a in arrays)
    weights = torch.ones(1, dtype=torch.float64)
    whole = moments.rank == moments.dim

    def gaussian(ridge: float) -> GaussianMixture:
        floors = None if whole else torch.full_like(weights, moments.floor + ridge)
        return GaussianMixture(weights, mean, values + ridge, basis, floors)

    return {
        "mean": GaussianMixture.isotropic(weights, mean, [0.0]),
        "isotropic": GaussianMixture.isotropic(weights, mean, [moments.trace / moments.dim]),
        "Gaussian": gaussian(0.0),
        "Gaussian + 1e-4": gaussian(RIDGE),
    }


@torch.no_grad()
def compare(
    learned: Predicts,
    candidates: Mapping[str, Predicts],
    data: Tensor,
    *,
    sigmas: Sequence[float] = SIGMAS,
    samples: int = 1024,
    batch: int = 256,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A row for each level and candidate.

    A row has ``sigma``, ``candidate``, ``samples``; under ``score``, ``score_reversed``, ``data``
    and ``data_reversed`` the mean residual R, ``explained`` = 1 − mean R, its standard deviation
    ``std`` over samples and its quantiles ``low``, ``median``, ``high`` (10, 50, 90%); ``gap`` =
    E|s_θ − s|² (J_θ where the candidate is the data's Gaussian) and ``loss`` = E|D_θ − y|², each
    with the standard error ``.._error``.

    Where two predictions are equal R = 0, and where only what stands below vanishes R = inf.
    Every level sees the same y and n, so a row does not depend on the other levels.

    Args:
        learned: the network; asked at α = 1.
        candidates: the known laws by name.
        data: (N, D), the points y; their dtype and device are those of the computation.
        sigmas: levels of x/α, positive.
        samples: how many points x at each level, 2 or more.
        batch: how many at a time.
        seed: of y and n.

    Raises:
        ValueError: an argument is outside these sets, or a prediction is not finite or has another
            shape than x; the line names the law and the level.
    """
    _check(data, sigmas, samples, batch)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(data), (samples,), generator=generator).to(data.device)
    noise = torch.randn(samples, data.shape[1], generator=generator, dtype=torch.float64).to(data)
    rows = []
    for sigma in map(float, sigmas):
        found: dict[str, list[dict[str, Tensor]]] = {name: [] for name in candidates}
        for some, n in zip(chosen.split(batch), noise.split(batch), strict=True):
            y = data[some]
            x = y + sigma * n
            theirs = _predict("learned", learned, x, sigma)
            for name, law in candidates.items():
                ours = _predict(name, law, x, sigma)
                found[name].append(_terms(x, y, theirs, ours, sigma))
        rows += [_row(name, sigma, parts) for name, parts in found.items()]
    return rows


def lmmse(moments: Moments, sigma: float) -> float:
    """E|D_G − x₀|² = σ² tr(Σ C⁻¹) = σ² Σ_k λ_k/(λ_k + σ²), for every law of these moments."""
    _level(sigma)
    across = (moments.dim - moments.rank) * _shrunk(moments.floor, sigma)
    return math.fsum([_shrunk(v, sigma) for v in moments.eigenvalues.tolist()]) + across


def excess(moments: Moments, mmse: float, sigma: float) -> float:
    """J = E|s − s_G|² = (lmmse − mmse)/σ⁴; of a denoiser's loss in place of mmse, J or less.

    At large σ the two nearly cancel: the error of a measured mmse is divided by σ⁴ too.
    """
    return (lmmse(moments, sigma) - mmse) / sigma**4


def _shrunk(variance: float, sigma: float) -> float:
    return variance / (1 + variance / sigma**2)


def _predict(name: str, law: Predicts, x: Tensor, sigma: float) -> Tensor:
    y = law.denoise(x, 1.0, sigma)
    if y.shape != x.shape:
        raise ValueError(
            f"{name} predicts shape {tuple(y.shape)} at sigma = {sigma:g}; that of x, "
            f"{tuple(x.shape)}, is allowed"
        )
    if not y.isfinite().all():
        raise ValueError(
            f"{name} predicts a value that is not finite at sigma = {sigma:g}; "
            "finite predictions are allowed"
        )
    return y


def _terms(x: Tensor, y: Tensor, theirs: Tensor, ours: Tensor, sigma: float) -> dict[str, Tensor]:
    """Every quantity of every sample, (B,)."""
    miss = _square(theirs - ours)
    return {
        "score": _ratio(miss, _square(theirs - x)),
        "score_reversed": _ratio(miss, _square(ours - x)),
        "data": _ratio(miss, _square(theirs)),
        "data_reversed": _ratio(miss, _square(ours)),
        "gap": miss / sigma**4,
        "loss": _square(theirs - y),
    }


def _square(v: Tensor) -> Tensor:
    return v.square().sum(1)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(part == 0, 0.0, part / whole)


def _row(name: str, sigma: float, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    terms = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    count = len(terms["loss"])
    row: dict[str, Any] = {"candidate": name, "sigma": sigma, "samples": count}
    for key in ("score", "score_reversed", "data", "data_reversed"):
        row[key] = _spread(terms[key])
    for key in ("gap", "loss"):
        row[key] = float(terms[key].mean())
        row[f"{key}_error"] = float(terms[key].std()) / math.sqrt(count)
    return row


def _spread(residual: Tensor) -> dict[str, float]:
    mean = float(residual.mean())
    low, median, high = residual.quantile(residual.new_tensor(QUANTILES)).tolist()
    return {
        "residual": mean,
        "explained": 1 - mean,
        "std": float(residual.std()),
        "low": low,
        "median": median,
        "high": high,
    }


def _check(data: Tensor, sigmas: Sequence[float], samples: int, batch: int) -> None:
    if data.dim() != 2 or not data.numel() or not data.is_floating_point():
        raise ValueError(
            f"data has shape {tuple(data.shape)} and dtype {data.dtype}; floating point of shape "
            "(N, D) is allowed"
        )
    good = data.isfinite()
    if not good.all():
        at = (~good).nonzero()[0].tolist()
        raise ValueError(f"data{at} is {float(data[tuple(at)])}; finite numbers are allowed")
    for sigma in sigmas:
        _level(sigma)
    for name, value, least in (("samples", samples, 2), ("batch", batch, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}; an integer >= {least} is allowed")


def _level(sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma is {sigma}; a finite number > 0 is allowed")
