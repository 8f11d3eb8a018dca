"""Runs of a recipe's cells: paper, measured, difference.

What a recipe needs is checked before anything is drawn. A cell whose statistics were not given, or
whose setting is not published, stays empty and says why.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.reproduce.need import Given, Missing, adapted, caveats, given, wanted
from experiments.reproduce.recipe import Cell, Recipe
from experiments.reproduce.setting import job_of
from experiments.sampling.job import Job
from experiments.sampling.source import Source
from experiments.terminal import Stage, silent


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was given for a recipe; see ``command`` for each."""

    checkpoint: str | None = None
    stats: tuple[str, ...] = ()
    images: int | None = None
    batch: int = 64
    out: str | None = None
    nfe: tuple[int, ...] = ()
    rows: tuple[str, ...] = ()
    inception: str | None = None
    data: str | None = None
    extractor: str = "inception"
    prompts: str | None = None
    embeddings: str | None = None
    classifier: str | None = None
    converged: int = 0


USED = {
    "FID": ("data", "inception", "extractor", "out"),
    "latent MSE": ("prompts", "embeddings", "converged"),
    "images per second": (),
}
"""Options by the metric that they are of."""


@dataclass(frozen=True)
class Line:
    """One cell: the paper's number, ours, and what else was found or why there is none."""

    shown: str
    nfe: int
    paper: float
    sure: str
    measured: float | None = None
    why: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    same: bool = True
    """Whether the paper's metric was measured."""

    @property
    def difference(self) -> float | None:
        """Measured minus paper; None of another metric than the paper's."""
        return self.measured - self.paper if self.same and self.measured is not None else None


@dataclass(frozen=True)
class Report:
    """All that a call answers."""

    recipe: Recipe
    lines: tuple[Line, ...]
    metric: str
    images: int | None
    notes: tuple[str, ...]
    needed: tuple[str, ...] = ()


def reproduce(recipe: Recipe, asked: Asked, *, stage: Stage = silent) -> Report:
    """The recipe with what is there.

    Raises:
        ValueError: something given does not fit the recipe.
    """
    _fitting(recipe, asked)
    cells = recipe.chosen(nfe=asked.nfe, rows=asked.rows)
    notes = tuple(dict.fromkeys(n for n in (recipe.note, *(c.note for c in cells)) if n))
    if asked.checkpoint is None:
        if asked.stats:
            raise ValueError(f"--stats: got {asked.stats[0]!r}; it is allowed with --checkpoint")
        empty = tuple(_line(c, why=c.blocked) for c in cells)
        return Report(recipe, empty, recipe.metric, None, notes, tuple(wanted(recipe, cells)))
    images = asked.images or recipe.images
    held = given(recipe, asked.checkpoint, asked.stats)
    said = [*notes, *caveats(recipe, held.source), *_few(recipe, images)]
    kinds = {"FID": _pictures, "latent MSE": _latents, "images per second": _speed}
    lines, metric, more = kinds[recipe.metric](Work(recipe, cells, held, asked, images, stage))
    found = tuple(replace(line, same=metric == recipe.metric) for line in lines)
    return Report(recipe, found, metric, images, (*said, *more))


def _fitting(recipe: Recipe, asked: Asked) -> None:
    """Whether all that is given has a use in the recipe."""
    uses = {*USED[recipe.metric], *(["classifier"] if recipe.network.classifier else [])}
    for name in dict.fromkeys(["classifier", *(n for names in USED.values() for n in names)]):
        value = getattr(asked, name)
        if value != getattr(Asked(), name) and name not in uses:
            raise ValueError(
                f"--{name}: got {value!r}; it has no use in {recipe.name}, where"
                f" {', '.join(sorted(f'--{n}' for n in uses)) or 'none of its kind'} are allowed"
            )
    if asked.prompts is not None and asked.embeddings is not None:
        raise ValueError(
            f"--embeddings: got {asked.embeddings!r} beside --prompts; one of them is allowed"
        )


def _few(recipe: Recipe, images: int) -> list[str]:
    if images >= recipe.images:
        return []
    bias = "; FID of fewer images is larger" if recipe.metric == "FID" else ""
    return [f"{images} images, the paper has {recipe.images}{bias}"]


def _line(cell: Cell, **found: Any) -> Line:
    return Line(cell.shown, cell.nfe, cell.paper, cell.sure, **found)


@dataclass(frozen=True)
class Work:
    """What is measured, of what, and with what was given."""

    recipe: Recipe
    cells: tuple[Cell, ...]
    held: Given
    asked: Asked
    images: int
    stage: Stage

    def job(self, cell: Cell, source: Source, options: dict[str, Any], file: str | None) -> Job:
        """A run of a cell."""
        return job_of(
            self.recipe,
            cell,
            source,
            self.held.path,
            options,
            images=self.images,
            batch=min(self.asked.batch, self.images),
            file=file,
        )


