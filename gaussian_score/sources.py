r"""Where K(ρ) = KL(p_ρ ‖ g_ρ) comes from: a mixture's bound, pairs of data, a network's values.

Each source says of one level what is to be compared with a tolerance, in nats, and whose error it
is: the data law's, or that of the flow which a network implements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike

from gaussian_score.certificate import bound, tighter
from gaussian_score.moments import Moments
from gaussian_score.network_entropy import RELIABLE, NetworkEntropy, network_entropy
from gaussian_score.pairs import PairEstimates, Pairs
from gaussian_score.sample_size import samples_needed, sampling_kl
from gaussian_score.whitened import Centred

NEGLIGIBLE = 1e-3
"""Nats: estimates this small need not agree; the larger of the two is taken anyway."""
APART = 0.3
"""Relative difference of the two estimates from pairs, beyond which neither is believed."""


@dataclass(frozen=True)
class Trial:
    """What a source says of one level, in nats.

    Attributes:
        rho: the level.
        value: what is compared with the tolerance; `inf` where the source cannot say.
        estimate: K.
        error: one standard error of K.
        sampling: KL from the moments' own errors (samples, and the directions left out).
        note: why the level is refused whatever the tolerance; empty where it is not.
    """

    rho: float
    value: float
    estimate: float
    error: float
    sampling: float
    note: str = ""


class Source(Protocol):
    """Where K comes from."""

    name: ClassVar[str]
    target: ClassVar[str]

    def trial(self, rho: float) -> Trial:
        """K at ρ."""
        ...

    def needed(self, first: Trial, tolerance: float) -> str:
        """What would have to be there for the first trial to pass; empty where nothing helps."""
        ...


@dataclass(frozen=True, eq=False)
class MixtureSource:
    """A mixture known exactly: log(1 + χ²), rigorous.

    Where `rare` is set and modes are rare, the smaller of it and of K + 4 errors.
    """

    weights: ArrayLike
    means: ArrayLike
    covs: ArrayLike
    rare: bool = False
    samples: int = 2**14
    name: ClassVar[str] = "mixture"
    target: ClassVar[str] = "the data law"

    @cached_property
    def law(self) -> Centred:
        """Read once."""
        return Centred.read(self.weights, self.means, self.covs)

    def trial(self, rho: float) -> Trial:
        """log(1 + χ²); K too where `rare` asks for it."""
        if not self.rare:
            value = bound(self.law, rho)
            return Trial(rho, value, value / 2, value / 2, 0.0)
        both = tighter(self.weights, self.means, self.covs, rho, samples=self.samples)
        return Trial(rho, both.value, both.entropy, both.error, 0.0)

    def needed(self, first: Trial, tolerance: float) -> str:
        """Nothing: the law is what it is."""
        return ""


@dataclass(frozen=True, eq=False)
class DataSource:
    """Data x, (N, D), and their moments: K by pairs of samples, and two standard errors.

    K is the cumulants' estimate, or χ²/2 where that is larger by two errors of the difference:
    both fall below K where it grows. A level is refused where they differ by more than 30 % and
    two errors, or where χ² > 1, beyond which its mean over samples says little.
    """

    x: ArrayLike
    moments: Moments
    rows: int = 2048
    seed: int = 0
    name: ClassVar[str] = "data"
    target: ClassVar[str] = "the data law"

    @cached_property
    def pairs(self) -> Pairs:
        """The two halves, projected once."""
        return Pairs.of(self.x, self.moments, rows=self.rows, seed=self.seed)

    @property
    def count(self) -> int:
        """Samples behind the moments; those at hand where the moments do not say."""
        return self.moments.count or len(np.asarray(self.x))

    def trial(self, rho: float) -> Trial:
        """K + 2 errors + what the moments' own errors cost."""
        found = self.pairs.at(rho)
        sampling = sampling_kl(self.moments, rho, self.count) + self.pairs.truncation(rho)
        k, error = _larger(found)
        note = _refused(found)
        value = math.inf if note else k + 2 * error + sampling
        return Trial(rho, value, k, error, sampling, note)

    def needed(self, first: Trial, tolerance: float) -> str:
        """How many samples."""
        if first.estimate > tolerance:
            return ""
        n = self.count
        moments = samples_needed(self.moments, first.rho, tolerance)
        if n < moments:
            return f"x has {n} samples; {moments} or more are needed at {first.rho:.4g}"
        used = len(self.pairs.a) + len(self.pairs.b)
        if 2 * first.error > tolerance:  # the error of a mean over pairs falls at least like 1/√N
            enough = math.ceil(used * (2 * first.error / tolerance) ** 2)
            return f"x gives {used} samples; {enough} or more are needed at {first.rho:.4g}"
        return ""


@dataclass(frozen=True, eq=False)
class NetworkSource:
    """A denoiser D(x, s) measured at noised data: K of the network's own flow, and two errors.

    `levels` are where it is measured: s, three or more up to `reliable`.
    """

    denoiser: Callable[[Any, float], Any]
    x: Any
    moments: Moments
    levels: Sequence[float]
    reliable: float = RELIABLE
    batch: int = 256
    seed: int = 0
    name: ClassVar[str] = "network"
    target: ClassVar[str] = "the network's own flow"

    @cached_property
    def measured(self) -> NetworkEntropy:
        """Measured once, at all levels."""
        return network_entropy(
            self.denoiser,
            self.x,
            self.moments,
            self.levels,
            reliable=self.reliable,
            batch=self.batch,
            seed=self.seed,
        )

    def trial(self, rho: float) -> Trial:
        """K_θ + 2 errors + what the moments' own errors cost."""
        k, error = self.measured.at(rho)
        sampling = sampling_kl(self.moments, rho)
        return Trial(rho, k + 2 * error + sampling, k, error, sampling)

    def needed(self, first: Trial, tolerance: float) -> str:
        """How many samples the moments need, where theirs are too few."""
        needed = samples_needed(self.moments, first.rho, tolerance)
        n = self.moments.count
        if n is None or n >= needed:
            return ""
        return f"moments come from {n} samples; {needed} or more are needed at {first.rho:.4g}"


def _larger(found: PairEstimates) -> tuple[float, float]:
    """K and its error: of the two estimates the cumulants', unless the other is surely larger."""
    if -found.gap.value > 2 * found.gap.error:
        return found.chi2.value / 2, found.chi2.error / 2
    return max(0.0, found.entropy.value), found.entropy.error


def _refused(found: PairEstimates) -> str:
    """Why the pairs are not to be trusted at this level."""
    if found.chi2.value > 1:
        return f"chi2 over the samples is {found.chi2.value:.3g}, and 1 is the most it can show"
    size = max(found.entropy.value, found.chi2.value / 2)
    if size > NEGLIGIBLE and abs(found.gap.value) > APART * size + 2 * found.gap.error:
        return (
            f"cumulants give KL = {found.entropy.value:.3g} and chi2/2 is "
            f"{found.chi2.value / 2:.3g}: more than {APART:.0%} apart"
        )
    return ""
