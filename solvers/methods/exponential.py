r"""Exponential Runge-Kutta methods in λ: RES, Krogstad, Hochbruck and Ostermann.

Sources: Zhang et al. 2023, "Improved Order Analysis and Design of Exponential Integrator for
Diffusion Models Sampling" (RES), and circulated code of it; Krogstad 2005; Hochbruck and Ostermann
2005, "Explicit Exponential Runge-Kutta Methods for Semilinear Parabolic Problems", whose order
conditions ``theory.stiff`` checks.
"""

from __future__ import annotations

from solvers.forms import DATA_LAMBDA, NOISE_LAMBDA
from solvers.method import Row, Step, Variant, Weights, interpolate, method, published
from solvers.methods.runge_kutta import HALF, rk2, rk4
from solvers.options import Real


@method
def res_2s(s: Step, *, c2: Real = HALF) -> Weights:
    """One stage at c₂: b₂ = φ₂/c₂, b₁ = φ₁ − b₂, the line through N₀ and N₁."""
    return rk2(s, alpha=c2)


@method
def res_3s(s: Step, *, c2: Real = HALF, c3: Real = 1, as_published: bool = False) -> Weights:
    r"""b₂ = γφ₂/(γc₂+c₃), b₃ = φ₂/(γc₂+c₃); u₃ has γc₂φ₂(c₂) + (c₃²/c₂) φ₂(c₃) of N₂.

    γ = (3c₃² − 2c₃)/(c₂(2 − 3c₂)) makes Σ b c² = 1/3 at L = 0; published with 3c₃³, the same at
    c₃ = 1 alone.
    """
    cubed = c3 if as_published else 1
    gamma = c3 * (3 * c3 * cubed - 2) / (s.F.lift(1) * c2 * (2 - 3 * c2))
    last = s.phi(2) / (gamma * c2 + c3)
    a = gamma * c2 * s.phi(2, c2) + s.phi(2, c3) * c3 * c3 / c2
    first = Row(now=(s.phi(1, c2) * c2,), c=c2)
    second = Row(now=(s.phi(1, c3) * c3 - a, a), c=c3)
    update = Row(now=(s.phi(1) - (gamma + 1) * last, gamma * last, last))
    return Weights(stages=(first, second), b=update)


@method
def hochbruck_ostermann(s: Step) -> Weights:
    r"""Stages at 1/2, 1/2, 1, 1/2; the parabola through N₀, N₃ and N₄.

    With a = φ₂(1/2)/2 − φ₃ + φ₂/4 − φ₃(1/2)/2 the last stage has a of N₁ and N₂ each and
    φ₂(1/2)/4 − a of N₃; the third has φ₂ of N₁ and N₂ each, the second φ₂(1/2) of N₁.
    """
    half, b, end = s.phi(1, HALF) / 2, s.phi(2, HALF), s.phi(2)
    a = b / 2 - s.phi(3) + end / 4 - s.phi(3, HALF) / 2
    stages = (
        Row(now=(half,), c=HALF),
        Row(now=(half - b, b), c=HALF),
        Row(now=(s.phi(1) - 2 * end, end, end)),
        Row(now=(half - a - b / 4, a, a, b / 4 - a), c=HALF),
    )
    start, middle, last = interpolate(s, 1, [0, HALF, 1])
    return Weights(stages=stages, b=Row(now=(start, 0, 0, last, middle)))


FORMS = {"data": DATA_LAMBDA, "noise": NOISE_LAMBDA}
NOISE = {"prediction": "noise"}
EARLY = {"c3": 0.75}
"""With c₂ = 1/2 Ralston's nodes, where the cubed node shows."""

for name, fn, order, cite, more in (
    ("res_2s", res_2s, 2, "zhang2023res", []),
    ("res_3s", res_3s, 3, "zhang2023res", [EARLY, {**EARLY, "as_published": True}]),
    ("krogstad_4", rk4, 4, "krogstad2005", []),
    ("ho_5", hochbruck_ostermann, 4, "hochbruck2005", []),
):
    rows = [Variant(o, order, published="as_published" in o) for o in (NOISE, *more)]
    published(name, fn, FORMS, select="prediction", claim=order, cite=cite, variants=rows)
