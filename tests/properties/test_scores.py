"""Every law's score is ∇ log p, its denoiser Tweedie's, and both move with the law they belong to.

For mixtures of every kind and for data sets, drawn: D = (x + σ² s)/α; ∇D is symmetric and not
negative; rotation, shift and scale of the data are those of the predictions; and the limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gaussian_score.delta import DeltaMixture
from gaussian_score.mixture import GaussianMixture

# torch scripts its own derivative formulas the first time forward mode is used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Drawn:
    """A law as plain numbers, points x that belong to its level, and the level."""

    kind: str
    weights: np.ndarray
    means: np.ndarray
    roots: np.ndarray
    variances: np.ndarray
    x: np.ndarray
    alpha: float
    sigma: float

    def law(self, q: np.ndarray | None = None, shift: Any = 0.0, scale: float = 1.0) -> Any:
        """The law of scale · Q x₀ + shift."""
        d = self.means.shape[1]
        q = np.eye(d) if q is None else q
        w, mu, var = self.weights, scale * self.means @ q.T + shift, scale**2 * self.variances
        if self.kind == "delta":
            return DeltaMixture.of(mu, weights=w, variance=float(var[0, 0]), block=2)
        if self.kind == "isotropic":
            return GaussianMixture.isotropic(w, mu, var[:, 0])
        bases = np.linalg.qr(self.roots)[0]
        if self.kind == "low_rank":
            return GaussianMixture.low_rank(w, mu, q @ bases[:, :, :1], var[:, :1], var[:, -1])
        if self.kind == "shared":
            return GaussianMixture.shared(w, mu, (q @ bases[0])[:, :1], var[:, :1], var[:, -1])
        covs = (q @ bases * var[:, None]) @ (q @ bases).swapaxes(1, 2)
        return GaussianMixture.full(w, mu, (covs + covs.swapaxes(1, 2)) / 2)

    @property
    def at(self) -> tuple[Tensor, float, float]:
        return torch.from_numpy(self.x), self.alpha, self.sigma

    @property
    def rounding(self) -> float:
        """ε, times the largest |x|/σ², the most by which a score multiplies rounding of x."""
        far = self.alpha * np.abs(self.means).max() + np.abs(self.x).max()
        return 1e3 * EPS * (1 + far) ** 2 * (1 + 1 / self.sigma**2)


KINDS = ("full", "low_rank", "shared", "isotropic", "delta")


@st.composite
def drawn(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Drawn:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    k, d = draw(st.integers(1, 4)), draw(st.integers(2, 4))
    alpha = draw(st.sampled_from((0.05, 0.6, 1.0)))
    sigma = 10 ** draw(st.floats(-1, 1.5))
    means = rng.normal(size=(k, d))
    x = alpha * means[rng.integers(0, k, 3)] + sigma * rng.normal(size=(3, d))
    variances = rng.uniform(0.01, 2, (k, d))
    weights = rng.dirichlet(np.ones(k))
    roots = rng.normal(size=(k, d, d))
    return Drawn(draw(st.sampled_from(kinds)), weights, means, roots, variances, x, alpha, sigma)


@given(drawn())
def test_tweedie(case: Drawn) -> None:
    law, (x, a, s) = case.law(), case.at
    data, noise, score = law.denoise(x, a, s), law.noise(x, a, s), law.score(x, a, s)
    size = 1e2 * EPS * (1 + float(x.abs().max()) + s)
    assert (a * data - (x + s * s * score)).abs().max() <= size * (1 + s * s) ** 0.5
    assert (s * score + noise).abs().max() <= size / s * (1 + s)


@given(drawn())
def test_score_is_the_slope_of_log_p(case: Drawn) -> None:
    """Central differences of step h: h² of a third derivative and rounding/h are left."""
    law, (x, a, s) = case.law(), case.at
    h = 1e-4 * s
    for i in range(x.shape[1]):
        step = torch.zeros_like(x)
        step[:, i] = h
        slope = (law.log_density(x + step, a, s) - law.log_density(x - step, a, s)) / (2 * h)
        error = (slope - law.score(x, a, s)[:, i]).abs().max()
        # a third derivative is below (distance/σ + 1)³/σ³
        third = (1 + float((x.abs().max() + a * np.abs(case.means).max()) / s)) ** 3 / s**3
        assert error <= h * h * third + case.rounding * s / h


@given(drawn())
def test_jacobian(case: Drawn) -> None:
    """∇D is symmetric and not negative; the closed-form JVP is its product with a vector."""
    law, (x, a, s) = case.law(), case.at
    eye = torch.eye(x.shape[1], dtype=x.dtype)
    for point in x:
        one = point[None]
        columns = [law.denoise_jvp(one, v[None], a, s)[0] for v in eye]
        jacobian = torch.stack(columns, 1)
        size = 1 + float(jacobian.abs().max())
        assert (jacobian - jacobian.mT).abs().max() <= case.rounding * size
        assert torch.linalg.eigvalsh(jacobian).min() >= -case.rounding * size
        auto = torch.func.jacfwd(lambda z: law.denoise(z[None], a, s)[0])(point)
        assert (jacobian - auto).abs().max() <= case.rounding * size
        slope = torch.stack([law.score_jvp(one, v[None], a, s)[0] for v in eye], 1)
        assert (s * s * slope - (a * jacobian - eye)).abs().max() <= case.rounding * s * s * size


@given(drawn(), st.integers(0, 2**32 - 1))
def test_equivariance(case: Drawn, seed: int) -> None:
    """x₀ → c Q x₀ + b: at x → c Q x + α b and σ → c σ, D → c Q D + b, s → Q s/c."""
    rng = np.random.default_rng(seed)
    d = case.means.shape[1]
    q, b, c = np.linalg.qr(rng.normal(size=(d, d)))[0], rng.normal(size=d), rng.uniform(0.5, 2)
    law, moved, (x, a, s) = case.law(), case.law(q, b, c), case.at
    turn, shift = torch.from_numpy(q), torch.from_numpy(b)
    y = c * x @ turn.mT + a * shift
    close: dict[str, Any] = {"rtol": 100 * case.rounding, "atol": 100 * case.rounding}
    torch.testing.assert_close(moved.score(y, a, c * s), law.score(x, a, s) @ turn.mT / c, **close)
    expected = c * law.denoise(x, a, s) @ turn.mT + shift
    torch.testing.assert_close(moved.denoise(y, a, c * s), expected, **close)
    density = law.log_density(x, a, s) - d * np.log(c)
    torch.testing.assert_close(moved.log_density(y, a, c * s), density, **close)


@given(drawn(kinds=("full",)))
def test_limits(case: Drawn) -> None:
    """Identical components are one, K = 1 is the Gaussian, and S → 0 is the data set."""
    x, a, s = case.at
    law = case.law()
    cov, mean = law.bases[0] * law.variances[0] @ law.bases[0].mT, law.means[0]
    total = a * a * cov + s * s * torch.eye(law.dim, dtype=x.dtype)
    by_hand = -torch.linalg.solve(total, (x - a * mean).mT).mT
    k = len(law.weights)
    close: dict[str, Any] = {"rtol": case.rounding, "atol": case.rounding}
    for same in (
        GaussianMixture.full((1.0,), mean[None], cov[None]),
        GaussianMixture.full(law.weights, mean.expand(k, -1), cov.expand(k, -1, -1)),
    ):
        torch.testing.assert_close(same.score(x, a, s), by_hand, **close)
    none = torch.zeros(k, law.dim, law.dim, dtype=x.dtype)
    points = DeltaMixture.of(law.means, weights=law.weights, block=2)
    flat = GaussianMixture.full(law.weights, law.means, none)
    for name in ("log_density", "score", "denoise"):
        found, expected = (getattr(one, name)(x, a, s) for one in (flat, points))
        torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_score_is_seen(kind: str) -> None:
    """σ wrong by 1e-5 breaks the slope and Tweedie's formula beyond what is allowed above."""
    rng = np.random.default_rng(1)
    case = Drawn(
        kind,
        np.array((0.3, 0.7)),
        rng.normal(size=(2, 3)),
        rng.normal(size=(2, 3, 3)),
        rng.uniform(0.01, 2, (2, 3)),
        rng.normal(size=(3, 3)),
        0.6,
        1.0,
    )
    law, (x, a, s) = case.law(), case.at
    wrong = law.score(x, a, s * (1 + 1e-5))
    assert (a * law.denoise(x, a, s) - (x + s * s * wrong)).abs().max() > case.rounding
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(law.log_density(leaf, a, s).sum(), leaf)
    assert (slope - wrong).abs().max() > case.rounding
    assert (slope - law.score(x, a, s)).abs().max() <= case.rounding
