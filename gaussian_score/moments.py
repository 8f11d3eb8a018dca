r"""Mean and covariance of a data law, as its noised Gaussians need them.

    Σ = U diag(λ) Uᵀ + f (I − U Uᵀ),        C_ρ = Σ + ρ² I

λ are the covariance's own largest eigenvalues (the floor is not to be added to them), U the
eigenvectors, f the one variance given to everything across them. Covariances of data divide by N,
as the moments of the law that puts 1/N on every sample.

Source: Wang & Vastola, arXiv 2412.09726, for the use that is made of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaussian_score import archive

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
ARRAYS = ("mean", "eigenvalues", "basis", "floor", "count")


@dataclass(frozen=True, eq=False)
class Moments:
    r"""m and Σ = U diag(λ) Uᵀ + f (I − U Uᵀ), in the units of the data and their squares.

    The arrays are float64 and read-only.

    Attributes:
        mean: m, (D,).
        eigenvalues: λ, (R,), largest first, not negative; R ≤ D.
        basis: U, (D, R), orthonormal columns.
        floor: f, not negative; 0 where R = D.
        count: number N of samples; None where the law is known.
        provenance: where the numbers come from; plain data with a JSON form.

    Raises:
        ValueError: an argument is outside these sets.
    """

    mean: Floats
    eigenvalues: Floats
    basis: Floats
    floor: float = 0.0
    count: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("mean", "eigenvalues", "basis"):
            object.__setattr__(self, name, finite(name, getattr(self, name)))
        d = len(self.mean) if self.mean.ndim == 1 else 0
        r = len(self.eigenvalues) if self.eigenvalues.ndim == 1 else d + 1
        if not 0 <= r <= d or d == 0 or self.basis.shape != (d, r):
            shapes = f"{self.mean.shape}, {self.eigenvalues.shape}, {self.basis.shape}"
            raise ValueError(
                f"mean, eigenvalues, basis have shapes {shapes}; (D,), (R,), (D, R) with R <= D"
                " are allowed"
            )
        if (self.eigenvalues < 0).any() or (np.diff(self.eigenvalues) > 0).any():
            worst = int(np.argmax(np.diff(self.eigenvalues, prepend=np.inf)))
            raise ValueError(
                f"eigenvalues are {self.eigenvalues[worst]:.6g} at {worst} and "
                f"{self.eigenvalues.min():.6g} at least; numbers >= 0, largest first, are allowed"
            )
        floor = float(self.floor)
        if not (math.isfinite(floor) and floor >= 0) or (r == d and floor):
            allowed = "0 (the basis spans everything)" if r == d else "a number >= 0"
            raise ValueError(f"floor is {floor}; {allowed} is allowed")
        object.__setattr__(self, "floor", floor)
        if self.count is not None and (isinstance(self.count, bool) or self.count < 1):
            raise ValueError(f"count is {self.count}; an integer >= 1 or None is allowed")
        skew = _skew(self.basis)
        if skew > 100 * d * EPS:
            raise ValueError(
                f"basis misses UᵀU = I by {skew:.3g}; orthonormal columns are allowed"
            )

    @classmethod
    def from_covariance(
        cls,
        mean: ArrayLike,
        cov: ArrayLike,
        *,
        count: int | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Moments:
        """All D eigenvectors of cov, (D, D), symmetric and positive semidefinite to rounding.

        A singular covariance is allowed: its eigenvalues end in zeros.

        Raises:
            ValueError: shapes, non-finite numbers, a cov that is not symmetric or has a negative
                eigenvalue.
        """
        mean, cov = finite("mean", mean), finite("cov", cov)
        d = len(mean) if mean.ndim == 1 else 0
        if d == 0 or cov.shape != (d, d):
            raise ValueError(
                f"mean and cov have shapes {mean.shape} and {cov.shape}; "
                "(D,) and (D, D) are allowed"
            )
        rounding = 10 * d * EPS * float(np.abs(cov).max())
        asymmetry = float(np.abs(cov - cov.T).max())
        if asymmetry > rounding:
            raise ValueError(
                f"cov differs from its transpose by {asymmetry:.3g}; a symmetric matrix is allowed"
            )
        eigenvalues, basis = np.linalg.eigh((cov + cov.T) / 2)
        if eigenvalues[0] < -rounding:
            raise ValueError(
                f"cov has the eigenvalue {eigenvalues[0]:.6g}; a positive semidefinite matrix is"
                " allowed"
            )
        return cls(
            mean,
            eigenvalues[::-1].clip(min=0),
            basis[:, ::-1].copy(),
            0.0,
            count,
            provenance or {},
        )

    @classmethod
    def from_law(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        covs: ArrayLike,
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> Moments:
        """Moments of Σ_k w_k N(μ_k, S_k): m = Σ w μ, Σ = Σ w [S + (μ − m)(μ − m)ᵀ].

        Weights (K,), not negative, of sum 1; means (K, D); covs (K, D, D), positive semidefinite.

        Raises:
            ValueError: an argument is outside these sets; covs[k] is named.
        """
        w, mu, s = finite("weights", weights), finite("means", means), finite("covs", covs)
        k, d = mu.shape if mu.ndim == 2 else (0, 0)
        if not mu.size or w.shape != (k,) or s.shape != (k, d, d):
            raise ValueError(
                f"weights, means, covs have shapes {w.shape}, {mu.shape}, {s.shape}; "
                "(K,), (K, D), (K, D, D) are allowed"
            )
        if (w < 0).any() or abs(w.sum() - 1) > 10 * k * EPS:
            raise ValueError(f"weights are {w}; numbers >= 0 of sum 1 are allowed")
        rounding = 10 * d * EPS * np.abs(s).max((1, 2))
        for index, lowest in enumerate(np.linalg.eigvalsh(s).min(1) + rounding):
            if lowest < 0:
                raise ValueError(
                    f"covs[{index}] has the eigenvalue {lowest - rounding[index]:.6g}; "
                    "a positive semidefinite matrix is allowed"
                )
        mean = w @ mu
        shift = mu - mean
        cov = np.einsum("k,kij->ij", w, s) + (w * shift.T) @ shift
        return cls.from_covariance(mean, cov, provenance=provenance)

    @property
    def dim(self) -> int:
        """D, the number of coordinates."""
        return len(self.mean)

    @property
    def rank(self) -> int:
        """R, the number of eigenvectors kept; their eigenvalues may be 0."""
        return len(self.eigenvalues)

    @property
    def trace(self) -> float:
        """Total variance tr Σ = Σ_k λ_k + (D − R) f."""
        return float(self.eigenvalues.sum() + (self.dim - self.rank) * self.floor)

    def covariance(self) -> Floats:
        """Σ, (D, D)."""
        cov = (self.basis * (self.eigenvalues - self.floor)) @ self.basis.T
        cov[np.diag_indices(self.dim)] += self.floor
        return (cov + cov.T) / 2

    def save(self, path: str | Path) -> None:
        """Write a .npz file, whole or not at all; see `archive.write`."""
        count = np.array(-1 if self.count is None else self.count)
        arrays = {name: getattr(self, name) for name in ARRAYS} | {"count": count}
        archive.write(path, arrays, self.provenance)

    @classmethod
    def load(cls, path: str | Path) -> Moments:
        """The moments of a file written by `save`.

        Raises:
            ValueError: no such file, a damaged one, or numbers that are no moments.
        """
        arrays, provenance = archive.read(path, ARRAYS)
        try:
            return cls(**scalars(arrays), provenance=provenance)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def scalars(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The arrays of a file as arguments of `Moments`: floor a float, count an int or None."""
    floor, count = arrays["floor"], arrays["count"]
    if floor.shape or floor.dtype.kind != "f" or count.shape or count.dtype.kind != "i":
        raise ValueError(
            f"floor and count are {floor.dtype} of shape {floor.shape} and {count.dtype} of shape"
            f" {count.shape}; a float and an integer are allowed"
        )
    return {**arrays, "floor": float(floor), "count": None if count == -1 else int(count)}


def finite(name: str, value: ArrayLike) -> Floats:
    """The numbers as a read-only float64 array.

    Raises:
        ValueError: no real numbers, or one that is NaN or infinite; it is named with its index.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {array.dtype}; real numbers are allowed")
    good = np.isfinite(array)
    if not good.all():
        at = [int(i) for i in np.argwhere(~good)[0]]
        raise ValueError(f"{name}{at} is {array[tuple(at)]}; finite numbers are allowed")
    array = np.ascontiguousarray(array, dtype=np.float64).reshape(array.shape)
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def _skew(basis: Floats) -> float:
    """Largest entry of (UᵀU − I) v over four random v: what UᵀU costs D R² for, in D R."""
    v = np.random.default_rng(0).standard_normal((basis.shape[1], 4))
    return float(np.abs(basis.T @ (basis @ v) - v).max(initial=0))
