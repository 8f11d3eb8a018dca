"""A method's options: read from its signature, whose annotations say what is allowed."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# An option may be anything until it is checked.

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args, get_origin, get_type_hints

from solvers.field import Scalar

Real = int | Fraction | Scalar
"""A number, as a weight function gets it: a caller's float becomes an exact scalar before."""
Factor = Real | str
"""phi1 of a recursive difference: "m3", "m4", .., "inf", "fd" or a number."""


@dataclass(frozen=True)
class Option:
    """One parameter of a method: name, default, and what is allowed."""

    name: str
    default: Any
    choices: tuple[str, ...] = ()
    kind: Literal["choice", "flag", "real", "factor"] = "real"

    @property
    def allowed(self) -> str:
        """In words."""
        words = {
            "choice": " or ".join(repr(c) for c in self.choices),
            "flag": "true or false",
            "real": "a positive number",
            "factor": "'m1', 'm2', .., 'inf', 'fd' or a positive number",
        }
        return words[self.kind] + ", or a list with one value per step"

    def check(self, value: Any, name: str | None = None) -> Any:
        """The value, if allowed; a list (not one in a list, which has a name) entry by entry."""
        if isinstance(value, list | tuple) and name is None:
            return tuple(self.check(v, f"options.{self.name}[{i}]") for i, v in enumerate(value))
        name = name or f"options.{self.name}"
        if isinstance(value, Scalar) or self._holds(value):
            return value
        raise ValueError(f"{name}: got {value!r}; {self.allowed} is allowed")

    def _holds(self, value: Any) -> bool:
        if self.kind == "choice":
            return value in self.choices
        if self.kind == "flag":
            return isinstance(value, bool)
        if value is None:
            return self.default is None
        if self.kind == "factor" and isinstance(value, str):
            order = value[1:]
            return value in ("inf", "fd") or (
                value[:1] == "m" and order.isascii() and order.isdigit() and 1 <= int(order) <= 100
            )
        real = isinstance(value, int | float | Fraction) and not isinstance(value, bool)
        return real and 0 < value < math.inf


def options_of(fn: Callable[..., Any]) -> dict[str, Option]:
    """A weight function's options, from its signature; ``q``, the order parameter, is not one."""
    hints = get_type_hints(fn)
    out: dict[str, Option] = {}
    for name, parameter in inspect.signature(fn).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or name == "q":
            continue
        hint = hints.get(name, Real)
        if hint is bool:
            out[name] = Option(name, parameter.default, kind="flag")
        elif get_origin(hint) is Literal:
            out[name] = Option(name, parameter.default, get_args(hint), "choice")
        else:
            factor = str in get_args(hint)
            out[name] = Option(name, parameter.default, kind="factor" if factor else "real")
    return out
