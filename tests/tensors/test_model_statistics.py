"""Statistics of a network: both estimators find a mixture's own, in memory that does not grow."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from experiments.model_statistics import Estimate, by_jvp, by_moments
from gaussian_score.mixture import GaussianMixture
from gaussian_score.model_statistics import excess, marginals, statistics
from solvers.coordinatewise import ARRAYS
from solvers.denoiser import Known, Network
from solvers.grids import laid
from solvers.method import entry
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import schedule

LINEAR = schedule("vp_linear")
LAM = np.linspace(-3.0, 1.5, 46)
LAWS: dict[str, tuple[Any, Any, Any]] = {
    "line": ([0.4, 0.6], [[-1.0], [0.8]], [[[0.16]], [[0.0625]]]),
    "plane": (
        [0.3, 0.7],
        [[-1.0, 0.5], [0.8, -0.2]],
        [[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]]],
    ),
}
ESTIMATORS: dict[str, Callable[..., Estimate]] = {"jvp": by_jvp, "moments": by_moments}
DEVIATIONS = 4
"""Standard errors that an estimate may be off."""


def drawn(law: tuple[Any, Any, Any]) -> tuple[Known, Callable[[int, torch.Generator], Tensor]]:
    mixture = GaussianMixture.full(*law)
    return Known(mixture), lambda n, generator: mixture.sample(n, generator=generator)


@pytest.mark.parametrize("l", [None, 1.0])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_both_agree_with_the_exact_ones(kind: str, law: str, l: float | None, size: int) -> None:
    """l, s and b within 4 standard errors at every λ, the noisy end included; also with l = 1."""
    model, draw = drawn(LAWS[law])
    lam = LAM if kind == "moments" or size > 1 else LAM[::3]
    got = ESTIMATORS[kind](model, draw, LINEAR, lam, samples=2048, batch=128, l=l)
    exact = statistics(excess(*LAWS[law]), *marginals(*LAWS[law]), lam, l)
    # of the splines' slopes in λ, where the draws leave less: the fourth power of the spacing
    floor = {"l": 1e-9, "s": 2 * (lam[1] - lam[0]) ** 4, "b": 2 * (lam[1] - lam[0]) ** 4}
    for name, goal in zip("lsb", exact, strict=True):
        miss = np.abs(getattr(got.table, name) - goal)
        assert (miss <= DEVIATIONS * got.errors[name] + floor[name]).all(), name
        if l is None:
            assert 0 < np.median(got.errors[name]) < 0.1


def test_control_errors_are_not_generous() -> None:
    """They fall with the number of draws, and statistics of another law are far away."""
    model, draw = drawn(LAWS["line"])
    few, many = (
        by_moments(model, draw, LINEAR, LAM, samples=n, batch=128).errors["l"].mean()
        for n in (2048, 8192)
    )
    assert 0.3 < many / few < 0.75  # one half, to the spread of 16 parts
    got = by_moments(model, draw, LINEAR, LAM, samples=2048, batch=128)
    other = ([0.4, 0.6], [[-1.0], [0.8]], [[[0.36]], [[0.0625]]])
    l = statistics(excess(*other), *marginals(*other), LAM)[0]
    assert (np.abs(got.table.l - l) > DEVIATIONS * got.errors["l"]).any()


def test_probes_find_the_diagonal() -> None:
    """v (J v) with v = ±1 is unbiased, also where the rest of J is larger than its diagonal."""
    J = torch.tensor([[0.3, -0.9, 0.5], [0.8, 0.2, 0.7], [-0.6, 0.4, 0.1]], dtype=torch.float64)

    def net(x: Tensor, t: Tensor) -> Tensor:
        return x @ J.T

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, 3, generator=generator, dtype=torch.float64)

    edm = schedule("edm")
    got = by_jvp(Network(net, "noise"), draw, edm, [0.0, 0.5, 1.0, 1.5], samples=4096, batch=64)
    goal = np.exp(-got.table.lam)[:, None] * np.diag(J)
    assert (np.abs(got.table.l - goal) <= DEVIATIONS * got.errors["l"]).all()
    assert (got.errors["l"] > 1e-3).all()  # the probes' own noise


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage())
        return out

    def _note(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def peaks(kind: str, samples: int, hold: list[Tensor] | None = None) -> tuple[int, int]:
    """Bytes at their peaks: of tensors and, in another run, of all that Python and numpy hold."""
    body = torch.nn.Sequential(
        torch.nn.Linear(1024, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1024)
    )

    def net(x: Tensor, t: Tensor) -> Tensor:
        out = body(x)
        if hold is not None:
            hold.append(out)
        return out

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, 1024, generator=generator)

    def estimate() -> None:
        how = {"samples": samples, "batch": 16}
        ESTIMATORS[kind](Network(net, "noise"), draw, LINEAR, [-1.0, 0.0, 1.0], **how)

    with Live() as live:
        estimate()
    tracemalloc.start()
    estimate()
    _, python = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return live.peak, python


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_memory_does_not_grow_with_the_samples(kind: str, size: int) -> None:
    """Peaks with 64 and with 4,096 samples (512 for every change) within 5% of each other."""
    peaks(kind, 64)  # imports and caches
    few, many = (peaks(kind, n) for n in (64, 4096 if size > 1 else 512))
    for a, b in zip(few, many, strict=True):
        assert a > 100_000
        assert b == pytest.approx(a, rel=0.05)


def test_control_what_is_kept_is_seen() -> None:
    kept: list[Tensor] = []
    few, many = peaks("moments", 64, [])[0], peaks("moments", 512, kept)[0]
    assert many > 2 * few


def test_a_network_is_sampled_with_its_own_statistics() -> None:
    """From the estimate to a run; the better statistics give the smaller error."""
    model, draw = drawn(LAWS["line"])
    grid = laid(LINEAR, "logsnr", steps=8, start=0.9, end=0.2, F=ARRAYS)
    low, high = (float(grid.points[i].lam) for i in (0, -1))
    lam = np.linspace(low, high, 45)
    got = by_moments(model, draw, LINEAR, lam, samples=4096, batch=512)
    x = torch.tensor([[0.6]], dtype=torch.float64)
    e = entry("dpm_solver_v3_1")
    end = float(sample(plan(e, grid, statistics=got.table), model, x).x)
    ddim = float(sample(plan(entry("ddim"), grid), model, x).x)
    exact = (
        0.7258074035820620  # of the v3 tables, section 11, where these errors are 4e-3 and 8e-2
    )
    assert abs(end - exact) < 0.01 < 0.05 < abs(ddim - exact)


def test_images_keep_their_shape_inside_and_are_flat_in_the_table() -> None:
    def net(x: Tensor, t: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 4, 4)
        return x / 2

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, 3, 4, 4, generator=generator)

    for estimate in ESTIMATORS.values():
        got = estimate(Network(net, "noise"), draw, LINEAR, [-1.0, 0.0, 0.5, 1.0], samples=70)
        assert got.table.l.shape == (4, 48)
        assert np.isfinite(got.table.s).all()


def test_a_gaussian_has_no_drift() -> None:
    """The guard: where f does not vary s = 0; with one part there are no standard errors."""
    law = ([1.0], [[0.7]], [[[0.2025]]])
    model, draw = drawn(law)
    for estimate in ESTIMATORS.values():
        got = estimate(model, draw, LINEAR, LAM[::5], samples=64, batch=64)
        l, s, b = statistics(excess(*law), *marginals(*law), LAM[::5])
        assert (s == 0).all()
        assert got.table.l == pytest.approx(l, rel=1e-9)
        assert np.isnan(got.errors["l"]).all()
        if estimate is by_jvp:  # Var f is rounding: 1e-30, or none
            assert got.table.b - got.table.s * 0.7 * got.table.l == pytest.approx(b, abs=0.02)
