"""Leading errors: combinations of N and its derivatives, printed and evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mpmath
import sympy

from solvers.field import Scalar
from theory.jets import LETTERS, Kernel

NAMES = dict(zip(LETTERS, ("N", "N_u", "N_uu", "N_uuu"), strict=True))
CONSTANTS = {"phi1_inf": lambda ctx: 1 - ctx.exp(-1)}
"""Values of the irrational parameters that proofs keep as symbols."""


@dataclass(frozen=True)
class LeadingError:
    """Σ coefficient × word: the factor of h^power in numerical − exact after one step.

    A word is a product of jets: g_i, J_i, H_i, Q_i are the i-th total derivatives of N, N_u, N_uu,
    N_uuu along the flow.
    """

    power: int
    terms: tuple[tuple[tuple[str, ...], Any], ...]

    def __str__(self) -> str:
        text = " + ".join(f"{_factor(c)} {spelled(jets)}".strip() for jets, c in self.terms)
        return f"h^{self.power} [{text}]".replace("+ -", "- ")

    @property
    def symbols(self) -> set[str]:
        """Names in the coefficients: free parameters, ratios, derivatives of clocks."""
        return {s.name for _, c in self.terms for s in c.free_symbols}

    def evaluators(
        self, values: Mapping[str, object], digits: int = 50
    ) -> list[tuple[Any, tuple[str, ...]]]:
        """(coefficient, jets) of every term; ``values`` are those of free parameters."""
        ctx = mpmath.mp.clone()
        ctx.dps = digits
        known = {**{k: f(ctx) for k, f in CONSTANTS.items()}, **values}
        out = []
        for jets, coefficient in self.terms:
            names = sorted(s.name for s in coefficient.free_symbols)
            missing = [n for n in names if n not in known]
            if missing:
                raise ValueError(
                    f"values: got {sorted(values)}; {', '.join(missing)} is needed too"
                )
            f = sympy.lambdify(
                names, coefficient, modules=[ctx.__dict__ | {"mpf": ctx.mpf}, "mpmath"]
            )
            out.append((ctx.mpf(f(*(ctx.mpf(known[n]) for n in names))), jets))
        return out


def _factor(c: sympy.Expr) -> str:
    return f"({c})" if c.is_Add else "" if c == 1 else str(c)


def spelled(jets: tuple[str, ...]) -> str:
    """("J1", "g2") -> (N_u)' N''."""
    return " ".join(_word(j) for j in jets)


def _word(jet: str) -> str:
    base, i = NAMES[jet[0]], int(jet[1:])
    return base + "'" * i if jet[0] == "g" or not i else f"({base})" + "'" * i


def leading_error(power: int, coefficient: Scalar, kernel: Kernel, roots: int = 1) -> LeadingError:
    """The polynomial grouped by words; symbols of the kernel and the grid go to the coefficients.

    The proof's J_i are derivatives of N_y = N_u ξ; at L ≠ 0 they are rewritten in N_u's, and its
    root_j in ratio_j.
    """
    expression: Any = coefficient.v.as_expr()
    expression = expression.subs(_unwhiten(_jets(expression), kernel), simultaneous=True)
    jets = _jets(sympy.expand(expression))
    if not jets:
        return LeadingError(power, (((), sympy.factor(expression)),))
    terms = []
    for powers, c in sympy.Poly(expression, *jets).terms():
        word = [s.name for s, e in zip(jets, powers, strict=True) for _ in range(e)]
        word.sort(key=lambda name: (-LETTERS.index(name[0]), -int(name[1:])))
        terms.append((tuple(word), _ratios(sympy.factor(c), roots)))
    return LeadingError(power, tuple(sorted(terms, key=lambda t: (len(t[0]), t[0]))))


def _ratios(c: Any, roots: int) -> Any:
    """root_j = ratio_j^(1/roots)."""
    found = {s: s.name.removeprefix("root") for s in c.free_symbols if s.name[:4] == "root"}
    power = sympy.Rational(1, roots)
    return c.subs({s: sympy.Symbol(f"ratio{j}") ** power for s, j in found.items()})


def _jets(expression: Any) -> list[Any]:
    found = (s for s in expression.free_symbols if s.name[0] in NAMES and s.name[1:].isdigit())
    return sorted(found, key=lambda s: s.name)


def _unwhiten(jets: list[sympy.Symbol], kernel: Kernel) -> dict[sympy.Symbol, sympy.Expr]:
    """J_k = Σ binomial(k, i) ξ_{k−i} (N_u)^{(i)}, since ∂/∂y = ξ ∂/∂u; likewise for H with ξ²."""
    xi = [sympy.Symbol(x) if isinstance(x, str) else sympy.Integer(x) for x in kernel.xi]
    out = {}
    for s in jets:
        order = LETTERS.index(s.name[0])
        k = int(s.name[1:])
        if order == 0 or k == 0:
            continue
        series = [sympy.Integer(1)] + [sympy.Integer(0)] * k
        for _ in range(order):
            series = [
                sum(math.comb(m, i) * xi[m - i] * series[i] for i in range(m + 1))
                for m in range(k + 1)
            ]
        out[s] = sum(
            math.comb(k, i) * series[k - i] * sympy.Symbol(f"{s.name[0]}{i}") for i in range(k + 1)
        )
    return out
