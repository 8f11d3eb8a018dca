"""Coefficients that other libraries ship and what they cost, proved.

``experiments.peers.faults`` names them.  Every function proves one statement; its parameters exist
for controls to spoil.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sympy import Rational, S, atan, diff, exp, limit, simplify, solve, sqrt, symbols

from solvers.method import entry
from theory.order import prove_order
from theory.proved import Finding, claim


@claim
def second_difference(*, factor: int = 2) -> Finding:
    """φ₁N₀ + φ₂D₁ + kφ₃(D₁₀ − D₁₁)/(r₀ + r₁) integrates lines for every k, parabolas iff k = 2.

    D₁ = D₁₀ + r₀/(r₀ + r₁) (D₁₀ − D₁₁), D₁₀ and D₁₁ the backward quotients of N: the multistep
    DPM-Solver of order 3.  Its order is 3 at k = 2, and 2 at k = 1, as published and shipped.
    """
    r0, r1, k = symbols("r0 r1 k", positive=True)
    phi1, phi2, phi3 = symbols("phi1:4")

    def step(N: Callable[[Any], Any]) -> Any:
        D10, D11 = (N(S(0)) - N(-r0)) / r0, (N(-r0) - N(-r0 - r1)) / r1
        D1 = D10 + r0 / (r0 + r1) * (D10 - D11)
        return phi1 * N(S(0)) + phi2 * D1 + k * phi3 * (D10 - D11) / (r0 + r1)

    lines = step(lambda x: S(1)) - phi1, step(lambda x: x) - phi2
    roots = solve(simplify(step(lambda x: x**2) - 2 * phi3), k)
    e = entry("dpm_solver_3m")
    orders = prove_order(e).graded, prove_order(e, as_published=True).graded
    holds = not any(map(simplify, lines)) and roots == [factor] and orders == (3, 2)
    return holds, f"k = {roots}, orders {orders}"


@claim
def equal_step_weights(*, weights: Sequence[int] = (55, -59, 37, -9)) -> Finding:
    """(55, −59, 37, −9)/24 integrate cubics on equal steps in ρ, on others not even lines.

    With earlier steps r₁, r₂, r₃ times the one to be taken the integral of a line is off by
    (31r₁ − 28r₂ + 9r₃ − 12)/24.  So PNDM and iPNDM have order 2 on graded grids and 1 on irregular
    ones; weights solved for the steps have order 4 on both.
    """
    r = symbols("r1:4", positive=True)
    x = [-sum(r[:j], S(0)) for j in range(4)]
    b = [Rational(w, 24) for w in weights]
    off: list[Any] = [
        sum(w * at**k for w, at in zip(b, x, strict=True)) - Rational(1, k + 1) for k in range(4)
    ]
    equal = all(e.subs(dict.fromkeys(r, 1)) == 0 for e in off)
    line = simplify(24 * off[1] - (31 * r[0] - 28 * r[1] + 9 * r[2] - 12)) == 0
    proofs = [prove_order(entry(name)) for name in ("ipndm_4", "deis_rho_ab3")]
    orders = [(p.graded, p.any_grid) for p in proofs]
    return equal and line and orders == [(2, 1), (4, 4)], f"orders {orders}"


@claim
def rosenbrock_amplitude(*, at: str = "u") -> Finding:
    """√((1 + e²ᵘ)/(1 + e²ˢ)) v(s) + A ∫ f/(2 cosh) du is exact for constant f iff A = √(1 + e²ᵘ).

    Here u = log σ/α, and dv/du = a v + b f with a = b² = e²ᵘ/(1 + e²ᵘ) defines f: the Rosenbrock
    form of azula's REAB.  Times α its A is √(α² + σ²) with α and σ of one node; with σ of the node
    before, as released, a step is off by O(h²) and the order is 1.
    """
    u, s, h, f, v = symbols("u s h f v", real=True)
    a, b = exp(2 * u) / (1 + exp(2 * u)), exp(u) / sqrt(1 + exp(2 * u))
    integral: Any = atan(exp(u)) - atan(exp(s))
    right, released = sqrt(1 + exp(2 * u)), sqrt(1 + exp(2 * s))
    A = {"u": right, "s": released}[at]
    path = sqrt((1 + exp(2 * u)) / (1 + exp(2 * s))) * v + A * integral * f
    exact = simplify(diff(path, u) - a * path - b * f) == 0
    gap: Any = (released - right) * integral
    second = simplify(limit(gap.subs(u, s - h) / h**2, h, 0))
    return exact and second != 0, f"off by h² times {second}"


CLAIMS = (second_difference, equal_step_weights, rosenbrock_amplitude)
