r"""SciRE's multistep forms: Adams-type steps whose backward differences are divided by φ₁(m).

Source: the released code of Li, Chen and Zeng 2023, "SciRE-Solver", at three dates.  Step ratios
are those of ρ or of λ whatever the form's clock is, in V2 too, where they are not the clock's own.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from solvers.forms import DATA_SNR, NOISE_RHO
from solvers.method import Row, Step, Variant, Weight, Weights, method, published
from solvers.methods.scire import factor
from solvers.options import Factor

Rule = Literal["C", "B", "A"]


def slope(s: Step, p: Weight, rule: Rule) -> Weight:
    """Of one difference N₀ − N₋₁: 1/(φ₁² r₀) in ρ (A), 1/(φ₁ r₀) (B), 1/(φ₁ r₀^{1/4}) in λ (C)."""
    if rule == "A":
        return 1 / (s.ratio(1, "rho") * p * p)
    r0 = s.ratio(1, "lam")
    return 1 / ((r0 if rule == "B" else s.F.pow(r0, Fraction(1, 4))) * p)


@method
def scire_multistep(s: Step, *, q: int, phi1: Factor = "m3", rule: Rule = "C") -> Weights:
    r"""φ₁N₀ + φ₂ w (N₀ − N₋₁), w by ``rule``; with three values φ₁N₀ + φ₂D₁ + φ₃D₂.

    D₁ = (N₀ − N₋₁)/(φ₁(m)² r₀), D₂ = (1 + φ₁(m))/(φ₁(m)⁴ r₁) (N₀ − 2N₋₁ + N₋₂), r₀ and r₁ in ρ.
    """
    if q == 1:
        return Weights(b=Row(now=(s.phi(1),)))
    p = factor(s, phi1)
    if q == 2:
        w = s.phi(2) * slope(s, p, rule)
        return Weights(b=Row(now=(s.phi(1) + w,), past=(-w,)))
    first = s.phi(2) * slope(s, p, "A")
    second = s.phi(3) * (1 + p) / (s.ratio(2, "rho") * p * p * p * p)
    newer = -first - 2 * second
    return Weights(b=Row(now=(s.phi(1) + first + second,), past=(newer, second)))


cite = "li2023scire"
fd = {"phi1": "fd"}
rules = [{"rule": rule, **own} for rule in ("A", "B") for own in ({}, fd)]
for name, form in (("scire_v1", NOISE_RHO), ("scire_v2", DATA_SNR)):
    two = [Variant(o) for o in (fd, *rules)]
    published(f"{name}_2m", scire_multistep, form, q=2, cite=cite, variants=two)
    published(f"{name}_3m", scire_multistep, form, q=3, cite=cite, variants=[Variant(fd)])
