"""Image i is that of seed i alone: of no neighbour, no batch, no device, no step of another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.networks import Learned
from experiments.sampling import level
from experiments.sampling.draw import Prepared, draw, prepared, run, start
from experiments.sampling.job import Job
from experiments.sampling.latent import Autoencoder
from experiments.sampling.plans import full_grid
from experiments.sampling.source import Source, opened
from experiments.sampling.tuning import Mixed
from gaussian_score.class_moments import class_moments
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments
from solvers.denoiser import Known, Network
from solvers.float64 import FLOAT64
from solvers.point import Point
from solvers.sample import SEEDS
from solvers.schedules import schedule
from solvers.statistics import Table
from tests import sampling_sources as sources

TOGETHER = 1e-5
"""Of the largest entry: float32 sums of a batch of another size, carried through a run."""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sources.digits(tmp_path_factory.mktemp("sampling") / "digits")


@pytest.fixture(scope="module")
def source(digits: Path) -> Source:
    return opened(digits)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sources.unet(tmp_path_factory.mktemp("sampling") / "unet", num_class_embeds=3)


def job(**settings: Any) -> Job:
    return Job(**{"checkpoint": "-", "method": "edm_heun", "steps": 4, **settings})


def far(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


# --- seeds --------------------------------------------------------------------------------------

RUNS = {
    "one plan": {"method": "dpm_solver_pp_2m", "labels": "cycle"},
    "noise": {"method": "sde_dpm_solver_pp_2m"},
    "churn": {"method": "edm_churn"},
    "guided": {"method": "unipc_2", "labels": "cycle", "guidance": 2.0},
    "teleport": {"method": "unipc_2", "teleport": 5.0},
    "per coordinate": {"method": "gaussian_ab2"},
    "noise after a jump": {"method": "sde_dpm_solver_pp_2m", "teleport": 5.0},
    "adaptive": {"method": "dpm_solver_pp_12", "steps": 1},
}


@pytest.mark.parametrize("case", RUNS)
def test_an_image_does_not_depend_on_its_batch(source: Source, case: str) -> None:
    p = prepared(job(**RUNS[case]), source)
    alone = torch.cat([draw(p, [seed]) for seed in range(6)])
    for seeds in ([0, 1, 2, 3, 4, 5], [5, 3, 1]):
        assert far(draw(p, seeds), alone[seeds]) < TOGETHER
    assert far(alone[:3], alone[3:]) > 0.1  # the control: other seeds are other images


def test_adaptive_steps_are_chosen_for_each_image(source: Source) -> None:
    p = prepared(job(**RUNS["adaptive"]), source)
    together, alone = run(p, range(6)), [run(p, [seed]) for seed in range(6)]
    assert torch.equal(together.nfe, torch.cat([one.nfe for one in alone]))
    assert torch.equal(together.x, torch.cat([one.x for one in alone]))  # bit for bit
    assert len(set(together.nfe.tolist())) > 1  # the control: a common step would be one number


def test_start_and_step_noise_are_draws_of_one_stream() -> None:
    a, b = start([3], (2, 2)), start([3, 4], (2, 2))
    assert torch.equal(a[0], b[0])
    assert a.dtype == torch.float64
    stream = torch.randn(8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert not torch.equal(a.flatten(), stream[4:])  # ξ₁ of the same seed


def test_step_noise_is_not_the_start_again(source: Source) -> None:
    """For D = 0 a step's noise is seen alone: it is uncorrelated with the start."""
    p = prepared(job(method="sde_dpm_solver_pp_2m", steps=1, levels=(1.0, 2.0)), source)
    zero = replace(p, source=replace(source, module=nn.Identity(), bind=_nothing))
    zero.source.module.register_parameter("w", nn.Parameter(torch.zeros(1)))
    seeds = range(64)
    x, n = run(zero, seeds).x.flatten(), start(seeds, source.shape).flatten()
    shrunk = 2.0 * (1 / 2) ** 2  # σ e^{−2h} without noise, h = log 2
    added = x - shrunk * n
    assert abs(float(torch.corrcoef(torch.stack([added, n]))[0, 1])) < 5 / len(n) ** 0.5
    assert float(added.std()) == pytest.approx((1 - 1 / 4) ** 0.5, rel=0.05)


