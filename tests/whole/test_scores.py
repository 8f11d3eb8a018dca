"""A network trained on digits is Gaussian first and itself at last; trained again it is the same.

What it is measured by is tested on laws that are known, in tests/tensors/test_diagnostics.py.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from experiments import digits, plots, scores
from experiments.cache import CACHE_ENV
from experiments.digits import Recipe, digits_denoiser, network, train, trained
from experiments.networks import EDMScaling, Learned, LogNormal, edm_loss
from experiments.plots.style import inline
from experiments.scores import jump_rows, network_level, own_error_from, pick, score_rows
from gaussian_score.diagnostics import SIGMAS, baselines, compare, excess
from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Known, Network
from solvers.grids import laid
from solvers.method import entry
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import schedule

EPS32 = torch.finfo(torch.float32).eps
QUICK = Recipe(width=16, depth=1, steps=40, batch=32)
SHORT = Recipe(steps=300)
POINTS = np.random.default_rng(0).standard_normal((50, 4)) * (1, 0.5, 0.2, 0.1) + 0.3

# --- preconditioning ----------------------------------------------------------------------------


def test_scaling_makes_everything_of_size_one() -> None:
    """For x₀ ~ N(0, s² I) input and target of F have variance 1, and so does its loss."""
    s, sigma = 0.7, torch.tensor([1e-3, 0.1, 0.7, 5, 80], dtype=torch.float64)
    c = EDMScaling(s)
    one = torch.ones_like(sigma)
    torch.testing.assert_close(c.into(sigma) ** 2 * (sigma**2 + s**2), one)
    target = (1 - c.skip(sigma)) ** 2 * s**2 + c.skip(sigma) ** 2 * sigma**2
    torch.testing.assert_close(target / c.out(sigma) ** 2, one)
    torch.testing.assert_close(c.weight(sigma) * c.out(sigma) ** 2, one)
    torch.testing.assert_close(c.noise(sigma.exp()), sigma / 4)


@pytest.mark.parametrize("sigma", [0.01, 1.0, 80.0])
def test_before_training_it_is_one_gaussian(sigma: float) -> None:
    """F = 0: the data prediction is that of N(0, s² I), and its loss on that law is 1."""
    net = network(POINTS, QUICK)
    law = GaussianMixture.isotropic((1,), np.zeros((1, 4)), [POINTS.std() ** 2])
    generator = torch.Generator().manual_seed(0)
    x0 = law.sample(4000, generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    x = x0 + sigma * noise
    # x is rounded once more on its way into the network
    error = 10 * EPS32 * float(x.abs().max())
    found = Learned(net).denoise(x, 1.0, sigma)
    torch.testing.assert_close(found, law.denoise(x, 1.0, sigma), rtol=0, atol=error)
    loss = edm_loss(net, x0.float(), torch.full((4000,), sigma), noise)
    assert float(loss.detach()) == pytest.approx(1, abs=4 * math.sqrt(2 / x0.numel()))


def test_levels_are_log_normal() -> None:
    draw = LogNormal(-0.4, 1.6).sample(20000, generator=torch.Generator().manual_seed(0)).log()
    assert float(draw.mean()) == pytest.approx(-0.4, abs=4 * 1.6 / math.sqrt(20000))
    assert float(draw.std()) == pytest.approx(1.6, abs=4 * 1.6 / math.sqrt(40000))


# --- a network as solvers see it ----------------------------------------------------------------


@lru_cache
def quick() -> Learned:
    return train(POINTS, QUICK)[0]


def test_runs_as_a_network_of_solvers_does() -> None:
    """Under EDM's schedule it is `Network(net, "data")`, bit for bit."""
    x = 80 * torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    grid = laid(schedule("edm"), "karras", steps=6, start=80, end=0.002)
    runs = [
        sample(plan(entry("dpm_solver_pp_2m"), grid), model, x).x
        for model in (quick(), Network(quick().net, "data"))
    ]
    torch.testing.assert_close(*runs, rtol=0, atol=0)


def test_is_the_same_law_on_every_schedule() -> None:
    """D(α x, α, α σ) = D(x, 1, σ) also for a level each, and ε = (x − α D)/σ."""
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = torch.tensor((0.05, 0.3, 1, 2, 9, 70), dtype=torch.float64)
    wide = quick().double()
    each = wide.denoise(0.25 * x, torch.full((6,), 0.25, dtype=torch.float64), 0.25 * levels)
    for i, sigma in enumerate(levels.tolist()):
        one = wide.denoise(x[i : i + 1], 1.0, sigma)
        torch.testing.assert_close(each[i : i + 1], one, rtol=1e-12, atol=1e-13)
    found = wide.at("noise", x, None, 0.25, 0.5)
    torch.testing.assert_close(found, (x - 0.25 * wide.at("data", x, None, 0.25, 0.5)) / 0.5)


