"""Scores: the mixture's as a share of the machine's GEMM rate and beside autograd; the data set's.

Everything is float32 on one thread. Times that are compared are medians of calls that alternate in
one run, so that a busy machine slows them alike. Flops are those of the matrix products that the
eigenbasis form needs, 4 K B D² (2 K B D² once a level is factorised); the rest only takes time.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from experiments.bench.moments import peak
from experiments.bench.row import Row
from gaussian_score.delta import DeltaMixture
from gaussian_score.mixture import GaussianMixture

COMPONENTS, PIXELS, BATCH = 100, 784, 256
SIDE = 2048  # of the square matrices that the GEMM rate is measured with
SIGMA, REPEATS = 0.5, 5
IMAGES, POINTS = (15_000, 30_000, 60_000), 64
Result = TypeVar("Result")


def rows() -> list[Row]:
    """The figures, about a minute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = _mixture()
    finally:
        torch.set_num_threads(threads)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return found + pool.apply(_data_set)


def _mixture() -> list[Row]:
    g = torch.Generator().manual_seed(0)
    law, covs = _law(g)
    x = law.sample(BATCH, generator=g)
    square = torch.randn(SIDE, SIDE, generator=g)
    frozen, at_once = _timed(lambda: law.at(1.0, SIGMA))
    basis = torch.linalg.qr(square[:PIXELS, :PIXELS])[0]
    floors = torch.zeros(COMPONENTS)
    shared = GaussianMixture.shared(law.weights, law.means, basis, law.variances, floors)
    noised = covs + SIGMA**2 * torch.eye(PIXELS)
    built, _ = _timed(lambda: _distribution(law, noised))
    _, checked = _timed(lambda: _distribution(law, noised, checks=True))
    times = _medians(
        {
            "gemm": lambda: square @ square,
            "score": lambda: law.score(x, 1.0, SIGMA),
            "frozen": lambda: frozen.score(x),
            "shared": lambda: shared.score(x, 1.0, SIGMA),
            "build": lambda: _distribution(law, noised),
            "autograd": lambda: _autograd(built, x),
        }
    )
    work = f"K {COMPONENTS}, D {PIXELS}, B {BATCH}, float32, one thread"
    rate = 2 * SIDE**3 / times["gemm"]
    flops = 4 * COMPONENTS * BATCH * PIXELS**2
    error = float((_autograd(built, x) - law.score(x, 1.0, SIGMA)).abs().max())
    autograd = f"torch.distributions, {work}; scores differ by {error:.1e}"
    build = times["build"]
    return [
        Row("GEMM", rate / 1e9, "Gflop/s", f"{SIDE} cubed, float32, one thread"),
        Row("mixture score: time", times["score"], "s", work),
        Row("mixture score: share of GEMM", flops / times["score"] / rate, "", work),
        Row("mixture score, level factorised: time", times["frozen"], "s", work),
        Row(
            "mixture score, level factorised: share of GEMM",
            flops / 2 / times["frozen"] / rate,
            "",
            f"{work}; factorising takes {at_once:.2f} s",
        ),
        Row("mixture score, one basis: time", times["shared"], "s", work),
        Row("autograd: time", times["autograd"], "s", autograd),
        Row(
            "autograd: Cholesky factors",
            build,
            "s",
            f"without argument checks; {checked:.1f} s with them",
        ),
        Row(
            "autograd / score, Cholesky included",
            (build + times["autograd"]) / times["score"],
            "times",
            f"{(checked + times['autograd']) / times['score']:.1f} with argument checks",
        ),
        Row(
            "autograd / score, Cholesky excluded", times["autograd"] / times["score"], "times", ""
        ),
        Row(
            "autograd / score, both factorised before",
            times["autograd"] / times["frozen"],
            "times",
            "",
        ),
    ]


def _data_set() -> list[Row]:
    """In a process of its own, whose high-water mark of memory is then the data set's."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pixels = np.empty((IMAGES[-1], PIXELS), np.uint8)
    for block in np.array_split(pixels, 60):
        block[:] = rng.integers(0, 256, block.shape, dtype=np.uint8)
    x = torch.randn(POINTS, PIXELS, generator=torch.Generator().manual_seed(0))
    _images(pixels[:64]).score(x, 1.0, SIGMA)  # torch and BLAS have loaded what they need
    before = peak()
    whole = _images(pixels)
    whole.score(x, 1.0, SIGMA)
    beyond, stated = peak() - before, whole.memory(POINTS, torch.float64) / 2**20
    laws = {str(count): _images(pixels[:count]) for count in IMAGES}
    calls: dict[str, Callable[[], object]] = {
        name: partial(law.score, x, 1.0, SIGMA) for name, law in laws.items()
    }
    times = list(_medians(calls).values())
    note = f"D {PIXELS}, B {POINTS}, blocks of {whole.points.block} byte images, float32"
    return [
        *(
            Row(f"delta score, {count} points: time", t, "s", note)
            for count, t in zip(IMAGES, times, strict=True)
        ),
        Row(
            "delta score: time at 60,000 / at 15,000", times[-1] / times[0], "times", "4 is linear"
        ),
        Row(
            "delta score: memory beyond the data",
            beyond,
            "MiB",
            f"mean and score; stated for this block at most {stated:.1f} MiB in float64",
        ),
    ]


def _images(pixels: np.ndarray) -> DeltaMixture:
    return DeltaMixture.of(pixels, scale=1 / 127.5, shift=-1.0)


def _law(g: torch.Generator) -> tuple[GaussianMixture, Tensor]:
    """Random eigenbases, variances between 0.01 and 1; and the covariances."""
    q, _ = torch.linalg.qr(torch.randn(COMPONENTS, PIXELS, PIXELS, generator=g))
    variances = torch.rand(COMPONENTS, PIXELS, generator=g) * 0.99 + 0.01
    means = torch.randn(COMPONENTS, PIXELS, generator=g)
    law = GaussianMixture(torch.full((COMPONENTS,), 1 / COMPONENTS), means, variances, q)
    return law, (q * variances[:, None]) @ q.mT


def _distribution(
    law: GaussianMixture, covs: Tensor, *, checks: bool = False
) -> MixtureSameFamily:
    return MixtureSameFamily(
        Categorical(law.weights, validate_args=checks),
        MultivariateNormal(law.means, covariance_matrix=covs, validate_args=checks),
        validate_args=checks,
    )


def _autograd(law: MixtureSameFamily, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(law.log_prob(leaf).sum(), leaf)[0]


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each, called in turn; the first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS + 1):
        for name, call in calls.items():
            taken[name].append(_timed(call)[1])
    return {name: statistics.median(times[1:]) for name, times in taken.items()}
