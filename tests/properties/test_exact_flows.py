"""Every exact flow composes, obeys its ODE, keeps mass, and moves with its law."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import chi2, ncx2
from torch import Tensor

from gaussian_score.flow import Flow, Level, carried_log_density
from gaussian_score.line import Line, two_point
from gaussian_score.products import Moved, Product, along
from gaussian_score.radial import Concentric
from gaussian_score.sphere import Sphere
from gaussian_score.trajectory import GaussianFlow
from gaussian_score.uniform import Uniform
from tests.conftest import SIZE
from tests.strategies import number, rotations

F64 = torch.float64
EPS = torch.finfo(F64).eps


def array(values: Any) -> Tensor:
    return torch.tensor(np.array(values), dtype=F64)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """Modes near enough to each other that no separatrix costs more than a few digits."""
    k = draw(st.integers(1, 3))
    raw = [draw(st.integers(1, 5)) for _ in range(k)]
    variances = [draw(st.sampled_from((0.0, 0.1, 1.0))) for _ in range(k)]
    means = [draw(number(-1.5, 1.5)) for _ in range(k)]
    return Line([r / sum(raw) for r in raw], means, variances)


@st.composite
def gaussians(draw: st.DrawFn, d: int = 3) -> GaussianFlow:
    rank = draw(st.integers(0, d))
    mean = array([draw(number(-2, 2)) for _ in range(d)])
    variances = array([draw(st.sampled_from((0.0, 0.01, 0.5, 4.0))) for _ in range(rank)])
    floor = draw(st.sampled_from((0.0, 0.02, 1.0)))
    return GaussianFlow(mean, variances, array(draw(rotations(d)))[:, :rank], floor)


UNIFORMS = st.builds(lambda a, w: Uniform(a, a + w), number(-2, 1), number(0.2, 3))
CONCENTRIC = st.builds(
    lambda w, s, n: Concentric((w, 1 - w), s, n),
    number(0.1, 0.9),
    st.tuples(*[st.sampled_from((0.0, 0.05, 1.0))] * 2),
    st.integers(2, 5),
)
SPHERES = st.builds(Sphere, number(0.3, 2), st.integers(2, 5))
TWO_POINTS = st.builds(two_point, number(0.3, 1.5))


@st.composite
def composed(draw: st.DrawFn) -> Moved:
    """Blocks of every kind, three dimensions in all, moved."""
    q, m = array(draw(rotations(3))), array([draw(number(-2, 2)) for _ in range(3)])
    if draw(st.booleans()):
        variances = array([draw(number(0.05, 2)) for _ in range(2)])
        return along(draw(st.one_of(lines(), UNIFORMS)), m, q, variances)
    pair = draw(st.one_of(gaussians(2), st.builds(Sphere, number(0.3, 2), st.just(2))))
    return Moved(Product((draw(st.one_of(lines(), UNIFORMS)), pair)), q, m, draw(number(0.4, 2)))


FAMILIES: dict[str, st.SearchStrategy[Any]] = {
    "gaussian": gaussians(),
    "line": lines(),
    "two_point": TWO_POINTS,
    "uniform": UNIFORMS,
    "concentric": CONCENTRIC,
    "sphere": SPHERES,
    "composed": composed(),
}
few = settings(max_examples=5 * SIZE)
each = pytest.mark.parametrize("family", FAMILIES)
# σ/α ≥ ½: where the laws above are smooth on the scale of their noise
LEVELS = st.one_of(
    st.builds(lambda s: (1.0, s), number(0.5, 20)),
    st.builds(lambda t: (math.cos(t), math.sin(t)), number(0.5, 1.5)),
    st.builds(lambda t: (1 - t, t), number(0.35, 0.99)),
    st.just((0.0, 1.0)),
)


def points(law: Flow, level: Level, draw: Callable[..., Any]) -> Tensor:
    """Three points within three deviations of noise of the law."""
    alpha, sigma = level
    spread = 2 * alpha + sigma
    rows = [[draw(number(-2, 2)) for _ in range(law.dim)] for _ in range(3)]
    return spread * (array(rows) + 0.003)  # not on a plane of symmetry


def jacobian(law: Flow, x: Tensor, start: Level, end: Level) -> Tensor:
    """∂x_end/∂x by central differences of order six, (B, D, D)."""
    h, columns = 1e-2 * start[1] + 1e-3 * start[0], []
    for i in range(law.dim):
        e = h * torch.eye(law.dim, dtype=F64)[i]
        steps = ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))
        columns.append(
            sum(
                c
                * (
                    law.flow(x + k * e, start=start, end=end)
                    - law.flow(x - k * e, start=start, end=end)
                )
                for k, c in steps
            )
            / h
        )
    return torch.stack(columns, 2)


def size(x: Tensor, level: Level) -> Tensor:
    return x.norm(dim=1) + 3 * level[0] + level[1]


def stretch(law: Flow, x: Tensor, start: Level, end: Level) -> Tensor:
    return torch.linalg.matrix_norm(jacobian(law, x, start, end), ord=2)


def group_excess(law: Any, x: Tensor, a: Level, b: Level, c: Level) -> float:
    """|Φ(b→c) Φ(a→b) x − Φ(a→c) x| over its allowance."""
    middle = law.flow(x, start=a, end=b)
    direct, twice = law.flow(x, start=a, end=c), law.flow(middle, start=b, end=c)
    # a few ulp of log F, itself up to 50, at each level, carried along by the flow
    allowed = size(direct, c) + stretch(law, x, a, c) * size(x, a)
    allowed = 1000 * EPS * (allowed + stretch(law, middle, b, c) * size(middle, b))
    excess = (twice - direct).norm(dim=1) / allowed
    dets = law.log_det(x, start=a, end=b) + law.log_det(middle, start=b, end=c)
    drift = (dets - law.log_det(x, start=a, end=c)).abs()
    # slopes change by as much relative to the scale of the noise, half of x's at least
    condition = (allowed / min(c[1], 0.3) + 1000 * EPS) * 100
    return float(torch.maximum(excess, drift / condition).max())


@each
@few
@given(data=st.data())
def test_group(family: str, data: st.DataObject) -> None:
    """Φ(a→c) = Φ(b→c) Φ(a→b), the log determinants add, and Φ(b→a) undoes Φ(a→b)."""
    law, (a, b, c) = data.draw(FAMILIES[family]), data.draw(st.tuples(*[LEVELS] * 3))
    x = points(law, a, data.draw)
    assert group_excess(law, x, a, b, c) <= 1
    assert group_excess(law, x, a, b, a) <= 1


def velocity_excess(law: Flow, model: Any, x: Tensor, level: Level, to: Level) -> float:
    """|dx/ds − (α' D + σ' ε)| on the line of levels to `to`, over its allowance."""
    da, ds = to[0] - level[0], to[1] - level[1]
    h = 2e-3 * level[1] / (abs(da) + abs(ds) + 1e-9)

    def at(s: float) -> Tensor:
        return law.flow(x, start=level, end=(level[0] + s * da, level[1] + s * ds))

    steps = ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))
    slope = sum(c * (at(k * h) - at(-k * h)) for k, c in steps) / h
    expected = da * model.denoise(x, *level) + ds * model.noise(x, *level)
    # h⁶ of a seventh derivative that grows like 7!, and rounding over h
    allowed = (1e-10 + 1000 * EPS / 2e-3) * (abs(da) + abs(ds)) * size(x, level) / level[1]
    return float(((slope - expected).norm(dim=1) / (allowed + 1e-300)).max())


LEVELS_INSIDE = LEVELS.filter(lambda level: level[0] > 0.05)


@each
@few
@given(data=st.data())
def test_the_flow_obeys_its_ode(family: str, data: st.DataObject) -> None:
    """dx = D dα + ε dσ, with the law's own predictions."""
    law, level, to = (data.draw(s) for s in (FAMILIES[family], LEVELS_INSIDE, LEVELS))
    assert velocity_excess(law, law, points(law, level, data.draw), level, to) <= 1


