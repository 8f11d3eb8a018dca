"""The leading eigenvectors found from a random start are those of the covariance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gaussian_score import batches
from gaussian_score.eigenbasis import NotConvergedWarning, leading, truncated
from gaussian_score.moments import Moments
from gaussian_score.streaming import stream

D, N, RANK = 160, 600, 12


def rows(power: float = 1.5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.standard_normal((D, D)))[0]
    spread = np.arange(1, D + 1) ** (-power / 2)
    return 3 + rng.standard_normal((N, D)) * spread @ q


X = rows()
FULL = stream(X)


def residual(found: Moments) -> float:
    """Largest ‖Σ u − λ u‖ by the covariance itself, of tr Σ."""
    cov = FULL.covariance()
    r = cov @ found.basis - found.basis * found.eigenvalues
    return float(np.linalg.norm(r, axis=0).max() / FULL.trace)


@pytest.mark.parametrize("accuracy", [1e-3, 1e-8])
def test_leading_eigenvectors(monkeypatch: pytest.MonkeyPatch, accuracy: float) -> None:
    monkeypatch.setattr(batches, "NUMBERS", 1)  # blocks of 160 rows
    found = leading(X, RANK, accuracy=accuracy, passes=200)
    assert found.rank == RANK
    assert residual(found) <= accuracy
    assert found.provenance["truncated"]["residual"] / FULL.trace <= accuracy
    # an eigenvalue lies within the residual of each
    gaps = np.abs(found.eigenvalues - FULL.eigenvalues[:RANK]).max()
    assert gaps <= accuracy * FULL.trace
    # the trace is streamed: the floor keeps it to rounding
    assert found.trace == pytest.approx(FULL.trace, rel=1e-13)
    np.testing.assert_allclose(found.mean, FULL.mean, rtol=1e-13)
    assert found.count == N


def test_at_high_accuracy_it_is_the_truncated_one() -> None:
    found, goal = leading(X, RANK, accuracy=1e-10, passes=400), truncated(FULL, RANK)
    np.testing.assert_allclose(found.eigenvalues, goal.eigenvalues, rtol=1e-10)
    assert found.floor == pytest.approx(goal.floor, rel=1e-10)
    np.testing.assert_allclose(found.covariance(), goal.covariance(), atol=1e-7)


def test_the_same_seed_gives_the_same() -> None:
    a, b = leading(X, RANK, seed=3), leading(X, RANK, seed=3)
    np.testing.assert_array_equal(a.basis, b.basis)
    assert not np.array_equal(a.basis, leading(X, RANK, seed=4).basis)


def test_too_few_passes_are_said() -> None:
    with pytest.warns(NotConvergedWarning, match="after 2 passes .* 1e-10 was asked for"):
        found = leading(X, RANK, accuracy=1e-10, passes=2)
    # what is reported is true of what was found
    reported = found.provenance["truncated"]["residual"] / FULL.trace
    assert residual(found) == pytest.approx(reported, rel=1e-6)
    assert found.trace == pytest.approx(FULL.trace, rel=1e-13)


def test_near_full_rank_the_covariance_is_streamed() -> None:
    found = leading(X, 100)
    np.testing.assert_array_equal(found.eigenvalues, FULL.eigenvalues[:100])


def test_bytes_are_scaled_once() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 100), dtype=np.uint8)
    pixels[:, :50] = pixels[:, :1]
    found = leading(pixels, 3, scale="[-1,1]")
    goal = stream(pixels / 127.5 - 1)
    assert found.provenance["scale"] == "[-1,1]"
    assert found.trace == pytest.approx(goal.trace, rel=1e-12)
    assert found.eigenvalues[0] == pytest.approx(goal.eigenvalues[0], rel=1e-4)


def test_repeated_samples_have_no_more_rank_than_they_have() -> None:
    """Six different samples, 100 times each: eigenvalues end in zeros, and nothing fails."""
    found = leading(np.repeat(X[:6], 100, axis=0), RANK)
    goal = stream(X[:6])
    np.testing.assert_allclose(found.eigenvalues[:5], goal.eigenvalues[:5], atol=1e-5 * goal.trace)
    assert found.eigenvalues[5:].max() < 1e-5 * goal.trace


REFUSED: list[tuple[str, Any, int]] = [
    ("rank is 0; an integer from 1 to 160", X, 0),
    ("rank is 161", X, 161),
    ("rank is 12; at most 9, one less", X[:10], RANK),
    ("generator, which can be read once", (X for _ in range(2)), RANK),
]


@pytest.mark.parametrize(("reason", "source", "rank"), REFUSED)
def test_bad_input_is_named(reason: str, source: Any, rank: int) -> None:
    with pytest.raises(ValueError, match=reason):
        leading(source, rank)
    broken = X.copy()
    broken[77, 3] = np.nan
    with pytest.raises(ValueError, match="image 77 is nan at pixel 3"):
        leading(broken, RANK)
