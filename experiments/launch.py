"""Runs of states of any shape that begin with a jump: one law, or one a class.

Statistics lie in the eigenbasis of the data's covariance, so the run does too; the model sees
states.  A low-rank basis with a floor costs as much as its rank.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gaussian_score.moments import Moments
from gaussian_score.sample_size import warn_of_few_samples
from solvers.basis import Basis, InBasis
from solvers.denoiser import Denoiser
from solvers.forms import Statistics
from solvers.grids import Grid
from solvers.method import Entry
from solvers.plan import plan
from solvers.point import Point
from solvers.sample import normals, sample
from solvers.teleport import Teleport, above
from solvers.trajectory import Trajectory

KEPT = ("x", "landing", "entropy")
"""What a trajectory has for each sample."""


class LandingWarning(UserWarning):
    """The model is farther from the Gaussian at the landing than was certified."""


def in_eigenbasis(moments: Moments, shape: Sequence[int]) -> tuple[Basis, Statistics]:
    """The basis in which the covariance is diagonal, and mean and variances there."""
    basis = Basis.of(torch.tensor(moments.basis), shape)
    mean = basis.coordinates(torch.tensor(moments.mean).reshape(1, *shape))[0]
    across = [moments.floor] * (moments.dim - moments.rank)
    variances = (*moments.eigenvalues.tolist(), *across)
    return basis, Statistics(tuple(mean.tolist()), variances)


def launch(
    entry: Entry,
    grid: Grid,
    model: Denoiser,
    moments: Moments,
    x: Tensor,
    *,
    start: Point,
    prior: str = "reference",
    corrected: bool = False,
    past: int = 0,
    seeds: Sequence[int] | None = None,
    tolerance: float | None = None,
    **how: Any,
) -> Trajectory:
    """From x, (B, ...), at ``start`` to the grid's last node, the first of which is the landing.

    ``prior`` and ``corrected`` as in ``solvers.teleport``; ``past`` is how many evaluations of the
    Gaussian a method that looks back may begin with; ``seeds``, one a sample, where it draws
    noise; ``how`` goes to the plan, but for ``states`` and ``state``, which go to the run.
    ``LandingWarning`` where the first calls show more than the ``tolerance``, in nats.

    Raises:
        ValueError: no samples, another shape than the moments', a start below the landing.
    """
    if not x.numel() or x[0].numel() != moments.dim:
        raise ValueError(
            f"x: got shape {tuple(x.shape)}; one sample or more of {moments.dim} entries, as the"
            " moments have, are allowed"
        )
    rho, top = float(grid.points[0].rho), math.inf if start.silent else float(start.rho)
    if top < rho:
        raise ValueError(f"start: got rho = {top:.6g}; the landing's {rho:.6g} or more is allowed")
    basis, known = in_eigenbasis(moments, x.shape[1:])
    nodes = above(grid.points, past, start) if past else ()
    longer = replace(grid, points=(*nodes, *grid.points))
    running = {key: how.pop(key) for key in ("states", "state") if key in how}
    jump = Teleport(start, known, prior, corrected)
    p = plan(entry, longer, teleport=jump, first=len(nodes), statistics=known, **how)
    y = basis.coordinates(x)
    noise = normals(seeds, y.to(running.get("state", torch.float64))) if seeds else None
    done = sample(p, InBasis(model, basis), y, noise=noise, **running)
    if tolerance is not None:
        _guard(done, moments, rho, tolerance, corrected)
    return replace(done, x=basis.states(done.x), states=tuple(map(basis.states, done.states)))


def _guard(
    done: Trajectory, moments: Moments, rho: float, tolerance: float, corrected: bool
) -> None:
    """Warnings of what the statistics or the model do not bear out."""
    warn_of_few_samples(moments, rho, tolerance)
    shown = float(done.entropy.mean())
    if shown > tolerance and not corrected:
        warnings.warn(
            f"landing at rho = {rho:.4g}: the model is about {shown:.3g} nat from the Gaussian"
            f" there, {tolerance:.3g} were allowed; a higher landing is nearer",
            LandingWarning,
            stacklevel=3,
        )


def launch_classes(
    entry: Entry,
    grid: Grid,
    model: Callable[[Any], Denoiser],
    classes: Mapping[Any, Moments],
    x: Tensor,
    labels: Sequence[Hashable] | Tensor,
    *,
    seeds: Sequence[int] | None = None,
    **how: Any,
) -> Trajectory:
    """The same where sample b has the class labels[b], whose moments and model are its own.

    ``model`` maps a class to its denoiser.
    """
    labels = labels.tolist() if isinstance(labels, Tensor) else list(labels)
    if not labels or len(labels) != len(x):
        raise ValueError(f"labels: got {len(labels)}; one a sample, {len(x)}, are allowed")
    unknown = sorted({str(y) for y in labels if y not in classes})
    if unknown:
        raise ValueError(
            f"labels: got {unknown[0]}; classes with moments, {', '.join(map(str, classes))}, are"
            " allowed"
        )
    places: dict[Hashable, list[int]] = {}
    for b, y in enumerate(labels):
        places.setdefault(y, []).append(b)
    runs = []
    for y, at in places.items():
        mine = [seeds[b] for b in at] if seeds else None
        runs.append(launch(entry, grid, model(y), classes[y], x[at], seeds=mine, **how))
    order = torch.tensor([b for at in places.values() for b in at], device=x.device).argsort()

    def joined(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts))[order]

    states = tuple(joined(s) for s in zip(*(r.states for r in runs), strict=True))
    own = {key: joined([getattr(r, key) for r in runs]) for key in KEPT}
    return replace(runs[0], states=states, **own)
