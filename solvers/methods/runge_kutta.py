r"""Explicit Runge-Kutta methods, in exponential form; in NOISE_RHO the classical tableaux.

Sources: Karras et al. 2022 (EDM's Heun), Kutta 1901, Cox and Matthews 2002 (ETD3RK), Krogstad
2005 (the exponential method that becomes the classical fourth-order one at L = 0).
"""

from __future__ import annotations

from fractions import Fraction

from solvers.forms import NOISE_RHO
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
def kutta3(s: Step) -> Weights:
    """Stages at 1/2 and 1 (the latter −φ₁N₀ + 2φ₁N₁); the parabola through 0, 1/2, 1."""
    middle = Row(now=(s.phi(1, HALF) / 2,), c=HALF)
    end = Row(now=(-s.phi(1), 2 * s.phi(1)), c=1)
    return Weights(stages=(middle, end), b=Row(now=interpolate(s, 1, [0, HALF, 1])))


@method
def rk4(s: Step) -> Weights:
    """Krogstad: stages at 1/2, 1/2, 1; the parabola's middle weight shared by both midpoints."""
    a, b = s.phi(1, HALF) / 2, s.phi(2, HALF)
    first = Row(now=(a,), c=HALF)
    second = Row(now=(a - b, b), c=HALF)
    third = Row(now=(s.phi(1) - 2 * s.phi(2), 0, 2 * s.phi(2)), c=1)
    start, middle, end = interpolate(s, 1, [0, HALF, 1])
    return Weights(stages=(first, second, third), b=Row(now=(start, middle / 2, middle / 2, end)))


published("rho_heun2", rk2, NOISE_RHO, claim=2, cite="karras2022edm", aliases=["edm_heun"])
published("rho_midpoint", midpoint, NOISE_RHO, claim=2, cite="zhang2023deis")
published("rho_kutta3", kutta3, NOISE_RHO, claim=3, cite="zhang2023deis")
published("rho_rk4", rk4, NOISE_RHO, claim=4, cite="zhang2023deis")
