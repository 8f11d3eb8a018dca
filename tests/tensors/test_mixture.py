"""A mixture's density, score, noise and denoiser are right at any level, and refuse bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp
from torch import Tensor
from torch.func import jvp

from gaussian_score.mixture import GaussianMixture
from gaussian_score.oracle import Oracle

# torch scripts its own derivative formulas the first time forward mode is used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

F64 = torch.float64
EPS = torch.finfo(F64).eps
HOUSEHOLDER = np.eye(3) - 2 / 9 * np.outer((1, 2, 2), (1, 2, 2))
# the table has 16 to 17 digits and asks for 1e-12 relative
VECTOR: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14}


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=F64)


def low_rank() -> GaussianMixture:
    bases = np.stack([HOUSEHOLDER[:, :2], HOUSEHOLDER[:, [0, 1]]])
    return GaussianMixture.low_rank(
        (0.3, 0.7), ((1, 0, -1), (-1, 1, 0)), bases, ((2, 0.5), (0.3, 0)), (0.01, 0.04)
    )


def random_full(seed: int, k: int = 3, d: int = 3) -> GaussianMixture:
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, d, d)) / d**0.5
    return GaussianMixture.full(
        rng.dirichlet(np.ones(k)), rng.normal(size=(k, d)), roots @ roots.swapaxes(1, 2)
    )


POINT = tensor((0.2, 0.7, -0.4))
L1_SCORE = tensor((-2.6920628064164993, -1.1774588027158157, -0.0016048085881462746))


def test_low_rank_vector() -> None:
    m = low_rank()
    torch.testing.assert_close(m.score(POINT, 1, 0.3), L1_SCORE, **VECTOR)
    torch.testing.assert_close(m.log_density(POINT, 1, 0.3), tensor(-2.5142421533550418), **VECTOR)
    gammas = tensor((0.382127849903111, 0.617872150096889))
    torch.testing.assert_close(m.responsibilities(POINT, 1, 0.3), gammas, **VECTOR)


def test_delta_vector() -> None:
    m = GaussianMixture.isotropic((1 / 3,) * 3, ((0, 0), (1, 0), (0, 2)), (0, 0, 0))
    x = tensor((0.3, 0.4))
    gammas = tensor((0.68607870978992431, 0.30827503597278659, 0.0056462542372890984))
    data = tensor((0.30827503597278659, 0.011292508474578197))
    score = tensor((0.033100143891146351, -1.5548299661016872))
    torch.testing.assert_close(m.responsibilities(x, 1, 0.5), gammas, **VECTOR)
    torch.testing.assert_close(m.denoise(x, 1, 0.5), data, **VECTOR)
    torch.testing.assert_close(m.score(x, 1, 0.5), score, **VECTOR)
    torch.testing.assert_close(m.log_density(x, 1, 0.5), tensor(-1.6734320734225885), **VECTOR)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m, x, s: m.score(x, 1, s**0.5),  # σ where σ² belongs, in every covariance
        lambda m, x, s: m.noise(x, 1, s) / -(s * s),  # score from ε by σ² where σ belongs
        lambda m, x, s: (m.denoise(x, 1, s) - x) / s,  # score from D by σ where σ² belongs
    ],
)
def test_a_misplaced_power_of_sigma_misses_the_vector(
    wrong: Callable[[GaussianMixture, Tensor, float], Tensor],
) -> None:
    with pytest.raises(AssertionError):
        torch.testing.assert_close(wrong(low_rank(), POINT, 0.3), L1_SCORE, **VECTOR)


def test_constructors_agree() -> None:
    w, mu, var = (0.25, 0.75), ((0.5, -1), (2, 1)), (0.3, 0.7)
    eye = np.eye(2)
    same = [
        GaussianMixture.isotropic(w, mu, var),
        GaussianMixture.diagonal(w, mu, [(v, v) for v in var]),
        GaussianMixture.full(w, mu, [v * eye for v in var]),
        GaussianMixture.low_rank(w, mu, [eye[:, :1]] * 2, ((0,), (0,)), var),
        GaussianMixture.low_rank(w, mu, [eye] * 2, ((0.2, 0.2), (0.6, 0.6)), (0.1, 0.1)),
        GaussianMixture.low_rank(w, mu, [eye[:, :1]] * 2, ((0.1,), (0.5,)), (0.2, 0.2)),
    ]
    x = tensor((0.3, -0.2), (4, 1))
    *exact, different = [m.noise(x, 0.8, 0.6) for m in same]
    for other in exact:
        torch.testing.assert_close(other, exact[0], rtol=20 * EPS, atol=20 * EPS)
    assert (different - exact[0]).abs().max() > 0.01


def test_moments_are_those_of_the_samples() -> None:
    n = 20_000
    wide = GaussianMixture.low_rank((1,), ((0, 1, 2),), HOUSEHOLDER[None, :, :1], ((3,),), (5,))
    for m in (
        low_rank(),
        wide,
        random_full(1),
        GaussianMixture.isotropic((0.5, 0.5), ((1,), (3,)), (0, 1)),
    ):
        x = m.sample(n, generator=torch.Generator().manual_seed(3))
        again = m.sample(n, generator=torch.Generator().manual_seed(3))
        assert torch.equal(x, again)
        # 6 standard errors; the fourth moment of these laws is below 4 squared variances
        spread = m.covariance.diagonal().max()
        assert (x.mean(0) - m.mean).abs().max() < 6 * (spread / n).sqrt()
        assert (torch.cov(x.mT) - m.covariance).abs().max() < 6 * 2 * spread / n**0.5


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("sigma", [0.05, 1.0, 30.0])
def test_identities(alpha: float, sigma: float) -> None:
    m = random_full(2)
    x = alpha * m.sample(16, generator=torch.Generator().manual_seed(0)) + sigma
    d, eps, score = m.denoise(x, alpha, sigma), m.noise(x, alpha, sigma), m.score(x, alpha, sigma)
    # rounding of the residuals, multiplied by the largest possible 1/σ
    close: dict[str, Any] = {"rtol": 200 * EPS, "atol": 200 * EPS * (1 + 1 / sigma)}
    torch.testing.assert_close(alpha * d + sigma * eps, x, **close)
    torch.testing.assert_close(-sigma * score, eps, **close)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(m.log_density(leaf, alpha, sigma).sum(), leaf)
    torch.testing.assert_close(slope, score, rtol=1e3 * EPS, atol=1e3 * EPS * (1 + sigma**-2))


def test_pure_noise() -> None:
    m = random_full(3)
    x = tensor((0.4, -2, 1), (3, 0, 0))
    torch.testing.assert_close(m.denoise(x, 0, 2), m.mean.expand(2, 3), rtol=9 * EPS, atol=9 * EPS)
    torch.testing.assert_close(m.noise(x, 0, 2), x / 2, rtol=9 * EPS, atol=9 * EPS)


def test_change_of_variables() -> None:
    m, x, alpha, sigma = random_full(4), tensor((0.4, -2, 1), (0.1, 0, 0.3)), 0.28, 0.96
    v, rho = x / alpha, sigma / alpha
    close: dict[str, Any] = {"rtol": 1e-13, "atol": 1e-13}
    torch.testing.assert_close(m.denoise(x, alpha, sigma), m.denoise(v, 1, rho), **close)
    torch.testing.assert_close(m.noise(x, alpha, sigma), m.noise(v, 1, rho), **close)
    torch.testing.assert_close(m.score(x, alpha, sigma), m.score(v, 1, rho) / alpha, **close)
    shifted = m.log_density(v, 1, rho) - 3 * math.log(alpha)
    torch.testing.assert_close(m.log_density(x, alpha, sigma), shifted, **close)


def test_posterior_covariance() -> None:
    """∂D/∂x = (α/σ²) Cov[x₀|x], hence symmetric and not negative."""
    m = random_full(5)
    for point in tensor((0.4, -0.2, 0.1), (2, 1, 0)):
        jacobian = torch.func.jacfwd(lambda z: m.denoise(z[None], 0.8, 0.6)[0])(point)
        torch.testing.assert_close(jacobian, jacobian.mT, rtol=100 * EPS, atol=100 * EPS)
        assert torch.linalg.eigvalsh(jacobian).min() > 0


def test_component_limits() -> None:
    """Identical components are one; a component of weight zero is none."""
    m = random_full(6, k=1)
    x = tensor((0.4, -2, 1), (0.1, 0, 0.3))
    cov = m.covariance
    twice = GaussianMixture.full((0.4, 0.6), m.means.expand(2, 3), cov.expand(2, 3, 3))
    means = torch.cat([m.means, m.means + 0.1])
    ghost = GaussianMixture.full((1, 0), means, torch.stack([cov, cov]))
    r = (x - 0.8 * m.means).mT
    by_hand = -torch.linalg.solve(0.64 * cov + 0.36 * torch.eye(3, dtype=F64), r).mT
    for same in (m, twice, ghost):
        torch.testing.assert_close(same.score(x, 0.8, 0.6), by_hand, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("sigma", "woodbury_loses"), [(1e-4, True), (1.0, False)])
def test_split_form_keeps_digits_that_woodbury_loses(sigma: float, woodbury_loses: bool) -> None:
    lam = np.array((4.0, 0.25, 1.0))
    cov = (HOUSEHOLDER * lam) @ HOUSEHOLDER
    cov = (cov + cov.T) / 2
    x = (1.3, -0.4, 0.7)
    exact = [float(s) for s in Oracle((1,), ((0, 0, 0),), [cov.tolist()], 40).score(x, 1, sigma)]
    split = GaussianMixture.full((1,), ((0, 0, 0),), [cov]).score(tensor(x), 1, sigma)[0].numpy()
    gain = (HOUSEHOLDER * lam / (lam + sigma**2)) @ HOUSEHOLDER
    woodbury = (gain @ x - x) / sigma**2
    # ε |x|/λ, and rounding of the covariance times its condition number, 16; against ε |x|/σ²
    assert np.abs(split - exact).max() < 10 * 16 * EPS
    lost = float(np.abs(woodbury - exact).max())
    assert (lost > 1e-10) is woodbury_loses


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("sigma", [1e-4, 1e-3, 1.0, 1e4])
def test_finite_with_components_far_apart(dtype: torch.dtype, sigma: float) -> None:
    m = GaussianMixture.isotropic((0.5, 0.5), ((-500, 0), (500, 0)), (0, 1)).to(dtype=dtype)
    x = torch.tensor([[-500, 0], [499, 1], [0, 0], [1e4, 1e4]], dtype=dtype)
    for value in (m.log_density(x, 1, sigma), m.score(x, 1, sigma), m.denoise(x, 1, sigma)):
        assert value.dtype is dtype
        assert value.isfinite().all()


def test_float32_points_of_a_float64_mixture() -> None:
    """Only the answer is rounded."""
    m = random_full(7)
    x = m.sample(8, generator=torch.Generator().manual_seed(0)).float()
    short, long = m.noise(x, 0.3, 1e-3), m.noise(x.double(), 0.3, 1e-3)
    assert short.dtype is torch.float32
    assert torch.equal(short, long.float())
    assert m.to(dtype=torch.float32).means.dtype is torch.float32
    assert GaussianMixture.isotropic(
        torch.ones(1), torch.ones(1, 2), torch.ones(1)
    ).means.dtype is (torch.float32)


def test_one_level_per_point() -> None:
    m = low_rank()
    x = tensor((0.2, 0.7, -0.4), (1, 0, 0), (0, 2, 1))
    alpha, sigma = tensor(0.0, 0.6, 1.0), tensor(1.0, 0.8, 0.01)
    for method in (m.noise, m.denoise, m.score, m.log_density, m.responsibilities):
        together = method(x, alpha, sigma)
        one_by_one = torch.cat([method(x[[i]], alpha[i], float(sigma[i])) for i in range(3)])
        torch.testing.assert_close(together, one_by_one, rtol=20 * EPS, atol=20 * EPS)


@pytest.mark.parametrize("build", [low_rank, lambda: random_full(8)])
def test_gradients(build: Callable[[], GaussianMixture]) -> None:
    m = build()
    x = tensor((0.2, 0.7, -0.4), (1, 0, 0)).requires_grad_()
    alpha, sigma = tensor(0.8, 0.5).requires_grad_(), tensor(0.6).squeeze().requires_grad_()
    for method in (m.noise, m.denoise, m.log_density):
        assert torch.autograd.gradcheck(method, (x, alpha, sigma), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(m.noise, (x, alpha, sigma))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_time_derivatives_by_nested_jvp(depth: int) -> None:
    """d^k/dt^k ε(x(t), cos t, sin t) at x(t) = (1 + t) x, against 120 digits."""
    weights, means = (0.3, 0.7), ((1.0, 0.0), (-1.0, 0.5))
    covs = (((0.5, 0.25), (0.25, 0.25)), ((0.125, 0.0), (0.0, 1.0)))
    m, oracle = GaussianMixture.full(weights, means, covs), Oracle(weights, means, covs, 120)
    point = (0.25, -0.75)

    def curve(t: Tensor) -> Tensor:
        return m.noise((1 + t) * tensor(point), t.cos(), t.sin())[0]

    def derivative(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda t: jvp(f, (t,), (torch.ones_like(t),))[1]

    nested = curve
    for _ in range(depth):
        nested = derivative(nested)
    found = nested(torch.tensor(0.75, dtype=F64))

    def epsilon(i: int) -> Callable[[Any], Any]:
        return lambda t: oracle.noise([(1 + t) * p for p in point], mp.cos(t), mp.sin(t))[i]

    def exact(i: int) -> float:
        with mp.workdps(120):  # central differences: h² = 1e-30 is left, 1e-120/h⁴ is lost
            return float(mp.diff(epsilon(i), 0.75, depth, h=mp.mpf(10) ** -15))

    # each derivative multiplies the number of rounded terms by at most ten
    torch.testing.assert_close(
        found, tensor(exact(0), exact(1)), rtol=10**depth * EPS, atol=10**depth * EPS
    )


GOOD: dict[str, Any] = {"weights": (0.5, 0.5), "means": ((0, 0), (1, 1))}


@pytest.mark.parametrize(
    ("build", "changes", "message"),
    [
        ("isotropic", {"weights": (0.5, 0.4)}, r"weights sum to 0\.9"),
        ("isotropic", {"weights": (1.5, -0.5)}, r"weights has the entry -0\.5"),
        ("isotropic", {"weights": (0.5, 0.25, 0.25)}, r"shapes \(3,\) and \(2, 2\)"),
        ("isotropic", {"means": (0, 1)}, r"\(K, D\) are allowed"),
        ("isotropic", {"means": ((0, math.nan), (1, 1))}, "means is"),
        ("isotropic", {"variances": (1, -1)}, "variances has the entry -1"),
        ("isotropic", {"variances": (1, 1, 1)}, r"variances has shape \(3,\)"),
        ("diagonal", {"variances": (1, 1)}, r"\(2, 2\) is allowed"),
        ("diagonal", {"variances": ((1, 1), (1, math.inf))}, "variances is"),
        ("full", {"covs": np.eye(2)}, r"\(2, 2, 2\) is allowed"),
        ("full", {"covs": [np.eye(2), [[1, 0.1], [0, 1]]]}, r"covs\[1\] differs .* 0\.1"),
        ("full", {"covs": [np.eye(2), [[1, 2], [2, 1]]]}, r"covs\[1\] has the eigenvalue -1"),
        ("low_rank", {"bases": np.ones((2, 2, 1))}, r"bases miss UᵀU = I by 1"),
        ("low_rank", {"bases": np.ones((2, 2, 3))}, r"bases has shape \(2, 2, 3\)"),
        ("low_rank", {"eigenvalues": ((1,), (-2,))}, "eigenvalues has the entry -2"),
        ("low_rank", {"floors": (1, -2)}, "floors has the entry -2"),
        ("low_rank", {"floors": (1,)}, r"floors has shape \(1,\)"),
    ],
)
def test_bad_laws(build: str, changes: dict[str, Any], message: str) -> None:
    others: dict[str, dict[str, Any]] = {
        "isotropic": {"variances": (1, 1)},
        "diagonal": {"variances": ((1, 1), (1, 1))},
        "full": {"covs": [np.eye(2), np.eye(2)]},
        "low_rank": {
            "bases": [[[1], [0]], [[0], [1]]],
            "eigenvalues": ((1,), (1,)),
            "floors": (0, 1),
        },
    }
    arguments = GOOD | others[build]
    getattr(GaussianMixture, build)(**arguments)
    with pytest.raises(ValueError, match=message):
        getattr(GaussianMixture, build)(**(arguments | changes))


def test_rounding_is_not_bad() -> None:
    """A covariance that misses symmetry or definiteness by rounding is taken."""
    cov = np.outer((1, 1 / 3), (1, 1 / 3))
    cov[0, 1] *= 1 + EPS
    m = GaussianMixture.full((1,), ((0, 0),), [cov])
    assert m.variances.min() >= 0
    GaussianMixture.isotropic(torch.full((3,), 1 / 3), torch.zeros(3, 1), torch.ones(3))


@pytest.mark.parametrize(
    ("x", "alpha", "sigma", "message"),
    [
        (torch.zeros(3), 1, 1, r"x has shape \(3,\)"),
        (torch.zeros(4, 2), 1, 1, r"\(B, 3\) is allowed"),
        (torch.zeros(4, 3, dtype=torch.int64), 1, 1, "int64"),
        (torch.zeros(4, 3), 1, 0, "sigma is 0.0; σ > 0"),
        (torch.zeros(4, 3), 1, torch.tensor([1.0, 1, 1, -2]), "sigma is -2.0"),
        (torch.zeros(4, 3), 1, math.nan, "sigma is nan"),
        (torch.zeros(4, 3), math.inf, 1, "alpha is inf"),
        (torch.zeros(4, 3), torch.ones(3), 1, r"alpha has shape \(3,\)"),
        (torch.zeros(4, 3), 1, torch.ones(4, 1), r"sigma has shape \(4, 1\)"),
    ],
)
def test_bad_points_and_levels(x: Tensor, alpha: Any, sigma: Any, message: str) -> None:
    for method in ("noise", "score", "denoise", "log_density", "responsibilities"):
        with pytest.raises(ValueError, match=message):
            getattr(low_rank(), method)(x, alpha, sigma)
