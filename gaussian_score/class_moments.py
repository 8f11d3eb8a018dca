r"""Moments of every class of a labelled data set, read once, and their shrinkage.

    Σ_y ← (1 − η) Σ_y + η Σ̄,        Σ̄ = Σ_y (N_y/N) Σ_y,

Σ̄ the pooled covariance, within classes; means are kept. η between 0 (each class its own) and 1
(one covariance for all), or by the rule

    η_y = min(1, (1 − N_y/N) v_y/Δ_y),    v_y = [(tr PΣ_y)² + tr (PΣ_y)²]/N_y,
    Δ_y = ‖P^{½} (Σ_y − Σ̄) P^{½}‖²,       P = (Σ̄ + σ² I)^{−1}.

The KL divergence from the true Gaussian at noise σ is about a quarter of the squared error E in
this metric; v is what N_y samples of a Gaussian cost, E⟨E, Σ_y − Σ̄⟩ = (1 − N_y/N) v as only Σ_y's
own share of Σ̄ goes with its error, and E‖E − η (Σ_y − Σ̄)‖² is least at the ratio of the two. A
class of one sample has no covariance of its own: η = 1.

Source: derived in this project, after the argument of Ledoit & Wolf 2004 in another metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_score import archive
from gaussian_score.batches import Progress, Reading, Rows
from gaussian_score.moments import ARRAYS, Floats, Moments, scalars
from gaussian_score.sample_size import square
from gaussian_score.streaming import Accumulator, extended, on_scale

Label = int | str
OWN = ("mean", "count", "eigenvalues", "basis", "floor")
"""What a class has of its own in a file; the first two where one covariance is shared."""
NOTHING = np.empty(0)


@dataclass(frozen=True, eq=False)
class ClassMoments(Mapping[Label, Moments]):
    """Label -> its moments; in the order of the labels.

    Attributes:
        classes: the moments of each class, with their counts.
        pooled: mean of all data, and Σ̄ = Σ_y (N_y/N) Σ_y, within classes.
    """

    classes: Mapping[Label, Moments]
    pooled: Moments

    def __post_init__(self) -> None:
        sizes = {m.dim for m in (*self.classes.values(), self.pooled)}
        if not self.classes or len(sizes) > 1:
            raise ValueError(
                f"classes are {len(self.classes)} of {sorted(sizes)} coordinates;"
                " one or more, of one size, are allowed"
            )
        for label, moments in self.classes.items():
            if moments.count is None:
                raise ValueError(
                    f"class {label!r} has the count None; a number of samples is allowed"
                )

    def __getitem__(self, label: Label) -> Moments:
        if label not in self.classes:
            raise KeyError(f"label is {label!r}; {', '.join(map(repr, self))} are allowed")
        return self.classes[label]

    def __iter__(self) -> Iterator[Label]:
        return iter(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def counts(self) -> NDArray[np.int64]:
        """N_y, (K,), in the order of the classes."""
        return np.array([m.count for m in self.classes.values()], dtype=np.int64)

    @property
    def weights(self) -> Floats:
        """N_y/N, (K,), in the order of the classes."""
        return self.counts / self.counts.sum()

    def shrunk(self, *, eta: float | None = None, sigma: float | None = None) -> ClassMoments:
        """Σ_y ← (1 − η_y) Σ_y + η_y Σ̄ with one η for all, or the η_y of the rule at noise σ.

        The eigenvalues and bases are new; with eta = 0 nothing changes.

        Raises:
            ValueError: not one of eta and sigma; eta outside [0, 1]; sigma not positive.
        """
        if (eta is None) == (sigma is None):
            raise ValueError(f"eta, sigma are {eta}, {sigma}; one of the two is allowed")
        if eta is not None and not 0 <= eta <= 1:
            raise ValueError(f"eta is {eta}; a number from 0 to 1 is allowed")
        rule = {label: eta for label in self} if sigma is None else self.etas(sigma)
        rule = dict.fromkeys(self, eta or 0.0) if sigma is None else self.etas(sigma)
        return replace(self, classes={label: self._shrunk(label, rule[label]) for label in self})

    def etas(self, sigma: float) -> dict[Label, float]:
        """η_y of every class by the rule, at noise σ > 0 in the units of the data."""
        pooled = self.pooled.covariance()
        noised = pooled + square(sigma) * np.eye(len(pooled))
        shared = np.linalg.solve(noised, pooled)
        found: dict[Label, float] = {}
        for label, n, weight in zip(self, self.counts, self.weights, strict=True):
            own = np.linalg.solve(noised, self.classes[label].covariance())
            apart = own - shared
            distance = float((apart * apart.T).sum())
            if n == 1 or distance <= 0:
                found[label] = 1.0
                continue
            own = own * (n / (n - 1))  # without the bias of dividing by N
            cost = (float(own.trace()) ** 2 + float((own * own.T).sum())) / n
            found[label] = float(min(1.0, (1 - weight) * cost / distance))
        return found

    def _shrunk(self, label: Label, eta: float) -> Moments:
        own = self.classes[label]
        provenance = {**own.provenance, "shrinkage": eta}
        if eta == 0:
            return replace(own, provenance=provenance)
        if eta == 1:
            return replace(self.pooled, mean=own.mean, count=own.count, provenance=provenance)
        cov = (1 - eta) * own.covariance() + eta * self.pooled.covariance()
        return Moments.from_covariance(own.mean, cov, count=own.count, provenance=provenance)

    def save(self, path: str | Path) -> None:
        """Write one .npz file, whole or not at all; one covariance for all is stored once."""
        members = list(self.classes.values())
        names = OWN[:2] if all(m.basis is self.pooled.basis for m in members) else OWN
        arrays = {name: np.asarray(getattr(self.pooled, name)) for name in ARRAYS}
        for name in names:
            arrays[f"class_{name}"] = np.stack([np.asarray(getattr(m, name)) for m in members])
        of_classes = [{"label": y, "provenance": dict(m.provenance)} for y, m in self.items()]
        pooled = dict(self.pooled.provenance)
        archive.write(path, arrays, {"pooled": pooled, "classes": of_classes})

    @classmethod
    def load(cls, path: str | Path) -> ClassMoments:
        """The moments of a file written by `save`.

        Raises:
            ValueError: no such file, a damaged one, or numbers that are no moments.
        """
        names = [f"class_{name}" for name in OWN]
        arrays, provenance = archive.read(path, (*ARRAYS, *names[:2]), names[2:])
        try:
            of_classes = provenance["classes"]
            sizes = {name: arrays[name].shape[:1] for name in names if name in arrays}
            if set(sizes.values()) != {(len(of_classes),)}:
                raise ValueError(f"{len(of_classes)} classes have arrays of {sizes}")
            shared = {name: arrays[name] for name in ARRAYS}
            pooled = Moments(**scalars(shared), provenance=provenance["pooled"])
            classes = {
                entry["label"]: Moments(
                    **scalars(shared | _entry(arrays, i)), provenance=entry["provenance"]
                )
                for i, entry in enumerate(of_classes)
            }
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: its provenance is not that of classes ({error})") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return cls(classes, pooled)


def class_moments(
    batches: Any,
    labels: Any = True,
    *,
    classes: Iterable[Label] | None = None,
    shared: bool = False,
    scale: str | None = None,
    progress: Progress | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> ClassMoments:
    """Mean and covariance (divided by N_y) of every class, in one pass over the data.

    Args:
        batches: see `batches.blocks`.
        labels: (N,) integers or strings, for an array; True: the second entry of every batch.
        classes: the labels that must occur, and no others; without them those that do.
        shared: one covariance, the pooled one, for all: two D x D matrices instead of one a class.
        scale: as for `streaming.stream`.
        progress: as for `streaming.stream`.
        provenance: as for `streaming.stream`.

    Raises:
        ValueError: a class without samples, a label that is no class; or what `stream` refuses.
    """
    expected = None if classes is None else list(classes)
    reading = Reading(batches, labels, scale=scale, progress=progress)
    sums: dict[Label, Accumulator] = {}
    pooled: Any = 0.0
    for first, rows, tags in reading:
        for label, places in _members(tags, first, expected):
            held = sums.get(label)
            if shared and held is not None:
                held = replace(held, scatter=pooled)
            grown = extended(held, rows[places], first + places)
            if shared:
                pooled = grown.scatter if held is not None else pooled + grown.scatter
                grown = replace(grown, scatter=NOTHING)
            sums[label] = grown
    empty = [label for label in expected or () if label not in sums]
    if empty:
        raise ValueError(
            f"class {', '.join(map(repr, empty))} has no samples; one or more of every class are"
            " allowed"
        )
    order = expected or sorted(sums, key=lambda label: (str(type(label)), label))
    found = {**reading.provenance(), **(provenance or {})}
    return _of_sums({label: sums[label] for label in order}, pooled, shared, found, scale)


def _of_sums(
    sums: Mapping[Label, Accumulator],
    pooled: Floats,
    shared: bool,
    found: Mapping[str, Any],
    scale: str | None,
) -> ClassMoments:
    """Eigenbases: of the pooled scatter alone where it is shared."""
    parts = list(sums.values())
    count = sum(part.count for part in parts)
    shift = parts[0].shift
    offset = sum(part.count / count * (part.shift - shift + part.offset) for part in parts)
    scatter = pooled if shared else sum(part.scatter for part in parts)
    total = Accumulator(count, shift, np.asarray(offset), np.asarray(scatter))
    within = total.moments({**found, "count": count, "covariance": "within classes, by N"})
    classes: dict[Label, Moments] = {}
    for label, part in sums.items():
        own = {**found, "class": label, "count": part.count}
        classes[label] = (
            replace(within, mean=part.mean, count=part.count, provenance=own)
            if shared
            else part.moments(own)
        )
    scaled = {label: on_scale(moments, scale) for label, moments in classes.items()}
    return ClassMoments(scaled, on_scale(within, scale))


def _members(
    tags: Rows | None, first: int, expected: list[Label] | None
) -> Iterator[tuple[Label, NDArray[np.intp]]]:
    """The labels in a block and the rows of each."""
    if tags is None or tags.dtype.kind not in "iuUS":
        dtype = None if tags is None else tags.dtype
        raise ValueError(f"labels have dtype {dtype}; integers or strings are allowed")
    for value in np.unique(tags):
        places = np.flatnonzero(tags == value)
        label = value.item()
        if expected is not None and label not in expected:
            raise ValueError(
                f"label of image {first + int(places[0])} is {label!r};"
                f" {', '.join(map(repr, expected))} are allowed"
            )
        yield label, places


def _entry(arrays: Mapping[str, NDArray[Any]], index: int) -> dict[str, NDArray[Any]]:
    """What a class has of its own in a file."""
    held = {name: arrays[f"class_{name}"] for name in OWN if f"class_{name}" in arrays}
    return {name: np.asarray(array[index]) for name, array in held.items()}
