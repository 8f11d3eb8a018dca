r"""DPM-Solver (noise) and DPM-Solver++ (data): singlestep and multistep in λ.

Sources: Lu et al. 2022, "DPM-Solver" and "DPM-Solver++", and their released code.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Literal

from solvers.control import Controller
from solvers.forms import DATA_LAMBDA, NOISE_LAMBDA
from solvers.ladders import fast
from solvers.method import Row, Step, Variant, Weights, interpolate, method, published
from solvers.options import Real


@method
def dpm_solver(
    s: Step,
    *,
    q: int,
    r1: Real | None = None,
    r2: Real | None = None,
    weights: Literal["dpmsolver", "taylor"] = "dpmsolver",
) -> Weights:
    r"""Stages at r₁ (and r₂); the update is φ₁N₀ + (w/r)(N_r − N₀), w/r by ``weights``.

    Order 2: w = φ₁/2 ("dpmsolver") or φ₂ ("taylor"); r₁ = 1/2.
    Order 3: u₂ uses (r₂²/r₁) φ₂(r₂)(N₁ − N₀); w = φ₂ on N₂ alone ("dpmsolver", third order only at
    r₂ = 2/3) or the parabola through N₀, N₁, N₂ ("taylor"); r₁ = 1/3.
    """
    if q == 1:
        return Weights(b=Row(now=(s.phi(1),)))
    r1 = r1 if r1 is not None else Fraction(1, q)
    first = Row(now=(s.phi(1, r1) * r1,), c=r1)
    if q == 2:
        w = (s.phi(1) / 2 if weights == "dpmsolver" else s.phi(2)) / r1
        return Weights(stages=(first,), b=Row(now=(s.phi(1) - w, w)))
    r2 = r2 if r2 is not None else Fraction(2, 3)
    a = s.phi(2, r2) * r2 * r2 / r1
    second = Row(now=(s.phi(1, r2) * r2 - a, a), c=r2)
    if weights == "taylor":
        return Weights(stages=(first, second), b=Row(now=interpolate(s, 1, [0, r1, r2])))
    w = s.phi(2) / r2
    return Weights(stages=(first, second), b=Row(now=(s.phi(1) - w, 0, w)))


@method
def embedded(s: Step, *, q: int) -> Weights:
    """``dpm_solver`` and, on its first evaluations, the same of order q − 1 with the same r₁."""
    low = dpm_solver(s, q=q - 1, r1=Fraction(1, q)).b
    return replace(dpm_solver(s, q=q), low=low)


@method
def dpm_multistep(
    s: Step,
    *,
    q: int,
    weights: Literal["midpoint", "heun"] = "midpoint",
    as_published: bool = False,
) -> Weights:
    r"""φ₁N₀ + φ₂D₁ + φ₃D₂ with backward differences, r₀ = h_{n−1}/h, r₁ = h_{n−2}/h.

    D₁₀ = (N₀−N₋₁)/r₀, D₁₁ = (N₋₁−N₋₂)/r₁, D₁ = D₁₀ + r₀/(r₀+r₁) (D₁₀−D₁₁) and D₂ = h²N'', that is
    2 (D₁₀−D₁₁)/(r₀+r₁); published without the 2.  Two values: φ₂ ("heun") or φ₁/2 ("midpoint").
    """
    if q == 1:
        return Weights(b=Row(now=(s.phi(1),)))
    r0 = s.ratio(1)
    if q == 2:
        w = (s.phi(1) / 2 if weights == "midpoint" else s.phi(2)) / r0
        return Weights(b=Row(now=(s.phi(1) + w,), past=(-w,)))
    r1 = s.ratio(2)
    second = s.phi(3) * (1 if as_published else 2) / (r0 + r1)
    newer = (s.phi(2) * (1 + r0 / (r0 + r1)) + second) / r0
    older = (s.phi(2) * r0 / (r0 + r1) + second) / r1
    return Weights(b=Row(now=(s.phi(1) + newer,), past=(-newer - older, older)))


taylor = Variant({"weights": "taylor"})
heun = Variant({"weights": "heun"}, 2)
shipped = Variant({"as_published": True}, 3)
families = (("dpm_solver", "", NOISE_LAMBDA, "lu2022dpm"),)
families += (("dpm_solver_pp", "s", DATA_LAMBDA, "lu2022dpmpp"),)
for name, single, form, cite in families:
    for q in (1, 2, 3):
        more = [replace(taylor, claim=q)] if q > 1 else []
        alone = f"{name}_{q}{single}"
        published(alone, dpm_solver, form, q=q, claim=q, cite=cite, variants=more)
    for q in (2, 3):
        pair = {"q": q, "claim": q, "controller": Controller}
        published(f"{name}_{q - 1}{q}", embedded, form, cite=cite, **pair)
    published(f"{name}_fast", dpm_solver, form, q=3, claim=3, cite=cite, ladder=fast)
    cite = "lu2022dpmpp"
    published(f"{name}_2m", dpm_multistep, form, q=2, claim=2, cite=cite, variants=[heun])
    published(f"{name}_3m", dpm_multistep, form, q=3, claim=3, cite=cite, variants=[shipped])
