"""What a recipe needs, and whether what is given is that.

A checkpoint is refused where its numbers would be another network's: another architecture, another
shape, prediction, schedule or number of classes. Another number of parameters is said, not
refused: a network of other widths still runs the recipe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.checkpoints.checkpoint import ARCHITECTURES
from experiments.checkpoints.configured import configured
from experiments.reproduce.recipe import Cell, Network, Recipe, networks
from experiments.reproduce.setting import levels
from experiments.sampling.source import Source, opened
from solvers.denoiser import Network as Predicting
from solvers.schedules import VPLinear
from solvers.statistics import UNEVEN, Table

TOKENS = 77
"""Of a text as Stable Diffusion reads it."""


def wanted(recipe: Recipe, cells: Iterable[Cell]) -> list[str]:
    """What to get, one thing a line."""
    n, cells = recipe.network, tuple(cells)
    count = parameters(n.name)
    said = f", published as {n.parameters}" if n.parameters else ""
    lines = [
        f"--checkpoint: {n.file} of {n.project}; licence {n.licence}",
        f"  {n.architecture} of {count} parameters{said} ({4 * count / 1e6:.0f} MB in float32),"
        f" {n.predicts} of {'latents' if n.latent else 'images'} {list(n.shape)} on {n.schedule}",
    ]
    if n.classifier:
        lines.append(f"--classifier: {n.classifier} of {n.project}")
    tables = sorted({(c.statistics.nodes, c.statistics.points) for c in cells if c.statistics})
    for nodes, points in tables:
        shown = ", ".join(sorted({c.shown for c in cells if _of(c, nodes)}))
        lines.append(
            f"--stats ({shown}): l.npz and sb.npz of thu-ml/DPM-Solver-v3 for this network with"
            f" {nodes} intervals of {points} samples, made one file by `scoreproof convert`"
        )
    if any(c.moments for c in cells):
        lines.append(
            f"--stats: moments of {recipe.data}, from `scoreproof teleport --data .. --save ..`"
        )
    if recipe.metric == "FID":
        lines.append(f"--data: {recipe.data}: images, or their mu and sigma in a .npz")
        lines.append("--inception: weights of the Inception network of FID")
    if n.text:
        lines.append(
            f"--prompts: {recipe.data}, one a line, for a folder with its text encoder; or"
            f" --embeddings: their float tensors [N, {TOKENS}, {n.text}] and null [1, ..]"
        )
    return lines


def _of(cell: Cell, nodes: int) -> bool:
    return cell.statistics is not None and cell.statistics.nodes == nodes


@cache
def parameters(name: str) -> int:
    """How many the published network of a checkpoint has, counted without memory."""
    return sum(p.numel() for p in published(networks()[name]).parameters())


def published(n: Network) -> nn.Module:
    """The network as published, on the device meta."""
    return configured(n.config).shapes() if n.config else _made(n.architecture, n.arguments)


def _made(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return ARCHITECTURES[architecture](**arguments)


def given(recipe: Recipe, path: str, stats: Sequence[str] = ()) -> Given:
    """The checkpoint of a place, which is that of the recipe, and its statistics.

    Raises:
        ValueError: another network, statistics of another one, or two files for one use.
    """
    weights_alone = Path(path).is_file() and Path(path).suffix != ".pkl"
    config = recipe.network.config if weights_alone else None
    source = opened(path, config=config)
    check(recipe.network, source)
    tables: list[tuple[str, Source]] = []
    moments = None
    for file in stats:
        read = opened(path, config=config, statistics=file)
        held = file, replace(source, moments=read.moments, statistics=read.statistics)
        if isinstance(read.moments, Table):
            tables.append(held)
        elif moments is not None:
            raise ValueError("--stats: got two files of moments; one is allowed")
        else:
            moments = held
    return Given(path, source, tuple(tables), moments)


def check(n: Network, source: Source) -> None:
    """Whether a checkpoint is of the kind that the recipe's is; widths and weights may differ.

    Raises:
        ValueError: it is not; the first thing that differs is named.
    """
    kinds = _kinds(n.name)
    if _kind(source.module) not in kinds:
        raise ValueError(
            f"--checkpoint: architecture is {_kind(source.module)}; {' or '.join(kinds)}, of"
            f" {n.file}, is allowed"
        )
    found = {
        "shape": (list(source.shape), list(n.shape)),
        "classes": (source.classes, n.classes),
        "text": (source.context > 0, n.text is not None),
    }
    for name, (got, allowed) in found.items():
        if got != allowed:
            raise ValueError(f"--checkpoint: {name} is {got}; {allowed}, of {n.file}, is allowed")
    predicts = getattr(source.denoiser(_condition(source)), "predicts", "denoised")
    if predicts != n.predicts:
        raise ValueError(
            f"--checkpoint: predicts is {predicts!r}; {n.predicts!r}, of {n.file}, is allowed"
        )
    if source.schedule.name != n.schedule:
        raise ValueError(
            f"--checkpoint: schedule is {source.schedule.name!r}; {n.schedule!r}, of {n.file}, is"
            " allowed"
        )


@cache
def _kinds(name: str) -> tuple[str, ...]:
    """Of the published network, and of the same one in diffusers."""
    n = networks()[name]
    also = (_kind(_made(n.also, n.arguments)),) if n.also else ()
    return _kind(published(n)), *also


def _kind(module: nn.Module) -> str:
    """The class, and that of the U-Net inside EDM's scaling."""
    inner = getattr(module, "model", None)
    own = type(module).__name__
    return f"{own} of {type(inner).__name__}" if isinstance(inner, nn.Module) else own


