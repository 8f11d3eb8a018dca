r"""Taylor methods: exact total derivatives of N along the flow in place of differences.

Sources: Dockhorn et al. 2022, "GENIE" (order 2 in ρ); the series itself is classical.
"""

from __future__ import annotations

from solvers.forms import DATA_LAMBDA, NOISE_LAMBDA, NOISE_RHO, NOISE_T, STATE_LAMBDA, VELOCITY_T
from solvers.method import Row, Step, Variant, Weights, method, published


@method
def taylor(s: Step, *, q: int) -> Weights:
    """Σ_{k<q} h^{k+1} φ_{k+1} N^{(k)}."""
    return Weights(b=Row(now=(s.phi(1),), d=tuple(s.phi(k + 1) for k in range(1, q))))


FORMS = {
    "rho": NOISE_RHO,
    "t": VELOCITY_T,
    "lam": STATE_LAMBDA,
    "lam_noise": NOISE_LAMBDA,
    "lam_data": DATA_LAMBDA,
    "t_noise": NOISE_T,
}

ROWS = {1: ["t"], 2: [*FORMS][1:], 3: ["t", "lam_data"], 4: ["t"]}
"""Beside ρ; exact derivatives are what measuring costs."""

for q, others in ROWS.items():
    named = {"claim": q, "cite": "dockhorn2022genie", "aliases": ["genie"] if q == 2 else []}
    variants = [Variant({"variable": v}, q) for v in others]
    published(f"taylor_{q}", taylor, FORMS, select="variable", q=q, variants=variants, **named)
