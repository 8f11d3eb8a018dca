"""Images a second, and where the time goes: network or sampler."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from experiments.sampling.draw import prepared, run
from experiments.sampling.job import Job
from experiments.sampling.source import Source
from experiments.terminal import Tick


@dataclass(frozen=True)
class Speed:
    """Of so many images: seconds in all, and of these in the network."""

    images: int
    seconds: float
    network: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds

    def shares(self) -> dict[str, Any]:
        """Seconds and the sampler's share of them."""
        return {
            "seconds": self.seconds,
            "network seconds": self.network,
            "sampler share": 1 - self.network / self.seconds,
        }


def throughput(job: Job, source: Source, *, progress: Tick | None = None) -> Speed:
    """The images of a job, batch by batch on the network's device; nothing is written.

    One batch is drawn before the clock starts: what a device prepares once is not counted.
    """
    p = prepared(job, source)
    device = next(source.module.parameters()).device
    run(p, job.seeds_of(0))
    done = 0
    with timed(source.module, device) as network:
        _wait(device)
        began = time.perf_counter()
        for batch in job.batches:
            run(p, job.seeds_of(batch))
            done += job.batch
            if progress is not None:
                progress(done, job.last + 1, "images")
        _wait(device)
        spent = time.perf_counter() - began
    return Speed(done, spent, network())


@contextmanager
def timed(module: nn.Module, device: torch.device) -> Iterator[Any]:
    """A function that says, after the block, how many seconds the module took in it.

    On a GPU by its own events, so that nothing waits for it.
    """
    gpu = device.type == "cuda"
    marks: list[tuple[Any, Any]] = []
    entered: list[Any] = []

    def mark() -> Any:
        if not gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def before(*_: Any) -> None:
        entered.append(mark())

    def after(*_: Any) -> None:
        marks.append((entered.pop(), mark()))

    def seconds() -> float:
        if gpu:
            return sum(a.elapsed_time(b) for a, b in marks) / 1000
        return sum(b - a for a, b in marks)

    hooks = [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def device_name(source: Source) -> str:
    """Of the device that the network is on."""
    device = next(source.module.parameters()).device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
