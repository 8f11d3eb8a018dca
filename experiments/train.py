"""Train a score network into a folder, stop at any moment, go on with it."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch

from experiments.datamodules import Part, Pictures
from experiments.folder import Folder
from experiments.lightning import Interrupt, quiet
from experiments.loading import load_trained, with_label
from experiments.module import ScoreModule
from experiments.terminal import Tick
from experiments.training import Training, moments_of
from experiments.validation import denoising_errors

__all__ = ["commanded", "load_trained", "train", "with_label"]
CARRIED = (
    "batch",
    "seed",
    "target",
    "residual",
    "backbone",
    "widths",
    "depth",
    "rate",
    "half_life",
    "dropout",
    "every",
    "threads",
)
"""Options that the card's command repeats."""


@dataclass(frozen=True)
class Outcome:
    """What a call of `train` leaves: the folder, its curve, and whether it reached the end."""

    folder: Path
    rows: list[dict[str, Any]]
    finished: bool


def train(
    training: Training,
    out: str | Path,
    *,
    resume: bool = False,
    data: Pictures | None = None,
    command: str | None = None,
    minutes: float | None = None,
    threads: int | None = None,
    snapshots: bool = False,
    progress: Tick | None = None,
) -> Outcome:
    """Train into ``out``, or go on there; the same weights either way, on one CPU.

    Args:
        training: the recipe; with ``resume`` the one that ``out`` was begun with.
        out: see `folder`. New or empty, unless ``resume``.
        resume: go on from the last state; from the start where there is none yet.
        data: the pictures, where they are there already; else ``training.data``.
        command: the line that asked for it, for the card.
        minutes: stop at the first row after so many; a later call goes on.
        threads: of torch, meanwhile; sums are the same only for the same number.
        snapshots: keep the averaged weights of every row, for studies of training time.
        progress: called after every step.

    Raises:
        ValueError: the folder holds something else, its recipe or data are not these, a file in
            it is damaged, the data are missing; or the loss stops being finite, and then nothing
            of the last stretch is kept.
    """
    folder = Folder(Path(out))
    _check_place(folder, resume)
    if minutes is not None and not minutes >= 0:
        raise ValueError(f"minutes: got {minutes}; a number >= 0 is allowed")
    data = data or training.module()
    data.setup()
    if folder.begun:
        _check_same(folder, training, data)
    else:
        _begin(folder, training, data, command)
    folder.sweep()
    learning = ScoreModule(folder.network(), training, len(data.names) if training.labels else 0)
    if folder.unfinished:
        learning.restore(*folder.state())
    elif folder.finished(training.steps):
        return Outcome(folder.place, folder.rows(), finished=True)
    rows = folder.rows(learning.step * training.batch)
    data.begin(batch=training.batch, seed=training.seed, first=learning.step, last=training.steps)
    keeper = Keeper(folder, data.validation, rows, minutes, snapshots, progress)
    if learning.step == training.steps:
        folder.keep(learning, rows, done=True)
    else:
        with _threads(threads):
            _fit(learning, data, keeper)
    return Outcome(folder.place, rows, finished=learning.step == training.steps)


def commanded(options: Mapping[str, Any], *, progress: Tick | None = None) -> Outcome:
    """`train` as the command line asks for it: what is None is the folder's, or the default.

    Raises:
        ValueError: as `train`; or neither a folder to resume nor data and images are named.
    """
    names = {f.name for f in fields(Training)}
    given = {k: v for k, v in options.items() if k in names and v is not None}
    folder = Folder(Path(options["out"]))
    if options["resume"] and folder.begun:
        training = replace(folder.training(), **given)
    elif "data" in given and "images" in given:
        training = Training.suited(**given)
    else:
        raise ValueError("train: --data and --images are needed, or --resume of a folder begun")
    how = {name: options[name] for name in ("out", "resume", "minutes", "threads", "snapshots")}
    return train(training, command=_line(training, options), progress=progress, **how)


def _line(training: Training, options: Mapping[str, Any]) -> str:
    """The command that begins this training anywhere: its data without the folders above them."""
    spelled = ["scoreproof", "train", "--data", Path(training.data).name]
    for name in ("images", *CARRIED):
        if options.get(name) is not None:
            value = options[name]
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            spelled += [f"--{name.replace('_', '-')}", text]
    spelled += ["--no-labels"] * (options.get("labels") is False)
    spelled += ["--pad"] * bool(options.get("pad"))
    return shlex.join(spelled)


