r"""Adams-Bashforth in the form's clock: DEIS, LMS, exponential multistep methods.

Sources: Zhang and Chen 2023, "Fast Sampling of Diffusion Models with Exponential Integrator", and
its released code, whose integrals are left Riemann sums; Hochbruck and Ostermann 2011; the
classical case is Adams-Bashforth on variable steps.
"""

from __future__ import annotations

from solvers.forms import DATA_LAMBDA, GAUSSIAN, GAUSSIAN_LAMBDA, NOISE_LAMBDA, NOISE_RHO, NOISE_T
from solvers.method import Row, Step, Variant, Weights, interpolate, method, published
from solvers.riemann import LeftSum


@method
def adams(s: Step, *, q: int) -> Weights:
    r"""∫₀¹ through N₀ .. N_{1−q}:  Σ_j b_j x_j^k = k! φ_{k+1}(1), x_j = past(j), k < q."""
    b = interpolate(s, 1, [0, *(s.past(j) for j in range(1, q))])
    return Weights(b=Row(now=b[:1], past=b[1:]))


published("ddim", adams, NOISE_RHO, q=1, claim=1, cite="song2021ddim")

SUMS = {f.clock: LeftSum(f"{f.name}_LEFT", f.clock, f) for f in (NOISE_RHO, NOISE_T)}
"""The released code's integrals."""

coarse = {"as_published": True, "points": 16}
"""With few points the order shows at step numbers that can be run."""

for degree in (0, 1, 2, 3):
    q = degree + 1
    named = {"q": q, "claim": q, "cite": "zhang2023deis"}
    for form in (NOISE_RHO, NOISE_T):
        name, forms = f"deis_{form.clock}_ab{degree}", {False: form, True: SUMS[form.clock]}
        rows = [Variant({"as_published": True}, q)] if form is NOISE_T else []
        rows = [*rows, Variant(coarse, q, published=False)] if degree == 3 else []
        published(name, adams, forms, select="as_published", variants=rows, **named)
    published(f"deis_logrho_ab{degree}", adams, NOISE_LAMBDA, **named)

LAMBDA = {"data": DATA_LAMBDA, "noise": NOISE_LAMBDA}
noise = {"prediction": "noise"}

for q in (1, 2, 3, 4):
    rows = [Variant(noise, q, published=False)] if q > 1 else []
    named = {"claim": q, "cite": "hochbruck2011", "variants": rows}
    published(f"exp_ab_{q}", adams, LAMBDA, select="prediction", q=q, **named)

published("gaussian_ab2", adams, GAUSSIAN_LAMBDA, q=2, claim=2, cite="scoreproof")
for q in (1, 2, 3):
    published(f"whitened_ab{q}", adams, GAUSSIAN, q=q, claim=q, cite="scoreproof")
