"""A method's options: read from its signature, whose annotations say what is allowed."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# An option may be anything until it is checked.

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from solvers.field import Scalar

Real = int | Fraction | Scalar
"""A number, as a weight function gets it: a caller's float becomes an exact scalar before."""
Factor = Real | str
"""phi1 of a recursive difference: "m3", "m4", .., "inf", "fd" or a number."""
Amount = Annotated[Real, "amount"]
"""A number that may be zero."""
Count = Annotated[int, "count"]
"""A whole number, zero included."""


@dataclass(frozen=True)
class Option:
    """One parameter of a method: name, default, and what is allowed.

    Options of the weight function may change from step to step, those of a form, a ladder, a noise
    rule or a controller may not.
    """

    name: str
    default: Any
    choices: tuple[str, ...] = ()
    kind: Literal["choice", "flag", "real", "factor", "amount", "count"] = "real"
    per_step: bool = True

    @property
    def allowed(self) -> str:
        """In words."""
        words = {
            "choice": " or ".join(repr(c) for c in self.choices),
            "flag": "true or false",
            "real": "a positive number",
            "factor": "'m1', 'm2', .., 'inf', 'fd' or a positive number",
            "amount": "a number >= 0",
            "count": "an integer >= 0",
        }
        return words[self.kind] + (", or a list with one value per step" if self.per_step else "")

    def check(self, value: Any, name: str | None = None) -> Any:
        """The value, if allowed; a list (not one in a list, which has a name) entry by entry."""
        if isinstance(value, list | tuple) and name is None and self.per_step:
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
        numbers = int if self.kind == "count" else int | float | Fraction
        real = isinstance(value, numbers) and not isinstance(value, bool)
        low = value >= 0 if real and self.kind in ("amount", "count") else real and value > 0
        return low and value < math.inf


def options_of(fn: Callable[..., Any], *, per_step: bool = True) -> dict[str, Option]:
    """A function's options, from its signature; ``q``, the order parameter, is not one."""
    hints = get_type_hints(fn, include_extras=True)
    out: dict[str, Option] = {}
    for name, parameter in inspect.signature(fn).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or name == "q":
            continue
        hint = hints.get(name, Real)
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        out[name] = Option(name, parameter.default, choices, _kind(hint), per_step)
    return out


def _kind(hint: Any) -> Any:
    if hint is bool:
        return "flag"
    if get_origin(hint) is Literal:
        return "choice"
    parts = (hint, *get_args(hint))  # X | None has its mark one level down
    marks = [m for p in parts if get_origin(p) is Annotated for m in p.__metadata__]
    return marks[0] if marks else "factor" if str in parts else "real"