@each
@few
@given(data=st.data())
def test_log_det(family: str, data: st.DataObject) -> None:
    """It is that of the Jacobian, and log p_start(x) − log p_end(x_end)."""
    law, (a, b) = data.draw(FAMILIES[family]), data.draw(st.tuples(*[LEVELS] * 2))
    x = points(law, a, data.draw)
    found = law.log_det(x, start=a, end=b)
    sign, by_differences = torch.linalg.slogdet(jacobian(law, x, a, b))
    assert (sign == 1).all()
    # differences of order six, h = 1e-2 σ: 1e-12 of a derivative that grows like 7!
    torch.testing.assert_close(found, by_differences, rtol=0, atol=2e-6)
    there = law.flow(x, start=a, end=b)
    ratio = law.log_density(x, *a) - law.log_density(there, *b)
    far = float((x.norm(dim=1) / a[1]).square().max())
    torch.testing.assert_close(found, ratio, rtol=0, atol=1e-12 * (100 + far))
    # the law itself is carried to the law itself
    own = carried_log_density(law, lambda y: law.log_density(y, *a), there, start=a, end=b)
    torch.testing.assert_close(own, law.log_density(there, *b), rtol=0, atol=1e-11 * (100 + far))


@each
@few
@given(data=st.data())
def test_rotation_shift_and_scale(family: str, data: st.DataObject) -> None:
    """The flow of m + k Q z at (α, kσ) is α m + k Q Φ(z), and so are its predictions."""
    law, (a, b) = data.draw(FAMILIES[family]), data.draw(st.tuples(*[LEVELS_INSIDE] * 2))
    q, k = array(data.draw(rotations(law.dim))), data.draw(number(0.3, 3))
    m = array([data.draw(number(-3, 3)) for _ in range(law.dim)])
    z = points(law, a, data.draw)
    moved = Moved(law, q, m, k)
    x = a[0] * m + k * z @ q.mT
    (at, to) = ((level[0], k * level[1]) for level in (a, b))
    end = law.flow(z, start=a, end=b)
    near: dict[str, Any] = {
        "rtol": 0,
        "atol": 1e-11 * float(stretch(law, z, a, b).max() + 10) * 10,
    }
    torch.testing.assert_close(moved.flow(x, start=at, end=to), b[0] * m + k * end @ q.mT, **near)
    torch.testing.assert_close(moved.denoise(x, *at), m + k * law.denoise(z, *a) @ q.mT, **near)
    torch.testing.assert_close(moved.noise(x, *at), law.noise(z, *a) @ q.mT, **near)
    torch.testing.assert_close(
        moved.score(x, *at), -moved.noise(x, *at) / at[1], rtol=1e-12, atol=1e-12
    )


