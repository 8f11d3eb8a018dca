r"""How loose log(1 + χ²) is as a bound of K, over random mixtures: rows for a table or a plot.

Both are small where p_ρ is nearly Gaussian, and χ² ≃ 2 K. The quotient grows with

* rare modes, which χ² = E_g (r − 1)² weighs by 1/g: for two components of one covariance it stays
  below 2.5 where both weights are 0.1 or more and χ² < 0.5, and reaches 5.4 at 0.05;
* a component with nearly twice the variance of the whole law in some direction, beyond which
  χ² = ∞: then no weight bounds the quotient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gaussian_score.certificate import log1p_chi2
from gaussian_score.divergence import relative_entropy
from gaussian_score.whitened import Floats


@dataclass(frozen=True)
class Row:
    """One mixture at one level; nats.

    Attributes:
        dim: D.
        components: K of the mixture.
        rarest: its smallest weight.
        rho: the level.
        bound: log(1 + χ²), perhaps `inf`.
        entropy: K = KL(p_ρ ‖ g_ρ).
        error: of K; a bound in one dimension, else one standard error.
    """

    dim: int
    components: int
    rarest: float
    rho: float
    bound: float
    entropy: float
    error: float

    @property
    def holds(self) -> bool:
        """Whether K, within four errors, is at most the bound."""
        return self.entropy - 4 * self.error <= self.bound

    @property
    def looseness(self) -> float:
        """bound/K."""
        return self.bound / self.entropy


def random_mixture(
    rng: np.random.Generator, *, rarest: float = 1e-4, common: bool = False
) -> tuple[Floats, Floats, Floats]:
    """Weights (K,), means (K, D) and covariances (K, D, D), 2 ≤ K ≤ 5 and D ≤ 3, of any shape.

    No weight is below `rarest`, 0.2 at most; logarithms of weights are uniform. With `common` all
    covariances are one.
    """
    k, d = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    raw = 10 ** rng.uniform(np.log10(rarest), 0, k)
    weights = rarest + (1 - k * rarest) * raw / raw.sum()
    means = rng.normal(0, rng.uniform(0.3, 2), (k, d))
    factors = rng.normal(0, 10 ** rng.uniform(-1.5, 0, (k, 1, 1)), (k, d, d))
    covs = factors @ factors.mT
    return weights / weights.sum(), means, np.repeat(covs[:1], k, 0) if common else covs


def looseness_rows(
    count: int,
    *,
    rarest: float = 1e-4,
    common: bool = False,
    seed: int = 0,
    samples: int = 2**13,
) -> Iterator[Row]:
    """`count` rows of such mixtures at levels from 0.3 to 6, log-uniform."""
    rng = np.random.default_rng(seed)
    for n in range(count):
        weights, means, covs = random_mixture(rng, rarest=rarest, common=common)
        rho = float(0.3 * 20 ** rng.random())
        k = relative_entropy(weights, means, covs, rho, samples=samples, seed=n)
        found = log1p_chi2(weights, means, covs, rho)
        d = means.shape[1]
        yield Row(d, len(weights), float(weights.min()), rho, found, k.value, k.error)
