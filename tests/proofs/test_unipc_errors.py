"""UniP's and UniC's leading errors are those of the UniPC tables section 2.1, for all step ratios.

There they are those of Σ w_m D_m/r_m, which x loses; in the form's own scale numerical − exact has
the same sign with N for −f in the ε-form and the opposite one with N for f in the x₀-form.
"""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from sympy import Symbol

from solvers.forms import DATA_LAMBDA, NOISE_LAMBDA
from solvers.method import entry
from theory.order import prove_step

f1, f2, f3, f4 = (Symbol(f"f{k}") for k in (1, 2, 3, 4))
r1 = -Symbol("ratio1")
r2 = r1 - Symbol("ratio2")
"""Earlier nodes."""

UNIP_3 = -f3 * (6 * r1 * r2 - 4 * r1 - 4 * r2 + 3) / 72
UNIC_2 = -f3 * (2 * r1 - 1) / 72
UNIC_3 = f4 * (10 * r1 * r2 - 5 * r1 - 5 * r2 + 3) / 1440
HALF_1: dict[str, Any] = {"as_published": True, "variant": "bh1"}
HALF_2: dict[str, Any] = {"as_published": True, "variant": "bh2"}
TABLE: list[tuple[str, dict[str, Any], Any, Any]] = [  # method, options, ε-form, x₀-form
    ("unip_2", HALF_1, (-2 * f1 + (3 * r1 - 2) * f2) / 12, -(2 * f1 + (3 * r1 - 2) * f2) / 12),
    ("unip_2", HALF_2, (f1 + (3 * r1 - 2) * f2) / 12, (f1 - (3 * r1 - 2) * f2) / 12),
    ("unip_2", {}, (3 * r1 - 2) * f2 / 12, -(3 * r1 - 2) * f2 / 12),
    ("unipc_1", HALF_1, (f2 - 2 * f1) / 12, -(2 * f1 + f2) / 12),
    ("unipc_1", HALF_2, (f1 + f2) / 12, (f1 - f2) / 12),
    ("unipc_1", {}, f2 / 12, -f2 / 12),
    ("unip_3", {}, UNIP_3, -UNIP_3),
    ("unipc_2", {}, UNIC_2, -UNIC_2),
    ("unipc_3", {}, UNIC_3, -UNIC_3),
]


def error(method: str, options: dict[str, Any], prediction: str) -> Any:
    """Of one step, as a sum over f', f'', ..; what the predictor's error adds is left out."""
    e = entry(method)
    form = NOISE_LAMBDA if prediction == "noise" else DATA_LAMBDA
    chosen = {**options, "prediction": prediction}
    leading = prove_step(e, e.q, form, graded=False, **chosen).leading
    named = {f"g{k}": f for k, f in enumerate((f1, f2, f3, f4), 1)}
    return sum(c * named[word[0]] for word, c in leading.terms if len(word) == 1)


@pytest.mark.parametrize(("method", "options", "noise", "data"), TABLE)
def test_leading_errors(method: str, options: dict[str, Any], noise: Any, data: Any) -> None:
    assert sympy.simplify(error(method, options, "noise") - noise) == 0
    assert sympy.simplify(error(method, options, "data") + data) == 0
    assert sympy.simplify(error(method, options, "noise") - 2 * noise) != 0  # control
