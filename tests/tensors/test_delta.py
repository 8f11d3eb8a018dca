"""The law of a data set is the mixture of its points, in memory that their number leaves alone."""

from __future__ import annotations

import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from gaussian_score.delta import DeltaMixture
from gaussian_score.mixture import GaussianMixture

# torch scripts its own derivative formulas the first time forward mode is used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

F64 = torch.float64
EPS = torch.finfo(F64).eps
METHODS = ("log_density", "score", "noise", "denoise")
RNG = np.random.default_rng(0)
DATA = torch.from_numpy(RNG.normal(size=(40, 3)))
WEIGHTS = torch.from_numpy(np.append(RNG.dirichlet(np.ones(39)), 0.0))
X, V = (torch.from_numpy(RNG.normal(size=(4, 3))) for _ in range(2))
LEVELS: list[tuple[Any, Any]] = [
    (0.8, 0.6),
    (0.0, 1.0),
    (torch.linspace(0.1, 1, 4, dtype=F64), torch.linspace(0.2, 3, 4, dtype=F64)),
]


def pair(
    variance: float = 0.0, block: int = 7, weights: Tensor | None = None
) -> tuple[DeltaMixture, GaussianMixture]:
    """The law of DATA, streamed and as a mixture."""
    w = torch.full((40,), 1 / 40, dtype=F64) if weights is None else weights
    mixture = GaussianMixture.isotropic(w, DATA, torch.full((40,), variance, dtype=F64))
    return DeltaMixture.of(DATA, weights=weights, variance=variance, block=block), mixture


def test_vector() -> None:
    law = DeltaMixture.of(torch.tensor([[0.0, 0], [1, 0], [0, 2]], dtype=F64), block=2)
    x = torch.tensor([[0.3, 0.4]], dtype=F64)
    gammas = [0.68607870978992431, 0.30827503597278659, 0.0056462542372890984]
    expected: dict[str, list[Any]] = {
        "denoise": [[0.30827503597278659, 0.011292508474578197]],
        "score": [[0.033100143891146351, -1.5548299661016872]],
        "log_density": [-1.6734320734225885],
    }
    for name, value in expected.items():
        found = getattr(law, name)(x, 1, 0.5)
        torch.testing.assert_close(found, torch.tensor(value, dtype=F64), rtol=1e-12, atol=1e-14)
    gamma, which = law.responsibilities(x, 1, 0.5, top=3)
    torch.testing.assert_close(gamma, torch.tensor([gammas], dtype=F64), rtol=1e-12, atol=0)
    assert which.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("variance", [0.0, 0.3])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("block", [1, 7, 100])
@pytest.mark.parametrize("level", LEVELS)
def test_it_is_the_mixture_of_its_points(
    variance: float, weights: Tensor | None, block: int, level: tuple[Any, Any]
) -> None:
    law, mixture = pair(variance, block, weights)
    # logits lose ε |u| |z|/c, here 10 · 4²/0.04, times 1/σ² in a score
    close: dict[str, Any] = {"rtol": 1e4 * EPS, "atol": 1e4 * EPS}
    for name in METHODS:
        found, expected = getattr(law, name)(X, *level), getattr(mixture, name)(X, *level)
        torch.testing.assert_close(found, expected, **close)
    for name in ("score_jvp", "denoise_jvp"):
        found, expected = getattr(law, name)(X, V, *level), getattr(mixture, name)(X, V, *level)
        torch.testing.assert_close(found, expected, rtol=1e5 * EPS, atol=1e5 * EPS)
    gamma, which = law.responsibilities(X, *level, top=50)
    expected = mixture.responsibilities(X, *level)
    torch.testing.assert_close(gamma, expected.gather(1, which), **close)
    assert (which.sort(1).values == torch.arange(40)).all()
    assert (gamma.diff(dim=1) <= 0).all()


