"""Classes are read in one pass as each alone would be, and shrink towards one covariance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gaussian_score import batches
from gaussian_score.class_moments import ClassMoments, class_moments
from gaussian_score.moments import Moments
from gaussian_score.streaming import stream

EPS = float(np.finfo(np.float64).eps)
D = 6


def labelled(counts: tuple[int, ...], seed: int = 0, apart: float = 1.0) -> tuple[Any, Any]:
    """Classes of their own mean and covariance, mixed."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            apart * rng.normal(size=D) + rng.normal(size=(n, D)) @ rng.normal(size=(D, D))
            for n in counts
        ]
    )
    tags = np.repeat(np.arange(len(counts)), counts)
    order = rng.permutation(len(rows))
    return rows[order], tags[order]


X, Y = labelled((40, 7, 90))
LAW = Moments.from_covariance((0,), ((1,),))


def pooled_covariance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return sum(np.cov(x[y == k].T, ddof=0) * (y == k).mean() for k in np.unique(y))  # type: ignore[return-value]


@pytest.mark.parametrize("numbers", [1, 1 << 22])
@pytest.mark.parametrize("shared", [False, True])
def test_each_class_is_as_alone(
    monkeypatch: pytest.MonkeyPatch, shared: bool, numbers: int
) -> None:
    """In blocks of 6 rows, where most lack a class, and in one block."""
    monkeypatch.setattr(batches, "NUMBERS", numbers)
    found = class_moments(X, Y, shared=shared)
    assert list(found) == [0, 1, 2]
    pooled = pooled_covariance(X, Y)
    atol = 200 * EPS * float(np.abs(pooled).max())
    np.testing.assert_allclose(found.pooled.covariance(), pooled, atol=atol)
    np.testing.assert_allclose(found.pooled.mean, X.mean(0), atol=atol)
    np.testing.assert_allclose(found.weights, np.bincount(Y) / len(Y))
    for k, m in found.items():
        alone = stream(X[Y == k])
        assert m.count == alone.count
        assert m.provenance["class"] == k
        np.testing.assert_allclose(m.mean, alone.mean, atol=atol)
        goal = pooled if shared else alone.covariance()
        np.testing.assert_allclose(m.covariance(), goal, atol=10 * atol)


def test_classes_far_apart_do_not_blur_what_is_within() -> None:
    """Total minus between would lose 1e12 of it."""
    x, y = labelled((30, 30), apart=1e6)
    goal = pooled_covariance(x, y)
    for shared in (False, True):
        found = class_moments(x, y, shared=shared).pooled.covariance()
        np.testing.assert_allclose(found, goal, atol=1e-9 * float(goal.max()))
    between = [x[y == k].mean(0) - x.mean(0) for k in (0, 1)]
    blurred = np.cov(x.T, ddof=0) - sum(np.outer(b, b) / 2 for b in between)
    assert np.abs(blurred - goal).max() > 1e-6 * goal.max()


def test_labels_may_come_with_the_batches_and_be_names() -> None:
    names = np.array(["shoe", "bag", "coat"])
    found = class_moments([(X[:50], names[Y[:50]]), (X[50:], names[Y[50:]])])
    assert list(found) == ["bag", "coat", "shoe"]
    np.testing.assert_allclose(found["shoe"].mean, X[Y == 0].mean(0), rtol=1e-12)
    ordered = class_moments(X, names[Y], classes=["shoe", "bag", "coat"])
    assert list(ordered) == ["shoe", "bag", "coat"]


def test_bytes_are_scaled_in_every_class() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 2, 2), dtype=np.uint8)
    for shared in (False, True):
        found = class_moments(pixels, np.arange(60) % 2, scale="[-1,1]", shared=shared)
        for m in (*found.values(), found.pooled):
            assert m.provenance["scale"] == "[-1,1]"
            assert np.abs(m.mean).max() < 1
        goal = (pixels[::2].reshape(30, 4) / 127.5 - 1).mean(0)
        np.testing.assert_allclose(found[0].mean, goal, atol=1e-13)


def test_the_limits_of_shrinkage() -> None:
    found = class_moments(X, Y)
    none, whole, half = (found.shrunk(eta=eta) for eta in (0, 1, 0.5))
    for k, m in found.items():
        np.testing.assert_array_equal(none[k].basis, m.basis)
        np.testing.assert_array_equal(none[k].eigenvalues, m.eigenvalues)
        np.testing.assert_array_equal(whole[k].eigenvalues, found.pooled.eigenvalues)
        np.testing.assert_array_equal(whole[k].basis, found.pooled.basis)
        goal = (m.covariance() + found.pooled.covariance()) / 2
        np.testing.assert_allclose(half[k].covariance(), goal, atol=1e-13 * m.trace)
        for shrunk in (none, whole, half):
            np.testing.assert_array_equal(shrunk[k].mean, m.mean)
            assert shrunk[k].count == m.count
    # the pooled covariance is what every amount of shrinkage keeps on average
    mean = sum(w * m.covariance() for w, m in zip(half.weights, half.values(), strict=True))
    np.testing.assert_allclose(mean, found.pooled.covariance(), atol=1e-13 * found.pooled.trace)


