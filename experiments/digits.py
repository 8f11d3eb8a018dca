r"""A score network trained on scikit-learn's 8 x 8 digits, in seconds and the same on every call.

One thread, fixed draws, Adam with a warm-up and a cosine to zero. The weights are kept in the
user's cache folder under a hash of the pixels, the recipe, the sources and torch's version.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments import cache, networks
from experiments.data import load_images
from experiments.networks import EDMScaling, Learned, LogNormal, Preconditioned, ResidualMLP
from experiments.terminal import Tick
from gaussian_score.moments import finite

LOSSES = "losses"
WARM_UP = 100
"""Steps over which the rate rises."""
TOLD = 50
"""Steps between two calls of progress."""


@dataclass(frozen=True)
class Recipe:
    """Everything a training depends on besides the data.

    Attributes:
        width, depth: of the network, see `ResidualMLP`.
        steps, batch: gradient steps, and samples in each.
        rate: Adam's largest.
        levels: noise levels are drawn from it. EDM's own reach 80 once in 600 000 draws, these
            once in 700, since what is studied are large levels.
        seed: of the network's start and of all draws.
    """

    width: int = 128
    depth: int = 2
    steps: int = 2000
    batch: int = 256
    rate: float = 4e-3
    levels: LogNormal = field(default_factory=lambda: LogNormal(-0.4, 1.6))
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "depth", "steps", "batch", "seed"):
            value, least = getattr(self, name), int(name != "seed")
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}; an integer >= {least} is allowed")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate is {self.rate!r}; a finite number > 0 is allowed")


@dataclass(frozen=True, eq=False)
class Trained:
    """The network, the loss of every step, and what both come from."""

    denoiser: Learned
    losses: np.ndarray
    provenance: dict[str, Any]


def digits_denoiser(
    recipe: Recipe | None = None, *, progress: Tick | None = None
) -> tuple[Learned, np.ndarray]:
    """The trained network and its data, (N, 64) in [-1, 1]."""
    points = digits()
    return trained(points, recipe or Recipe(), progress=progress).denoiser, points


def digits() -> np.ndarray:
    """The images as vectors, (1797, 64), float64 in [-1, 1]."""
    pixels = load_images("digits").pixels
    return pixels.reshape(len(pixels), -1)


def trained(points: np.ndarray, recipe: Recipe, *, progress: Tick | None = None) -> Trained:
    """`train`, or what the cache has of it."""
    points = _points(points)
    law = {
        "recipe": asdict(recipe),
        "sha256": hashlib.sha256(repr(points.shape).encode() + points.tobytes()).hexdigest(),
        "sources": [_source(module) for module in (networks.__file__, __file__)],
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),  # sums in another order
    }
    file = cache.place("network", law)
    net = network(points, recipe)
    kept = cache.load(file, (*net.state_dict(), LOSSES))
    if kept is not None and _fits(net, kept[0], recipe):
        arrays, provenance = kept
        losses = arrays.pop(LOSSES)
        net.load_state_dict({name: torch.tensor(a) for name, a in arrays.items()})
        return Trained(Learned(net.eval()), losses, provenance)
    denoiser, losses = train(points, recipe, progress=progress)
    weights = {name: w.numpy() for name, w in denoiser.net.state_dict().items()}
    cache.store(file, {**weights, LOSSES: losses}, law)
    return Trained(denoiser, losses, law)


def network(points: np.ndarray, recipe: Recipe) -> Preconditioned:
    """The network before its training, float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        backbone = ResidualMLP(points.shape[1], width=recipe.width, depth=recipe.depth)
    return Preconditioned(backbone, EDMScaling(float(points.std())))


def train(
    points: np.ndarray, recipe: Recipe, *, progress: Tick | None = None
) -> tuple[Learned, np.ndarray]:
    """The network trained on points (N, D) from the start, and the loss of every step, (steps,).

    Raises:
        ValueError: points of another shape, not finite, or all equal; or the loss stops being
            finite.
    """
    points = _points(points)
    data, net = torch.tensor(points, dtype=torch.float32), network(points, recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: _rate(k, recipe.steps))
    losses = np.empty(recipe.steps, dtype=np.float32)
    with _one_thread():
        for k in range(recipe.steps):
            loss = networks.edm_loss(net, *_draw(data, recipe, generator))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses[k] = loss.item()
            if not math.isfinite(losses[k]):
                raise ValueError(f"rate is {recipe.rate}, and the loss of step {k} is not finite")
            if progress and ((k + 1) % TOLD == 0 or k + 1 == recipe.steps):
                progress(
                    k + 1, recipe.steps, f"loss {losses[max(0, k - TOLD) : k + 1].mean():.3f}"
                )
    return Learned(net.eval()), losses


def _draw(
    data: Tensor, recipe: Recipe, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch x₀, (B, D), its noise levels, (B,), and its noise."""
    x0 = data[torch.randint(len(data), (recipe.batch,), generator=generator)]
    sigma = recipe.levels.sample(recipe.batch, generator=generator)
    return x0, sigma, torch.randn(x0.shape, generator=generator)


def _rate(k: int, steps: int) -> float:
    """A rise over the first steps times half a cosine."""
    return min(1, (k + 1) / WARM_UP) * (1 + math.cos(math.pi * k / steps)) / 2


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in another order are other numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fits(net: Preconditioned, arrays: dict[str, np.ndarray], recipe: Recipe) -> bool:
    """Whether arrays of the right names are weights of this network, and finite."""
    shapes = {name: tuple(w.shape) for name, w in net.state_dict().items()}
    shapes[LOSSES] = (recipe.steps,)
    return all(
        arrays[name].shape == shape
        and arrays[name].dtype == np.float32
        and bool(np.isfinite(arrays[name]).all())
        for name, shape in shapes.items()
    )


def _points(points: np.ndarray) -> np.ndarray:
    points = finite("points", points)
    if points.ndim != 2 or not points.size:
        raise ValueError(f"points have shape {points.shape}; (N, D) is allowed")
    if not points.std() > 0:
        raise ValueError("points are all equal; a standard deviation > 0 is allowed")
    return points


def _source(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
