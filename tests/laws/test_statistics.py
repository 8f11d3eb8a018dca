"""Statistics as functions of λ: exact where they can be, refused where they are not known."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import CubicSpline

from solvers.coordinatewise import ARRAYS
from solvers.denoiser import TorchField
from solvers.empirical import DATA, EMS, NOISE, Fading, Matched, ModelStatistics
from solvers.field import Field, Scalar
from solvers.float64 import FLOAT64
from solvers.forms import Statistics
from solvers.grids import explicit, laid
from solvers.method import entry
from solvers.piecewise import Piecewise, chebyshev, joined, slopes, spline
from solvers.plan import plan
from solvers.point import Point
from solvers.schedules import schedule
from solvers.series import series_over
from solvers.statistics import Table, carried
from theory.fields import MP

M = MP(50)
LINEAR = schedule("vp_linear")
UNEVEN = np.array([-3.0, -2.2, -1.9, -1.0, 0.3, 0.7, 2.0])
ROUNDING = 1e-13
"""A few hundred ulps: polynomials of degree 24, sums of as many pieces."""


def curves(lam: Any) -> Any:
    """Two coordinates."""
    return np.stack([np.sin(lam), np.exp(-lam / 2) + lam], -1)


def point(lam: float, F: Field = ARRAYS) -> Point:
    return Point(LINEAR, F, "lam", F.number(lam))


def table(n: int = 40, low: float = -3.0, high: float = 2.0) -> Table:
    lam = np.linspace(low, high, n + 1)
    s = np.stack([1 - np.tanh(lam), np.cos(2 * lam)], -1)
    return Table(lam, curves(lam) / 3, s, 0.3 * curves(lam))


def raw(x: Scalar) -> list[float]:
    """The coordinates as floats, whatever the field."""
    return [float(v) for v in x.v]


# --- piecewise polynomials -----------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_the_spline_is_the_usual_one(n: int) -> None:
    """Without knots at the second and the last but one node; a parabola or a line below that."""
    lam, at = UNEVEN[:n], np.linspace(-3, UNEVEN[n - 1], 50)
    ours = spline(lam, curves(lam)).values(at)
    theirs = CubicSpline(lam, curves(lam), bc_type="not-a-knot")(at)
    assert np.abs(ours - theirs).max() < ROUNDING


def test_integrals_are_exact() -> None:
    found = spline(UNEVEN, curves(UNEVEN))
    whole = found.integral()
    for lam in (-3.0, -2.5, 0.0, 1.999, 2.0):
        pieces = [-3.0, *(x for x in UNEVEN if -3 < x < lam), lam]
        goal = [
            sum(
                quad(lambda x, d=d: found.values(x)[d], a, b)[0]
                for a, b in itertools.pairwise(pieces)
            )
            for d in range(2)
        ]
        assert np.abs(whole.values(lam) - goal).max() < ROUNDING


def test_every_field_has_the_same_value_and_its_derivatives() -> None:
    """Clenshaw's recurrence in decimals and 50 digits; on series it differentiates."""
    found = spline(UNEVEN, curves(UNEVEN))
    for lam in (-3.0, -1.95, 0.1, 2.0):
        goal = found.values(lam)
        for F in (ARRAYS, FLOAT64, M):
            assert np.abs(np.array(raw(found(point(lam, F)))) - goal).max() < ROUNDING
        S = series_over(FLOAT64, 1)
        p = Point(LINEAR, S, "lam", S.variable(FLOAT64.number(lam)))
        rates = [float(x.v[1]) for x in found(p).v]
        near = found.values(np.array([lam - 1e-6, lam + 1e-6]))
        if lam not in (-3.0, 2.0):
            assert rates == pytest.approx((near[1] - near[0]) / 2e-6, rel=1e-6)


def test_torch_differentiates_it_too() -> None:
    import torch

    found = spline(UNEVEN, curves(UNEVEN))

    def value(lam: Any) -> Any:
        F = TorchField(lam)
        return found(Point(LINEAR, F, "lam", Scalar(F, lam))).v

    lam = torch.tensor(0.1, dtype=torch.float64)
    got, rate, *_ = torch.func.jvp(value, (lam,), (torch.ones_like(lam),))
    assert got.tolist() == pytest.approx(found.values(0.1), rel=1e-14)
    near = found.values(np.array([0.1 - 1e-6, 0.1 + 1e-6]))
    assert rate.tolist() == pytest.approx((near[1] - near[0]) / 2e-6, rel=1e-6)