def native(law: Any, k: float, m: float, sign: int) -> Any:
    """The law of sign (m + k x₀) by its own parameters (m = 0 for radial laws)."""
    if isinstance(law, GaussianFlow):
        factor = k * k
        return replace(
            law,
            mean=sign * (m + k * law.mean),
            eigenvalues=factor * law.eigenvalues,
            floor=factor * law.floor,
        )
    if isinstance(law, Line):
        means = [sign * (m + k * mu) for mu in law.means]
        return Line(law.weights, means, [k * k * s for s in law.variances])
    if isinstance(law, Uniform):
        ends = sorted(sign * (m + k * end) for end in (law.low, law.high))
        return Uniform(*ends)
    if isinstance(law, Concentric):
        return Concentric(law.weights, [k * k * s for s in law.variances], law.dim)
    return Sphere(k * law.radius, law.dim)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "composed"])
@few
@given(data=st.data())
def test_moving_the_law_or_its_parameters(family: str, data: st.DataObject) -> None:
    """A shift, a scale and a reflection of the parameters move the flow as `Moved` does."""
    law, (a, b) = data.draw(FAMILIES[family]), data.draw(st.tuples(*[LEVELS_INSIDE] * 2))
    k, sign = data.draw(number(0.3, 3)), data.draw(st.sampled_from((-1, 1)))
    m = 0.0 if isinstance(law, Concentric | Sphere) else data.draw(number(-2, 2))
    other = native(law, k, m, sign)
    shift = array([sign * m] * law.dim)
    moved = Moved(law, sign * torch.eye(law.dim, dtype=F64), shift, k)
    x = sign * (a[0] * m + k * points(law, a, data.draw))
    (at, to) = ((level[0], k * level[1]) for level in (a, b))
    slack = 1e-11 * float(stretch(moved, x, at, to).max() + 10) * 10
    near: dict[str, Any] = {"rtol": 0, "atol": slack}
    torch.testing.assert_close(
        other.flow(x, start=at, end=to), moved.flow(x, start=at, end=to), **near
    )
    torch.testing.assert_close(other.denoise(x, *at), moved.denoise(x, *at), **near)
    torch.testing.assert_close(
        other.log_density(x, *at), moved.log_density(x, *at), rtol=1e-11, atol=1e-10
    )


@few
@given(data=st.data())
def test_radial_flows_turn_with_their_points(data: st.DataObject) -> None:
    law, (a, b) = data.draw(st.one_of(CONCENTRIC, SPHERES)), data.draw(st.tuples(*[LEVELS] * 2))
    q, x = array(data.draw(rotations(law.dim))), points(law, a, data.draw)
    turned, end = law.flow(x @ q.mT, start=a, end=b), law.flow(x, start=a, end=b)
    slack = 1e-12 * float(stretch(law, x, a, b).max() * size(x, a).max() + size(end, b).max())
    torch.testing.assert_close(turned, end @ q.mT, rtol=0, atol=slack)