def _condition(source: Source) -> Tensor | None:
    if source.context:
        return torch.zeros(1, TOKENS, source.context)
    return torch.zeros(1, dtype=torch.int64) if source.classes else None


def caveats(recipe: Recipe, source: Source) -> list[str]:
    """In what the checkpoint is not the published one, as far as its numbers say."""
    got = sum(p.numel() for p in source.module.parameters())
    count = parameters(recipe.network.name)
    return [f"the network has {got} parameters, the paper's {count}"] if got != count else []


@dataclass(frozen=True, eq=False)
class Given:
    """A checkpoint, and with each statistics that were given: its file and the same network."""

    path: str
    source: Source
    tables: tuple[tuple[str, Source], ...]
    """Of the model."""
    moments: tuple[str, Source] | None = None

    def through(self, change: Callable[[Source], Source]) -> Given:
        """The same with every checkpoint changed."""
        tables = tuple((file, change(source)) for file, source in self.tables)
        moments = self.moments and (self.moments[0], change(self.moments[1]))
        return replace(self, source=change(self.source), tables=tables, moments=moments)

    def of(self, cell: Cell) -> tuple[str | None, Source]:
        """The file of statistics and the checkpoint that a cell's run needs.

        Raises:
            Missing: statistics that were not given.
        """
        if cell.statistics and cell.moments:
            raise Missing("needs statistics of the model and of the data in one run")
        if cell.statistics:
            low, high = levels(cell, self.source.schedule)
            nodes = cell.statistics.nodes
            for file, source in self.tables:
                if _fits(source.moments, nodes, low, high):
                    return file, source
            raise Missing(
                f"needs --stats with {nodes} intervals from σ/α = {high:.4g} to {low:.4g}"
            )
        if cell.moments:
            if self.moments is None:
                raise Missing("needs --stats with moments of the data")
            return self.moments
        return None, self.source


def _fits(known: Any, nodes: int, low: float, high: float) -> bool:
    """Whether a table has so many intervals between these levels."""
    first, last = (float(known.lam[i]) for i in (0, -1))
    slack = UNEVEN * (last - first) / nodes
    ends = abs(first + math.log(high)), abs(last + math.log(low))
    return len(known.lam) == nodes + 1 and max(ends) <= slack


class Missing(Exception):
    """Why a cell is not measured."""


def adapted(cell: Cell, source: Source) -> Source:
    """The checkpoint on the schedule of the cell.

    A network of N whole times on VP-linear sees the label max(N t − 1, 0), as SciRE's code has it.
    """
    if cell.schedule is None or source.free:
        return source
    s = VPLinear(**{k: v for k, v in cell.schedule.items() if k != "name"})
    steps = getattr(source.schedule, "steps", 1000)
    own = source.bind

    def bind(module: nn.Module, condition: Tensor | None) -> Any:
        net = own(module, condition)
        assert isinstance(net, Predicting)
        return replace(net, schedule=s, label=Whole(steps))

    return replace(source, schedule=s, bind=bind, digest=f"{source.digest} on {s!r}")


@dataclass(frozen=True)
class Whole:
    """t in (0, 1] to the label max(N t − 1, 0)."""

    steps: int

    def __call__(self, t: Any) -> Any:
        """The label."""
        value = self.steps * t - 1
        return value.clamp(min=0) if isinstance(value, Tensor) else max(value, 0.0)
