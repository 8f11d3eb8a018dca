"""Runs of states of any shape that begin with a jump: one law, or one a class.

Statistics lie in the eigenbasis of the data's covariance, so the run does too; the model sees
states.  A low-rank basis with a floor costs as much as its rank.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gaussian_score.moments import Moments
from solvers.basis import Basis, InBasis
from solvers.denoiser import Denoiser
from solvers.forms import Statistics
from solvers.grids import Grid
from solvers.method import Entry
from solvers.plan import plan
from solvers.point import Point
from solvers.sample import sample
from solvers.teleport import Teleport, above
from solvers.trajectory import Trajectory


class LandingWarning(UserWarning):
    """The model is farther from the Gaussian at the landing than was certified."""


def entropy(landing: Tensor, dim: int, rho: float) -> float:
    """K at the landing as the first calls show it, in nats: (3/2) D E e²/ρ².

    Where noise is high, J ~ ρ⁻⁸, so that K = ½ ∫ J dρ² = ρ² J/6, and D e² = ρ⁴ J/9.
    """
    return 1.5 * dim * float(landing.square().mean()) / rho**2


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
    tolerance: float | None = None,
    **how: Any,
) -> Trajectory:
    """From x, (B, ...), at ``start`` to the grid's last node, the first of which is the landing.

    ``prior`` and ``corrected`` as in ``solvers.teleport``; ``past`` is how many evaluations of the
    Gaussian a method that looks back may begin with; ``how`` goes to the plan, but for ``noise``,
    ``states`` and ``state``, which go to the run.  ``LandingWarning`` where the first calls show
    more than the ``tolerance``, in nats.
    """
    basis, known = in_eigenbasis(moments, x.shape[1:])
    nodes = above(grid.points, past, start) if past else ()
    longer = replace(grid, points=(*nodes, *grid.points))
    running = {key: how.pop(key) for key in ("noise", "states", "state") if key in how}
    jump = Teleport(start, known, prior, corrected)
    p = plan(entry, longer, teleport=jump, first=past, statistics=known, **how)
    done = sample(p, InBasis(model, basis), basis.coordinates(x), **running)
    rho = float(grid.points[0].rho)
    shown = entropy(done.landing, moments.dim, rho)
    if tolerance is not None and shown > tolerance:
        warnings.warn(
            f"landing at rho = {rho:.4g}: the model is {shown:.3g} nat from the Gaussian there,"
            f" {tolerance:.3g} were allowed; a higher landing is nearer",
            LandingWarning,
            stacklevel=2,
        )
    return replace(done, x=basis.states(done.x), states=tuple(map(basis.states, done.states)))


def launch_classes(
    entry: Entry,
    grid: Grid,
    model: Callable[[Any], Denoiser],
    classes: Mapping[Any, Moments],
    x: Tensor,
    labels: Sequence[Hashable],
    **how: Any,
) -> Trajectory:
    """The same where sample b has the class labels[b], whose moments and model are its own.

    ``model`` maps a class to its denoiser.
    """
    if len(labels) != len(x):
        raise ValueError(f"labels: got {len(labels)}; one a sample, {len(x)}, are allowed")
    unknown = sorted({str(y) for y in labels if y not in classes})
    if unknown:
        raise ValueError(
            f"labels: got {unknown[0]}; classes with moments, {', '.join(map(str, classes))}, are"
            " allowed"
        )
    places = {
        y: [b for b, label in enumerate(labels) if label == y] for y in dict.fromkeys(labels)
    }
    runs = {y: launch(entry, grid, model(y), classes[y], x[at], **how) for y, at in places.items()}
    order = torch.tensor([b for at in places.values() for b in at], device=x.device).argsort()

    def joined(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts))[order]

    found = list(runs.values())
    states = tuple(joined(s) for s in zip(*(r.states for r in found), strict=True))
    landing = joined([r.landing for r in found])
    return replace(found[0], x=joined([r.x for r in found]), states=states, landing=landing)
