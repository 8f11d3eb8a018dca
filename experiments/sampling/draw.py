r"""One batch of images, each from its own seed.

    x_T = σ(T) n₀,    ξ_k = n_k,    n₀, n₁, .. the standard normal draws of the seed's generator

on the CPU, in float64. Nothing else of an image is random, and no other image enters: a batch
shares its network calls, whose sums may round differently in another company, and adaptive
methods choose the steps of every image alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from experiments.sampling.job import Job
from experiments.sampling.plans import Way, entry_of, schedule_of, ways
from experiments.sampling.source import Source
from experiments.sampling.tuning import tune
from experiments.terminal import Tick
from solvers.basis import InBasis
from solvers.denoiser import Denoiser
from solvers.method import Entry
from solvers.sample import NotFinite, normals, sample, sample_adaptive
from solvers.trajectory import Trajectory

STATES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A job with all that does not depend on the seeds."""

    job: Job
    source: Source
    entry: Entry
    ways: Mapping[Hashable, Way]
    """By class; the key None where all images have the same."""
    labels: tuple[int, ...] | None
    landing: float | None
    """The level of the teleport, where there is one."""

    def labels_of(self, seeds: Sequence[int]) -> Tensor | None:
        """The classes of these images, (B,), int64."""
        if self.labels is None:
            return None
        return torch.tensor([self.labels[i % len(self.labels)] for i in seeds])

    def to(self, device: Any) -> Prepared:
        """The same where the network runs."""
        placed = {
            k: replace(w, frame=None if w.frame is None else w.frame.to(device))
            for k, w in self.ways.items()
        }
        return replace(self, source=self.source.to(device), ways=placed)


@dataclass(frozen=True, eq=False)
class Drawn:
    """One batch, on the device of the network.

    Attributes:
        x: final states, (B, ...), in the dtype of the job's state.
        nfe: evaluations of the model for each image, (B,), int64; guidance counts once.
        entropy: what the landing shows of each image, nats, (B,); None without teleport.
    """

    x: Tensor
    nfe: Tensor
    entropy: Tensor | None


def prepared(
    job: Job, source: Source, *, landing: float | None = None, progress: Tick | None = None
) -> Prepared:
    """The plans of a job, and its network in the precision and the layout asked for.

    Args:
        job: see `job`.
        source: the checkpoint.
        landing: the level of ``teleport="auto"``, where it is known.
        progress: called while it is found.

    Raises:
        ValueError: a method, grid, option, class or level that there is not.
    """
    from experiments.sampling.level import automatic

    source = source.on(schedule_of(job, source))
    entry = entry_of(job)
    labels = _labels(job, source)
    if job.teleport != "auto":
        landing = None if job.teleport is None else float(job.teleport)
    elif landing is None:
        landing = automatic(job, source, progress)
    made = ways(job, source, entry, landing, labels)
    tuned = replace(source, module=tune(source.module, job))
    return Prepared(job, tuned, entry, made, labels, landing)


def _labels(job: Job, source: Source) -> tuple[int, ...] | None:
    if job.labels is None:
        return None
    labels = tuple(range(source.classes)) if job.labels == "cycle" else job.labels
    for k in labels or ("cycle",):
        if not (isinstance(k, int) and 0 <= k < source.classes):
            allowed = f"0 to {source.classes - 1}" if source.classes else "none"
            raise ValueError(
                f"labels: got {k!r}; {allowed} of the checkpoint's {source.classes} classes is"
                " allowed"
            )
    return tuple(int(k) for k in labels)


def start(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """n₀ of every seed, (B, *shape), float64 on the CPU."""
    return normals(list(seeds), torch.empty(len(seeds), *shape, dtype=torch.float64))()


def draw(p: Prepared, seeds: Sequence[int], condition: Tensor | None = None) -> Tensor:
    """The images of these seeds, (B, C, H, W), float32; ``condition`` instead of the labels."""
    return p.source.decode(run(p, seeds, condition=condition).x.float()).float()


@torch.no_grad()
def run(
    p: Prepared,
    seeds: Sequence[int],
    *,
    noise: Tensor | None = None,
    condition: Tensor | None = None,
) -> Drawn:
    """The same before they are decoded; ``noise`` is `start` of the seeds, where it is there.

    Raises:
        ValueError: the network gives a value that is not finite; seed and step are named.
    """
    device = next(p.source.module.parameters()).device
    noise = start(seeds, p.source.shape) if noise is None else noise
    noise = sent(noise, device)
    condition = p.labels_of(seeds) if condition is None else condition
    places: dict[Hashable, list[int]] = {}
    for b in range(len(seeds)):
        key = None if None in p.ways else int(condition[b])  # type: ignore[index]
        places.setdefault(key, []).append(b)
    each = p.entry.controller is not None
    groups = [(k, g) for k, at in places.items() for g in ([[b] for b in at] if each else [at])]
    found = [_group(p, p.ways[k], at, seeds, noise, condition) for k, at in groups]
    order = torch.tensor([b for _, at in groups for b in at], device=device).argsort()

    def joined(parts: list[Tensor]) -> Tensor:
        return parts[0] if len(parts) == 1 else torch.cat(parts)[order]

    entropy = [t.entropy for t in found if t.entropy is not None]
    nfe = [torch.full((len(t.x),), t.nfe, device=device) for t in found]
    return Drawn(joined([t.x for t in found]), joined(nfe), joined(entropy) if entropy else None)


def _group(
    p: Prepared,
    way: Way,
    at: list[int],
    seeds: Sequence[int],
    noise: Tensor,
    condition: Tensor | None,
) -> Trajectory:
    """Images of one way."""
    whole = len(at) == len(noise)
    mine = [seeds[b] for b in at]
    state = STATES[p.job.state]
    n = noise if whole else noise[at]
    model = p.source.denoiser(
        condition if whole or condition is None else condition[at], scale=p.job.guidance
    )
    top = way.teleport.start if way.teleport else way.grid.points[0]
    x = (float(top.sigma) * n).to(state)
    if way.frame is not None:
        x, model = way.frame.coordinates(x), InBasis(model, way.frame)  # type: ignore[arg-type]
    try:
        done = _run(p, way, model, x, mine)
    except NotFinite as error:
        raise ValueError(f"seed {mine[error.sample]}, step {error.step}: {error}") from None
    except ValueError as error:
        raise ValueError(f"seeds {mine[0]} to {mine[-1]}: {error}") from None
    return done if way.frame is None else replace(done, x=way.frame.states(done.x))


def _run(p: Prepared, way: Way, model: Denoiser, x: Tensor, seeds: Sequence[int]) -> Trajectory:
    job = p.job
    if way.plan is None:
        how = {"teleport": way.teleport, "finish": job.finish, **job.options}
        return sample_adaptive(p.entry, way.grid, model, x, state=x.dtype, **how).trajectory
    noise = _noise(seeds, x) if way.plan.noisy else None
    return sample(way.plan, model, x, noise=noise, state=x.dtype)


def _noise(seeds: Sequence[int], like: Tensor) -> Callable[[], Tensor]:
    """n₁, n₂, .. of every seed, in the shape of ``like``."""
    draws = normals(seeds, torch.empty(like.shape, dtype=torch.float64))
    draws()
    return lambda: sent(draws(), like.device).to(like.dtype)


def sent(x: Tensor, device: torch.device) -> Tensor:
    """x on the device, without waiting for what the device is doing."""
    if device.type != "cuda" or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
