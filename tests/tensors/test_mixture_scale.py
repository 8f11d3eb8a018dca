"""A mixture's score costs two matrix products a component, loses no digits, and its JVP is exact.

That holds however the components are cut into blocks, where one basis serves them all, and (with
one product, and the loss that its docstring states) where a level is factorised once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gaussian_score import components
from gaussian_score.mixture import GaussianMixture
from gaussian_score.oracle import Oracle

# torch scripts its own derivative formulas the first time forward mode is used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

F64 = torch.float64
EPS = torch.finfo(F64).eps
METHODS = ("log_density", "responsibilities", "score", "noise", "denoise")


def laws(k: int = 4, d: int = 3, rank: int = 2) -> dict[str, GaussianMixture]:
    """One of every kind; the last two are the same law."""
    rng = np.random.default_rng(0)
    w, mu = rng.dirichlet(np.ones(k)), rng.normal(size=(k, d))
    bases = np.linalg.qr(rng.normal(size=(k, d, d)))[0]
    lam, floors = rng.uniform(0.1, 2, (k, rank)), rng.uniform(0.01, 0.3, k)
    u = bases[0, :, :rank]
    rest = np.eye(d) - u @ u.T
    covs = [(u * var) @ u.T + f * rest for var, f in zip(lam, floors, strict=True)]
    return {
        "diagonal": GaussianMixture.diagonal(w, mu, rng.uniform(0, 2, (k, d))),
        "isotropic": GaussianMixture.isotropic(w, mu, floors),
        "full": GaussianMixture.full(w, mu, (bases * 0.3) @ bases.swapaxes(1, 2)),
        "low_rank": GaussianMixture.low_rank(w, mu, bases[:, :, :rank], lam, floors),
        "complete": GaussianMixture.shared(w, mu, bases[0], rng.uniform(0, 2, (k, d)), floors),
        "shared": GaussianMixture.shared(w, mu, u, lam, floors),
        "copies": GaussianMixture.full(w, mu, covs),
    }


LAWS = laws()
POINTS = torch.from_numpy(np.random.default_rng(1).normal(size=(5, 3)))
TANGENTS = torch.from_numpy(np.random.default_rng(2).normal(size=(5, 3)))
LEVELS = [(0.8, 0.6), (torch.linspace(0, 1, 5, dtype=F64), torch.linspace(1, 0.2, 5, dtype=F64))]


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("level", LEVELS)
def test_blocks_do_not_matter(
    kind: str, level: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    law = LAWS[kind]
    whole = [getattr(law, name)(POINTS, *level) for name in METHODS]
    whole += [
        getattr(law, name)(POINTS, TANGENTS, *level) for name in ("score_jvp", "denoise_jvp")
    ]
    monkeypatch.setattr(components, "BLOCK", 1)
    cut = [getattr(law, name)(POINTS, *level) for name in METHODS]
    cut += [getattr(law, name)(POINTS, TANGENTS, *level) for name in ("score_jvp", "denoise_jvp")]
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, rtol=50 * EPS, atol=50 * EPS)


@pytest.mark.parametrize("level", LEVELS)
def test_one_basis_is_its_copies(level: tuple[Any, Any]) -> None:
    shared, copies = LAWS["shared"], LAWS["copies"]
    assert shared.bases is not None
    assert shared.bases.shape == (1, 3, 2)
    for name in METHODS:
        one, other = (getattr(law, name)(POINTS, *level) for law in (shared, copies))
        # σ²s of a law with variances down to 0.01: rounding of the copies' eigenvectors, times 1/c
        torch.testing.assert_close(one, other, rtol=1e4 * EPS, atol=1e4 * EPS)
    torch.testing.assert_close(shared.covariance, copies.covariance, rtol=20 * EPS, atol=20 * EPS)
    x = shared.sample(20_000, generator=torch.Generator().manual_seed(0))
    spread = shared.covariance.diagonal().max()
    assert (torch.cov(x.mT) - shared.covariance).abs().max() < 6 * 2 * spread / 20_000**0.5


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["score", "denoise"])
def test_jvp_is_the_derivative(kind: str, level: tuple[Any, Any], name: str) -> None:
    law = LAWS[kind]
    found = getattr(law, f"{name}_jvp")(POINTS, TANGENTS, *level)
    exact = torch.func.jvp(lambda x: getattr(law, name)(x, *level), (POINTS,), (TANGENTS,))[1]
    # 1/c reaches 25 at σ = 0.2, and the derivative of a score its square
    torch.testing.assert_close(found, exact, rtol=1e4 * EPS, atol=1e4 * EPS)
    gammas = law.responsibilities(POINTS, *level).mT[..., None]
    alone = [getattr(one, f"{name}_jvp")(POINTS, TANGENTS, *level) for one in parts(law)]
    # without the derivative of the responsibilities it is not
    assert ((gammas * torch.stack(alone)).sum(0) - exact).abs().max() > 1e-3


def parts(law: GaussianMixture) -> list[GaussianMixture]:
    """Each component, as a law of its own."""
    return [
        GaussianMixture(
            torch.ones(1, dtype=F64),
            law.means[[k]],
            law.variances[[k]],
            None if law.bases is None else law.bases[[k % len(law.bases)]],
            None if law.floors is None else law.floors[[k]],
        )
        for k in range(len(law.means))
    ]


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 50.0])
def test_jvp_against_digits(sigma: float) -> None:
    w, mu = (0.3, 0.7), ((1.0, 0.0), (-1.0, 0.5))
    covs = (((0.5, 0.25), (0.25, 0.25)), ((0.125, 0.0), (0.0, 1.0)))
    law, oracle = GaussianMixture.full(w, mu, covs), Oracle(w, mu, covs, 60)
    point, v = (0.25, -0.75), (0.5, -1.25)
    x, tangent = (torch.tensor([p], dtype=F64) for p in (point, v))

    def exact(name: str, i: int) -> float:
        def along(t: Any) -> Any:
            here = [p + t * q for p, q in zip(point, v, strict=True)]
            return getattr(oracle, name)(here, 0.8, sigma)[i]

        with mp.workdps(60):  # h² = 1e-30 is left, 1e-60/h lost
            return float(mp.diff(along, 0, h=mp.mpf(10) ** -15))

    for name, found in (
        ("score", law.score_jvp(x, tangent, 0.8, sigma)),
        ("denoise", law.denoise_jvp(x, tangent, 0.8, sigma)),
    ):
        digits = torch.tensor([[exact(name, i) for i in range(2)]], dtype=F64)
        scale = digits.abs().max()
        # condition of the covariances (up to 14) times a few sums
        assert (found - digits).abs().max() <= 200 * EPS * scale


FAR = ((-500.0, 0.0), (500.0, 0.0))
NEAR = ((0.4, 0.3), (0.3, 0.6))


def far_score(law: GaussianMixture, x: Tensor, *, centred: bool = True) -> Tensor:
    """One product of x itself, and one of the means, subtracted after: what must not be done."""
    if centred:
        return law.score(x, 1, 1e-3)
    assert law.bases is not None
    t = x @ law.bases - (law.means[:, None] @ law.bases)
    h = t / (law.variances[:, None] + 1e-6)
    logits = law.weights.log()[:, None] - 0.5 * (t * h).sum(-1)
    return -((logits.softmax(0)[..., None] * h) @ law.bases.mT).sum(0)


@pytest.mark.parametrize(("centred", "keeps"), [(True, True), (False, False)])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_components_far_apart_keep_their_digits(
    dtype: torch.dtype, centred: bool, keeps: bool
) -> None:
    """At σ = 1e-3, 1e3 apart, x at 1e-3 from a mean: the score has the digits of x − μ.

    A product of x itself loses |x|/|x − μ| = 5e5 of them.
    """
    small = 1e-6
    covs = [[[small * c for c in row] for row in NEAR]] * 2
    law = GaussianMixture.full((0.5, 0.5), FAR, covs).to(dtype=dtype)
    x = torch.tensor([(-500 + 2**-10, 2**-11), (500 - 2**-9, 0.0)], dtype=dtype)
    found = far_score(law, x, centred=centred).double()
    oracle = Oracle((0.5, 0.5), FAR, covs, 40)
    exact = [[float(s) for s in oracle.score(p, 1, 1e-3)] for p in x.double().tolist()]
    exact = torch.tensor(exact, dtype=F64)
    # |x − μ|/500 is exact in x; the rest is rounding of the eigenvectors and of c
    good = (found - exact).abs().max() <= 50 * torch.finfo(dtype).eps * exact.abs().max()
    assert bool(good) is keeps


def test_one_basis_loses_rounding_of_x() -> None:
    """Where one basis serves all, x − α m is rounded: an error like that of moving x by ε |x|."""
    law = GaussianMixture.shared((0.5, 0.5), FAR, np.eye(2)[::-1], np.zeros((2, 2)), (0, 0))
    x = torch.tensor([(-500 + 2**-10, 2**-11)], dtype=F64)
    exact = -(x - torch.tensor(FAR[:1], dtype=F64)) / 1e-6
    assert (law.score(x, 1, 1e-3) - exact).abs().max() <= 4 * EPS * 500 / 1e-6


COSTS: dict[str, Callable[[int, int, int, int], int]] = {
    "full": lambda k, b, d, r: 4 * k * b * d * d,
    "low_rank": lambda k, b, d, r: 6 * k * b * d * r,  # and the rest across the basis
    "complete": lambda k, b, d, r: 4 * b * d * d + 2 * k * d * d,  # the means, once
    "shared": lambda k, b, d, r: 6 * b * d * r + 4 * k * d * r,
}


@pytest.mark.parametrize("kind", COSTS)
def test_flops(kind: str) -> None:
    k, b, d, r = 7, 16, 12, 5
    law, x = laws(k, d, r)[kind], torch.zeros(b, d, dtype=F64)
    with FlopCounterMode(display=False) as counter:
        law.score(x, 1, 1)
    expected = COSTS[kind](k, b, d, r)
    mean = 2 * k * d  # of the means, where a basis is shared
    assert expected <= counter.get_total_flops() <= expected + mean


def test_flops_of_a_factorised_level() -> None:
    k, b, d = 7, 16, 12
    law, x = laws(k, d)["full"], torch.zeros(b, d, dtype=F64)
    frozen = law.at(1, 1)
    with FlopCounterMode(display=False) as counter:
        frozen.score(x)
    assert counter.get_total_flops() <= 2 * k * b * d * d + 2 * k * b * d


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_factorised_level(kind: str, dtype: torch.dtype) -> None:
    law, x = LAWS[kind].to(dtype=dtype), POINTS.to(dtype)
    frozen, eps = law.at(0.8, 0.6), torch.finfo(dtype).eps
    # the largest variance over the smallest is below 6 at this level
    close: dict[str, Any] = {"rtol": 200 * eps, "atol": 200 * eps}
    for name in ("log_density", "responsibilities", "score", "noise"):
        expected = getattr(law, name)(x, 0.8, 0.6)
        torch.testing.assert_close(getattr(frozen, name)(x), expected, **close)
    leaf = x.double().requires_grad_()
    assert torch.autograd.gradcheck(law.to(dtype=F64).at(0.8, 0.6).score, leaf)


def test_a_factorised_level_loses_the_condition_number() -> None:
    """What its docstring says: at λ/σ² = 4e8 it has 1e8 fewer digits than the split form."""
    q = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    law = GaussianMixture.low_rank((1,), ((0, 0, 0),), q[None, :, :1], ((4.0,),), (0.0,))
    x = torch.from_numpy(3 * q[:, :1].T.copy())
    exact = -0.5 * (9 / (4 + 1e-8) + math.log(4 + 1e-8) + 2 * math.log(1e-8))
    exact -= 1.5 * math.log(2 * math.pi)
    split, frozen = law.log_density(x, 1, 1e-4), law.at(1, 1e-4).log_density(x)
    assert abs(float(split) - exact) < 1e-8 < abs(float(frozen) - exact) < 1e-5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"basis": np.ones((2, 1))}, r"basis miss UᵀU = I by 1"),
        ({"basis": np.eye(2)[None]}, r"basis has shape \(1, 2, 2\)"),
        ({"variances": ((1,), (-1,))}, "variances has the entry -1"),
        ({"variances": (1, 1)}, r"variances has shape \(2,\)"),
        ({"floors": (1, -2)}, "floors has the entry -2"),
        ({"floors": 1}, r"floors has shape \(\)"),
        ({"basis": [[math.nan], [0]]}, "basis is"),
    ],
)
def test_bad_shared_laws(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "weights": (0.5, 0.5),
        "means": ((0, 0), (1, 1)),
        "basis": ((1,), (0,)),
        "variances": ((1,), (2,)),
        "floors": (0, 1),
    }
    GaussianMixture.shared(**good)
    with pytest.raises(ValueError, match=message):
        GaussianMixture.shared(**good | changes)


def test_bad_calls() -> None:
    law = LAWS["full"]
    with pytest.raises(ValueError, match=r"v has shape \(5, 2\)"):
        law.score_jvp(POINTS, POINTS[:, :2], 1, 1)
    with pytest.raises(ValueError, match=r"sigma is 0\.0"):
        law.at(1, 0)
    with pytest.raises(ValueError, match=r"x has dtype torch\.float32; torch\.float64"):
        law.at(1, 1).score(POINTS.float())


@pytest.mark.gpu
@pytest.mark.parametrize("kind", LAWS)
def test_device(kind: str) -> None:
    law, x, v = LAWS[kind], POINTS.cuda(), TANGENTS.cuda()
    there = law.to(device="cuda")
    for name in METHODS:
        found, expected = getattr(there, name)(x, 0.8, 0.6), getattr(law, name)(POINTS, 0.8, 0.6)
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-11, atol=1e-11)
    expected = law.score_jvp(POINTS, TANGENTS, 0.8, 0.6)
    found = there.score_jvp(x, v, 0.8, 0.6)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-11, atol=1e-11)
    expected, found = law.at(0.8, 0.6).score(POINTS), there.at(0.8, 0.6).score(x)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-11, atol=1e-11)