def _nothing(module: nn.Module, condition: Tensor | None) -> Known:
    class Zero:
        def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
            return torch.zeros_like(x)

        def noise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
            return x / sigma

    return Known(Zero())


@pytest.mark.parametrize("seeds", [(0, SEEDS), (5, 4)])
def test_seeds_that_are_one_stream_are_refused(seeds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"seeds: got \d+-\d+; FIRST-LAST of 0 to 4294967295"):
        job(first=seeds[0], last=seeds[1])


def test_torch_takes_32_bits_of_a_seed() -> None:
    """Why larger ones are refused: they would be images that are there already."""
    one, other = (torch.Generator().manual_seed(seed) for seed in (7, 7 + SEEDS))
    assert torch.equal(torch.randn(4, generator=one), torch.randn(4, generator=other))


# --- the flow -----------------------------------------------------------------------------------


def test_the_run_is_that_of_the_flow(source: Source) -> None:
    """Many steps of two methods, with and without a jump to the top level, are one image."""
    fine = [
        draw(prepared(job(method=m, steps=n, levels=(0.5, 40.0)), source), [0, 1])
        for m, n in (("edm_heun", 80), ("unipc_3", 80))
    ]
    assert far(fine[0], fine[1]) < 1e-3
    one = draw(prepared(job(steps=2, levels=(0.5, 40.0)), source), [0, 1])
    assert far(one, fine[0]) > 1e-2  # the control


@dataclass(frozen=True)
class Images:
    """A law of vectors as one of images."""

    law: GaussianMixture

    def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        return self.law.denoise(x.flatten(1), alpha, sigma).reshape(x.shape)

    def noise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        return self.law.noise(x.flatten(1), alpha, sigma).reshape(x.shape)


def test_a_teleport_is_the_gaussian_flow(source: Source) -> None:
    """A network that is its Gaussian has the same image with a jump and with many steps."""
    moments = source.moments
    assert isinstance(moments, Moments)
    law = GaussianMixture.full([1.0], moments.mean[None], moments.covariance()[None])

    exact = replace(source, bind=lambda module, condition: Known(Images(law)))
    rest = {"levels": (0.05, 40.0), "method": "edm_heun", "steps": 60}
    plain, jumped = (draw(prepared(job(**rest, teleport=t), exact), [0, 1]) for t in (None, 10.0))
    assert far(jumped, plain) < 1e-3
    matched = draw(prepared(job(**rest, teleport=10.0, prior="matched"), exact), [0, 1])
    assert far(matched, plain) > 1e-4  # the control: another point of the flow


def test_the_level_is_where_the_network_leaves_its_gaussian(source: Source) -> None:
    """A network between its Gaussian and nothing lands lower the nearer it is to it."""
    levels = [level.automatic(job(teleport="auto", tolerance=t), source) for t in (0.02, 0.1, 2.0)]
    assert levels[0] > levels[1] > levels[2]
    found = prepared(job(teleport="auto", tolerance=0.1), source)
    assert found.landing == levels[1]
    top = found.ways[None].grid.points[0]
    assert float(top.rho) == pytest.approx(levels[1], rel=1e-12)


def test_the_level_does_not_depend_on_the_schedule(source: Source) -> None:
    """A network that is told t on VP and one that is told σ, of one law: one level."""
    moments = source.moments
    assert isinstance(moments, Moments)
    far_apart = 0.5 * moments.basis[:, 0] * moments.eigenvalues[0] ** 0.5
    within = moments.covariance() - np.outer(far_apart, far_apart)
    means = np.stack([moments.mean + far_apart, moments.mean - far_apart])
    law = GaussianMixture.full([0.5, 0.5], means, np.stack([within, within]))
    vp = schedule("vp_linear")

    def net(x: Tensor, t: Tensor) -> Tensor:
        p = Point(vp, FLOAT64, "t", FLOAT64.number(float(t[0])))
        return law.noise(x.flatten(1), float(p.alpha), float(p.sigma)).reshape(x.shape)

    exact = replace(source, bind=lambda module, condition: Known(Images(law)))
    told = replace(source, schedule=vp, bind=lambda module, condition: Network(net, "noise", vp))
    asked = job(teleport="auto", levels=(0.02, 40.0))
    assert level.automatic(asked, told) == level.automatic(asked, exact)