Found = tuple[list[Line], str, list[str]]
One = Callable[[Cell, Source, dict[str, Any], str | None], tuple[float, dict[str, Any]]]
"""A run of a cell with these options and statistics: its figure, and what else it found."""


def _each(work: Work, one: One) -> list[Line]:
    """Every cell's best run."""
    lines = []
    for cell in work.cells:
        try:
            if cell.blocked:
                raise Missing(cell.blocked)
            file, source = work.held.of(cell)
        except Missing as error:
            lines.append(_line(cell, why=str(error)))
            continue
        source = adapted(cell, source)
        runs = [one(cell, source, options, file) for options in cell.variants()]
        best, more = min(runs, key=lambda run: run[0])
        lines.append(_line(cell, measured=best, more={"calls": cell.made, **more}))
    return lines


def _pictures(work: Work) -> Found:
    from experiments.reproduce.measures import distance
    from experiments.sampling.engine import sample_set

    with work.stage("data") as tick:
        measure = distance(
            work.asked.extractor,
            work.recipe,
            data=work.asked.data,
            images=work.images,
            weights=work.asked.inception,
            progress=tick,
        )
    if work.recipe.network.classifier:
        from experiments.reproduce.classifier import guided

        scale = work.recipe.guidance or 0.0
        guide = guided(work.asked.classifier, scale, work.recipe.network)
        work = replace(work, held=work.held.through(guide))

    def one(cell: Cell, source: Source, options: dict[str, Any], file: str | None) -> Any:
        job = work.job(cell, source, options, file)
        with _place(work.asked.out, cell, options) as place:
            with work.stage(f"{cell.shown}, {cell.nfe} calls") as tick:
                sample_set(job, place, source=source, devices=1, progress=tick)
                return measure.of(place, work.images, tick), {}

    return _each(work, one), measure.name, measure.notes(work.images)


def _latents(work: Work) -> Found:
    from experiments.reproduce.latent_mse import Bench, encoded, spoken, stored

    if work.asked.embeddings is not None:
        texts = stored(work.asked.embeddings)
    elif work.asked.prompts is not None:
        texts = encoded(work.asked.prompts, work.held.path)
    else:
        raise ValueError("--prompts: got none; --prompts or --embeddings is needed")
    width, taken = texts.prompt.shape[2], work.held.source.context
    if width != taken:
        raise ValueError(
            f"--embeddings: got {width} numbers a token; {taken}, as the network takes, is allowed"
        )
    work = replace(work, held=work.held.through(lambda source: spoken(source, texts)))
    with work.stage("reference") as tick:
        bench = Bench.made(
            work.recipe,
            work.held.source,
            texts,
            images=work.images,
            batch=work.asked.batch,
            exact=min(work.asked.converged, work.images),
            progress=tick,
        )

    def one(cell: Cell, source: Source, options: dict[str, Any], file: str | None) -> Any:
        with work.stage(f"{cell.shown}, {cell.nfe} calls") as tick:
            near, exact = bench.errors(cell, source, options, file, tick)
        return near, {} if exact is None else {"to the converged flow": exact}

    own = bench.of_reference()
    notes = []
    if own is not None:
        apart, error = own
        notes.append(
            f"over the first {len(bench.seen)} images the paper's reference is {apart:.3g} from"
            f" the converged flow, whose own error is {error:.3g}"
        )
    return _each(work, one), work.recipe.metric, notes


def _speed(work: Work) -> Found:
    from experiments.reproduce.throughput import device_name, throughput

    def one(cell: Cell, source: Source, options: dict[str, Any], file: str | None) -> Any:
        job = work.job(cell, source, options, file)
        with work.stage(cell.shown) as tick:
            speed = throughput(job, source, progress=tick)
        return speed.rate, speed.shares()

    return _each(work, one), work.recipe.metric, [f"on {device_name(work.held.source)}"]


@contextmanager
def _place(out: str | None, cell: Cell, options: dict[str, Any]) -> Iterator[Path]:
    """Where the images of a run lie: kept below ``out``, else gone after they are measured."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="scoreproof-") as name:
            yield Path(name) / "images"
    else:
        words = "".join(c if c.isalnum() else "-" for c in cell.shown)
        changed = "".join(f"-{options[k]}" for k in sorted(set().union(*cell.best)))
        yield Path(out) / f"{words}-{cell.nfe}{changed}"
