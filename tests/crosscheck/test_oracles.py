"""Mixtures, transports and closed forms agree with oracles that share no code with them."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st
from mpmath import mp
from numpy.typing import NDArray

import gaussian_score
from gaussian_score.mixture import GaussianMixture
from gaussian_score.reference import Oracle, Reference, reference_flow
from gaussian_score.targets import target
from gaussian_score.trajectory import GaussianFlow
from gaussian_score.transport import transport

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
HOUSEHOLDER = np.eye(3) - 2 / 9 * np.outer((1, 2, 2), (1, 2, 2))
X_T = np.array([(60.0, -35, 80)])

M1 = ((".2", ".5", ".3"), (("-2",), (".5",), ("3",)), (((".25",),), ((".09",),), ((".64",),)))
M1_FLOAT = ((0.2, 0.5, 0.3), (-2.0, 0.5, 3.0), (0.25, 0.09, 0.64))


def random_law(seed: int, k: int, d: int) -> tuple[Floats, Floats, Floats]:
    """Covariances of any rank, so that some components are flat."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, d, d)) * rng.choice((0.0, 0.03, 1.0), size=(k, 1, d))
    covs = roots @ roots.swapaxes(1, 2)
    return rng.dirichlet(np.ones(k)), rng.normal(size=(k, d)) * 2, (covs + covs.swapaxes(1, 2)) / 2


def rounding(
    law: tuple[Floats, Floats, Floats], x: Floats, alpha: float, sigma: float, eps: float
) -> tuple[float, float, float]:
    """First-order bounds on the rounding errors of log p, ε and D.

    Every residual is off by ε R with R = |x| + α |μ|, every covariance by ε₆₄ ‖S‖ (its
    decomposition is made in float64). Component k then misses C⁻¹ r by h_k, log(w N) by l_k;
    averages over k add l_k times how far component k is from the average.
    """
    w, mu, s = law
    d = len(x)
    log_n, noises, datas, noise_errors, data_errors, log_errors = [], [], [], [], [], []
    for mean, cov in zip(mu, s, strict=True):
        variances, u = np.linalg.eigh(cov)
        variances = np.maximum(variances, 0)
        c = alpha**2 * variances + sigma**2
        r = x - alpha * mean
        t = u.T @ r
        h = u @ (t / c)
        spread = EPS * variances.max()
        size, norm = np.linalg.norm(x) + alpha * np.linalg.norm(mean), np.linalg.norm(h)
        q, log_det = float(t @ (t / c)), float(np.log(c).sum())
        log_n.append(-0.5 * (q + log_det))
        noises.append(sigma * h)
        datas.append(mean + alpha * (cov @ h))
        solve_error = eps * size / c.min() + alpha**2 * spread * norm / c.min()
        noise_errors.append(sigma * solve_error + eps * sigma * norm)
        gain = float((alpha * variances / c).max())
        data_errors.append(
            eps * (gain * size + np.linalg.norm(mean)) + alpha * spread * sigma**2 * norm / c.min()
        )
        log_errors.append(
            eps * (norm * size + q + np.abs(np.log(c)).sum() + 2 * d)
            + alpha**2 * spread * (norm**2 + d / c.min())
        )
    gamma = w * np.exp(np.array(log_n) - max(log_n))
    gamma /= gamma.sum()

    def average(values: list[Floats], errors: list[float]) -> float:
        centre = gamma @ np.array(values)
        away = np.linalg.norm(np.array(values) - centre, axis=1)
        return float(gamma @ (np.array(errors) + np.minimum(1, np.array(log_errors)) * away))

    return (
        float(gamma @ np.array(log_errors)) + eps * d,
        average(noises, noise_errors),
        average(datas, data_errors),
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    log_sigma=st.floats(-4, 4),
    alpha=st.sampled_from((0.0, 0.01, 0.6, 1.0)),
    dtype=st.sampled_from((torch.float32, torch.float64)),
)
def test_mixture(
    seed: int, shape: tuple[int, int], log_sigma: float, alpha: float, dtype: torch.dtype
) -> None:
    """To rounding of the points and parameters, for σ from 1e-4 to 1e4, in both dtypes."""
    law = random_law(seed, *shape)
    rng = np.random.default_rng(seed)
    # the exact problem is the one stored: levels, points and parameters of the dtype
    eps = torch.finfo(dtype).eps
    sigma = float(torch.tensor(10**log_sigma, dtype=dtype))
    mixture = GaussianMixture.full(*law).to(dtype=dtype)
    data = mixture.sample(3, generator=torch.Generator().manual_seed(seed % 1000))
    away = torch.tensor(rng.normal(size=(3, 1)) * 2, dtype=dtype)
    x = alpha * data + sigma * away
    alpha = float(torch.tensor(alpha, dtype=dtype))
    oracle = Oracle(*(a.tolist() for a in law), digits=30)
    values = [
        mixture.log_density(x, alpha, sigma).double().numpy(),
        mixture.noise(x, alpha, sigma).double().numpy(),
        mixture.denoise(x, alpha, sigma).double().numpy(),
    ]
    for i, point in enumerate(x.double().numpy()):
        bounds = rounding(law, point, alpha, sigma, eps)
        exact = [
            [oracle.log_density(point, alpha, sigma)],
            oracle.noise(point, alpha, sigma),
            oracle.denoise(point, alpha, sigma),
        ]
        for value, digits, bound in zip(values, exact, bounds, strict=True):
            error = np.abs(value[i] - np.array([float(a) for a in digits])).max()
            assert error <= 4 * bound  # each of a few sums of up to four terms rounds once more


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rounding_bound_can_fail(dtype: torch.dtype) -> None:
    """A noise level wrong by a few ε, or one factor of σ, is noticed."""
    law, sigma = random_law(1, 3, 2), 0.5
    eps = torch.finfo(dtype).eps
    mixture, x = GaussianMixture.full(*law).to(dtype=dtype), torch.tensor([(2, -1)], dtype=dtype)
    exact = Oracle(*(a.tolist() for a in law), digits=30).noise((2, -1), 1, sigma)
    bound = 4 * rounding(law, np.array((2.0, -1)), 1, sigma, eps)[1]
    for wrong in (
        mixture.noise(x, 1, sigma * (1 + 1e3 * eps)),
        -(sigma**2) * mixture.score(x, 1, sigma),
        mixture.noise(x, 1, sigma**0.5),
    ):
        error = np.abs(wrong.double()[0].numpy() - np.array([float(a) for a in exact])).max()
        assert error > bound


