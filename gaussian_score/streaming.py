r"""Mean and covariance in one pass:  m = (1/N) Σ x,  Σ = (1/N) Σ (x − m)(x − m)ᵀ.

Two parts a and b of a data set are put together exactly (Chan, Golub & LeVeque 1979),

    m = m_a + (N_b/N) δ,     S = S_a + S_b + (N_a N_b/N) δ δᵀ,     δ = m_b − m_a,

with S the sum of centred squares; all of it in float64 and relative to a shift near the data, so
that what is lost does not grow with the distance of the data from zero. Parts may come from other
processes: they are saved, loaded and merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaussian_score import archive
from gaussian_score.batches import Progress, Reading, Rows
from gaussian_score.moments import Floats, Moments, finite
from gaussian_score.pixel_scale import rescaled

ARRAYS = ("count", "shift", "offset", "scatter")


@dataclass(frozen=True, eq=False)
class Accumulator:
    """Count N, mean m = shift + offset, (D,), and scatter S = Σ (x − m)(x − m)ᵀ.

    S is (D, D), or (D,), its diagonal alone.
    """

    count: int
    shift: Floats
    offset: Floats
    scatter: Floats

    @classmethod
    def of(
        cls,
        rows: Rows,
        shift: Floats | None = None,
        places: ArrayLike | None = None,
        *,
        diagonal: bool = False,
    ) -> Accumulator:
        """The sums of rows, (n, D), n >= 1; without a shift their own mean is it.

        Raises:
            ValueError: a NaN or an infinite number; the row's index, or its entry in places, (n,),
                is named.
        """
        y = rows.astype(np.float64)
        mean = y.mean(0)
        if not np.isfinite(mean).all():
            sample, pixel = np.argwhere(~np.isfinite(y))[0]
            index = sample if places is None else np.asarray(places)[sample]
            raise ValueError(
                f"image {index} is {y[sample, pixel]} at pixel {pixel}; finite pixels are allowed"
            )
        near = mean if shift is None else shift
        y -= near
        offset = y.mean(0)
        y -= offset
        return cls(len(rows), near, offset, (y * y).sum(0) if diagonal else y.T @ y)

    def merged(self, other: Accumulator) -> Accumulator:
        """The sums of both parts; the shift of this one is kept.

        Raises:
            ValueError: the other part has another number of coordinates.
        """
        if other.shift.shape != self.shift.shape:
            raise ValueError(
                f"other has {len(other.shift)} coordinates; {len(self.shift)} are allowed"
            )
        n = self.count + other.count
        delta = other.shift - self.shift + (other.offset - self.offset)
        scatter = self.scatter + other.scatter
        weighted = self.count * other.count / n * delta
        scatter += weighted * delta if scatter.ndim == 1 else weighted[:, None] * delta
        return Accumulator(n, self.shift, self.offset + other.count / n * delta, scatter)

    @property
    def mean(self) -> Floats:
        """m, (D,)."""
        return self.shift + self.offset

    def covariance(self) -> Floats:
        """Σ = S/N, (D, D), or (D,), its diagonal."""
        return self.scatter / self.count

    def moments(self, provenance: Mapping[str, Any] | None = None) -> Moments:
        """All eigenvectors of Σ = S/N."""
        return Moments.from_covariance(
            self.mean, self.covariance(), count=self.count, provenance=provenance
        )

    def save(self, path: str | Path, provenance: Mapping[str, Any] | None = None) -> None:
        """Write a .npz file, whole or not at all."""
        arrays = {name: np.asarray(getattr(self, name)) for name in ARRAYS}
        archive.write(path, arrays, provenance or {})

    @classmethod
    def load(cls, path: str | Path) -> Accumulator:
        """The sums in a file written by `save`.

        Raises:
            ValueError: no such file, a damaged one, or numbers that are no sums.
        """
        arrays, _ = archive.read(path, ARRAYS)
        count = arrays.pop("count")
        try:
            if count.shape or count.dtype.kind != "i" or count < 1:
                raise ValueError(f"count is {count}; an integer >= 1 is allowed")
            part = cls(int(count), **{name: finite(name, a) for name, a in arrays.items()})
            part.moments()
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return part


def stream(
    batches: Any,
    *,
    scale: str | None = None,
    progress: Progress | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Moments:
    """Mean, covariance (divided by N) and its eigenbasis of a data set, read once.

    Args:
        batches: see `batches.blocks`; (N, ...), flattened to (N, D).
        scale: "[-1,1]", "[0,1]" or "0..255". Of uint8 data: the scale that the moments are wanted
            on. Of other data: the scale that they are on, which is checked. None: bytes are
            numbers 0..255, other data are not pixels.
        progress: called after every block.
        provenance: put beside what is found here: count, SHA-256 of the rows, scale, versions.

    Raises:
        ValueError: no samples, unequal ones, a NaN pixel (the image's index is named), or data
            outside their scale.
    """
    sums, found = accumulate(batches, scale=scale, progress=progress)
    return on_scale(sums.moments({**found, **(provenance or {})}), scale)


def accumulate(
    batches: Any,
    *,
    scale: str | None = None,
    progress: Progress | None = None,
    diagonal: bool = False,
) -> tuple[Accumulator, dict[str, Any]]:
    """The sums of a data set in its own units, and the provenance: what `stream` begins with."""
    reading = Reading(batches, scale=scale, progress=progress)
    sums: Accumulator | None = None
    for first, rows, _ in reading:
        sums = extended(sums, rows, np.arange(first, first + len(rows)), diagonal=diagonal)
    assert sums is not None  # `blocks` refuses an empty data set
    return sums, reading.provenance()


def extended(
    sums: Accumulator | None, rows: Rows, places: NDArray[np.intp], *, diagonal: bool = False
) -> Accumulator:
    """The sums with more rows; places, (n,), are their indices in the data set, for errors."""
    shift = None if sums is None else sums.shift
    part = Accumulator.of(rows, shift, places, diagonal=diagonal)
    return part if sums is None else sums.merged(part)


def on_scale(moments: Moments, scale: str | None) -> Moments:
    """Moments of bytes on the scale that they are wanted on."""
    found = moments.provenance["scale"]
    if scale is None or scale == found:
        return moments
    return rescaled(moments, source=found, target=scale)