def test_the_comparison_can_fail() -> None:
    """A variance of 1e-6, or a point left out, is seen."""
    law, _ = pair()
    for other in (pair(1e-6)[0], DeltaMixture.of(DATA[1:])):
        with pytest.raises(AssertionError):
            torch.testing.assert_close(
                law.denoise(X, 0.8, 0.6), other.denoise(X, 0.8, 0.6), rtol=1e-7, atol=1e-7
            )


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("sigma", [1e-3, 1.0, 1e4])
def test_finite_with_points_far_apart(dtype: torch.dtype, sigma: float) -> None:
    """Points 1e3 apart at σ = 1e-3: logits differ by 1e12, and nothing overflows."""
    points = torch.tensor([[-500.0, 0], [500, 0], [500, 1e-3]], dtype=dtype)
    law = DeltaMixture.of(points, block=1)
    x = torch.tensor([[-500.0, 0], [499, 1], [0, 0], [1e4, 1e4]], dtype=dtype)
    for name in METHODS:
        value = getattr(law, name)(x, 1, sigma)
        assert value.dtype is dtype
        assert value.isfinite().all()
    if sigma == 1e-3:
        assert torch.equal(law.denoise(x, 1, sigma)[0], points[0])


@pytest.mark.parametrize("variance", [0.0, 0.3])
def test_derivatives(variance: float) -> None:
    law, mixture = pair(variance, block=30)
    leaves = [a[:2].clone().requires_grad_() for a in (X, *LEVELS[2])]
    for name in METHODS:
        assert torch.autograd.gradcheck(getattr(law, name), leaves, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(law.noise, leaves)

    def jacobians(one: Any) -> list[Tensor]:
        def data(z: Tensor) -> Tensor:
            return one.denoise(z[None], 0.8, 0.6)[0]

        def density(z: Tensor) -> Tensor:
            return one.log_density(z[None], 0.8, 0.6)[0]

        f = torch.func
        twice = f.jacrev(f.jacrev(density))(X[0])
        return [f.jacfwd(data)(X[0]), f.jacrev(data)(X[0]), f.hessian(density)(X[0]), twice]

    for found, expected in zip(jacobians(law), jacobians(mixture), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e4 * EPS, atol=1e4 * EPS)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_time_derivatives_by_nested_jvp(depth: int) -> None:
    """Forward mode inside forward mode is the mixture's, which is checked against digits."""

    def nested(law: Any) -> Tensor:
        def curve(t: Tensor) -> Tensor:
            return law.noise((1 + t) * X, t.cos(), t.sin())

        f = curve
        for _ in range(depth):
            f = (lambda g: lambda t: torch.func.jvp(g, (t,), (torch.ones_like(t),))[1])(f)
        return f(torch.tensor(0.75, dtype=F64))

    law, mixture = pair()
    found, expected = nested(law), nested(mixture)
    # each derivative multiplies the number of rounded terms, and their size, by at most 100
    scale = expected.abs().max()
    assert (found - expected).abs().max() <= 100 ** (depth + 1) * EPS * scale


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors alive at once that torch made while it was on."""

    def __init__(self) -> None:
        super().__init__()
        self.owners: dict[int, int] = {}
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {
            t.untyped_storage().data_ptr()
            for t in tree_leaves((args, kwargs))
            if isinstance(t, Tensor)
        }
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, Tensor):
                place, size = t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()
                if place in known and place not in self.owners:
                    continue  # a view of something older
                if self.owners.get(place, 0) == 0:
                    self.now += size
                self.owners[place] = self.owners.get(place, 0) + 1
                weakref.finalize(t, self.leave, place, size)
        self.most = max(self.most, self.now)
        return out

    def leave(self, place: int, size: int) -> None:
        self.owners[place] -= 1
        if self.owners[place] == 0:
            self.now -= size
            del self.owners[place]


def needed(law: DeltaMixture, name: str, x: Tensor) -> int:
    with Alive() as alive:
        if name == "backward":
            leaf = x.clone().requires_grad_()
            law.denoise(leaf, 1, 0.5).sum().backward()
        elif name == "responsibilities":
            law.responsibilities(x, 1, 0.5, top=3)
        else:
            getattr(law, name)(x, *([x] if name.endswith("jvp") else []), 1, 0.5)
    return alive.most


@pytest.mark.parametrize("name", [*METHODS, "responsibilities", "denoise_jvp", "backward"])
def test_memory_is_what_is_stated(name: str) -> None:
    """Whatever the number of points; a law that keeps its blocks would take 20 times as much."""
    pixels = np.random.default_rng(0).integers(0, 256, (4000, 50), dtype=np.uint8)
    x = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    sizes = []
    for count in (1000, 4000):
        law = DeltaMixture.of(pixels[:count], scale=1 / 127.5, shift=-1, block=200)
        sizes.append(needed(law, name, x))
        assert 200 * 50 * 4 <= sizes[-1] <= law.memory(8)
    assert sizes[0] == sizes[1]
    whole = DeltaMixture.of(pixels, scale=1 / 127.5, shift=-1, block=4000)
    assert needed(whole, name, x) > law.memory(8)


def test_work_is_linear_in_the_points() -> None:
    for count in (10, 30):
        law = DeltaMixture.of(torch.ones(count, 5), block=4)
        with FlopCounterMode(display=False) as counter:
            law.score(torch.zeros(6, 5), 1, 1)
        # x · z and γ z; γ |z|² is a product as well
        assert counter.get_total_flops() in (4 * 6 * count * 5, 4 * 6 * count * 5 + 2 * 6 * count)


def test_every_kind_of_points(tmp_path: Path) -> None:
    """Bytes, images, memmaps and tensors give the same law; x's dtype is that of the answer."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 2, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    options: dict[str, Any] = {"scale": 1 / 127.5, "shift": -1.0, "block": 8}
    exact = DeltaMixture.of(torch.from_numpy(pixels.reshape(30, 6) / 127.5 - 1))
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 6)))
    for points in (
        pixels,
        torch.from_numpy(pixels),
        np.load(tmp_path / "pixels.npy", mmap_mode="r"),
        pixels.astype(np.float32),
        pixels.astype(np.int64),
    ):
        law = DeltaMixture.of(points, **options)
        assert law.dim == 6
        for y in (x, x.float()):
            found = law.score(y, 1, 0.5)
            assert found.dtype is y.dtype
            eps = torch.finfo(y.dtype).eps
            expected = exact.score(y.double(), 1, 0.5)
            torch.testing.assert_close(found.double(), expected, rtol=100 * eps, atol=100 * eps)


