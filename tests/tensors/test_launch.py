"""A run of states that begins with a jump is the run of coordinates; classes do not meet."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from experiments.launch import (
    LandingWarning,
    in_eigenbasis,
    launch,
    launch_classes,
)
from gaussian_score.divergence import relative_entropy
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments
from solvers.denoiser import Known
from solvers.float64 import FLOAT64
from solvers.grids import explicit
from solvers.method import entry
from solvers.point import Point
from solvers.schedules import schedule

F64 = torch.float64
EDM = schedule("edm")
GRID = explicit(EDM, "rho", [FLOAT64.number(r) for r in (5.0, 2.0, 1.0, 0.3)])
START = Point(EDM, FLOAT64, "rho", FLOAT64.number(80.0))
ROUNDING: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-11}
UNIPC = entry("unipc_2")


def gaussian(seed: int, dim: int = 6) -> tuple[GaussianMixture, Moments]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(dim, dim, generator=generator, dtype=F64)
    mean, cov = torch.randn(dim, generator=generator, dtype=F64), a @ a.mT + 0.1 * torch.eye(dim)
    law = GaussianMixture.full([1.0], mean[None], cov[None])
    return law, Moments.from_covariance(mean.numpy(), cov.numpy())


class Shaped(Known):
    """States of shape (2, 3)."""

    def at(self, kind: str, x: torch.Tensor, t: Any, alpha: Any, sigma: Any) -> torch.Tensor:
        return super().at(kind, x.flatten(1), t, alpha, sigma).reshape(x.shape)


def test_on_a_gaussian_the_landing_is_exact_for_states_of_any_shape() -> None:
    law, moments = gaussian(0)
    x = 80 * torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    done = launch(UNIPC, GRID, Shaped(law), moments, x, start=START, states=True)
    assert done.x.shape == x.shape
    assert float(done.landing.max()) < 1e-10
    m, cov = torch.tensor(moments.mean), torch.tensor(moments.covariance())
    values, basis = torch.linalg.eigh(cov)
    w = ((x.flatten(1) - m) @ basis) / (values + 80.0**2).sqrt()
    there = m + (w * (values + 25.0).sqrt()) @ basis.mT
    torch.testing.assert_close(done.states[1].flatten(1), there, **ROUNDING)
    with_past = launch(UNIPC, GRID, Shaped(law), moments, x, start=START, past=2, states=True)
    torch.testing.assert_close(with_past.states[1], done.states[1], **ROUNDING)
    assert with_past.nfe == done.nfe == 3


def test_a_floor_stands_for_what_the_basis_leaves_out() -> None:
    _, moments = gaussian(0)
    cut = Moments(moments.mean, moments.eigenvalues[:2], moments.basis[:, :2], 0.25)
    basis, known = in_eigenbasis(cut, (6,))
    assert known.variances == (*cut.eigenvalues.tolist(), *[0.25] * 4)
    y = basis.coordinates(torch.tensor(cut.covariance()))
    inside = basis.coordinates(y.mT)
    torch.testing.assert_close(
        inside, torch.diag(torch.tensor(known.variances, dtype=F64)), **ROUNDING
    )


def test_every_class_runs_with_its_own_moments() -> None:
    laws, classes = zip(*(gaussian(seed) for seed in (0, 1, 2)), strict=True)
    labels = [2, 0, 1, 2, 2, 0]
    x = 80 * torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=F64)
    known = dict(enumerate(classes))
    done = launch_classes(
        UNIPC, GRID, lambda y: Known(laws[y]), known, x, labels, start=START, states=True
    )
    assert float(done.landing.max()) < 1e-10
    for b, y in enumerate(labels):
        alone = launch(UNIPC, GRID, Known(laws[y]), classes[y], x[b : b + 1], start=START)
        torch.testing.assert_close(done.x[b], alone.x[0], **ROUNDING)
    other = launch_classes(UNIPC, GRID, lambda y: Known(laws[0]), known, x, labels, start=START)
    assert float(other.landing[0]) > 0.01  # control: another class's model


def test_the_first_calls_show_the_laws_error_and_warn_beyond_a_tolerance() -> None:
    """K from the landing is K up to the next order in 1/ρ; a network's own error counts too."""
    weights, means, covs = [0.8, 0.2], [[1.0, 0], [-4.0, 0]], [[[0.25, 0], [0, 0.25]]] * 2
    law, moments = (
        GaussianMixture.full(weights, means, covs),
        Moments.from_law(weights, means, covs),
    )
    high = explicit(EDM, "rho", [FLOAT64.number(r) for r in (32.0, 16.0)])
    top = Point(EDM, FLOAT64, "rho", FLOAT64.number(1e4))
    generator = torch.Generator().manual_seed(0)
    x = law.sample(4096, generator=generator)
    x = x + 1e4 * torch.randn(x.shape, generator=generator, dtype=F64)
    done = launch(UNIPC, high, Known(law), moments, x, start=top, tolerance=1e-6)
    K = relative_entropy(weights, means, covs, 32.0).value
    # the mean over 4096 starts to 3%, and terms of order 1/ρ
    assert float(done.entropy.mean()) == pytest.approx(K, rel=0.15)
    with pytest.warns(LandingWarning, match=r"landing at rho = 32: .* nat .* 1e-09 were allowed"):
        launch(UNIPC, high, Known(law), moments, x, start=top, tolerance=1e-9)
    low = explicit(EDM, "rho", [FLOAT64.number(r) for r in (2.2, 1.0)])
    near = launch(UNIPC, low, Known(law), moments, x, start=top)
    K = relative_entropy(weights, means, covs, 2.2).value
    assert K < float(near.entropy.mean()) < 2 * K  # where the expansion ends, on the safe side