def test_oracle_meets_the_vectors() -> None:
    """D1 and L1, with weights and points read as decimals and thirds divided out."""
    flat = ((0, 0), (0, 0))
    d1 = Oracle((1, 1, 1), ((0, 0), (1, 0), (0, 2)), (flat,) * 3, 30)
    x = (".3", ".4")
    assert float(d1.log_density(x, 1, ".5")) == pytest.approx(-1.6734320734225885, rel=1e-15)
    score = (0.033100143891146351, -1.5548299661016872)
    assert [float(a) for a in d1.score(x, 1, ".5")] == pytest.approx(score, rel=1e-15)
    data = (0.30827503597278659, 0.011292508474578197)
    assert [float(a) for a in d1.denoise(x, 1, ".5")] == pytest.approx(data, rel=1e-15)
    u = HOUSEHOLDER
    covs = [(u * lam) @ u + f * np.eye(3) for lam, f in (((2, 0.5, 0), 0.01), ((0.3, 0, 0), 0.04))]
    l1 = Oracle((0.3, 0.7), ((1, 0, -1), (-1, 1, 0)), [c.tolist() for c in covs], 30)
    point = (0.2, 0.7, -0.4)
    assert float(l1.log_density(point, 1, 0.3)) == pytest.approx(-2.5142421533550418, rel=1e-12)
    score = (-2.6920628064164993, -1.1774588027158157, -0.0016048085881462746)
    # covs are rounded, and the third coordinate is small by cancellation
    assert [float(a) for a in l1.score(point, 1, 0.3)] == pytest.approx(score, rel=1e-12)


@pytest.mark.parametrize(("digits", "x"), [(20, 10), (50, "-70"), (50, "5000"), (120, "55.5")])
@pytest.mark.parametrize("rho", ["20", "2", "0.002"])
def test_oracle_flow_returns_to_all_digits(digits: int, x: Any, rho: str) -> None:
    oracle = Oracle(*M1, digits)
    there = oracle.flow(x, 80, rho)
    with mp.workdps(digits + 20):
        back = oracle.flow(there, rho, 80)
        # the way back multiplies by p_end/p_start, less than 1e5 here
        assert abs(back - mp.mpf(x)) < mp.mpf(10) ** (5 - digits) * abs(mp.mpf(x))


