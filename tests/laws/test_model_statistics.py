"""A mixture's statistics are what they are defined to be, and obey the v3 tables section 3.3."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gaussian_score.mixture import GaussianMixture
from gaussian_score.model_statistics import excess, marginals, moments, statistics

LINE = ([0.4, 0.6], [[-1.0], [0.8]], [[[0.16]], [[0.0625]]])
PLANE = (
    [0.3, 0.7],
    [[-1.0, 0.5], [0.8, -0.2]],
    [[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]]],
)
LAMS = np.array([-3.0, -1.2, 0.0, 0.9, 2.5])
Law = tuple[Any, Any, Any]


def found(law: Law, lam: Any = LAMS, **how: Any) -> tuple[Any, ...]:
    return statistics(excess(*law), *marginals(*law), lam, **how)


def line(law: Law, lam: float) -> tuple[Any, Any, Any]:
    """z, the weights of an integral over its law, and u = z − E[x₀|z] with its derivatives.

    ψ = (log p)' and so on as in the v3 tables section 3.4, on a grid of its own.
    """
    w, m, c = (np.asarray(a, dtype=float).reshape(len(law[0]), -1)[:, 0] for a in law)
    tau = math.exp(-2 * lam)
    spread = c + tau
    z = np.linspace((m - 13 * np.sqrt(spread)).min(), (m + 13 * np.sqrt(spread)).max(), 6001)
    away = z - m[:, None]
    parts = w[:, None] * np.exp(-(away**2) / spread[:, None] / 2) / np.sqrt(spread)[:, None]
    p0 = parts.sum(0)
    a = -away / spread[:, None]
    p1, p2 = (parts * a).sum(0), (parts * (a**2 - 1 / spread[:, None])).sum(0)
    p3 = (parts * (a**3 - 3 * a / spread[:, None])).sum(0)
    psi = p1 / p0
    first = p2 / p0 - psi**2
    second = p3 / p0 - 3 * psi * p2 / p0 + 2 * psi**3
    u, slope = -tau * psi, -tau * first
    rate = 2 * tau * psi + 2 * tau**2 * (second / 2 + psi * first)
    return z, p0 / p0.sum(), (u, slope, rate - u * slope)


@pytest.mark.parametrize("lam", LAMS)
def test_the_definitions(lam: float) -> None:
    """The mean slope, and the regression of f' on f, by sums of another kind."""
    z, p, (u, slope, along) = line(LINE, lam)
    l = p @ slope
    rate = 2 * l + 2 * math.exp(2 * lam) * (p @ (u * along))  # of E u²/τ
    f, g = u - l * z, along + l * u - rate * z
    s = (p @ (f * g) - (p @ f) * (p @ g)) / (p @ f**2 - (p @ f) ** 2)
    got = [v[0, 0] for v in found(LINE, [lam])]
    # f is a difference of numbers of size √τ
    allowed = 1e-15 * math.exp(-lam) / math.sqrt(p @ (f - p @ f) ** 2)
    assert got == pytest.approx([l, s, p @ g - s * (p @ f)], rel=1e-12 + 10 * allowed)


@pytest.mark.parametrize("lam", LAMS)
def test_identities_of_section_3_3(lam: float) -> None:
    z, p, (u, slope, _) = line(LINE, lam)
    mean, variance = (float(v[0]) for v in marginals(*LINE))
    tau, l = math.exp(-2 * lam), float(found(LINE, [lam])[0][0, 0])
    error = p @ (tau * (1 - slope))  # Var(x₀|z) = τ (1 − ∂u)
    assert l == pytest.approx(1 - error / tau, abs=1e-12)
    assert l == pytest.approx(p @ u**2 / tau, rel=1e-12)
    assert tau / (variance + tau) <= l <= 1
    f = u - l * z
    assert p @ f == pytest.approx(-l * mean, rel=1e-9, abs=1e-13)
    var = float(moments(excess(*LINE), [variance], np.array([lam]))[1][0, 0])
    assert var == pytest.approx(p @ (f - p @ f) ** 2, rel=1e-9)
    assert var == pytest.approx(l * l * (variance + tau) - l * tau, rel=1e-16 * tau / var + 1e-12)


def test_the_entropy_falls_by_the_integral_of_l() -> None:
    """The integral of l over λ from −1 to 1, by Gauss's rule."""

    def entropy(lam: float) -> float:
        z, p, _ = line(LINE, lam)
        return -float(p @ np.log(p / (z[1] - z[0])))

    lam, weights = np.polynomial.legendre.leggauss(40)
    got = weights @ found(LINE, lam)[0][:, 0]
    assert got == pytest.approx(entropy(-1.0) - entropy(1.0), rel=1e-12)


@pytest.mark.parametrize("l", [1.0, 0.3])
def test_another_l_has_its_own_s_and_b(l: float) -> None:
    """Its f is another, and s and b belong to it."""
    for lam in (-1.2, 0.9):
        z, p, (u, _, along) = line(LINE, lam)
        f, g = u - l * z, along + l * u
        s = (p @ (f * g) - (p @ f) * (p @ g)) / (p @ f**2 - (p @ f) ** 2)
        got = [v[0, 0] for v in found(LINE, [lam], l=l)]
        assert got == pytest.approx([l, s, p @ g - s * (p @ f)], rel=1e-10)


