"""Sampling: what a run costs beyond its network; on a GPU, images a second.

    overhead = (wall − network)/wall

wall is one batch from its start noise to its final states. On a CPU both are processor time of one
thread, and network is what the calls took in that very run, so a busy machine slows them alike; on
a GPU, where a call returns before it is done, network is the same network called alone, as often,
on the inputs that it had in the run. Medians of runs. On a GPU a set of images is also made and
written as `sample_set` does it, by a DDPM++ of 55 million random weights in bfloat16; its share of
the peak is that of the flops of its convolutions and matrix products.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from experiments.backbones import built, config_of
from experiments.bench.row import Row
from experiments.checkpoints.preconditioned import EDMPrecond
from experiments.networks import EDMScaling, Learned, Preconditioned
from experiments.sampling.draw import Prepared, prepared, run, start
from experiments.sampling.engine import sample_set
from experiments.sampling.job import Job
from experiments.sampling.source import LEVELS, Source
from experiments.sampling.tuning import tune
from solvers.schedules import EDM

SHAPE, STEPS, REPEATS = (3, 32, 32), 10, 5
METHODS = ("ddim", "unipc_3", "sde_dpm_solver_pp_2m")
WIDTHS, BATCH = (32, 64, 96), 16
DDPMPP = {"model_type": "SongUNet", "model_channels": 128, "channel_mult": [2, 2, 2]}
IMAGES, LARGE = 50_000, 1_000
PEAKS = {"H100": 989.4e12, "H200": 989.4e12, "A100": 312e12, "L40": 362e12, "4090": 165.2e12}
"""Stated bfloat16 products a second of tensor cores, dense."""


def rows() -> list[Row]:
    """The figures; seconds on a CPU, minutes on a GPU."""
    net = built(config_of("unet", SHAPE, classes=0, widths=WIDTHS, depth=1))
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.05)
    small = flow(Preconditioned(net, EDMScaling(0.5)))
    if torch.cuda.is_available():
        return [*_noise(), *_overhead(small.to("cuda"), 256), *_throughput()]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [*_noise(), *_overhead(small, BATCH)]
    finally:
        torch.set_num_threads(threads)


def flow(module: nn.Module) -> Source:
    """A network of random weights as a source."""
    return Source(
        shape=SHAPE,
        schedule=EDM(),
        free=True,
        levels=LEVELS,
        classes=0,
        context=0,
        range=(-1.0, 1.0),
        digest=hashlib.sha256(repr(module).encode()).hexdigest(),
        moments=None,
        statistics=None,
        module=module.eval().requires_grad_(False),
        bind=lambda net, condition: Learned(net),
    )


class Watched(nn.Module):
    """Keeps what the network is given, and the time that it takes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.calls, self.spent = module, [], 0.0

    def forward(self, *given: Tensor) -> Tensor:
        """The network's answer."""
        began = time.process_time()
        out = self.module(*given)
        self.spent += time.process_time() - began
        self.calls.append(given)
        return out


def _noise() -> list[Row]:
    began = time.process_time()
    for _ in range(REPEATS):
        start(range(64), SHAPE)
    each = (time.process_time() - began) / REPEATS / 64
    return [Row("start noise", 1e6 * each, "us/image", f"{SHAPE}, float64, one CPU thread")]


def _overhead(source: Source, batch: int) -> list[Row]:
    found = []
    for method in METHODS:
        job = Job(checkpoint="-", method=method, steps=STEPS)
        p = prepared(job, source)
        wall, network = overhead(p, batch)
        note = f"network {network:.4f} of {wall:.4f} s; {_device(source)}, {batch} images 32x32"
        found.append(Row(f"sampler's share: {method}", 100 * (1 - network / wall), "%", note))
    return found


def overhead(p: Prepared, batch: int) -> tuple[float, float]:
    """Seconds of a batch's run, and of its network's calls."""
    device = next(p.source.module.parameters()).device
    noise = start(range(batch), p.source.shape).to(device)
    pairs = [_timed(p, batch, noise) for _ in range(REPEATS + 1)][1:]  # the first warms up
    wall, network = zip(*pairs, strict=True)
    return statistics.median(wall), statistics.median(network)


@torch.no_grad()
def _timed(p: Prepared, batch: int, noise: Tensor) -> tuple[float, float]:
    seen = Watched(p.source.module)
    watched = replace(p, source=replace(p.source, module=seen))
    if not noise.is_cuda:
        began = time.process_time()
        run(watched, range(batch), noise=noise)
        return time.process_time() - began, seen.spent
    run(watched, range(batch), noise=noise)

    def alone() -> None:
        for given in seen.calls:
            p.source.module(*given)

    return _finished(lambda: run(p, range(batch), noise=noise)), _finished(alone)


def _finished(work: Callable[[], object]) -> float:
    """Seconds until the device is done."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def _throughput() -> list[Row]:
    net = EDMPrecond(
        img_resolution=32, img_channels=3, num_blocks=4, attn_resolutions=[16], **DDPMPP
    )
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.02)
    job = Job(
        checkpoint="-",
        method="dpm_solver_pp_2m",
        steps=STEPS,
        last=IMAGES - 1,
        batch=LARGE,
        precision="bf16",
        channels_last=True,
        compile=True,
    )
    source = flow(net.cuda())
    source = replace(source, module=tune(source.module, job))
    plain = replace(job, precision="fp32", channels_last=False, compile=False)
    p = prepared(plain, source)
    wall, network = overhead(p, LARGE)  # compiles
    with tempfile.TemporaryDirectory() as out:
        done = sample_set(plain, out, source=source, devices=1)
    rate = IMAGES / done.seconds
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, *SHAPE, device="cuda"), torch.ones((), device="cuda"))
    flops = counter.get_total_flops() * STEPS
    name = torch.cuda.get_device_name()
    peak = next((v for k, v in PEAKS.items() if k in name), None)
    millions = sum(w.numel() for w in net.parameters()) / 1e6
    note = (
        f"{IMAGES} images, {STEPS} calls, {millions:.1f}M weights, bf16, channels last, compiled"
    )
    found = [
        Row("images", rate, "1/s", f"{note}; {name}"),
        Row("sampler's share", 100 * (1 - network / wall), "%", f"of a batch of {LARGE}; {name}"),
    ]
    if peak is not None:
        share = 100 * rate * flops / peak
        about = f"{flops / STEPS / 1e9:.1f} Gflop a call and image, peak {peak / 1e12:.0f} Tflop/s"
        found.append(Row("share of peak", share, "%", f"{about}; {name}"))
    return found


def _device(source: Source) -> str:
    gpu = next(source.module.parameters()).is_cuda
    return torch.cuda.get_device_name() if gpu else "CPU, one thread"