def test_oracle_flow_beside_a_separatrix() -> None:
    """The precision is raised until the digits asked for are right, or the oracle says no."""
    two = Oracle((1, 1), ((-1.5,), (1.5,)), (((0,),), ((0,),)), 30)
    with mp.workdps(400):
        # near 0 the flow is linear: the ratio of the densities at 0
        start, end = (mp.exp(-(mp.mpf(1.5) ** 2) / (2 * r**2)) / r for r in (80, mp.mpf("0.0625")))
        slope = start / end
        assert slope > 1e120
        u = mp.mpf(10) ** -14  # what bends the flow is (1.5 u/ρ²)² = 1e-23 of u
        assert abs(two.flow(u / slope, 80, "0.0625") - u) < mp.mpf(10) ** -30
    with pytest.raises(ArithmeticError, match="separatrix"):
        two.flow(0, 80, "0.002")


@given(
    seed=st.integers(0, 2**32 - 1),
    quantile=st.floats(-30, 30),
    log_rho=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
)
def test_transport(seed: int, quantile: float, log_rho: tuple[float, float]) -> None:
    """Float64 transport against 30 digits, to rounding of log F."""
    w, means, covs = random_law(seed, 1 + seed % 4, 1)
    mu, s = means[:, 0], covs[:, 0, 0]
    start, end = (10**a for a in log_rho)
    v = float(w @ mu + quantile * np.sqrt(s.max() + start**2))
    found = float(transport(w, mu, s, v, start, end))
    oracle = Oracle(w.tolist(), means.tolist(), covs.tolist(), 30)
    try:
        exact = oracle.flow(v, start, end)
    except ArithmeticError:  # v is the watershed of two far modes, where no digits are enough
        reject()
    with mp.workdps(50):

        def law(u: Any, rho: float) -> tuple[Any, Any]:
            """The smaller tail and the density."""
            parts = [
                (a, (u - m) / mp.sqrt(b + rho**2), b) for a, m, b in zip(w, mu, s, strict=True)
            ]
            tail = min(mp.fsum(a * mp.ncdf(sign * z) for a, z, _ in parts) for sign in (1, -1))
            return tail, mp.fsum(a * mp.npdf(z) / mp.sqrt(b + rho**2) for a, z, b in parts)

        (tail, before), (found_tail, after) = law(mp.mpf(v), start), law(mp.mpf(found), end)
        # log F is computed to 20 ε (1 + |log F|); points and means are rounded, too
        size = [(abs(u) + np.abs(mu).max()) * EPS for u in (v, found)]
        allowed = 20 * EPS * (1 - mp.log(tail)) + 4 * (before * size[0] + after * size[1]) / tail
        assert abs(mp.log(found_tail / tail)) <= allowed
        # where F determines the point, it is the oracle's: first order in what F leaves open
        first_order = allowed * tail / after
        narrow = np.sqrt(s.min() + end**2)
        assert first_order > 1e-3 * narrow or abs(found - exact) <= 1.1 * first_order


def rotation(seed: int, d: int) -> Floats:
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
    return np.asarray(q)


def product(d: int) -> tuple[tuple[Any, Any, Any], Floats]:
    """A product of d copies of M1 on a tensor grid, rotated by q."""
    w, mu, s = (np.array(a) for a in M1_FLOAT)
    index = np.stack(np.meshgrid(*[range(3)] * d, indexing="ij"), -1).reshape(-1, d)
    q = rotation(d, d)
    covs = [(q * s[i]) @ q.T for i in index]
    return (w[index].prod(1), mu[index] @ q.T, [(c + c.T) / 2 for c in covs]), q


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(
    ("start", "end"),
    [((1, 80), (1, 0.05)), ((0.1, 0.9), (0.9, 0.1)), ((1, 0.1), (1, 20)), ((1, 3), (1, 0))],
)
def test_integration_on_rotated_products(d: int, start: Any, end: Any) -> None:
    """3^d components whose flow is known by coordinate; the error is not understated."""
    law, q = product(d)
    z = np.random.default_rng(5).normal(size=(4, d)) * (start[1] + start[0])
    exact = end[0] * transport(*M1_FLOAT, z / start[0], start[1] / start[0], end[1] / end[0])
    found = reference_flow(*law, z @ q.T, start, end)
    assert found.source.startswith("DOP853")
    error = np.abs(found.x - exact @ q.T).max(1)
    assert (error <= found.error).all()
    # TOLERANCES[0] = 1e-10 a step, times the growth of errors along these paths
    assert found.error.max() < 1e-7