def test_derivatives_along_x_and_sigma() -> None:
    """Forward mode meets central differences, so Taylor methods run on it."""
    wide, h = quick().double(), 1e-5
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    level, rate = (torch.tensor(a, dtype=torch.float64) for a in (0.8, 0.3))

    def f(y: Any, sigma: Any) -> Any:
        return wide.denoise(y, 1.0, sigma)

    _, slope, *_ = torch.func.jvp(f, (x, level), (v, rate))
    both = (f(x + h * v, level + h * rate) - f(x - h * v, level - h * rate)) / (2 * h)
    # h² of a third derivative, and ε/h of rounding
    torch.testing.assert_close(slope, both, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("alpha", "sigma", "message"),
    [(1.0, 0.0, "sigma is 0"), (1.0, -2.0, "sigma is -2"), (0.0, 1.0, "alpha is 0")],
)
def test_bad_levels(alpha: float, sigma: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick().denoise(torch.zeros(2, 4), alpha, sigma)


# --- training and its cache ---------------------------------------------------------------------


def same(a: Learned, b: Learned) -> bool:
    pairs = zip(a.net.state_dict().values(), b.net.state_dict().values(), strict=True)
    return all(torch.equal(v, w) for v, w in pairs)


def test_training_is_deterministic_and_leaves_nothing_behind() -> None:
    torch.manual_seed(1)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    told: list[tuple[int, int, str]] = []
    first, losses = train(POINTS, QUICK, progress=lambda *done: told.append(done))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert [done[:2] for done in told] == [(40, 40)]
    torch.manual_seed(2)
    again, once_more = train(POINTS, QUICK)
    assert same(first, again)
    np.testing.assert_array_equal(losses, once_more)
    assert not same(first, train(POINTS, replace(QUICK, seed=1))[0])


def test_the_cache_is_read_keyed_and_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    first = trained(POINTS, QUICK)
    (file,) = (tmp_path / "cache").iterdir()

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the cache was not read")

    with monkeypatch.context() as patch:
        patch.setattr(digits, "train", never)
        kept = trained(POINTS, QUICK)
        assert same(kept.denoiser, first.denoiser)
        np.testing.assert_array_equal(kept.losses, first.losses)
        assert kept.provenance == first.provenance
        changed = [{"seed": 1}, {"steps": 41}, {"rate": 1e-3}, {"batch": 33}, {"width": 17}]
        for change in [*changed, {"levels": LogNormal()}]:
            with pytest.raises(AssertionError, match="not read"):
                trained(POINTS, replace(QUICK, **change))
        with pytest.raises(AssertionError, match="not read"):
            trained(POINTS + 1e-9, QUICK)
    whole = dict(np.load(file, allow_pickle=False))
    name = next(key for key in whole if key.endswith("weight"))
    for damage in (np.full_like(whole[name], np.nan), whole[name][:1], whole[name].astype("f8")):
        np.savez(file, allow_pickle=False, **{**whole, name: damage})
        assert same(trained(POINTS, QUICK).denoiser, first.denoiser)
        np.testing.assert_array_equal(np.load(file)[name], whole[name])
    file.write_bytes(file.read_bytes()[:200])
    assert same(trained(POINTS, QUICK).denoiser, first.denoiser)
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "file"))
    assert same(trained(POINTS, QUICK).denoiser, quick())