class Keeper(pl.Callback):
    """Measures, keeps and stops: a row and a state every ``every`` images, and at the end."""

    def __init__(
        self,
        folder: Folder,
        validation: Part,
        rows: list[dict[str, Any]],
        minutes: float | None,
        snapshots: bool,
        progress: Tick | None,
    ) -> None:
        self.folder, self.validation, self.rows = folder, validation, rows
        self.minutes, self.snapshots, self.progress = minutes, snapshots, progress
        self.before = rows[-1]["seconds"] if rows else 0.0
        self.began = time.monotonic()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """After every step."""
        learning = cast(ScoreModule, pl_module)
        recipe, step = learning.recipe, learning.step
        stride, done = max(1, recipe.every // recipe.batch), step == recipe.steps
        if step % stride == 0 or done:
            self._row(learning, done)
            spent = (time.monotonic() - self.began) / 60
            trainer.should_stop = self.minutes is not None and spent >= self.minutes
        if self.progress is not None:
            last = f"loss {self.rows[-1]['loss']:.4f}" if self.rows else "begun"
            self.progress(step * recipe.batch, recipe.steps * recipe.batch, last)

    def _row(self, learning: ScoreModule, done: bool) -> None:
        recipe = learning.recipe
        seen = learning.step * recipe.batch
        loss = float(torch.stack(learning.losses).mean())
        learning.losses.clear()
        errors = denoising_errors(learning.average, self.validation, null=learning.classes)
        if not (math.isfinite(loss) and all(map(math.isfinite, errors.values()))):
            raise ValueError(
                f"rate: got {recipe.rate}, and the loss before image {seen} is not finite;"
                " nothing since the last row was kept, and a smaller one is allowed"
            )
        self.rows.append(
            {
                "images": seen,
                "loss": loss,
                "rate": recipe.rate_at(learning.step - 1),
                "validation": errors,
                "seconds": round(self.before + time.monotonic() - self.began, 1),
            }
        )
        self.folder.keep(learning, self.rows, done=done, snapshot=self.snapshots)


def _check_place(folder: Folder, resume: bool) -> None:
    place = folder.place
    if place.exists() and not place.is_dir():
        raise ValueError(f"out: got {str(place)!r}, which is a file; a folder is allowed")
    if resume and not place.is_dir():
        raise ValueError(
            f"out: got {str(place)!r}, which is no folder; that of a training is allowed"
        )
    if not resume and place.is_dir() and any(place.iterdir()):
        raise ValueError(
            f"out: got {str(place)!r}, which is not empty; a new folder, or resume, is allowed"
        )


def _check_same(folder: Folder, training: Training, data: Pictures) -> None:
    """The card's recipe, field by field, and the card's pixels."""
    stored, asked = folder.training().to_json(), training.to_json()
    for name, value in stored.items():
        if asked[name] != value:
            raise ValueError(
                f"{name}: got {asked[name]!r}; {value!r}, as in {folder.place}, is allowed"
            )
    before, now = folder.card()["data"], data.provenance()
    for name, value in now.items():
        if before.get(name) != value:
            raise ValueError(
                f"data: {name} is {value!r}; {before.get(name)!r}, as in {folder.place}, is"
                " allowed"
            )


def _begin(folder: Folder, training: Training, data: Pictures, command: str | None) -> None:
    deviation = float(data.training[slice(None)][0].double().std(correction=0))
    if not deviation > 0:
        raise ValueError("source: all pixels are equal; a standard deviation > 0 is allowed")
    folder.begin(
        training,
        config=training.config(data),
        deviation=deviation,
        moments=moments_of(data.training) if training.residual else None,
        data=data.provenance(),
        command=command,
    )


def _fit(learning: ScoreModule, data: Pictures, keeper: Keeper) -> None:
    interrupt = Interrupt()
    with quiet(interrupt):
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
            max_epochs=1,
            gradient_clip_val=learning.recipe.clip,
            limit_val_batches=0,
            callbacks=[keeper, interrupt],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(learning, datamodule=data)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