def test_classes_have_their_own_jumps(source: Source, digits: Path, tmp_path: Path) -> None:
    from experiments.datamodules import Digits

    data = Digits()
    data.setup()
    x, y = data.training[slice(None)]
    assert y is not None
    class_moments(x.flatten(1).double().numpy(), y.numpy()).shrunk(eta=0.5).save(
        tmp_path / "classes.npz"
    )
    own = opened(digits, statistics=tmp_path / "classes.npz")
    asked = job(method="unipc_2", teleport=20.0, labels=(3, 7), statistics="-")
    p = prepared(asked, own)
    assert set(p.ways) == {3, 7}
    both = draw(p, [0, 1, 2, 3])
    threes = draw(prepared(replace(asked, labels=(3,)), own), [0, 2])
    assert far(both[[0, 2]], threes) < TOGETHER
    pooled = draw(prepared(asked, source), [0, 1, 2, 3])
    assert far(pooled, both) > 1e-3  # the control
    with pytest.raises(ValueError, match="allowed with labels"):
        prepared(replace(asked, labels=None), own)


def test_statistics_of_the_model_belong_to_pixels(digits: Path, tmp_path: Path) -> None:
    lam = np.linspace(-5, 7, 60)
    zero = np.zeros((60, 64))
    Table(lam, zero, zero, zero).save(tmp_path / "ems.npz")
    own = opened(digits, statistics=tmp_path / "ems.npz")
    v3 = draw(prepared(job(method="dpm_solver_v3_2", statistics="-"), own), [0, 1])
    plain = draw(prepared(job(method="deis_rho_ab1"), own), [0, 1])
    assert v3.shape == plain.shape
    with pytest.raises(ValueError, match="teleport: got statistics of a model"):
        prepared(job(method="dpm_solver_v3_2", statistics="-", teleport=5.0), own)


# --- sources ------------------------------------------------------------------------------------


def test_a_pipeline_is_sampled_on_its_own_schedule(pipeline: Path) -> None:
    found = opened(pipeline)
    assert (found.shape, found.classes, found.schedule.name) == ((1, 8, 8), 3, "ddpm_discrete")
    grid = full_grid(job(), found)
    assert [round(float(p.t), 6) for p in (grid.points[0], grid.points[-1])] == [999, 0]
    p = prepared(job(method="ddim", steps=3, labels=(2,)), found)
    assert draw(p, [0, 1]).shape == (2, 1, 8, 8)
    with pytest.raises(ValueError, match=r"schedule: got 'edm'; the checkpoint's own"):
        prepared(job(schedule={"name": "edm"}), found)


def test_a_digest_is_of_the_weights_and_what_they_mean(pipeline: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pipeline, tmp_path / "copy"))
    assert opened(copy).digest == opened(pipeline).digest
    scheduler = copy / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({"_class_name": "DDPMScheduler", "beta_end": 0.03}))
    assert opened(copy).digest != opened(pipeline).digest


def test_a_free_network_takes_any_schedule(source: Source) -> None:
    """λ alone decides a flow in x/α, so the image is the same on every schedule."""
    found = [
        draw(prepared(job(grid="logsnr", levels=(0.1, 9.0), schedule={"name": n}), source), [1])
        for n in ("edm", "vp_linear", "vp_cosine")
    ]
    alpha = (1 + 0.1**2) ** -0.5  # at the lowest level, where α² + σ² = 1
    assert far(found[1] / alpha, found[0]) < TOGETHER
    assert far(found[2] / alpha, found[0]) < TOGETHER
    assert far(found[1], found[0]) > 1e-3  # the control: x is not x/α


