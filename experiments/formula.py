"""Formulas of proofs as people write them."""

from __future__ import annotations

import re

UP = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
DOWN = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
LETTERS = {"kappa": "κ", "xi": "ξ", "T": "T", "lam": "λ", "rho": "ρ"}


def typeset(formula: str) -> str:
    """h^3 [kappa0**2/4 N_u N'] as h³ [κ₀²/4 N_u N']."""
    symbol = rf"\b({'|'.join(LETTERS)})(\d+)"
    text = re.sub(symbol, lambda m: LETTERS[m[1]] + m[2].translate(DOWN), formula)
    text = re.sub(r"(?:\^|\*\*)(\d+)", lambda m: m[1].translate(UP), text)
    return text.replace("*", " ").replace("-", "−")
