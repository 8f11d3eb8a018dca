r"""Explicit Runge-Kutta methods, in exponential form; in NOISE_RHO the classical tableaux.

Sources: Karras et al. 2022 (EDM's Heun); Zhang and Chen 2023 (Runge-Kutta in ρ); Heun 1900, Kutta
1901, Ralston 1962, van der Houwen 1972, Shu and Osher 1988; Cox and Matthews 2002 (Kutta's third
order with exponential weights), Krogstad 2005 (the one that becomes the classical fourth order).
"""

from __future__ import annotations

from fractions import Fraction

from solvers.forms import GAUSSIAN, NOISE_RHO
from solvers.method import Row, Step, Weights, interpolate, method, published
from solvers.options import Real

HALF = Fraction(1, 2)


@method
def rk2(s: Step, *, alpha: Real = 1) -> Weights:
    """One stage at α; the line through N₀ and N_α, that is 1 − 1/(2α) and 1/(2α) at L = 0."""
    stage = Row(now=(s.phi(1, alpha) * alpha,), c=alpha)
    return Weights(stages=(stage,), b=Row(now=interpolate(s, 1, [0, alpha])))


@method
def midpoint(s: Step) -> Weights:
    """``rk2`` with the stage in the middle."""
    return rk2(s, alpha=HALF)


@method
def rk3(s: Step, *, c2: Real = HALF, c3: Real = 1) -> Weights:
    r"""The parabola through N₀ and stages at c₂, c₃; u₃ has φ₁(c₃) c₃ (c₃−c₂)/(c₂(2−3c₂)) of N₂.

    At L = 0 that is a₃₂ = 1/(6 b₃ c₂), the one choice of order 3.
    """
    a = s.phi(1, c3) * c3 * (c3 - c2) / (s.F.lift(1) * c2 * (2 - 3 * c2))
    first = Row(now=(s.phi(1, c2) * c2,), c=c2)
    second = Row(now=(s.phi(1, c3) * c3 - a, a), c=c3)
    return Weights(stages=(first, second), b=Row(now=interpolate(s, 1, [0, c2, c3])))


@method
def rk4(s: Step) -> Weights:
    """Krogstad: stages at 1/2, 1/2, 1; the parabola's middle weight shared by both midpoints."""
    a, b = s.phi(1, HALF) / 2, s.phi(2, HALF)
    first = Row(now=(a,), c=HALF)
    second = Row(now=(a - b, b), c=HALF)
    third = Row(now=(s.phi(1) - 2 * s.phi(2), 0, 2 * s.phi(2)), c=1)
    start, middle, end = interpolate(s, 1, [0, HALF, 1])
    return Weights(stages=(first, second, third), b=Row(now=(start, middle / 2, middle / 2, end)))


THIRD = (  # c₂, c₃
    ("kutta", HALF, 1, "kutta1901"),
    ("ralston", HALF, Fraction(3, 4), "ralston1962"),
    ("heun", Fraction(1, 3), Fraction(2, 3), "heun1900"),
    ("vdh", Fraction(8, 15), Fraction(2, 3), "houwen1972"),
    ("ssp", 1, HALF, "shu1988"),
)

published("rho_heun2", rk2, NOISE_RHO, claim=2, cite="karras2022edm", aliases=["edm_heun"])
published("rho_midpoint", midpoint, NOISE_RHO, claim=2, cite="zhang2023deis")
for name, c2, c3, cite in THIRD:
    published(f"rho_{name}3", rk3, NOISE_RHO, c2=c2, c3=c3, claim=3, cite=cite)
published("rho_rk4", rk4, NOISE_RHO, claim=4, cite="kutta1901")
published("whitened_heun2", rk2, GAUSSIAN, claim=2, cite="scoreproof")
