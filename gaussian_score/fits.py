r"""Gaussian mixtures fitted to points:  p(x) = Σ_k w_k N(μ_k, S_k),  by scikit-learn.

`k_means`: hard clusters of mini-batch k-means; w_k their shares, μ_k the centres that it found,
S_k the covariance within the cluster (divided by N_k) + 1e-5 I; 1e-5 I where it is one point. The
centres are running means of batches, near the clusters' means and not equal to them.
`expectation_maximisation`: full covariances of the largest likelihood that EM reaches.

One thread and a fixed seed: the same on every call. Source: the protocol of Wang & Vastola, arXiv
2412.09726, for k-means; their eigenvalues are cut with the floor zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from gaussian_score.archive import versions
from gaussian_score.eigenbasis import truncated
from gaussian_score.moments import Floats, Moments, finite

BATCH = 2048
RIDGE = 1e-5
MAX_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class Fit:
    """A mixture: weights (K,), means (K, D), covs (K, D, D), float64, and how it was found."""

    weights: Floats
    means: Floats
    covs: Floats
    provenance: Mapping[str, Any]

    def low_rank(self, rank: int, *, floor: str = "zero") -> tuple[Floats, Floats, Floats]:
        """Bases (K, D, r), eigenvalues (K, r) and floors (K,), as `GaussianMixture.low_rank` has.

        S_k ≈ U_k diag(λ_k) U_kᵀ + f_k I: the eigenvalues are those of S_k less f_k.

        Args:
            rank: r, 1 to D.
            floor: "zero", or "mean" of the dropped eigenvalues.
        """
        parts = [
            truncated(Moments.from_covariance(mean, cov), rank, floor=floor)
            for mean, cov in zip(self.means, self.covs, strict=True)
        ]
        bases, floors = np.stack([p.basis for p in parts]), np.array([p.floor for p in parts])
        return bases, np.stack([p.eigenvalues - p.floor for p in parts]), floors


def k_means(points: ArrayLike, components: int, *, seed: int = 0, ridge: float = RIDGE) -> Fit:
    """Mini-batch k-means and the covariances within its clusters.

    Clusters that end without points are left out.

    Args:
        points: (N, D).
        components: K, 1 to N.
        seed: of the first centres and of the batches of 2048.
        ridge: added to every variance, >= 0.

    Raises:
        ValueError: an argument is outside these sets, or a point is NaN.
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    x = _points(points, components, seed)
    if not (np.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge is {ridge}; a finite number >= 0 is allowed")
    model: Any = cast(Any, MiniBatchKMeans)(
        components, batch_size=BATCH, random_state=seed, max_iter=MAX_ITERATIONS, n_init=1
    )
    with threadpool_limits(1):
        labels = model.fit_predict(x)
        present, counts = np.unique(labels, return_counts=True)
        covs = np.stack([_within(x[labels == k], ridge) for k in present])
    return Fit(
        counts / len(x),
        model.cluster_centers_[present].astype(np.float64),
        covs,
        {
            "algorithm": "mini-batch k-means",
            "components": components,
            "seed": seed,
            "batch": BATCH,
            "ridge": ridge,
            "count": len(x),
            "iterations": int(model.n_iter_),
            "versions": versions(),
        },
    )


def expectation_maximisation(
    points: ArrayLike, components: int, *, seed: int = 0, ridge: float = 1e-3
) -> Fit:
    """Full covariances by EM from k-means; at most 200 iterations, converged or not.

    Args:
        points: (N, D).
        components: K, 1 to N.
        seed: of the start.
        ridge: > 0, added to every variance in each step, so no eigenvalue is smaller.

    Raises:
        ValueError: an argument is outside these sets, or a point is NaN.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    x = _points(points, components, seed)
    if not (np.isfinite(ridge) and ridge > 0):
        raise ValueError(f"ridge is {ridge}; a finite number > 0 is allowed")
    model: Any = GaussianMixture(
        components, reg_covar=ridge, random_state=seed, max_iter=MAX_ITERATIONS
    )
    # One thread: sums in another order are other numbers. Convergence is stored, not warned about.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x)
        score = float(model.score(x))
    covs = (model.covariances_ + model.covariances_.swapaxes(1, 2)) / 2
    return Fit(
        model.weights_ / model.weights_.sum(),
        model.means_,
        covs,
        {
            "algorithm": "expectation maximisation",
            "components": components,
            "seed": seed,
            "ridge": ridge,
            "count": len(x),
            "log_likelihood_per_sample": score,
            "converged": bool(model.converged_),
            "iterations": int(model.n_iter_),
            "smallest_eigenvalue": float(np.linalg.eigvalsh(covs).min()),
            "versions": versions(),
        },
    )


def _within(cluster: Floats, ridge: float) -> Floats:
    """Covariance within a cluster, + ridge I."""
    centred = cluster - cluster.mean(0)
    cov = centred.T @ centred / len(cluster)
    cov[np.diag_indices(len(cov))] += ridge
    return cov


def _points(points: ArrayLike, components: int, seed: int) -> Floats:
    x = finite("points", points)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"points have shape {x.shape}; (N, D), one or more, is allowed")
    if not 1 <= components <= len(x):
        raise ValueError(
            f"components is {components}; an integer from 1 to {len(x)}, the number of points,"
            " is allowed"
        )
    if seed < 0:
        raise ValueError(f"seed is {seed}; an integer >= 0 is allowed")
    return x
