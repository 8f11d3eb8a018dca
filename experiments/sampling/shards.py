"""A folder of images: one file a batch of absolute index, each whole or not there at all.

    run.json        what decides the images: job, plans' hashes, digests; and the versions
    plans.json      the plans; empty for methods that find their steps as they go
    shards/N.safetensors    images (B, C, H, W) float32, seeds (B,), nfe (B,), and labels (B,) and
                    entropy (B,) where there are such; with a checksum and the run's hash
    runs.jsonl      a row for each call: what it made, in what time, where

run.json stands before the first shard. Batch b always holds the seeds b·B .. b·B + B − 1, all of
them, so a file does not depend on which seeds were asked for: a request for more adds files. Files
that are damaged, or of another run, count as missing. A call that is killed leaves whole files,
and at most one that has no name yet. One call at a time works on a folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import store, tensors
from experiments.sampling.draw import Prepared
from experiments.sampling.job import Job
from experiments.sampling.source import Source
from experiments.terminal import Tick
from gaussian_score import archive

RUN, PLANS, ROWS, FOLDER = "run.json", "plans.json", "runs.jsonl", "shards"
FORMAT = 1
MOVING = ("checkpoint", "first", "last", "statistics")
"""Fields of a job that may differ between calls: seeds, and places of files that are compared."""


@dataclass(frozen=True)
class Shards:
    """The files of one run."""

    place: Path
    run: str
    """SHA-256 of what decides the images."""

    def path(self, batch: int) -> Path:
        """Of one file."""
        return self.place / FOLDER / f"{batch:010d}.safetensors"

    def write(self, batch: int, found: Mapping[str, Tensor]) -> None:
        """One batch.

        Raises:
            ValueError: it cannot be written; then there is no file.
        """
        with _writing(self.path(batch)):
            tensors.write(self.path(batch), found, {"run": self.run, "batch": batch})

    def read(self, batch: int) -> dict[str, Tensor]:
        """One batch.

        Raises:
            ValueError: no such file, a damaged one, or one of another run or batch.
        """
        found, facts = tensors.read(self.path(batch))
        if facts != {"run": self.run, "batch": batch}:
            raise ValueError(f"{self.path(batch)}: of another run or batch; {self.run} is allowed")
        return found

    def missing(self, batches: Sequence[int], progress: Tick | None = None) -> list[int]:
        """Those that are not there whole."""
        lacking = []
        for done, batch in enumerate(batches, 1):
            try:
                if not self.path(batch).is_file():
                    raise ValueError("missing")
                self.read(batch)
            except ValueError:
                lacking.append(batch)
            if progress is not None:
                progress(done, len(batches), "files looked at")
        return lacking

    def sweep(self) -> None:
        """Remove what a killed call was writing; nobody else may be writing."""
        for part in self.place.rglob(".*.part"):
            part.unlink(missing_ok=True)

    def log(self, row: Mapping[str, Any]) -> None:
        """One more row about a call; ``ValueError`` where it cannot be written."""
        file = self.place / ROWS
        kept = file.read_text(encoding="utf-8") if file.is_file() else ""
        with _writing(file), store.replacing(file) as out:
            out.write(kept + store.line(dict(row)) + "\n")


def known(out: Path, job: Job, source: Source) -> dict[str, Any] | None:
    """What the folder says of its run, if that is this one; None for a folder that is new.

    Raises:
        ValueError: the folder holds another job, other things, or a damaged run.json; or the
            checkpoint or the statistics have changed.
    """
    if not (out / RUN).is_file():
        if out.exists() and not out.is_dir():
            raise ValueError(f"out: got {str(out)!r}, which is a file; a folder is allowed")
        kept = [f.name for f in out.iterdir()] if out.is_dir() else []
        if any(
            name not in (PLANS, FOLDER, store.LOCK) and not name.endswith(".part") for name in kept
        ):
            raise ValueError(
                f"out: got {str(out)!r}, which holds other files; a new folder, or that of the"
                " same job, is allowed"
            )
        return None
    stored = _run(out)
    before, now = stored["job"], job.to_json()
    for name in now.keys() - set(MOVING):
        if now[name] != before.get(name):
            raise ValueError(
                f"{name}: got {now[name]!r}; {before.get(name)!r}, as in {out}, is allowed"
            )
    for name, value in _digests(source).items():
        if stored[name] != value:
            raise ValueError(
                f"{name}: got the digest {value}; {stored[name]}, as in {out}, is allowed"
            )
    return stored


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """While this call is the only one that works on the folder, which is made if it is new.

    Raises:
        ValueError: another one does, or the folder cannot be made.
    """
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
    with store.Run(out).alone():
        yield


def begin(out: Path, p: Prepared) -> Shards:
    """The folder of a prepared job, new or begun earlier.

    Raises:
        ValueError: as `known`, or the plan is not the one that the folder was begun with.
    """
    stored = known(out, p.job, p.source)
    decides = _decides(p)
    if stored is not None and stored["plans"] != decides["plans"]:
        raise ValueError(
            f"plan: got {decides['plans']}; {stored['plans']}, as in {out}, is allowed"
        )
    text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    run = hashlib.sha256(text.encode()).hexdigest()
    job = p.job
    if stored is not None:
        before = Job.from_json(stored["job"])
        job = replace(before, first=min(job.first, before.first), last=max(job.last, before.last))
        if job == before:
            return Shards(out, run)
    with _writing(out):
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        _write(out / PLANS, {_name(k): w.plan and w.plan.to_json() for k, w in p.ways.items()})
        versions = archive.versions() | {"torch": torch.__version__}
        about = {"format": FORMAT, "run": run, **decides, "versions": versions}
        about |= {"job": job.to_json()}
        _write(out / RUN, about)
    return Shards(out, run)


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"out: {place} cannot be written ({error.strerror}); what is there already stays, and"
            " a place with room is allowed"
        ) from None


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images by seed, and what was stored beside them.

    Attributes:
        images: (N, C, H, W), float32, data in [−1, 1].
        seeds: (N,), int64, increasing.
        labels: (N,), int64, or None.
        nfe: (N,), int64, evaluations of the model.
        entropy: (N,), float64, nats at the landing, or None.
        about: run.json.
    """

    images: Tensor
    seeds: Tensor
    labels: Tensor | None
    nfe: Tensor
    entropy: Tensor | None
    about: Mapping[str, Any]