def test_a_run_may_begin_without_data(pipeline: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pipeline, tmp_path / "flow"))
    scheduler = copy / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler"}))
    found = opened(copy)
    assert full_grid(job(), found).points[0].silent
    assert draw(prepared(job(method="dpm_solver_pp_2m", labels=(0,)), found), [0]).isfinite().all()


@pytest.mark.parametrize("kind", ["AutoencoderKL", "VQModel"])
def test_latents_are_decoded_with_their_scale(tmp_path: Path, kind: str) -> None:
    place = sources.latent(tmp_path / "pipeline", kind)
    found = opened(place)
    assert isinstance(found.latent, Autoencoder)
    x = 0.03 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    images = found.decode(x)
    assert images.shape == (2, 3, 16, 16)
    expected = found.latent.model.decode(x / 0.5).sample  # type: ignore[operator]
    assert far(images, expected) < TOGETHER  # decoded one at a time here, together there
    p = prepared(job(method="ddim", steps=2), found)
    assert draw(p, [0]).shape == (1, 3, 16, 16)
    other = found.latent.model.decode(x).sample  # type: ignore[operator]
    assert far(images, other) > 1e-3  # the control: without the scale


def test_an_autoencoder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    place = sources.latent(tmp_path / "pipeline")
    file = place / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    name = next(iter(state))
    save_file({**state, name: torch.zeros(3, 5)}, file)
    with pytest.raises(ValueError, match="autoencoder: .* does not fit"):
        opened(place)
    file.unlink()
    with pytest.raises(ValueError, match="diffusion_pytorch_model.safetensors"):
        opened(place)


def test_images_are_in_one_range(source: Source) -> None:
    x = torch.tensor([0.0, 0.25, 1.0])
    assert replace(source, range=(0.0, 1.0)).decode(x).tolist() == [-1.0, -0.5, 1.0]
    assert source.decode(x) is x


# --- how the network is run ---------------------------------------------------------------------


class Syncs(TorchDispatchMode):
    """Counts numbers read off tensors while `counting`, as .item() and bool() read them."""

    count, counting = 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += self.counting and func._schema.name == "aten::_local_scalar_dense"
        return func(*args, **(kwargs or {}))


class Between(Mixed):
    """Counts between its first call and its last."""

    def __init__(self, module: nn.Module, mode: Syncs, calls: int, bad: bool) -> None:
        super().__init__(module)
        self.mode, self.left, self.bad = mode, calls, bad

    def forward(self, *args: Any) -> Tensor:
        self.left -= 1
        self.mode.counting = self.left > 0
        out = self.module(*args)
        if self.bad:
            out.sum().item()
        return out


def syncs(p: Prepared, *, bad: bool = False) -> int:
    with Syncs() as mode:
        plan = p.ways[None].plan
        assert plan is not None
        net = Between(p.source.module, mode, plan.nfe, bad)
        run(replace(p, source=replace(p.source, module=net)), range(3))
    assert not mode.counting
    return mode.count


LOOPS: dict[str, dict[str, Any]] = {
    "edm_heun": {},
    "unipc_3": {"teleport": 5.0},
    "sde_dpm_solver_pp_2m": {},
    "gaussian_ab2": {},
}


@pytest.mark.parametrize("method", LOOPS)
def test_no_step_waits_for_the_device(source: Source, method: str) -> None:
    p = prepared(job(method=method, **LOOPS[method]), source)
    assert syncs(p) == 0
    assert syncs(p, bad=True) >= 3  # the control: a network that does


def test_no_step_of_a_pipeline_waits_for_the_device(pipeline: Path) -> None:
    found = opened(pipeline)
    p = prepared(job(method="dpm_solver_pp_2m", labels=(0,)), found)
    assert syncs(p) == 0


