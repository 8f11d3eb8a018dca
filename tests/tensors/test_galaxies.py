"""Score networks of galaxies are read from plain arrays, and their kinks are what limits orders.

The files of galaxygrad 0.1.9 are somebody else's: where the variable SCOREPROOF_GALAXIES names a
folder with them, the claims are checked on them too. Elsewhere the weights are drawn.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.checkpoints import convert, network
from experiments.checkpoints.galaxy import LEVELS, GalaxyScore, Kink
from experiments.galaxy import GalaxyStudy, explained, judged
from experiments.sampling.source import opened
from experiments.study import read
from solvers.schedules import EDM
from tests.galaxy_files import BLOCKS, COUNT, PATCH, SIDE, STUDY, WIDTH, leaves, write
from tests.hostile_files import shell

FOLDER = os.environ.get("SCOREPROOF_GALAXIES")
REAL = pytest.mark.skipif(not FOLDER, reason="SCOREPROOF_GALAXIES names no folder")


def transcribed(arrays: Sequence[np.ndarray[Any, Any]], x: Any, t: float) -> Any:
    """The score of one image (1, 8, 8) in numpy, from the arrays as they lie in the file."""
    it = iter(a.astype(np.float64) for a in arrays)
    into, into_bias, out, out_bias = (next(it) for _ in range(4))
    both = np.concatenate([x, np.full((1, SIDE, SIDE), t / 10)])
    patches = both.reshape(2, 2, PATCH, 2, PATCH)
    y = np.einsum("ocab,ciajb->oij", into, patches) + into_bias
    y = y.reshape(WIDTH, COUNT)

    def mlp(rows: Any, w: Sequence[Any]) -> Any:
        return np.maximum(rows @ w[0].T + w[1], 0) @ w[2].T + w[3]

    def normed(v: Any, scale: Any, shift: Any) -> Any:
        return (v - v.mean()) / np.sqrt(v.var() + 1e-5) * scale + shift

    for _ in range(BLOCKS):
        w = [next(it) for _ in range(12)]
        y = y + mlp(normed(y, *w[8:10]), w[:4])
        y = y.T
        y = (y + mlp(normed(y, *w[10:12]), w[4:8])).T
    y = normed(y, next(it), next(it)).reshape(WIDTH, 2, 2)
    # Equinox correlates the spread-out features with the kernel: a pixel meets it turned round.
    return np.einsum("cij,ocab->oiajb", y, out[:, :, ::-1, ::-1]).reshape(1, 8, 8) + out_bias


def test_a_file_gives_the_network_that_it_holds(tmp_path: Path) -> None:
    file = write(tmp_path / "n.eqx", leaves())
    module, info = network(file)
    assert (info.shape, info.predicts) == ((1, SIDE, SIDE), "denoised")
    x = torch.randn(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.01, 1.0, 9.0])
    score = cast(GalaxyScore, module).score(x, t)
    want = np.stack(
        [transcribed(leaves(), v.numpy(), float(s)) for v, s in zip(x, t, strict=True)]
    )
    np.testing.assert_allclose(score.numpy(), want, rtol=1e-5, atol=1e-5)  # float32 sums
    turned = leaves()
    turned[2] = turned[2][..., ::-1, ::-1].copy()  # the control: the kernel not turned round
    assert np.abs(transcribed(turned, x[0].numpy(), 0.01) - want[0]).max() > 0.1
    # x₀ + √(e^t − 1) n is e^{t/2} times the process, so D = e^{t/2} (x_t + (1 − e^{−t}) s).
    sigma, alpha = (t.exp() - 1).sqrt(), (-t / 2).exp()[:, None, None, None]
    D = module(x / alpha, sigma)
    torch.testing.assert_close(D, (x + (1 - alpha**2) * score) / alpha, rtol=1e-4, atol=1e-4)


def test_it_is_a_checkpoint_like_others(tmp_path: Path) -> None:
    file = write(tmp_path / "n.eqx", leaves())
    source = opened(file)
    assert (source.shape, source.free, source.schedule) == ((1, SIDE, SIDE), True, EDM())
    assert source.levels == pytest.approx([math.sqrt(math.expm1(t)) for t in (0.01, 10)])
    convert(file, tmp_path / "out")
    x, sigma = torch.ones(2, 1, SIDE, SIDE), torch.tensor(0.5)
    assert torch.equal(network(tmp_path / "out")[0](x, sigma), network(file)[0](x, sigma))


def arrays_bytes(arrays: Sequence[np.ndarray[Any, Any]]) -> bytes:
    out = io.BytesIO()
    for array in arrays:
        np.save(out, array)
    return out.getvalue()


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda b: b[:-3], "arrays of floats is allowed"),
    "empty": (lambda b: b"", "of 0 arrays"),
    "an array less": (lambda b: b[: b.rindex(b"\x93NUMPY")], "those of a score network"),
    "more": (lambda b: b + b"\x93NUMPY\x01\x00", "arrays of floats is allowed"),
    "text": (lambda b: b"<html>", "arrays of floats is allowed"),
    "a large claim": (
        lambda b: b.replace(b"(6, 2, 4, 4), }", b"(9999999999,)} ", 1),
        "arrays of floats is allowed",
    ),
    "a wrong shape": (lambda b: b.replace(b"(10, 4)", b"(4, 10)", 1), "weights.blocks.0.patches"),
    "integers": (lambda b: b.replace(b"<f4", b"<i4", 1), "arrays of floats is allowed"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    change, message = DAMAGES[name]
    whole = arrays_bytes(leaves())
    assert change(whole) != whole
    (tmp_path / "n.eqx").write_bytes(change(whole))
    with pytest.raises(ValueError, match=message) as caught:
        network(tmp_path / "n.eqx")
    assert "\n" not in str(caught.value)


def test_an_array_with_code_runs_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    file = write(tmp_path / "n.eqx", [np.array([shell(canary)], dtype=object), *leaves()])
    with pytest.raises(ValueError, match="arrays of floats is allowed"):
        network(file)
    assert not canary.exists()
    with file.open("rb") as stream:  # the control
        np.load(stream, allow_pickle=True)
    assert canary.exists()


# --- orders --------------------------------------------------------------------------------------


def smooth(module: torch.nn.Module) -> torch.nn.Module:
    """The same weights with log(1 + e^{5x})/5 for max(x, 0)."""
    for part in module.modules():
        if isinstance(part, Kink):
            part.forward = lambda x: torch.nn.functional.softplus(x, beta=5.0, threshold=1e4)
    return module


def orders(
    module: torch.nn.Module, side: int, levels: tuple[float, float], steps: Sequence[int]
) -> list[float]:
    """Between pairs of step numbers: of RK4 on du/dlog ρ = u − D(u, ρ), the last as reference."""
    low, high = (math.log(v) for v in levels)
    draw = torch.Generator().manual_seed(0)
    start = levels[1] * torch.randn(2, 1, side, side, generator=draw, dtype=torch.float64)

    def slope(l: float, u: Tensor) -> Tensor:
        return u - module(u, torch.tensor(math.exp(l), dtype=torch.float64))

    def run(count: int) -> Tensor:
        u, h = start, (low - high) / count
        for i in range(count):
            l = high + i * h
            a = slope(l, u)
            b = slope(l + h / 2, u + h / 2 * a)
            c = slope(l + h / 2, u + h / 2 * b)
            u = u + h / 6 * (a + 2 * b + 2 * c + slope(l + h, u + h * c))
        return u

    exact = run(steps[-1])
    errors = [float((run(n) - exact).square().mean().sqrt()) for n in steps[:-1]]
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


def test_kinks_limit_the_order(tmp_path: Path) -> None:
    """RK4 has order four on the smooth network, and not on the same weights with kinks."""
    file, steps = write(tmp_path / "n.eqx", leaves()), (8, 16, 32, 256)
    module = network(file)[0].double()
    kinked = orders(module, SIDE, (0.3, 3.0), steps)
    smoothed = orders(smooth(module), SIDE, (0.3, 3.0), steps)
    assert all(abs(order - 4) < 0.1 for order in smoothed), smoothed
    # A step across a kink is off by h², whatever the method, and steps fall on kinks by chance.
    assert sum(kinked) / len(kinked) < 3, kinked


# --- the files of galaxygrad ---------------------------------------------------------------------

NAMES = ["hsc_ScoreNet32", "ZTF_ScoreNet32", "hsc_ScoreNet64"]


def trained(name: str) -> tuple[GalaxyScore, int]:
    module, info = network(Path(FOLDER or "") / f"eqx_{name}.eqx")
    return cast(GalaxyScore, module), info.shape[1]


@REAL
@pytest.mark.parametrize("name", NAMES)
def test_at_the_noisiest_level_it_is_the_normal_score(name: str) -> None:
    """At t = 10 the law is N(0, 1) to e^{−5}: s = −x; the control is a kernel not turned round."""
    module, side = trained(name)
    x = torch.randn(8, 1, side, side, generator=torch.Generator().manual_seed(0))

    def both() -> tuple[float, float]:
        s = module.score(x, torch.full((8,), 10.0))
        cosine = torch.cosine_similarity(s.flatten(), -x.flatten(), dim=0)
        return float(cosine), float(s.norm() / x.norm())

    cosine, size = both()
    assert cosine > 0.9999
    assert size == pytest.approx(1, abs=0.005)
    module.leave.weight.data = module.leave.weight.data.flip(2, 3)
    assert both()[0] < 0.9


@REAL
def test_kinks_limit_the_order_of_a_trained_network() -> None:
    """From t = 10 to t = 0.01: order two with kinks, four on the same weights without."""
    (module, side), steps = trained("hsc_ScoreNet32"), (20, 40, 80, 320)
    module = cast(GalaxyScore, module.double())
    kinked = orders(module, side, LEVELS, steps)
    smoothed = orders(smooth(module), side, LEVELS, steps)
    assert all(abs(order - 4) < 0.3 for order in smoothed), smoothed
    assert sum(kinked) / len(kinked) < 3, kinked


def test_a_checkpoint_without_data_is_judged_by_its_own_flow(tmp_path: Path) -> None:
    """More steps err less, and a Gaussian of the draws explains what their mean does not."""
    file = write(tmp_path / "n.eqx", leaves())
    found = judged(file, read(GalaxyStudy, tomllib.loads(STUDY)))
    few, many = (row["error"] for row in found.errors)
    assert many < few / 4  # order one: eight times smaller, less what kinks do
    assert all(row["reference"] == found.reference.rms < 0.01 for row in found.errors)
    assert found.reference.x.shape == (4, 1, SIDE, SIDE)
    left = {(row["sigma"], row["candidate"]): row["score"] for row in found.explained}
    for sigma in {sigma for sigma, _ in left}:
        assert left[sigma, "Gaussian"]["residual"] < left[sigma, "mean"]["residual"]


class Normal(torch.nn.Module):
    """The data prediction of the law N(0, I), x/(1 + σ²)."""

    def __init__(self) -> None:
        super().__init__()
        self.variance = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x * (self.variance / (self.variance + sigma**2)).reshape(-1, 1, 1, 1)


def test_a_network_of_a_gaussian_is_explained_by_the_gaussian_of_its_draws(tmp_path: Path) -> None:
    """With many draws; few of them leave directions without a variance."""
    source = opened(write(tmp_path / "n.eqx", leaves()))
    normal = replace(source, module=Normal())
    draws = torch.randn(4000, *source.shape, generator=torch.Generator().manual_seed(0))

    def left(some: Tensor) -> float:
        rows = explained(normal, some, 64, (0.9, 1.1))
        return max(r["score"]["residual"] for r in rows if r["candidate"] == "Gaussian")

    # A covariance of n draws is off by √(D/n) relatively, and the score at σ = 1 by half of that.
    # 32 draws span half of the 64 coordinates, and on the rest the score is twice too large.
    assert left(draws) < 64 / 4000
    assert left(draws[:32]) > 0.3