def test_the_rule_shrinks_small_classes_and_leaves_large_ones() -> None:
    rng = np.random.default_rng(0)
    counts = (10, 100, 10_000)
    rows = [rng.normal(size=(n, D)) * (1 + (k == np.arange(D))) for k, n in enumerate(counts)]
    etas = class_moments(np.concatenate(rows), np.repeat((0, 1, 2), counts)).etas(0.5)
    assert 1 >= etas[0] > etas[1] > etas[2]
    assert etas[0] > 0.3
    assert etas[2] < 0.1
    alike = class_moments(rng.normal(size=(400, D)), np.arange(400) % 2).etas(0.5)
    assert min(alike.values()) > 0.5  # one law: Δ is sampling error alone
    lonely = class_moments(*labelled((1, 200))).shrunk(sigma=0.5)
    assert lonely[0].provenance["shrinkage"] == 1
    assert lonely[0].trace == lonely.pooled.trace


def divergence(cov: np.ndarray, estimate: np.ndarray, sigma: float) -> float:
    """KL between the noised Gaussians of one mean."""
    a, b = (c + sigma**2 * np.eye(len(cov)) for c in (cov, estimate))
    ratio = np.linalg.solve(b, a)
    return 0.5 * float(np.trace(ratio) - len(cov) - np.linalg.slogdet(ratio)[1])


def test_the_rule_gains_where_classes_are_small(size: int) -> None:
    """Mean KL from the true Gaussians, eight of them: below that of every common η."""
    rng, sigma, d, n, classes = np.random.default_rng(1), 0.5, 12, 40, range(8)
    roots = [np.diag(rng.uniform(0.6, 1.6) * (1 + 0.5 * rng.random(d))) for _ in classes]
    ways: list[dict[str, float]] = [{"eta": eta} for eta in (0, 0.25, 0.5, 0.75, 1)]
    gains = []
    for _ in range(10 * size):
        x = np.concatenate([rng.normal(size=(n, d)) @ r for r in roots])
        found = class_moments(x, np.repeat(classes, n))
        costs = [
            sum(divergence(r @ r, laws[k].covariance(), sigma) for k, r in enumerate(roots))
            for laws in (found.shrunk(**way) for way in (*ways, {"sigma": sigma}))
        ]
        gains.append(np.array(costs[:-1]) - costs[-1])
    assert (np.mean(gains, 0) > 4 * np.std(gains, 0) / len(gains) ** 0.5).all()


REFUSED: list[tuple[str, Callable[[], Any]]] = [
    ("^class 3 has no samples", lambda: class_moments(X, Y, classes=range(4))),
    ("^class 'a', 'b' has", lambda: class_moments(X, Y, classes=[0, 1, 2, "a", "b"])),
    (r"^label of image \d+ is 2; 0, 1 are allowed", lambda: class_moments(X, Y, classes=(0, 1))),
    ("labels have dtype float64", lambda: class_moments(X, Y / 1.0)),
    ("labels have dtype None", lambda: class_moments(X, None)),
    ("eta is 1.5", lambda: class_moments(X, Y).shrunk(eta=1.5)),
    ("eta is nan", lambda: class_moments(X, Y).shrunk(eta=np.nan)),
    ("eta, sigma are None, None", lambda: class_moments(X, Y).shrunk()),
    ("eta, sigma are 0.5, 1", lambda: class_moments(X, Y).shrunk(eta=0.5, sigma=1)),
    ("sigma is 0", lambda: class_moments(X, Y).shrunk(sigma=0)),
    ("classes are 0", lambda: ClassMoments({}, stream(X))),
    ("^class 0 has the count None", lambda: ClassMoments({0: LAW}, LAW)),
    (r"classes are 1 of \[5, 6\]", lambda: ClassMoments({0: stream(X[:, 1:])}, stream(X))),
]


@pytest.mark.parametrize(("reason", "build"), REFUSED)
def test_bad_input_is_named(reason: str, build: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_a_broken_image_keeps_its_index() -> None:
    broken = X.copy()
    broken[97, 2] = np.nan
    with pytest.raises(ValueError, match="^image 97 is nan at pixel 2"):
        class_moments(broken, Y)
    with pytest.raises(KeyError, match="label is 7; 0, 1, 2 are allowed"):
        class_moments(X, Y)[7]