def mass(law: Any, x: Tensor, alpha: float, sigma: float) -> np.ndarray:
    """F(x), or the mass of the ball through x, by scipy's distributions."""
    if isinstance(law, Line):
        w, mu, s = (np.array(v, dtype=float) for v in (law.weights, law.means, law.variances))
        return ndtr((x.numpy() - alpha * mu) / np.sqrt(alpha**2 * s + sigma**2)) @ w
    square = (x**2).sum(1).numpy()
    if isinstance(law, Concentric):
        c = alpha**2 * np.array(law.variances) + sigma**2
        return chi2(law.dim).cdf(square[:, None] / c) @ np.array(law.weights)
    if alpha == 0:
        return chi2(law.dim).cdf(square / sigma**2)
    return ncx2(law.dim, (alpha * law.radius / sigma) ** 2).cdf(square / sigma**2)


@pytest.mark.parametrize("family", ["line", "two_point", "concentric", "sphere"])
@few
@given(data=st.data())
def test_mass_is_kept(family: str, data: st.DataObject) -> None:
    law, (a, b) = data.draw(FAMILIES[family]), data.draw(st.tuples(*[LEVELS] * 2))
    x = points(law, a, data.draw)
    end = law.flow(x, start=a, end=b)
    # scipy's noncentral χ² is good to 1e-10
    np.testing.assert_allclose(mass(law, end, *b), mass(law, x, *a), rtol=1e-9, atol=1e-12)


@few
@given(a=number(0.3, 1.5), levels=st.tuples(LEVELS, LEVELS_INSIDE), x=number(-4, 4))
def test_two_points(a: float, levels: tuple[Level, Level], x: float) -> None:
    """Odd, with 0 fixed, and D = a tanh(α a x/σ²)."""
    law, (start, end) = two_point(a), levels
    pair = array([[x], [-x], [0.0]])
    moved = law.flow(pair, start=start, end=end)
    # a few ulp of F = ½ at x = 0, over the density there
    assert abs(float(moved[0] + moved[1])) <= 1e-14 + 1e-12 * abs(float(moved[0]))
    assert abs(float(moved[2])) <= 1e-13
    expected = a * torch.tanh(end[0] * a * pair / end[1] ** 2)
    torch.testing.assert_close(law.denoise(pair, *end), expected, rtol=1e-13, atol=1e-14)


@dataclass(frozen=True)
class Spoilt:
    """A flow that stops short by a part in 10⁷, or another law's predictions."""

    law: Any
    factor: float

    def __getattr__(self, name: str) -> Any:
        return getattr(self.law, name)

    def flow(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        return self.factor * self.law.flow(x, start=start, end=end)


LAWS: list[Any] = [
    GaussianFlow(array([0.5, -1]), array([2.0]), array([[1.0], [0.0]]), 0.1),
    Line((0.3, 0.7), (-1, 0.8), (0.1, 0)),
    Uniform(-1, 2),
    Concentric((0.4, 0.6), (0.1, 1), 3),
    Sphere(1.2, 4),
    Product((Uniform(0, 1), Sphere(1.0, 2))),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_controls(law: Any) -> None:
    """A flow that is off by 1e-7, and predictions at another noise level, are caught."""
    a, b, c = (1.0, 3.0), (0.8, 0.6), (1.0, 0.7)
    x = array([[0.9, -1.3, 0.4, 1.1]])[:, : law.dim] * 2
    assert group_excess(law, x, a, b, c) <= 1 < group_excess(Spoilt(law, 1 + 1e-7), x, a, b, c)
    assert velocity_excess(law, law, x, b, a) <= 1

    class Off:
        def noise(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
            return law.noise(x, alpha, 1.001 * sigma)

        def denoise(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
            return law.denoise(x, alpha, 1.001 * sigma)

    assert velocity_excess(law, Off(), x, b, a) > 1
    there = law.flow(x, start=a, end=b)
    moved = Moved(law, scale=1 + 1e-7).flow(x, start=a, end=b)
    assert (moved - there).abs().max() > 1e-9
    carried = law.log_density(x, *a) - law.log_density(there, *b)
    assert (law.log_det(x, start=b, end=a) - carried).abs().max() > 1e-3


def test_a_product_in_slanted_coordinates_is_no_product() -> None:
    """Mixing that is not orthogonal correlates the noise: `Moved` refuses it."""
    slanted = array([[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(ValueError, match="basis misses QᵀQ = I by 0.5"):
        Moved(Product((two_point(1.0), two_point(1.0))), slanted)