def test_in_the_plane_expectations_are_over_the_joint_law() -> None:
    """E ε² − g of both coordinates by an outer sum of torch's own ε."""
    mixture = GaussianMixture.full(*PLANE)
    mean, variance = marginals(*PLANE)
    for lam in (-1.0, 0.5, 2.0):
        rho = math.exp(-lam)
        reach = 8 * np.sqrt(variance + rho**2)
        axes = [np.linspace(m - r, m + r, 801) for m, r in zip(mean, reach, strict=True)]
        z = torch.tensor(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2))
        p = mixture.log_density(z, 1.0, rho).exp().numpy()
        square = mixture.noise(z, 1.0, rho).numpy() ** 2
        l = (p @ square) / p.sum()
        assert found(PLANE, [lam])[0][0] == pytest.approx(l, rel=1e-10)


def product(law: Law, more: int) -> Law:
    """So many independent coordinates, each with the law."""
    w, m, v = [1.0], [[]], [[]]
    for _ in range(more):
        w = [a * b for a in w for b in law[0]]
        m = [[*a, *b] for a in m for b in law[1]]
        v = [[*a, b[0][0]] for a in v for b in law[2]]
    return w, m, [np.diag(a) for a in v]


def test_independent_coordinates_are_taken_one_by_one() -> None:
    """Also where the joint law has 2⁴ components in 4 dimensions, or a Gaussian coordinate."""
    alone = found(LINE)
    joint = found(product(LINE, 4))
    for a, b in zip(alone, joint, strict=True):
        assert b == pytest.approx(np.repeat(a, 4, axis=1), rel=1e-9, abs=1e-12)
    assert excess(*product(LINE, 4)).dimensions == 1
    wide = (LINE[0], [[-1.0, 2.0], [0.8, 2.0]], [np.diag([0.16, 0.5]), np.diag([0.0625, 0.5])])
    l, s, b = found(wide)
    tau = np.exp(-2 * LAMS)
    assert l[:, 0] == pytest.approx(alone[0][:, 0])
    assert l[:, 1] == pytest.approx(tau / (0.5 + tau), rel=1e-14)
    assert (s[:, 1] == 0).all()
    assert b[:, 1] == pytest.approx(2 * 2.0 * l[:, 1] * (1 - l[:, 1]), rel=1e-12)


def test_a_product_by_quadrature_is_the_product() -> None:
    """Covariances that are not quite diagonal are integrated jointly, and give the same."""
    lines = product(LINE, 2)
    nudged = (lines[0], lines[1], [c + 1e-14 * np.ones((2, 2)) for c in lines[2]])
    assert (excess(*lines).dimensions, excess(*nudged).dimensions) == (1, 2)
    for a, b in zip(found(lines), found(nudged), strict=True):
        assert b == pytest.approx(a, rel=1e-8, abs=1e-12)


def test_one_gaussian_in_closed_form() -> None:
    """l = τ [(Σ+τ)⁻¹]_ii in any number of dimensions; diagonal, f does not vary."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(12, 12))
    cov = a @ a.T / 12 + 0.05 * np.eye(12)
    l, s, _ = found(([1.0], [np.zeros(12)], [cov]))
    for lam, row in zip(LAMS, l, strict=True):
        tau = math.exp(-2 * lam)
        assert row == pytest.approx(tau * np.diag(np.linalg.inv(cov + tau * np.eye(12))))
    assert (s != 0).all()
    mean = np.linspace(-1, 1, 12)
    l, s, b = found(([1.0], [mean], [np.diag(np.diag(cov))]))
    assert (s == 0).all()
    assert b == pytest.approx(2 * mean * l * (1 - l), rel=1e-12, abs=1e-15)


def test_the_guard() -> None:
    """Var f = 0, or lost in rounding: s = 0 and b = E f' (the v3 tables section 3.4)."""
    m, c = 0.7, 0.2025
    same = ([0.5, 0.5], [[m], [m]], [[[c]], [[c]]])  # two components that are one
    l, s, b = (v[:, 0] for v in found(same))
    tau = np.exp(-2 * LAMS)
    assert l == pytest.approx(tau / (c + tau), rel=1e-14)
    assert (s == 0).all()
    assert b == pytest.approx(2 * m * l * (1 - l), rel=1e-12)
    point = found(([1.0], [[m]], [[[0.0]]]))  # all data at one place: f = −m
    assert [v.tolist() for v in point] == [[[1.0]] * 5, [[0.0]] * 5, [[0.0]] * 5]


def test_what_has_no_closed_form_is_refused() -> None:
    far = [[-1.0] * 4, [1.0] * 4]
    with pytest.raises(ValueError, match=r"the coordinates of 2 components in 4 dimensions"):
        excess([0.5, 0.5], far, [np.eye(4)] * 2)
    narrow = ([0.5, 0.5], [[-1.0] * 3, [1.0, 0, 0]], [np.eye(3), 1e-6 * np.eye(3)])
    with pytest.raises(ValueError, match=r"more than \d+ points of quadrature at lam = 5"):
        excess(*narrow)(np.array([5.0]))
    assert np.isfinite(excess(*narrow)(np.array([-1.0]))).all()


def test_data_points_and_far_modes() -> None:
    """Variances of zero, and modes 50 deviations apart: l → 1 where each is a point."""
    points = ([0.5, 0.5], [[-1.0, 0.3], [1.0, 0.1]], [np.zeros((2, 2))] * 2)
    l, s, _ = found(points, np.array([-2.0, 0.0, 6.0]))
    assert np.isfinite(s).all()
    assert l[-1] == pytest.approx([1, 1])
    far = ([0.8, 0.2], [[1.0, 0.0], [-4.0, 0.0]], [0.01 * np.eye(2)] * 2)
    tau = math.exp(-4)
    assert found(far, np.array([2.0]))[0][0] == pytest.approx([tau / (0.01 + tau)] * 2, rel=1e-9)