def test_noise_is_a_samples_own() -> None:
    laws, classes = zip(*(gaussian(seed) for seed in (0, 1)), strict=True)
    x = 80 * torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(3), dtype=F64)
    sa, known, labels = entry("sa_solver_2"), dict(enumerate(classes)), torch.tensor([1, 0, 1])
    how: dict[str, Any] = {"start": START}
    done = launch_classes(
        sa, GRID, lambda y: Shaped(laws[y]), known, x, labels, seeds=[5, 6, 7], **how
    )
    for b, y in enumerate(labels.tolist()):
        alone = launch(sa, GRID, Shaped(laws[y]), classes[y], x[b : b + 1], seeds=[5 + b], **how)
        torch.testing.assert_close(done.x[b], alone.x[0], **ROUNDING)
    again = launch(sa, GRID, Shaped(laws[1]), classes[1], x[:1], seeds=[8], **how)
    assert float((again.x[0] - done.x[0]).abs().max()) > 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(0, 6, dtype=F64)}, r"x: got shape \(0, 6\); one sample or more of 6"),
        ({"x": torch.zeros(2, 5, dtype=F64)}, r"x: got shape \(2, 5\); one sample or more of 6"),
        ({"start": Point(EDM, FLOAT64, "rho", FLOAT64.number(1.0))}, r"start: got rho = 1; the"),
    ],
)
def test_bad_launches_are_named(change: dict[str, Any], message: str) -> None:
    law, moments = gaussian(0)
    how: dict[str, Any] = {"x": torch.zeros(2, 6, dtype=F64), "start": START, **change}
    with pytest.raises(ValueError, match=message):
        launch(UNIPC, GRID, Known(law), moments, **how)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0], "labels: got 1; one a sample, 2"), ([0, 7], "labels: got 7; classes with moments, 0")],
)
def test_labels_have_classes(labels: list[int], message: str) -> None:
    law, moments = gaussian(0)
    x = torch.zeros(2, 6, dtype=F64)
    with pytest.raises(ValueError, match=message):
        launch_classes(UNIPC, GRID, lambda y: Known(law), {0: moments}, x, labels, start=START)
