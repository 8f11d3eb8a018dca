r"""One law for each class, and the law of all classes together.

    p(x | c) given by a law per class,   p(x) = Σ_c f_c p(x | c),   Pr(c | x) = f_c p(x | c)/p(x)
    ∇ log p = Σ_c Pr(c | x) ∇ log p(· | c),   and so for ε = E[n|x] and D = E[x₀|x]

Source: Bayes' rule.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaussian_score import arguments
from gaussian_score.arguments import ArrayLike, Scalar
from gaussian_score.delta import DeltaMixture
from gaussian_score.law import Law

Method = Callable[[Law, Tensor, Scalar, Scalar], Tensor]


class EmptyClassWarning(UserWarning):
    """A class has no points, hence no law."""


@dataclass(frozen=True, eq=False)
class ConditionalLaw:
    """A law p(x | c) for each label c = 0, .., C − 1. Build it with `of` or `of_points`.

    Methods take x, (B, D), labels, (B,) integers, and levels as the laws do; a label outside the
    classes, or of an empty class, raises ValueError. They can be differentiated as the laws can.

    Attributes:
        laws: a law per class; None for an empty class.
        frequencies: f, (C,), float64, not negative, sum 1.
    """

    laws: tuple[Law | None, ...]
    frequencies: Tensor

    @classmethod
    def of(cls, laws: Sequence[Law | None], frequencies: ArrayLike) -> ConditionalLaw:
        """Laws of one dimension, None only where the frequency is 0.

        Raises:
            ValueError: not so, or the frequencies are no distribution over the classes.
        """
        f = arguments.finite("frequencies", frequencies).double()
        arguments.require_shape("frequencies", f, (len(laws),))
        arguments.require_distribution("frequencies", f)
        dims = {law.dim for law in laws if law is not None}
        if len(dims) != 1:
            raise ValueError(f"laws have dimensions {sorted(dims)}; one dimension is allowed")
        for c, law in enumerate(laws):
            if law is None and f[c] > 0:
                raise ValueError(f"laws[{c}] is None at frequency {float(f[c]):.6g}; 0 is allowed")
        return cls(tuple(laws), f)

    @classmethod
    def of_points(
        cls, points: Any, labels: ArrayLike, *, classes: int | None = None, **options: Any
    ) -> ConditionalLaw:
        """The points of each class as a `DeltaMixture`, with their frequencies.

        Args:
            points: (N, ..), as in `DeltaMixture.of`; every point is copied once, as it is stored.
            labels: (N,), integers from 0 to classes − 1.
            classes: C; without it the largest label plus 1.
            **options: scale, shift, variance and block, as in `DeltaMixture.of`.

        Warns:
            EmptyClassWarning: a class has no points.
        """
        found = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
        if found.shape != (len(points),) or not np.issubdtype(found.dtype, np.integer):
            raise ValueError(
                f"labels have shape {found.shape} and type {found.dtype}; integers of shape "
                f"({len(points)},) are allowed"
            )
        classes = int(found.max()) + 1 if classes is None else classes
        _require_classes(torch.from_numpy(np.array(found, dtype=np.int64)), classes)
        counts = np.bincount(found, minlength=classes)
        empty = np.flatnonzero(counts == 0).tolist()
        if empty:
            warnings.warn(f"classes {empty} have no points", EmptyClassWarning, stacklevel=2)
        laws = [
            DeltaMixture.of(points[np.flatnonzero(found == c)], **options) if counts[c] else None
            for c in range(classes)
        ]
        return cls.of(laws, counts / counts.sum())

    @property
    def dim(self) -> int:
        """D, the number of coordinates."""
        return next(law.dim for law in self.laws if law is not None)

    @property
    def unconditional(self) -> MixedLaw:
        """The law of all classes, by their frequencies."""
        kept = [(law, float(f)) for law, f in zip(self.laws, self.frequencies, strict=True) if law]
        laws, frequencies = zip(*kept, strict=True)
        return MixedLaw(laws, torch.tensor(frequencies, dtype=torch.float64))

    def log_density(self, x: Tensor, labels: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """Log density log p(x | c), shape (B,)."""
        return self._each(lambda law, *at: law.log_density(*at), x, labels, alpha, sigma)

    def score(self, x: Tensor, labels: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x | c), shape (B, D)."""
        return self._each(lambda law, *at: law.score(*at), x, labels, alpha, sigma)

    def noise(self, x: Tensor, labels: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """ε = E[n | x, c], shape (B, D)."""
        return self._each(lambda law, *at: law.noise(*at), x, labels, alpha, sigma)

    def denoise(self, x: Tensor, labels: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """D = E[x₀ | x, c], shape (B, D)."""
        return self._each(lambda law, *at: law.denoise(*at), x, labels, alpha, sigma)

    def _each(
        self, method: Method, x: Tensor, labels: Tensor, alpha: Scalar, sigma: Scalar
    ) -> Tensor:
        """The method of every label's law on its own rows, put back in order."""
        arguments.points("x", x, self.dim)
        if labels.shape != x.shape[:1] or labels.is_floating_point() or labels.is_complex():
            raise ValueError(
                f"labels have shape {tuple(labels.shape)} and dtype {labels.dtype}; integers of "
                f"shape ({len(x)},) are allowed"
            )
        _require_classes(labels, len(self.laws))
        arguments.levels(alpha, sigma, x, x.dtype)
        order, parts = [torch.empty(0, dtype=torch.int64, device=x.device)], []
        for c in labels.unique().tolist():
            law = self.laws[c]
            if law is None:
                raise ValueError(f"labels has the entry {c}, a class without points")
            rows = (labels == c).nonzero()[:, 0]
            a, s = (
                level[rows] if isinstance(level, Tensor) and level.ndim else level
                for level in (alpha, sigma)
            )
            order.append(rows)
            parts.append(method(law, x[rows], a, s))
        return torch.cat(parts)[torch.cat(order).argsort()]


@dataclass(frozen=True, eq=False)
class MixedLaw:
    """Σ_c f_c p(x | c), itself a law; methods as those of its parts.

    Attributes:
        laws: of one dimension.
        frequencies: f, (C,), float64.
    """

    laws: tuple[Law, ...]
    frequencies: Tensor

    @property
    def dim(self) -> int:
        """D, the number of coordinates."""
        return self.laws[0].dim

    def log_density(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """Log density log p(x), shape (B,)."""
        return self._logits(x, alpha, sigma).logsumexp(1)

    def responsibilities(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """Pr(c | x), shape (B, C)."""
        return self._logits(x, alpha, sigma).softmax(1)

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """∇ log p(x), shape (B, D)."""
        return self._average(lambda law, *at: law.score(*at), x, alpha, sigma)

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """ε = E[n|x], shape (B, D)."""
        return self._average(lambda law, *at: law.noise(*at), x, alpha, sigma)

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """D = E[x₀|x], shape (B, D)."""
        return self._average(lambda law, *at: law.denoise(*at), x, alpha, sigma)

    def _logits(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        densities = torch.stack([law.log_density(x, alpha, sigma) for law in self.laws], 1)
        return densities + self.frequencies.log().to(densities)

    def _average(self, method: Method, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        shares = self.responsibilities(x, alpha, sigma).unbind(1)
        total = torch.zeros_like(x)
        for share, law in zip(shares, self.laws, strict=True):
            total = total + share[:, None] * method(law, x, alpha, sigma)
        return total


def _require_classes(labels: Tensor, classes: int) -> None:
    for outside in (labels.min(), labels.max()) if labels.numel() else ():
        if not 0 <= int(outside) < classes:
            raise ValueError(
                f"labels has the entry {int(outside)}; 0 to {classes - 1} are allowed"
            )