def test_integration_from_pure_noise() -> None:
    """α = 0: the CDF of N(0, σ²) is conserved, without a large ρ in its place."""
    law, q = product(2)
    one = Oracle(*M1, 30)
    w, means, covs = (np.array(a, dtype=float) for a in M1)
    z = np.random.default_rng(5).normal(size=(4, 2)) * 1.5
    for end in ((0.6, 0.4), (1.0, 0.0)):
        exact = np.array([[float(one.flow_x(a, (0, 1.5), end)) for a in row] for row in z])
        found = reference_flow(*law, z @ q.T, (0, 1.5), end)
        assert (np.abs(found.x - exact @ q.T).max(1) <= found.error).all()
        back = reference_flow(*law, found.x, end, (0, 1.5))
        assert (np.abs(back.x - z @ q.T).max(1) <= 100 * (found.error + back.error)).all()
        # one dimension takes the same levels
        line = reference_flow(w, means, covs, z[:, :1], (0, 1.5), end)
        # 0.2 and "0.2" are not the same parameter
        np.testing.assert_allclose(line.x, exact[:, :1], rtol=0, atol=10 * EPS)


def test_line_times_gaussian() -> None:
    """M3: M1 along u₁, variances (0.5, 0.02) along u₂ and u₃."""
    w, mu, s = M1_FLOAT
    u, m = HOUSEHOLDER, np.array((0.5, -1, 0.25))
    law = (w, [m + a * u[0] for a in mu], [(u * (v, 0.5, 0.02)) @ u for v in s])
    found = reference_flow(*law, X_T, (1, 80), (1, 0.1))
    vector = (1.5276254554043572, -1.4895502154443551, 0.69037568745847979)
    assert np.abs(found.x[0] - vector).max() <= found.error[0] < 1e-9
    # and by parts: item 1 along u₁, the closed form across
    along = transport(w, mu, s, (X_T - m) @ u[0], 80, 0.1)
    flow = GaussianFlow(
        torch.zeros(3, dtype=torch.float64),
        torch.tensor((0.5, 0.02), dtype=torch.float64),
        torch.tensor(u[:, 1:]),
    )
    across = flow.flow(torch.tensor((X_T - m) @ u[:, 1:] @ u[1:]), start=(1, 80), end=(1, 0.1))
    np.testing.assert_allclose(m + along * u[0] + across.numpy()[0], vector, rtol=1e-12)


@pytest.mark.parametrize(
    ("sigma", "radius"),
    [(2, 3.0098170572477001), (0.1, 0.55531725747776756), (0, 0.52711430695654632)],
)
def test_concentric_gaussians(sigma: float, radius: float) -> None:
    """R1: the direction is kept and the mass of every ball is conserved."""
    law = ((0.6, 0.4), np.zeros((2, 3)), [0.09 * np.eye(3), 4 * np.eye(3)])
    found = reference_flow(*law, X_T, (1, 80), (1, sigma))
    expected = radius * X_T / np.linalg.norm(X_T)
    assert np.abs(found.x - expected).max() <= found.error[0] < 1e-8


@pytest.mark.parametrize("end", [(1.0, 2.0), (0.6, 0.4), (1.0, 0.0)])
def test_one_gaussian(end: tuple[float, float]) -> None:
    weights, means, covs = target("one_gaussian")
    flow = GaussianFlow.from_covariance(means[0], covs[0])
    exact = flow.flow(torch.tensor(X_T), start=(0.5, 80), end=end).numpy()
    found = reference_flow(weights, means, covs, X_T, (0.5, 80), end)
    assert found.source.startswith("closed form")
    assert np.abs(found.x - exact).max() <= found.error[0] < 1e-11
    split = ((0.5, 0.5), means * 2, covs * 2)  # the same law, but not for the program
    integrated = reference_flow(*split, X_T, (0.5, 80), end)
    assert np.abs(integrated.x - exact).max() <= integrated.error[0]