def test_the_state_is_float64_and_the_network_float32(source: Source) -> None:
    seen: list[torch.dtype] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = source.module

        def forward(self, x: Tensor, *rest: Any) -> Tensor:
            seen.append(x.dtype)
            return self.module(x, *rest)

    p = prepared(job(), source)
    done = run(replace(p, source=replace(source, module=Watched())), [0])
    assert set(seen) == {torch.float32}
    assert done.x.dtype == torch.float64
    assert run(prepared(job(state="float32"), source), [0]).x.dtype == torch.float32


def test_short_products_change_little(source: Source) -> None:
    full, short = (draw(prepared(job(precision=p), source), [0, 1]) for p in ("fp32", "bf16"))
    assert 1e-5 < far(short, full) < 0.1  # 8 bits, but not none
    last = draw(prepared(job(channels_last=True), source), [0, 1])
    assert far(last, full) < TOGETHER


def test_a_value_that_is_not_finite_names_seed_and_step(source: Source) -> None:
    p = prepared(job(), source)
    model = p.source.denoiser()

    class Broken(Learned):
        def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
            out = model.at(kind, x, t, alpha, sigma)
            return torch.where(self.bad(x, sigma)[:, None, None, None], torch.nan, out)

        def bad(self, x: Tensor, sigma: Any) -> Tensor:
            place = torch.arange(len(x)) == 2
            return place & (sigma < 5.0)

    broken = replace(source, bind=lambda module, condition: Broken(module))
    with pytest.raises(ValueError, match=r"^seed 12, step \d: model: got a value that is not"):
        run(replace(p, source=broken), [10, 11, 12, 13])


# --- on a GPU -----------------------------------------------------------------------------------


@contextmanager
def placed(source: Source) -> Iterator[Source]:
    try:
        yield source.to("cuda")
    finally:
        source.to("cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("case", RUNS)
def test_a_gpu_makes_the_same_images(source: Source, case: str) -> None:
    p = prepared(job(**RUNS[case]), source)
    here = draw(p, range(4))
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with placed(source):
            there = draw(p.to("cuda"), range(4)).cpu()
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    assert far(there, here) < TOGETHER


@pytest.mark.gpu
@pytest.mark.parametrize("method", LOOPS)
def test_no_step_waits_for_a_gpu(source: Source, method: str) -> None:
    """CUDA itself raises, between the first call of the network and the last."""
    p = prepared(job(method=method, **LOOPS[method]), source)
    plan = p.ways[None].plan
    assert plan is not None

    class Strict(nn.Module):
        def __init__(self, bad: bool) -> None:
            super().__init__()
            self.module, self.left, self.bad = source.module, plan.nfe, bad

        def forward(self, *args: Any) -> Tensor:
            self.left -= 1
            torch.cuda.set_sync_debug_mode("error" if self.left else "default")
            out = self.module(*args)
            if self.bad:
                out.sum().item()
            return out

    with placed(source):
        placed_p = p.to("cuda")
        try:
            run(replace(placed_p, source=replace(source, module=Strict(False))), range(4))
            with pytest.raises(RuntimeError, match="synchroniz"):  # the control
                run(replace(placed_p, source=replace(source, module=Strict(True))), range(4))
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_bf16_channels_last_and_compile_run_on_a_gpu(pipeline: Path) -> None:
    found = opened(pipeline).to("cuda")
    fast = job(
        method="dpm_solver_pp_2m",
        labels=(0,),
        precision="bf16",
        channels_last=True,
        compile=True,
    )
    short = draw(prepared(fast, found), range(4))
    plain = draw(prepared(job(method="dpm_solver_pp_2m", labels=(0,)), found), range(4))
    assert short.isfinite().all()
    assert far(short, plain) < 0.2


def test_points_of_levels_are_levels() -> None:
    """The highest and the lowest level come back from the schedule's own times."""
    for name in ("vp_linear", "ddpm_discrete", "ve"):
        s = schedule(name)
        rho = float(Point(s, FLOAT64, "t", FLOAT64.number(s.span[1])).rho)
        t = Point(s, FLOAT64, "rho", FLOAT64.number(rho)).t
        assert float(t) == pytest.approx(s.span[1], rel=1e-12)