def test_interpolation_halves_its_panels_until_it_is_exact() -> None:
    """A pole at distance 0.1 takes short panels; joined ranges are one function."""

    def sharp(lam: Any) -> Any:
        return 1 / (0.01 + lam[:, None] ** 2)

    found = chebyshev(sharp, -1.0, 1.0, 20, 1e-12)
    assert len(found.breaks) > 5
    at = np.linspace(-1, 1, 200)
    assert np.abs(found.values(at) / sharp(at) - 1).max() < 1e-10
    halves = joined([chebyshev(sharp, a, a + 1, 20, 1e-12) for a in (-1.0, 0.0)])
    assert np.abs(halves.values(at) / sharp(at) - 1).max() < 1e-10


# --- tables --------------------------------------------------------------------------------------


def by_quad(t: Table, low: float, lam: float, d: int) -> float:
    """∫_low^λ e^{S(λ) − S(r)} b dr of the splines of s and b."""
    s, b = spline(t.lam, t.s), spline(t.lam, t.b)
    S = s.integral()
    knots = [x for x in t.lam if low < x < lam]
    total = 0.0
    for a, c in itertools.pairwise([low, *knots, lam]):
        total += quad(
            lambda r: float(np.exp(S.values(lam)[d] - S.values(r)[d]) * b.values(r)[d]),
            a,
            c,
        )[0]
    return total


def test_m_solves_its_equation() -> None:
    """M(λ) = e^{S(λ) − S(μ)} M(μ) + ∫_μ^λ e^{S(λ) − S(r)} b dr, and M = 0 where S is largest."""
    t = table(12)
    found = t.smooth
    low, high = t.lam[1], t.lam[8]
    for d in range(2):
        S = [found.S.values(x)[d] for x in (low, high)]
        kept = np.exp(S[1] - S[0]) * found.M.values(low)[d]
        assert found.M.values(high)[d] == pytest.approx(kept + by_quad(t, low, high, d), abs=1e-12)
    tops = found.S.values(t.lam).argmax(0)
    assert [found.M.values(t.lam[i])[d] for d, i in enumerate(tops)] == pytest.approx([0, 0])


def test_the_constant_in_m_keeps_it_small() -> None:
    """With S from 0 to 30 a constant chosen at the start would make M as large as e^30."""
    lam = np.linspace(0, 10, 401)[:, None]
    s, b = np.full_like(lam, 3.0), np.ones_like(lam)
    found = Table(lam[:, 0], 0 * lam, s, b).smooth
    assert np.abs(found.M.values(lam[:, 0])).max() < 1
    assert found.M.values(0.0) == pytest.approx(-1 / 3, rel=1e-9)  # M = −(1 − e^{S−30})/3


def test_sums_converge_to_the_splines() -> None:
    """The trapezoid sums are off by h²: 4 times less with twice the nodes, S and M alike."""
    gaps = []
    for n in (40, 80, 160):
        t = table(n)
        fine, sums = t.smooth, t.trapezoid
        ends = [float(f(point(2.0)).v[0] - f(point(-3.0)).v[0]) for f in (fine.S, sums.S)]
        gaps.append(ends[0] - ends[1])
    assert [a / b for a, b in itertools.pairwise(gaps)] == pytest.approx([4, 4], rel=0.01)


def test_a_run_does_not_depend_on_the_constants() -> None:
    """Another constant in S or in M is the same method: weights change, states do not."""
    import torch

    from gaussian_score.mixture import GaussianMixture
    from solvers.denoiser import Known
    from solvers.sample import sample

    law = GaussianMixture.full([0.5, 0.5], [[-1.0, 0], [1, 0.5]], [np.eye(2) * 0.2] * 2)
    grid = laid(LINEAR, "logsnr", steps=6, start=0.8, end=0.2, F=ARRAYS)
    t = table(60, -3.5, 0.5)
    found = t.smooth
    shifted = type(found)(found.l, found.L, moved(found.S, 2.0), found.M)
    lifted = added(found.M, found.S, 0.3, t.lam)
    ends = []
    for known in (found, shifted, type(found)(found.l, found.L, found.S, lifted)):
        p = plan(entry("dpm_solver_v3_3"), grid, statistics=known, corrector="full")
        ends.append(sample(p, Known(law), torch.tensor([[0.3, -0.7]]).double()).x.numpy())
    assert ends[1] == pytest.approx(ends[0], rel=ROUNDING)
    assert ends[2] == pytest.approx(ends[0], rel=1e-9)  # the sum is interpolated again