def read_set(out: str | Path, seeds: range | None = None) -> ImageSet:
    """The images of a folder; of these consecutive seeds, or of all that were asked for.

    Raises:
        ValueError: no such folder, or a file is missing or damaged; the first is named.
    """
    place = Path(out)
    about = _run(place)
    shards, job = Shards(place, about["run"]), Job.from_json(about["job"])
    job = job if seeds is None else replace(job, first=seeds[0], last=seeds[-1])
    parts = [shards.read(batch) for batch in job.batches]
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    inside = (whole["seeds"] >= job.first) & (whole["seeds"] <= job.last)
    kept = {name: value[inside] for name, value in whole.items()}
    return ImageSet(
        kept["images"],
        kept["seeds"],
        kept.get("labels"),
        kept["nfe"],
        kept.get("entropy"),
        about,
    )


def _run(out: Path) -> dict[str, Any]:
    try:
        value = json.loads((out / RUN).read_text(encoding="utf-8"))
        if value["format"] != FORMAT or not {"job", "plans", "run", "landing"} <= value.keys():
            raise ValueError("it is no run")
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "strerror", None) or "damaged"
        raise ValueError(
            f"{out / RUN}: cannot be read ({why}); the folder of a set of images is allowed"
        ) from None
    return value


def _digests(source: Source) -> dict[str, str | None]:
    return {"checkpoint": source.digest, "statistics": source.statistics}


def _decides(p: Prepared) -> dict[str, Any]:
    """Everything that the images depend on, but for the machine."""
    job = {k: v for k, v in p.job.to_json().items() if k not in MOVING}
    plans = {_name(k): w.plan and w.plan.hash for k, w in p.ways.items()}
    return {"job": job, **_digests(p.source), "plans": plans, "landing": p.landing}


def _name(key: Any) -> str:
    return "all" if key is None else str(key)


def _write(path: Path, value: Any) -> None:
    with store.replacing(path) as file:
        file.write(store.page(value))
