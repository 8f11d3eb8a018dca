r"""PNDM and iPNDM: Adams-Bashforth's weights of equal steps, whatever the steps are.

Sources: Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds"; Zhang and
Chen 2023 (iPNDM); released code of iPNDM_v.  A mean of N at equal steps of the step index times
∫dρ is off by (1/12) ρ''N' a step, so all of these have order 2 unless the steps are equal in ρ.
"""

from __future__ import annotations

from fractions import Fraction

from solvers.forms import NOISE_RHO
from solvers.method import Row, Step, Variant, Weights, method, published
from solvers.methods.adams import adams

BASHFORTH = {1: (1,), 2: (3, -1), 3: (23, -16, 5), 4: (55, -59, 37, -9)}
"""Newest first, over their sum."""


@method
def ipndm(s: Step, *, q: int) -> Weights:
    """φ₁ Σ_j b_j N_{−j}, b = 1; (3, −1)/2; (23, −16, 5)/12; (55, −59, 37, −9)/24."""
    b = BASHFORTH[q]
    now, *past = (s.phi(1) * Fraction(w, sum(b)) for w in b)
    return Weights(b=Row(now=(now,), past=tuple(past)))


@method
def ipndm_v(s: Step, *, q: int, as_published: bool = False) -> Weights:
    r"""Adams-Bashforth on variable steps, r₀, r₁, r₂ = h_{n−1}/h, ..; published with three slips.

    The weights of two values, then T (N₀ − (1 + r₀/r₁) N₋₁ + (r₀/r₁) N₋₂), then U times the third
    difference.  Right would be T = (2 + 3r₀)/(6r₀(r₀+r₁)), a minus between the two terms of U, and
    r₁/r₂ for r₀/r₁ in the oldest weight: with it the four do not sum to 1.
    """
    if not as_published or q < 3:
        return adams(s, q=q)
    r0, r1 = s.ratio(1), s.ratio(2)
    first, T = 1 / (2 * r0), Fraction(1, 2) - 1 / (6 * r0 * (r0 + r1))
    b = [1 + first + T, -first - T * (1 + r0 / r1), T * r0 / r1]
    if q == 4:
        r2, end, before = s.ratio(3), 1 + r0, r0 + r1
        S = r0 * before / (r1 * (r1 + r2))
        U = (1 - 1 / (3 * end)) / 2 + (1 - 1 / (2 * end)) / (6 * (1 + before))
        U = U * end * (1 + before) / (r0 * before * (before + r2))
        b[0] += U
        b[1] -= U * (1 + r0 / r1 + S)
        b[2] += U * (r0 / r1 + S * (1 + r1 / r2))
        b.append(-U * S * r0 / r1)
    now, *past = (s.phi(1) * w for w in b)
    return Weights(b=Row(now=(now,), past=tuple(past)), consistent=q < 4)


@method
def s_pndm(s: Step, *, q: int) -> Weights:
    """(3N₀ − N₋₁)/2; the first step is Heun's, (N₀ + N₁)/2, N₁ at the end of a DDIM step."""
    if q == 2:
        return ipndm(s, q=2)
    half = s.phi(1) / 2
    return Weights(stages=(Row(now=(s.phi(1),)),), b=Row(now=(half, half)))


@method
def f_pndm(s: Step, *, q: int) -> Weights:
    """(55N₀ − 59N₋₁ + 37N₋₂ − 9N₋₃)/24; the first three steps are pseudo Runge-Kutta.

    (N₀ + 2N₁ + 2N₂ + N₃)/6, each N_j at the end of a DDIM step with N_{j−1}, to the middle in t
    for N₁ and N₂.  Only N₀ is kept.
    """
    if q == 4:
        return ipndm(s, q=4)
    c = s.at(Fraction(1, 2), "t")
    middle, whole = s.phi(1, c) * c, s.phi(1)
    stages = (Row(now=(middle,), c=c), Row(now=(0, middle), c=c), Row(now=(0, 0, whole)))
    return Weights(stages=stages, b=Row(now=tuple(whole * Fraction(w, 6) for w in (1, 2, 2, 1))))


for q in (1, 2, 3, 4):
    published(f"ipndm_{q}", ipndm, NOISE_RHO, q=q, claim=q, cite="zhang2023deis")
    shipped = [Variant({"as_published": True}, q)] if q > 2 else []
    cite = "zhou2024amed"
    published(f"ipndm_v_{q}", ipndm_v, NOISE_RHO, q=q, claim=q, cite=cite, variants=shipped)
published("s_pndm", s_pndm, NOISE_RHO, q=2, claim=2, cite="liu2022pndm")
published("f_pndm", f_pndm, NOISE_RHO, q=4, claim=2, cite="liu2022pndm")