def moved(f: Piecewise, by: float) -> Piecewise:
    c = f.coefficients.copy()
    c[:, 0] += by
    return Piecewise(f.breaks, c)


def added(M_: Piecewise, S: Piecewise, share: float, lam: Any) -> Piecewise:
    """M + share e^S."""
    return chebyshev(
        lambda x: M_.values(x) + share * np.exp(S.values(x)), lam[0], lam[-1], 20, 1e-12
    )


@pytest.mark.parametrize("kind", ["accurate", "table"])
def test_one_step_is_as_many(kind: str) -> None:
    """φ₀ multiplies, and u goes the same way in one step as in two with N constant."""
    t = table(40)
    form = EMS.with_options(integrals=kind).with_statistics(t)
    a, m, b = (point(float(t.lam[i])) for i in (4, 14, 30))

    def move(u: Scalar, p: Point, q: Point) -> Scalar:
        h = form.tau(q) - form.tau(p)
        phi = form.moments(ARRAYS.lift(1), p, h)
        return phi(0) * u + h * phi(1) + h * form.force(ARRAYS.lift(1), p, h)

    u = ARRAYS.lift(2)
    assert raw(move(u, a, b)) == pytest.approx(raw(move(move(u, a, m), m, b)), rel=1e-12)


# --- closed forms --------------------------------------------------------------------------------

MOMENTS = Statistics((0.3, -0.2), (0.5, 2.0))


@pytest.mark.parametrize("known", [Matched(MOMENTS), Fading(MOMENTS), DATA, NOISE])
def test_closed_forms_are_consistent(known: ModelStatistics) -> None:
    """L' = l, by a series at 50 digits."""
    S = series_over(M, 1)
    p = Point(LINEAR, S, "lam", S.variable(M.number(0.4)))
    L, l = known.L(p), known.l(point(0.4, M))
    if isinstance(l.v, tuple):
        assert [float(x.v[1]) for x in L.v] == pytest.approx(raw(l))
    else:
        assert float(L.v[1]) == float(l)


# --- what is refused -----------------------------------------------------------------------------

