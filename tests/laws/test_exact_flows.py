"""Flows beyond one Gaussian meet the vectors and, tails included, 30-digit oracles."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gaussian_score
from gaussian_score.flow import Flow
from gaussian_score.flow_oracles import ConcentricOracle, Conserved, SphereOracle, UniformOracle
from gaussian_score.line import Line, two_point
from gaussian_score.mixture import GaussianMixture
from gaussian_score.oracle import Oracle
from gaussian_score.products import Moved, Product, along
from gaussian_score.radial import Concentric
from gaussian_score.reference import reference_flow
from gaussian_score.sphere import LARGEST, Sphere
from gaussian_score.trajectory import GaussianFlow
from gaussian_score.uniform import Uniform

F64 = torch.float64
EPS = torch.finfo(F64).eps
VECTOR: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14}
M1 = Line((0.2, 0.5, 0.3), (-2, 0.5, 3), (0.25, 0.09, 0.64))
R1 = Concentric((0.6, 0.4), (0.09, 4), 3)
R2 = Sphere(2.0, 3)
BASIS = torch.eye(3, dtype=F64) - 2 / 9 * torch.outer(*[torch.tensor((1, 2, 2), dtype=F64)] * 2)


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=F64)


X_T = tensor((60, -35, 80))


@pytest.mark.parametrize(
    ("sigma", "ends"),
    [
        (20, (-17.006823960931882, 3.0715247582486285, 14.365634588382717)),
        (2, (-1.6674797525935083, 1.0605596244580485, 2.6046308208571977)),
        (0.1, (-1.2005304840924139, 0.65763204475725026, 2.2317628276880652)),
        (0, (-1.2160551263221857, 0.64963601107379014, 2.2376951538434056)),
    ],
)
def test_m1(sigma: float, ends: Any) -> None:
    found = M1.flow(tensor([-70.0], [10], [55]), start=(1, 80), end=(1, sigma))
    torch.testing.assert_close(found[:, 0], tensor(*ends), **VECTOR)


@pytest.mark.parametrize(
    ("sigma", "end"),
    [(10, 0.63195974740372699), (1, 0.19091624314689701), (0.25, 1.088365666489076)],
)
def test_m2(sigma: float, end: float) -> None:
    found = two_point(1.5).flow(tensor([5.0], [-5]), start=(1, 80), end=(1, sigma))
    torch.testing.assert_close(found[:, 0], tensor(end, -end), **VECTOR)


def test_m3() -> None:
    law = along(M1, tensor(0.5, -1, 0.25), BASIS, tensor(0.5, 0.02))
    found = law.flow(X_T, start=(1, 80), end=(1, 0.1))
    vector = (1.5276254554043572, -1.4895502154443551, 0.69037568745847979)
    torch.testing.assert_close(found, tensor(vector), **VECTOR)
    slanted = along(M1, tensor(0.5, -1, 0.25), torch.eye(3, dtype=F64), tensor(0.5, 0.02))
    assert (slanted.flow(X_T, start=(1, 80), end=(1, 0.1)) - found).abs().max() > 0.1


@pytest.mark.parametrize(
    ("law", "sigma", "radius"),
    [
        (R1, 2, 3.0098170572477001),
        (R1, 0.1, 0.55531725747776756),
        (R1, 0, 0.52711430695654632),
        (R2, 2, 3.0958369299639927),
        (R2, 0.1, 1.9731465527353017),
    ],
)
def test_r1_and_r2(law: Flow, sigma: float, radius: float) -> None:
    found = law.flow(X_T, start=(1, 80), end=(1, sigma))
    torch.testing.assert_close(found, radius * X_T / X_T.norm(), **VECTOR)


def test_r1_as_a_point() -> None:
    vector = (0.31448450034279011, -0.18344929186662756, 0.41931266712372015)
    found = R1.flow(X_T, start=(1, 80), end=(1, 0.1))
    torch.testing.assert_close(found, tensor(vector), **VECTOR)
    other = Concentric(R1.weights, (0.3, 2), 3).flow(X_T, start=(1, 80), end=(1, 0.1))
    assert (other - found).abs().max() > 1e-3  # deviations for variances


WIDE = [((1, 80), (1, 0.1)), ((1, 1e3), (1, 1e-3)), ((1, 0.2), (1, 30)), ((0.001, 1), (0.6, 0.8))]
CASES: list[tuple[Any, Conserved, tuple[float, ...], Any]] = [
    (Uniform(-1, 2), UniformOracle(-1, 2, 30), (0.3, -3, 30, -45), WIDE),
    (R1, ConcentricOracle(("0.6", "0.4"), (0.09, 4), 3, 30), (1e-4, 0.3, 3, 30), WIDE),
    (
        Concentric((0.5, 0.5), (0, 1), 64),
        ConcentricOracle((0.5, 0.5), (0, 1), 64, 30),
        (1e-4, 1, 8, 16, 45),
        WIDE[:1],
    ),
    (
        Concentric((0.5, 0.5), (0, 1), 3072),
        ConcentricOracle((0.5, 0.5), (0, 1), 3072, 20),
        (30, 85),
        WIDE[:1],
    ),
    (R2, SphereOracle(2, 3, 30), (1e-4, 0.3, 3, 30), WIDE),
    (Sphere(2, 5), SphereOracle(2, 5, 20), (0.1, 3), [((1, 80), (1, 0.4)), ((0.2, 0.9), (1, 3))]),
    (Sphere(2, 2), SphereOracle(2, 2, 20), (0.1, 3), [((1, 80), (1, 0.4)), ((0.2, 0.9), (1, 3))]),
    (Sphere(4, 100), SphereOracle(4, 100, 20), (6, 10, 15), [((1, 80), (1, 0.8))]),
]


@pytest.mark.parametrize(
    ("law", "oracle", "points", "levels"), CASES, ids=lambda v: type(v).__name__
)
def test_against_oracles(law: Any, oracle: Conserved, points: Any, levels: Any) -> None:
    """Flow, log determinant and denoiser; points in units of σ, up to e^{−1000} in the tails."""
    for start, end in levels:
        for z in points:
            u = z * start[1]
            direction = torch.full((1, law.dim), law.dim**-0.5, dtype=F64)
            x = u * direction
            u = float(x.norm()) if law.dim > 1 else u
            there = oracle.flow(u, start, end)
            slope = float(oracle.log_density(u, start) - oracle.log_density(there, end))
            exact = float(there)
            found = law.flow(x, start=start, end=end)
            # few ulp of log F, which is below 1000
            torch.testing.assert_close(found, exact * direction, rtol=100 * EPS, atol=0)
            log_det = float(law.log_det(x, start=start, end=end))
            # the logarithm of one coordinate's slope, ε (n/2) log of the radius in it
            assert log_det == pytest.approx(slope, abs=(1000 + 40 * law.dim) * EPS, rel=10 * EPS)
            for level, y in ((start, u), (end, exact)):
                data = law.denoise(y * direction, *level)
                expected = float(oracle.denoised(y, level)) * direction
                # x − σ ε cancels where |x| is far larger than the data
                slack = 20 * EPS * (1 + abs(y) / level[0])
                torch.testing.assert_close(data, expected, rtol=20 * EPS, atol=slack)


def test_control_another_dimension_misses_the_oracle() -> None:
    exact = float(SphereOracle(2, 3, 20).flow(240, (1, 80), (1, 0.1)))
    wrong = float(
        Sphere(2.0, 4).flow(tensor([0, 0, 0, 240.0]), start=(1, 80), end=(1, 0.1)).norm()
    )
    assert abs(wrong - exact) > 1e-3


@pytest.mark.parametrize("law", [Uniform(-1, 2), R1, R2, Sphere(1.0, 4)])
def test_scores_are_gradients(law: Any) -> None:
    """score = ∇ log p = −noise/σ, x = α D + σ ε, forward and backward derivatives alike."""
    x = torch.linspace(-2, 3, 4 * law.dim, dtype=F64).reshape(4, law.dim).requires_grad_()
    for alpha, sigma in ((1.0, 0.6), (0.6, 0.8), (1.0, 30.0), (0.0, 1.0)):
        (slope,) = torch.autograd.grad(law.log_density(x, alpha, sigma).sum(), x)
        torch.testing.assert_close(law.score(x, alpha, sigma), slope, rtol=1e-10, atol=1e-10)
        eps, data = law.noise(x, alpha, sigma), law.denoise(x, alpha, sigma)
        torch.testing.assert_close(-sigma * slope, eps, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(alpha * data + sigma * eps, x, rtol=1e-12, atol=1e-12)
    tangent = torch.ones_like(x)

    def f(y: Tensor) -> Tensor:
        return law.denoise(y, 0.6, 0.8)

    forward = torch.func.jvp(f, (x,), (tangent,))[1]  # pyright: ignore
    (backward,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
    steps = (f(x + 1e-5) - f(x - 1e-5)) / 2e-5
    torch.testing.assert_close(forward, steps, rtol=1e-8, atol=1e-8)
    # ∇D = Cov/ρ² is symmetric
    torch.testing.assert_close(backward, forward, rtol=1e-10, atol=1e-12)

    def rate(y: Tensor) -> Tensor:
        return torch.func.jvp(f, (y,), (tangent,))[1]  # pyright: ignore

    nested = torch.func.jvp(rate, (x,), (tangent,))[1]  # pyright: ignore
    steps = (rate(x + 1e-5) - rate(x - 1e-5)) / 2e-5
    torch.testing.assert_close(nested, steps, rtol=1e-8, atol=1e-8)
    (again,) = torch.autograd.grad(backward.sum(), x)
    torch.testing.assert_close(again, nested, rtol=1e-9, atol=1e-11)


def test_no_level_is_singular_but_those_without_variance() -> None:
    """At α = 0 every law is the noise: the flow from there is the limit α → 0."""
    for law in (M1, two_point(1.0), Uniform(-1, 2), R1, R2, Sphere(1.0, 4)):
        x = torch.full((1, law.dim), 0.8, dtype=F64)
        near, at = (law.flow(x, start=(a, 1), end=(0.6, 0.8)) for a in (1e-12, 0))
        torch.testing.assert_close(near, at, rtol=1e-10, atol=1e-10)
        origin = torch.zeros(1, law.dim, dtype=F64)
        assert law.log_det(origin, start=(0, 1), end=(0.6, 0.8)).isfinite().all()


def test_uniform_data() -> None:
    """At σ = 0, F is a straight line; no point lies outside."""
    law = Uniform(-1, 2)
    x = law.flow(tensor([0.0], [3], [-50]), start=(0, 1), end=(1, 0))
    shares = torch.special.ndtr(tensor(0.0, 3, -50))
    torch.testing.assert_close(x[:, 0], -1 + 3 * shares, rtol=4 * EPS, atol=4 * EPS)
    torch.testing.assert_close(
        law.flow(x[:2], start=(1, 0), end=(0, 1)), tensor([0.0], [3]), rtol=1e-12, atol=1e-15
    )
    with pytest.raises(ValueError, match="inside the law's support"):
        law.flow(tensor([2.5]), start=(1, 0), end=(1, 1))


GRID = Product((M1, Line((0.5, 0.5), (-1, 1), (0.2, 0.4))))


def grid_mixture() -> tuple[list[float], list[Any], list[Any]]:
    one, two = GRID.blocks
    assert isinstance(one, Line)
    assert isinstance(two, Line)
    w, m, c = [], [], []
    for p, a, s in zip(one.weights, one.means, one.variances, strict=True):
        for q, b, t in zip(two.weights, two.means, two.variances, strict=True):
            w.append(p * q)
            m.append((a, b))
            c.append(((s, 0), (0, t)))
    return w, m, c


def test_a_grid_is_its_mixture() -> None:
    """Predictions, densities and, by an integrator, the flow; turned and shifted."""
    w, m, c = grid_mixture()
    turn = tensor((0.6, -0.8), (0.8, 0.6))
    law = Moved(GRID, turn, tensor(0.3, -0.7), 2.0)
    means = [(law.shift + 2 * turn @ tensor(*a)).tolist() for a in m]  # pyright: ignore
    covs = [(4 * turn @ tensor(*s) @ turn.mT).tolist() for s in c]
    mixture = GaussianMixture.full(w, means, covs)
    x = tensor((0.5, -1), (3, 2), (-4, 5))
    for name in ("log_density", "score", "noise", "denoise"):
        found, expected = (getattr(one, name)(x, 0.6, 0.8) for one in (law, mixture))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    found = law.flow(x, start=(1, 20), end=(1, 0.5))
    reference = reference_flow(w, means, covs, x.numpy(), (1, 20), (1, 0.5))
    miss = (found - torch.from_numpy(reference.x)).norm(dim=1)
    assert (miss <= 2 * torch.from_numpy(reference.error)).all()


def test_a_block_oracle_is_the_products_oracle() -> None:
    """Products compose: each block's end is its own oracle's."""
    law = Product((Uniform(-1, 2), R2, M1))
    x = tensor((0.5, 60, -35, 80, 10))
    found = law.flow(x, start=(1, 80), end=(1, 0.1))[0]
    r = x[0, 1:4].norm()
    radius = float(SphereOracle(2, 3, 20).flow(float(r), (1, 80), (1, 0.1)))
    side = float(UniformOracle(-1, 2, 20).flow(0.5, (1, 80), (1, 0.1)))
    column = [[float(v)] for v in M1.means], [[[float(v)]] for v in M1.variances]
    last = float(Oracle(M1.weights, *column, 20).flow(10, 80, 0.1))
    expected = torch.cat((tensor(side), x[0, 1:4] * radius / r, tensor(last)))
    torch.testing.assert_close(found, expected, rtol=100 * EPS, atol=0)


def test_points_keep_their_dtype() -> None:
    law = Moved(Product((M1, R2)), None, None, 2.0)
    x = tensor((0.5, 1, -2, 0.3)).float()
    assert law.flow(x, start=(1, 2), end=(1, 1)).dtype is torch.float32
    for name in ("log_det", "log_density"):
        levels: Any = {"start": (1, 2), "end": (1, 1)} if name == "log_det" else {}
        out = getattr(law, name)(x, *(() if levels else (1, 2)), **levels)
        assert out.dtype is torch.float32
        assert out.shape == (1,)
    for name in ("noise", "denoise", "score"):
        long = getattr(law, name)(x.double(), torch.tensor(0.6), torch.tensor([0.8]))
        short = getattr(law, name)(x, torch.tensor(0.6), torch.tensor([0.8]))
        assert short.dtype is torch.float32
        torch.testing.assert_close(short.double(), long, rtol=1e-6, atol=1e-6)


def test_oracles_import_nothing_that_they_check() -> None:
    path = Path(str(gaussian_score.__file__)).parent / "flow_oracles.py"
    tree = ast.walk(ast.parse(path.read_text()))
    modules = {n.module for n in tree if isinstance(n, ast.ImportFrom)}
    assert modules == {"__future__", "abc", "collections.abc", "dataclasses", "typing", "mpmath"}


ONE = torch.ones(1, 1, dtype=F64)
THREE = torch.ones(1, 3, dtype=F64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Line((0.5, 0.4), (0, 1), (1, 1)), "weights sum to 0.9"),
        (lambda: Line((1,), (0, 1), (1, 1)), r"three times \(K,\) is allowed"),
        (lambda: Uniform(1, 1), "low and high are 1 and 1; finite low < high"),
        (lambda: Concentric((1,), (1,), 1), "dim is 1; an integer >= 2"),
        (lambda: Concentric((1,), (-1,), 3), "variances is .* not negative"),
        (lambda: Sphere(0, 3), "radius is 0"),
        (lambda: Sphere(1, LARGEST + 1), "dim is 257; at most 256"),
        (lambda: Product(()), "one law or more"),
        (lambda: Moved(M1, scale=0), "scale is 0"),
        (lambda: Moved(M1, shift=THREE[0]), r"shift is .* shape \(1,\)"),
        (lambda: M1.flow(THREE, start=(1, 1), end=(1, 0)), r"shape \(B, 1\)"),
        (lambda: R2.flow(ONE, start=(1, 1), end=(1, 0)), r"shape \(B, 3\)"),
        (lambda: M1.flow(ONE.int(), start=(1, 1), end=(1, 0)), "int32"),
        (lambda: M1.flow(ONE * math.nan, start=(1, 1), end=(1, 0)), "x is .*nan.*finite"),
        (lambda: M1.flow(ONE * 1e200, start=(1, 1), end=(1, 0)), "has a square"),
        (lambda: R1.flow(THREE * 1e160, start=(1, 1), end=(1, 0)), "log ‖x‖ is inf; finite"),
        (lambda: R1.flow(THREE * 1e150, start=(0, 1e-9), end=(1, 1)), "has a square"),
        (lambda: M1.flow(ONE, start=(0, 0), end=(1, 0)), r"\(0, 0\); finite, not negative"),
        (lambda: M1.flow(ONE, start=(1, -1), end=(1, 0)), r"\(1, -1\); finite, not negative"),
        (lambda: two_point(1).flow(ONE, start=(1, 1), end=(1, 0)), "zero variance; sigma > 0"),
        (lambda: R2.flow(THREE, start=(1, 0), end=(1, 1)), "zero variance along the radius"),
        (
            lambda: Concentric((1,), (0,), 3).log_det(THREE, start=(1, 1), end=(1, 0)),
            "zero variance; sigma > 0",
        ),
        (lambda: Uniform(0, 1).noise(ONE, 1, 0), "sigma is 0; a number > 0"),
        (lambda: R2.denoise(THREE, 1, torch.ones(2)), r"sigma has shape \(2,\); \(\) or \(1,\)"),
        (lambda: R2.denoise(THREE, math.inf, 1), "alpha is inf"),
        (
            lambda: Moved(M1, shift=ONE[0]).flow(ONE, start=(1, 1), end=(math.inf, 0)),
            r"\(inf, 0\); finite",
        ),
        (lambda: SphereOracle(2, 3).flow(1e5, (1, 1), (1, 2)), "tail below"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises((ValueError, ArithmeticError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_gaussian_blocks_with_a_floor_are_products_of_gaussians() -> None:
    law = GaussianFlow(torch.zeros(3, dtype=F64), tensor(4.0), torch.eye(3, dtype=F64)[:, :1], 0.5)
    parts = Product([Line((1,), (0,), (s,)) for s in (4, 0.5, 0.5)])
    for start, end in (((1, 80), (1, 0)), ((0, 1), (0.6, 0.8)), ((1, 0), (1, 3))):
        for name in ("flow", "log_det"):
            found, expected = (getattr(a, name)(X_T, start=start, end=end) for a in (law, parts))
            torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
