r"""Adams-Bashforth in the form's clock: DEIS, LMS, exponential multistep methods.

Source: Zhang and Chen 2023, "Fast Sampling of Diffusion Models with Exponential Integrator";
the classical case is Adams-Bashforth on variable steps.
"""

from __future__ import annotations

from solvers.forms import GAUSSIAN_LAMBDA, NOISE_LAMBDA, NOISE_RHO, NOISE_T
from solvers.method import Row, Step, Weights, interpolate, method, published


@method
def adams(s: Step, *, q: int) -> Weights:
    r"""∫₀¹ through N₀ .. N_{1−q}:  Σ_j b_j x_j^k = k! φ_{k+1}(1), x_j = past(j), k < q."""
    b = interpolate(s, 1, [0, *(s.past(j) for j in range(1, q))])
    return Weights(b=Row(now=b[:1], past=b[1:]))


published("ddim", adams, NOISE_RHO, q=1, claim=1, cite="song2021ddim")

for degree in (0, 1, 2, 3):
    for clock, form in (("rho", NOISE_RHO), ("t", NOISE_T), ("logrho", NOISE_LAMBDA)):
        name, q = f"deis_{clock}_ab{degree}", degree + 1
        published(name, adams, form, q=q, claim=q, cite="zhang2023deis")

published("gaussian_ab2", adams, GAUSSIAN_LAMBDA, q=2, claim=2, cite="scoreproof")