GOOD = {"lam": [0.0, 1.0, 2.0], "l": [[1.0], [0.5], [0.2]], "s": [[0.0]] * 3, "b": [[0.0]] * 3}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"lam": [0.0, 2.0, 1.0]}, r"statistics\.lam: got .*increasing numbers are allowed"),
    ({"lam": [0.0, 0.0, 1.0]}, r"statistics\.lam: got .*increasing"),
    ({"lam": [0.0, float("nan"), 1.0]}, r"statistics\.lam: got nan; finite numbers are allowed"),
    ({"lam": [[0.0], [1.0], [2.0]]}, r"statistics\.lam: got .*\(n\+1,\) increasing"),
    ({"lam": [0.0]}, r"statistics\.lam: got .*increasing"),
    ({"l": [[1.0], [float("inf")], [0.2]]}, r"statistics\.l: got inf; finite"),
    ({"l": [1.0, 0.5, 0.2]}, r"statistics\.l: got shape \(3,\); \(n\+1, D\)"),
    ({"s": [[0.0]] * 2}, r"statistics\.s: got shape \(2, 1\); \(n\+1, D\) with n\+1 = 3"),
    ({"b": [[0.0, 1.0]] * 3}, r"statistics\.b: got shape \(3, 2\).*one D for l, s and b"),
    ({"b": [["x"]] * 3}, r"statistics\.b: got <U1 of shape \(3, 1\); finite numbers"),
    ({"s": [[1j]] * 3}, r"statistics\.s: got complex128 of shape"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_table_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Table(**{k: np.array(v) for k, v in {**GOOD, **change}.items()})


def test_a_file_keeps_its_numbers(tmp_path: Path) -> None:
    t = table()
    t.save(tmp_path / "ems.npz")
    back = Table.load(tmp_path / "ems.npz")
    for name in ("lam", "l", "s", "b"):
        assert (getattr(t, name) == getattr(back, name)).all()
    assert [f.name for f in tmp_path.iterdir()] == ["ems.npz"]


def test_a_bad_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", lam=np.arange(3.0), l=np.ones((3, 1)))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "one.npy", np.ones(3))
    for name, message in (
        ("missing.npz", "No such file"),
        ("some.npz", r"without s, b; a \.npz with lam, l, s, b is allowed"),
        ("text.npz", r"no \.npz file"),
        ("empty.npz", r"no \.npz file"),
        ("one.npy", r"no \.npz file"),
    ):
        with pytest.raises(ValueError, match=message):
            Table.load(tmp_path / name)


def ends(*lams: float) -> Any:
    return explicit(LINEAR, "lam", list(lams), F=ARRAYS)


def run(grid: Any, known: Any, **options: Any) -> Any:
    return plan(entry("dpm_solver_v3_1"), grid, statistics=known, **options)


def test_a_range_that_does_not_cover_the_grid_is_refused() -> None:
    """Rounding aside, with either kind of integrals; the trapezoid's ends must be the grid's."""
    t = table(40, -3.0, 2.0)
    run(ends(-3.0, 0.0, 2.0), t)
    run(ends(-3.0 - 1e-10, 0.0, 2.0), t)
    for grid in (ends(-3.1, 0.0, 2.0), ends(-3.0, 0.0, 2.01)):
        with pytest.raises(ValueError, match=r"range -3 <= lam <= 2 is allowed"):
            run(grid, t)
        with pytest.raises(ValueError, match=r"got a table from lam = -3 to 2 for a grid from"):
            run(grid, t, integrals="table")
    with pytest.raises(ValueError, match="between the grid's ends is allowed"):
        run(ends(-2.0, 0.0, 2.0), t, integrals="table")
    run(ends(-2.0, 0.0, 2.0), t)


def test_two_steps_on_one_node_are_refused() -> None:
    t = table(40, -3.0, 2.0)  # a node every eighth
    run(ends(-3.0, 0.0, 0.1, 2.0), t, integrals="table")
    with pytest.raises(ValueError, match=r"got nodes 1 and 2 \(lam = 0, 0\.05\) at one node of"):
        run(ends(-3.0, 0.0, 0.05, 2.0), t, integrals="table")


def test_nodes_are_snapped() -> None:
    """To the nearest node: the step's length, and the model's time, are those of the table."""
    t = table(40, -3.0, 2.0)
    made = run(ends(-3.0, 0.05, 0.2, 2.0), t, integrals="table")
    assert [op.tau for op in made.ops] == [-3.0, 0.0, 0.25]
    assert float(LINEAR.lam(ARRAYS.number(made.ops[1].calls[0].t), ARRAYS)) == pytest.approx(0.0)
    accurate = run(ends(-3.0, 0.05, 0.2, 2.0), t)
    assert [op.tau for op in accurate.ops] == [-3.0, 0.05, 0.2]


def test_sums_need_even_nodes_and_a_table() -> None:
    lam = UNEVEN
    with pytest.raises(ValueError, match=r"statistics\.lam: got uneven nodes"):
        run(ends(-3.0, 2.0), Table(lam, curves(lam), 0 * curves(lam), 0 * curves(lam)),
            integrals="table")  # fmt: skip
    for known in (Matched(MOMENTS), table().smooth):
        with pytest.raises(ValueError, match=r"options\.integrals: got 'table'; 'accurate' is"):
            run(ends(-3.0, 2.0), known, integrals="table")


def test_statistics_are_asked_for() -> None:
    with pytest.raises(ValueError, match="statistics: got None; dpm_solver_v3_1 needs those of"):
        run(ends(-1.0, 1.0), None)
    with pytest.raises(ValueError, match="statistics: got None; EMS needs model statistics"):
        EMS.read(point(0.0))
    with pytest.raises(ValueError, match=r"options\.integrals: got 'exact'"):
        run(ends(-1.0, 1.0), DATA, integrals="exact")


def test_moments_alone_stand_for_their_gaussian() -> None:
    grid = laid(LINEAR, "logsnr", steps=4, start=0.8, end=0.2)
    assert run(grid, MOMENTS).hash == run(grid, Matched(MOMENTS)).hash


def test_slopes_of_few_nodes() -> None:
    assert slopes(np.array([0.0, 2.0]), np.array([[1.0], [3.0]])).tolist() == [[1.0], [1.0]]
    square = np.array([0.0, 1.0, 3.0])
    assert slopes(square, square[:, None] ** 2)[:, 0] == pytest.approx([0, 2, 6])


def test_carrying_only_shrinks() -> None:
    """The recursion runs away from the largest S on both sides."""
    S = np.array([[0.0], [5.0], [9.0], [4.0]])
    M_ = carried(S, np.array([[1.0], [1.0], [1.0]]))
    assert M_[2] == 0
    assert M_[1] == -1
    assert M_[0] == pytest.approx(np.exp(-5) * -1 - 1)
    assert M_[3] == pytest.approx(np.exp(-5))
