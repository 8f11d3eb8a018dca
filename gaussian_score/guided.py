r"""Guidance between two Gaussians, D_g = (1 − g) D_u + g D_c, and its flow.

    D_i = m_i + α S_i C_i⁻¹ (x − α m_i),   C_i = α² S_i + σ² I,   dx = D_g dα + ε_g dσ

The flow is affine in x whatever the covariances are, x_t = M x_T + s. In an eigenbasis of both

    M = E_t/E_T,   E = c_u^{(1−g)/2} c_c^{g/2},   c_i = α² λ_i + σ²
    s = E_t ∫_{ρ_t}^{ρ_T} ρ [(1−g) m_u/(ρ² + λ_u) + g m_c/(ρ² + λ_c)] / E(1, ρ) dρ

for each mode, ρ = σ/α. Of one covariance it is the flow of N(m_u + g (m_c − m_u), S); where no
basis serves both it is integrated numerically. D_g is the denoiser of a law only in the first
case, hence there is no density.

Source: derived in this project.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor

from gaussian_score import arguments
from gaussian_score.arguments import ArrayLike, Scalar
from gaussian_score.mixture import GaussianMixture

Floats = NDArray[np.float64]
Level = tuple[float, float]

EPS = float(np.finfo(np.float64).eps)
TOLERANCES = (1e-10, 1e-13)  # of the two integrations; DOP853 goes no lower than 100 ε
NODES = (10, 14)  # poles lie π/2 off the axis of log ρ: 6.4^(−2n) of a unit panel is left
FAR = 1e20  # a ratio of noise levels beyond which nothing is seen in float64


@dataclass(frozen=True, eq=False)
class AffineMap:
    """x_t = M x_T + s.

    Attributes:
        matrix: M, (D, D), float64.
        shift: s, (D,), float64.
        error: estimate of the largest error of an entry of M or s.
        source: how it was found.
    """

    matrix: Tensor
    shift: Tensor
    error: float
    source: str

    def __call__(self, x: Tensor) -> Tensor:
        """x_t for x_T, (B, D), on its device and in its dtype."""
        arguments.points("x", x, len(self.shift))
        y = x.double() @ self.matrix.to(x.device).mT + self.shift.to(x.device)
        return y.to(x.dtype)


@dataclass(frozen=True, eq=False)
class GuidedGaussian:
    """The field (1 − g) · unconditional + g · conditional of two Gaussians; build it with `of`.

    denoise, score and noise take x, (B, D), and levels, and can be differentiated, as those of
    `GaussianMixture`. The flow is computed in float64; levels are then pairs of floats (α, σ).

    Attributes:
        unconditional: one Gaussian.
        conditional: one Gaussian.
        guidance: g; 0 is the unconditional law, 1 the conditional one.
    """

    unconditional: GaussianMixture
    conditional: GaussianMixture
    guidance: float

    @classmethod
    def of(
        cls,
        mean_u: ArrayLike,
        cov_u: ArrayLike,
        mean_c: ArrayLike,
        cov_c: ArrayLike,
        guidance: float,
    ) -> GuidedGaussian:
        """Means (D,), covariances (D, D), symmetric and positive semidefinite.

        Raises:
            ValueError: they are not, or the guidance is not finite.
        """
        if not math.isfinite(guidance):
            raise ValueError(f"guidance is {guidance}; a finite number is allowed")
        laws = []
        for mean, cov in ((mean_u, cov_u), (mean_c, cov_c)):
            m, s = arguments.finite("mean", mean), arguments.finite("cov", cov)
            laws.append(GaussianMixture.full((1.0,), m[None], s[None]))
        if laws[0].dim != laws[1].dim:
            raise ValueError(
                f"mean_u and mean_c have {laws[0].dim} and {laws[1].dim} coordinates; as many in "
                "both are allowed"
            )
        return cls(laws[0], laws[1], guidance)

    @property
    def dim(self) -> int:
        """D, the number of coordinates."""
        return self.unconditional.dim

    def denoise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """D_g = (1 − g) D_u + g D_c, shape (B, D)."""
        return self._extrapolate(*(law.denoise(x, alpha, sigma) for law in self._laws))

    def score(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """(α D_g − x)/σ², shape (B, D)."""
        return self._extrapolate(*(law.score(x, alpha, sigma) for law in self._laws))

    def noise(self, x: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
        """ε_g = (x − α D_g)/σ, shape (B, D)."""
        return self._extrapolate(*(law.noise(x, alpha, sigma) for law in self._laws))

    def flow(self, x: Tensor, *, start: Level, end: Level) -> Tensor:
        """End points, (B, D), of the trajectories through x at `start`; see `flow_map`."""
        return self.flow_map(start=start, end=end)(x)

    def flow_map(self, *, start: Level, end: Level) -> AffineMap:
        """The flow from start to end, either the noisier one; α = 0 is an ordinary argument.

        Raises:
            ValueError: a level is not finite, negative or (0, 0); or σ = 0 at one where a
                covariance is singular.
        """
        scale = [float(law.variances.abs().max()) for law in self._laws]
        singular = any(
            float(law.variances.min()) <= 10 * self.dim * EPS * top
            for law, top in zip(self._laws, scale, strict=True)
        )
        for name, level in (("start", start), ("end", end)):
            if not (all(map(math.isfinite, level)) and min(level) >= 0 and any(level)):
                raise ValueError(f"{name} is {level}; finite, not negative, not (0, 0) is allowed")
            if singular and level[1] == 0:
                raise ValueError(
                    f"{name} is {level}, where a covariance is singular; sigma > 0 is allowed"
                )
        means = [law.means[0].double().cpu().numpy() for law in self._laws]
        covs = [law.covariance.double().cpu().numpy() for law in self._laws]
        basis, modes = _common_basis(covs)
        if np.abs(covs[0] - covs[1]).max() <= 10 * self.dim * EPS * max(scale):
            mean = self._extrapolate(means[0], means[1]) @ basis
            matrix = _deviation(modes[0], end) / _deviation(modes[0], start)
            shift, error = (end[0] - matrix * start[0]) * mean, 0.0
            source = "closed form: one covariance"
        elif all(
            np.abs(_off_diagonal(c, basis)).max() <= 100 * self.dim * EPS * np.abs(c).max()
            for c in covs
        ):
            centred = [m @ basis for m in means]
            matrix, shift, error = _quadrature(centred, modes, self.guidance, start, end)
            source = "quadrature: commuting covariances"
        else:
            return self._integrated(means, covs, start, end)
        error = error + EPS * self.dim * float(max(np.abs(matrix).max(), np.abs(shift).max()))
        whole = torch.from_numpy((basis * matrix) @ basis.T)
        return AffineMap(whole, torch.from_numpy(basis @ shift), error, source)

    @property
    def _laws(self) -> tuple[GaussianMixture, GaussianMixture]:
        return self.unconditional, self.conditional

    def _extrapolate(self, unconditional: Any, conditional: Any) -> Any:
        return (1 - self.guidance) * unconditional + self.guidance * conditional

    def _integrated(
        self, means: list[Floats], covs: list[Floats], start: Level, end: Level
    ) -> AffineMap:
        """[M | s] along α = cos θ/√τ, σ = sin θ, whose end points are rescaled; τ a variance."""
        d = self.dim
        tau = max(np.trace(c) for c in covs) / d
        parts = [
            (w, m, *np.linalg.eigh(c))
            for w, m, c in zip((1 - self.guidance, self.guidance), means, covs, strict=True)
        ]

        def rate(theta: float, flat: Floats) -> Floats:
            a, s = math.cos(theta) / math.sqrt(tau), math.sin(theta)
            d_a, d_s = -s / math.sqrt(tau), math.cos(theta)
            state = flat.reshape(d, d + 1)
            total = np.zeros_like(state)
            for w, m, variances, basis in parts:
                gain = (d_a * a * variances + d_s * s) / (a * a * variances + s * s)
                r = state.copy()
                r[:, d] -= a * m
                total += w * (basis * gain) @ (basis.T @ r)
                total[:, d] += w * d_a * m
            return total.ravel()

        size = [math.hypot(math.sqrt(tau) * a, s) for a, s in (start, end)]
        span = [math.atan2(s, math.sqrt(tau) * a) for a, s in (start, end)]
        first = np.eye(d, d + 1) / size[0]
        runs = []
        for tolerance in TOLERANCES:
            run = solve_ivp(
                rate,
                span,
                first.ravel(),
                "DOP853",
                rtol=tolerance,
                atol=tolerance * np.abs(first).max(),
                t_eval=span[1:],
            )
            if not run.success:
                raise ArithmeticError(f"flow from {start} to {end}: {run.message}")
            runs.append(size[1] * run.y[:, -1].reshape(d, d + 1))
        error = float(np.abs(runs[1] - runs[0]).max() + EPS * d * np.abs(runs[1]).max())
        found = torch.from_numpy(runs[1])
        return AffineMap(found[:, :d].clone(), found[:, d].clone(), error, "DOP853, run twice")


def _common_basis(covs: list[Floats]) -> tuple[Floats, list[Floats]]:
    """The eigenvectors of a sum of both, and what the covariances are along them."""
    golden = (math.sqrt(5) - 1) / 2  # no eigenvalues of two covariances are tied by chance
    tops = [max(np.abs(c).max(), np.finfo(np.float64).tiny) for c in covs]
    _, basis = np.linalg.eigh(covs[0] / tops[0] + golden * covs[1] / tops[1])
    modes = [np.einsum("ik,ij,jk->k", basis, c, basis) for c in covs]
    floors = [10 * len(basis) * EPS * top for top in tops]
    return basis, [np.where(v > f, v, 0.0) for v, f in zip(modes, floors, strict=True)]


def _off_diagonal(cov: Floats, basis: Floats) -> Floats:
    turned = basis.T @ cov @ basis
    return turned - np.diag(np.diag(turned))


def _deviation(variances: Floats, level: Level) -> Floats:
    return np.hypot(level[0] * np.sqrt(variances), level[1])


def _quadrature(
    means: list[Floats], modes: list[Floats], g: float, start: Level, end: Level
) -> tuple[Floats, Floats, float]:
    """M and s of every mode, and how far two rules of different order differ in s."""
    weights = (1 - g, g)

    def log_e(level: Level) -> Floats:
        parts = [w * np.log(_deviation(v, level)) for w, v in zip(weights, modes, strict=True)]
        return parts[0] + parts[1]

    width = max(float(np.sqrt(v.max())) for v in modes)
    positive = [v[v > 0] for v in modes]
    narrow = min((float(np.sqrt(v.min())) for v in positive if v.size), default=1.0)
    rho = [s / a if a else math.inf for a, s in (end, start)]
    finite = [r for r in rho if 0 < r < math.inf]
    # beyond these the integrand has fallen by FAR (and no level is 0 where a variance is)
    lowest, highest = min([narrow, *finite]) / FAR, max([width, *finite]) * FAR
    limits = [math.log(min(max(r, lowest), highest)) for r in rho]
    panels = max(1, math.ceil(abs(limits[1] - limits[0])))
    edges = np.linspace(limits[0], limits[1], panels + 1)
    log_end, found = log_e(end), []
    for n in NODES:
        x, w = np.polynomial.legendre.leggauss(n)
        half = (edges[1:] - edges[:-1]) / 2
        nodes = (edges[:-1, None] + half[:, None] * (1 + x)).ravel()
        total = np.zeros_like(means[0])
        for log_rho, weight in zip(nodes, (half[:, None] * w).ravel(), strict=True):
            square = math.exp(2 * log_rho)
            pull = sum(
                c * m * (square / (square + v))
                for c, m, v in zip(weights, means, modes, strict=True)
            )
            total += weight * pull * np.exp(log_end - log_e((1.0, math.exp(log_rho))))
        found.append(total)
    error = float(np.abs(found[1] - found[0]).max())
    return np.exp(log_end - log_e(start)), found[1], error