def test_g1_by_the_reference() -> None:
    """The zero eigenvalue of a covariance is known to ε only, and at σ = 0 the error says so."""
    cov = (HOUSEHOLDER * (4, 0.25, 0)) @ HOUSEHOLDER
    law = ((1,), [(0.5, -1, 0.25)], [(cov + cov.T) / 2])
    vectors = {
        2: (2.2307910160659024, -1.9779170052421441, 2.1935780223264566),
        0: (1.2851764460300203, -1.3583962402827111, 0.52353586185839253),
    }
    errors = {}
    for sigma, vector in vectors.items():
        found = reference_flow(*law, X_T, (1, 80), (1, sigma))
        assert np.abs(found.x[0] - vector).max() <= found.error[0]
        errors[sigma] = found.error[0]
    assert errors[2] < 1e-12 < 1e-9 < errors[0] < 1e-6


def test_the_flow_follows_the_mixtures_noise() -> None:
    """dv/dρ of the reference is ε of the torch mixture, and is not its score or −ε."""
    law = target("anisotropic")
    mixture, v = GaussianMixture.full(*law), np.array([(0.3, -0.4, 1.0)])
    h = 1e-3
    near = [reference_flow(*law, v, (1, 0.5), (1, 0.5 + i * h)) for i in (-2, -1, 1, 2)]
    slope = ([1, -8, 8, -1] @ np.array([r.x[0] for r in near])) / (12 * h)
    eps = mixture.noise(torch.tensor(v), 1, 0.5)[0].numpy()
    # five-point rule: h⁴ = 1e-12 times a fifth derivative, and 1e-13/h of the integrations
    assert np.abs(slope - eps).max() < 1e-9
    assert min(np.abs(slope + eps).max(), np.abs(slope - eps / 0.5).max()) > 0.1


def test_two_separate_implementations() -> None:
    """The oracles import none of the modules that they check."""
    folder = Path(str(gaussian_score.__file__)).parent
    for name in ("reference", "oracle"):
        tree = ast.parse((folder / f"{name}.py").read_text())
        imported = {
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
        } | {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
        assert {m for m in imported if m.startswith("gaussian_score")} <= {"gaussian_score.oracle"}
        assert "torch" not in imported


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": (0.5, 0.4)}, "sum 1 are allowed"),
        ({"means": (0, 1)}, r"\(K, D, D\) are allowed"),
        ({"covs": [np.eye(2), -np.eye(2)]}, "symmetric positive semidefinite"),
        ({"covs": [np.eye(2), [[1, 0.5], [0, 1]]]}, "symmetric positive semidefinite"),
        ({"x_start": (0, 1)}, r"x_start has shape \(2,\)"),
        ({"x_start": [(0, math.nan)]}, "x_start is"),
        ({"start": (0, 0)}, r"start is \(0, 0\)"),
        ({"end": (1, -1)}, r"end is \(1, -1\)"),
        (
            {"covs": np.zeros((2, 2, 2)), "end": (1, 0)},
            r"end is \(1, 0\) and a component singular",
        ),
    ],
)
def test_bad_references(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "weights": (0.5, 0.5),
        "means": ((0, 0), (1, 1)),
        "covs": [np.eye(2)] * 2,
        "x_start": [(0.3, 0.4)],
        "start": (1, 2),
        "end": (1, 1),
    }
    assert isinstance(reference_flow(**good), Reference)
    with pytest.raises(ValueError, match=message):
        reference_flow(**(good | changes))


def test_bad_oracles() -> None:
    one = Oracle((1,), ((0,),), (((0,),),))
    plane = Oracle((1,), ((0, 0),), (((1, 0), (0, 1)),))
    with pytest.raises(ValueError, match="1, 2 or 3 are allowed"):
        Oracle((1,), ((0,) * 4,), ((((0,) * 4),) * 4,))
    with pytest.raises(ValueError, match="differ in shape"):
        Oracle((1,), ((0, 0),), (((1,),),))
    with pytest.raises(ValueError, match="numbers >= 0"):
        Oracle((2, -1), ((0,), (1,)), (((1,),), ((1,),)))
    with pytest.raises(ValueError, match="digits is 0"):
        Oracle((1,), ((0,),), (((1,),),), 0)
    with pytest.raises(ValueError, match="no spread"):
        one.flow(1, 80, 0)
    with pytest.raises(ValueError, match=r"pivot 0\.0"):
        one.score((1,), 1, 0)
    with pytest.raises(ValueError, match="x has 1 coordinates; 2"):
        plane.score((1,), 1, 1)
    with pytest.raises(ValueError, match="the flow takes 1"):
        plane.flow(1, 80, 1)
