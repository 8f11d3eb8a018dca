"""Sampling by Lightning: every rank makes batches that are missing and writes their files.

The batches are dealt out once, before the loop; from then on no rank waits for another.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from experiments.lightning import Interrupt, quiet
from experiments.sampling.draw import Prepared, prepared, run, start
from experiments.sampling.job import Job
from experiments.sampling.shards import Shards, alone, begin, known
from experiments.sampling.source import Source, opened
from experiments.terminal import Tick
from gaussian_score import archive

WORKERS = 2
"""Processes that draw start noise while a GPU works."""


@dataclass(frozen=True)
class Outcome:
    """What a call of `sample_set` leaves: the folder, how many images it made and found there.

    ``leads`` is whether this process speaks for all ranks of the call.
    """

    folder: Path
    made: int
    found: int
    seconds: float
    leads: bool = True


@dataclass(frozen=True)
class Batches(Dataset):
    """Batch index and start noise of these batches."""

    job: Job
    shape: tuple[int, ...]
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[int, Tensor]:
        index = self.indices[place]
        return index, start(self.job.seeds_of(index), self.shape)


class Sampler(pl.LightningModule):
    """``predict_step`` makes one batch and writes its file."""

    def __init__(
        self, p: Prepared, shards: Shards, batches: Sequence[int], progress: Tick | None
    ) -> None:
        super().__init__()
        self.network, self.latent = p.source.module, p.source.latent
        self.prepared, self.shards, self.progress = p, shards, progress
        self.batches = list(batches)

    def predict_dataloader(self) -> DataLoader:
        """This rank's batches."""
        world, rank = self.trainer.world_size, self.trainer.global_rank
        dealt = self.trainer.strategy.broadcast(self.batches)
        gpu = self.device.type == "cuda"
        return DataLoader(
            Batches(self.prepared.job, self.prepared.source.shape, dealt[rank::world]),
            batch_size=None,
            num_workers=WORKERS if gpu else 0,
            pin_memory=gpu,
        )

    def on_predict_start(self) -> None:
        """Bases go where the network is."""
        self.prepared = self.prepared.to(self.device)

    def on_predict_end(self) -> None:
        """The set is whole when the first rank says so."""
        self.trainer.strategy.barrier()

    def predict_step(self, batch: tuple[int, Tensor]) -> None:
        """One batch."""
        index, noise = batch
        p, seeds = self.prepared, self.prepared.job.seeds_of(index)
        drawn = run(p, seeds, noise=noise)
        images = p.source.decode(drawn.x.float()).float()
        bad = (~images.isfinite()).flatten(1).any(1).nonzero()
        if len(bad):
            raise ValueError(
                f"seed {seeds[int(bad[0])]}: the autoencoder gave a value that is not finite;"
                " finite images are allowed"
            )
        found = {
            "images": images,
            "seeds": torch.arange(seeds.start, seeds.stop),
            "nfe": drawn.nfe,
            "labels": p.labels_of(seeds),
            "entropy": drawn.entropy,
        }
        self.shards.write(index, {k: v for k, v in found.items() if v is not None})
        if self.progress is not None and self.trainer.is_global_zero:
            total = len(self.batches)
            done = min(total, (self.batches.index(index) + self.trainer.world_size))
            self.progress(done, total, f"seeds {seeds.start} to {seeds.stop - 1}")


def sample_set(
    job: Job,
    out: str | Path,
    *,
    source: Source | None = None,
    devices: int | str = "auto",
    nodes: int = 1,
    accelerator: str = "auto",
    strategy: str = "auto",
    progress: Tick | None = None,
) -> Outcome:
    """Make the images of a job that are missing in ``out``.

    Args:
        job: see `job`.
        out: a new folder, or one of the same job.
        source: the checkpoint, where it is open already.
        devices: how many on a node, or "auto".
        nodes: how many.
        accelerator: Lightning's name of the kind of device.
        strategy: Lightning's name of how ranks are begun.
        progress: called after every batch.

    Raises:
        ValueError: see `source`, `plans`, `draw` and `shards`; files that are there stay.
    """
    place = Path(out)
    if source is None:
        source = opened(job.checkpoint, config=job.config, statistics=job.statistics)
    stored = known(place, job, source)
    landing = stored["landing"] if stored else None
    if landing is None and accelerator != "cpu" and torch.cuda.is_available():
        source.to("cuda")  # where a level may have to be found
    p = prepared(job, source, landing=landing, progress=progress)
    source.to("cpu")
    p.source.denoiser(p.labels_of(job.seeds[:1]), scale=job.guidance)  # refused before it begins
    interrupt = Interrupt()
    began = time.perf_counter()
    with quiet(interrupt):
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            callbacks=[interrupt],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            inference_mode=False,
        )
        leads = trainer.is_global_zero
        with alone(place) if leads else nullcontext():
            shards = begin(place, p)
            missing = shards.missing(job.batches, progress)
            if missing:
                sampler = Sampler(p, shards, missing, progress)
                trainer.predict(sampler, return_predictions=False)
            made = len(missing) * job.batch
            spent = time.perf_counter() - began
            done = Outcome(place, made, len(job.batches) * job.batch - made, spent, leads)
            if leads:  # and no other rank writes any more
                shards.sweep()
                shards.log(_row(job, done, trainer))
    return done


def _row(job: Job, done: Outcome, trainer: pl.Trainer) -> dict[str, Any]:
    gpu = trainer.strategy.root_device.type == "cuda"
    return {
        "seeds": [job.first, job.last],
        "made": done.made,
        "found": done.found,
        "seconds": round(done.seconds, 3),
        "devices": trainer.world_size,
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "versions": archive.versions() | {"torch": torch.__version__},
    }