def test_a_sequence_of_points_is_read_in_blocks() -> None:
    """No more than `block` of them are asked for at once."""

    class Watched(np.ndarray):
        longest = 0

        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            Watched.longest = max(Watched.longest, len(found))
            return found

    law = DeltaMixture.of(DATA.numpy().view(Watched), block=7)
    law.score(X, 1, 1)
    law.score_jvp(X, V, 1, 1)
    assert Watched.longest == 7


GOOD = np.zeros((3, 2))


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.zeros(3), {}, r"points have shape \(3,\)"),
        (np.zeros((0, 3)), {}, r"points have shape \(0, 3\)"),
        ([[1.0, 2.0]], {}, r"points have shape \(\)"),
        ([[0, 1], [0, math.nan], [0, 0]], {}, r"points\[1\] is not finite"),
        ([[0, 1], [1, 0], [math.inf, 0]], {"block": 1}, r"points\[2\] is not finite"),
        (GOOD, {"weights": (0.5, 0.5)}, r"weights has shape \(2,\)"),
        (GOOD, {"weights": (0.5, 0.5, 0.5)}, r"weights sum to 1\.5"),
        (GOOD, {"weights": (1.5, -0.5, 0)}, r"weights has the entry -0\.5"),
        (GOOD, {"variance": -1.0}, "variance is -1.0"),
        (GOOD, {"scale": math.inf}, "scale is inf"),
        (GOOD, {"shift": math.nan}, "shift is nan"),
        (GOOD, {"block": 0}, "block is 0"),
    ],
)
def test_bad_laws(points: Any, options: dict[str, Any], message: str) -> None:
    given = points if message.endswith(r"\(\)") else np.array(points)
    with pytest.raises(ValueError, match=message):
        DeltaMixture.of(given, **options)


def test_bad_calls() -> None:
    law, _ = pair()
    for arguments, message in (
        ((X[:, :2], 1, 1), r"x has shape \(4, 2\)"),
        ((X.long(), 1, 1), "int64"),
        ((X, 1, 0), "sigma is 0.0"),
        ((X, math.nan, 1), "alpha is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            law.score(*arguments)
    with pytest.raises(ValueError, match="top is 0"):
        law.responsibilities(X, 1, 1, top=0)
    with pytest.raises(ValueError, match=r"v has shape \(4, 2\)"):
        law.denoise_jvp(X, V[:, :2], 1, 1)


@pytest.mark.gpu
def test_device() -> None:
    law, _ = pair(0.1, weights=WEIGHTS)
    for name in METHODS:
        found, expected = getattr(law, name)(X.cuda(), 0.8, 0.6), getattr(law, name)(X, 0.8, 0.6)
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-11, atol=1e-11)