HOLE = np.where(np.arange(200).reshape(50, 4) == 7, np.nan, POINTS)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (HOLE, r"points\[1, 3\] is nan"),
        (POINTS[0], r"points have shape \(4,\)"),
        (POINTS[:0], r"points have shape \(0, 4\)"),
        (np.ones((5, 4)), "points are all equal"),
    ],
)
def test_bad_points(points: np.ndarray, message: str) -> None:
    for f in (train, trained):
        with pytest.raises(ValueError, match=message):
            f(points, QUICK)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(width=0), "width is 0"),
        (lambda: Recipe(depth=1.5), "depth is 1.5"),  # type: ignore[arg-type]
        (lambda: Recipe(steps=-1), "steps is -1"),
        (lambda: Recipe(batch=True), "batch is True"),
        (lambda: Recipe(seed=-1), "seed is -1"),
        (lambda: Recipe(rate=math.nan), "rate is nan"),
        (lambda: EDMScaling(0.0), "deviation is 0"),
        (lambda: LogNormal(0.0, -1.0), "deviation are 0.0, -1.0"),
    ],
)
def test_bad_recipes(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_training_that_diverges_says_so() -> None:
    with pytest.raises(ValueError, match=r"rate is 1e\+30, and the loss of step \d+ is not fin"):
        train(POINTS, replace(QUICK, rate=1e30, steps=200))


# --- the trained network ------------------------------------------------------------------------


@lru_cache
def measured() -> tuple[Learned, np.ndarray, list[dict[str, Any]]]:
    model, points = digits_denoiser()
    return model, points, score_rows(model, points, samples=512)


def residuals(of: str, candidate: str, quantity: str = "score") -> dict[float, float]:
    rows = pick(measured()[2], of, candidate)
    return {row["sigma"]: row[quantity]["residual"] for row in rows}


def slope(curve: dict[float, float], a: float, b: float) -> float:
    return math.log(curve[b] / curve[a]) / math.log(b / a)


def test_the_loss_falls() -> None:
    losses = trained(digits.digits(), Recipe()).losses
    assert losses.shape == (2000,)
    assert losses[-200:].mean() < 0.6 * losses[:10].mean()


def test_what_explains_the_network() -> None:
    gaussian, mean = residuals("network", "Gaussian"), residuals("network", "mean")
    assert all(gaussian[s] < mean[s] for s in SIGMAS if s >= 0.5)
    mixture = residuals("network", "mixture")
    assert all(mixture[s] < gaussian[s] for s in SIGMAS if 0.1 <= s <= 2)
    falling = [gaussian[s] for s in SIGMAS if s >= 0.1]
    assert all(a > b for a, b in pairwise(falling))
    assert all(v > 1e-7 * gaussian[s] >= 0 for s, v in gaussian.items())


def test_at_large_levels_the_network_shows_its_own_error() -> None:
    """The data's score goes to the Gaussian's like σ⁻⁶ in R, the network's does not follow."""
    data, learned = residuals("data", "Gaussian"), residuals("network", "Gaussian")
    # D − D_G = O(σ⁻²) beside |D − x| ~ σ, squared; the next term is smaller by λ₁/σ² < 1/50
    assert slope(data, 20, 40) == pytest.approx(-6, abs=0.1)
    assert slope(learned, 20, 40) > -3
    level = own_error_from(measured()[2])
    assert level is not None
    assert 2 < level <= 10
    of_data = residuals("network", "Gaussian", "data")
    assert of_data[80] > of_data[5]
    rounding = residuals("network", "float64")
    assert all(rounding[s] < 1e-6 * learned[s] for s in SIGMAS)


def test_gaps_of_network_data_and_gaussian_are_a_triangle() -> None:
    """√J_θ <= √E|s_θ − s|² + √J on the same points, and the loss bounds J from below."""
    rows, points = measured()[2], measured()[1]
    moments = scores.moments(points)
    curves = [
        pick(rows, *key)
        for key in (("network", "Gaussian"), ("network", "delta"), ("data", "Gaussian"))
    ]
    for whole, own, data in zip(*curves, strict=True):
        a, b, c = (math.sqrt(row["gap"]) for row in (whole, own, data))
        assert abs(b - c) <= a * (1 + 1e-12)
        assert a <= (b + c) * (1 + 1e-12)
        error = math.hypot(own["loss_error"] / own["sigma"] ** 4, data["gap_error"])
        assert excess(moments, own["loss"], own["sigma"]) < data["gap"] + 4 * error


def test_gaussian_first_then_departed_from() -> None:
    """What the Gaussian leaves at σ = 1 falls and rises again in training; the points' falls."""
    full, points, _ = measured()
    law = {k: v for k, v in scores.candidates(points).items() if k in ("Gaussian", "delta")}
    stages = [Learned(network(points, Recipe())), trained(points, SHORT).denoiser, full]
    how: dict[str, Any] = {"sigmas": (1.0,), "samples": 512}
    found = [compare(stage, law, torch.tensor(points), **how) for stage in stages]
    gaussian, delta = zip(
        *([row["score"]["residual"] for row in rows] for rows in found), strict=True
    )
    assert gaussian[0] > 10 * gaussian[1]
    assert gaussian[2] > 1.3 * gaussian[1]
    assert delta[0] > delta[1] > delta[2]


def test_a_jump_is_nearer_to_the_data_than_the_network_is() -> None:
    model, points, _ = measured()
    how: dict[str, Any] = {"levels": (20.0,), "starts": 16, "steps": 40}
    (row,) = jump_rows(model, points, **how)
    assert row["data"] < 0.1 * row["network"]
    assert row["apart"] == pytest.approx(row["network"], abs=row["data"])
    assert row["end"] > 1e-4
    # a network that is the Gaussian loses nothing: what is left is the solver's error
    gaussian = Known(baselines(scores.moments(points))["Gaussian"])
    (control,) = jump_rows(gaussian, points, **how)
    assert control["network"] < 1e-2 * row["network"]
    assert control["end"] < 0.1 * row["end"]


def test_the_figure_shows_every_candidate() -> None:
    figure = plots.scores.explained(measured()[2])
    assert isinstance(figure, Figure)
    left, right = figure.axes
    assert left.get_xscale() == right.get_yscale() == "log"
    gaussian = next(line for line in left.lines if line.get_label() == "Gaussian")
    np.testing.assert_array_equal(
        gaussian.get_ydata(), [*residuals("network", "Gaussian").values()]
    )
    drawn = {line.get_label() for line in right.lines}
    assert {label for _, _, label in plots.scores.LOOKS.values()} < drawn
    assert inline(figure, "scores", "explained").startswith("<svg")


def test_the_networks_own_flow_has_a_level_of_its_own() -> None:
    model, points = digits_denoiser()
    found = network_level(model, points)
    assert (found.source, found.target) == ("network", "the network's own flow")
    assert 1 < found.rho < 5
    assert found.estimate + 2 * found.error + found.sampling <= found.tolerance
