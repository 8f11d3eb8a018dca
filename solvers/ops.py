"""The operations of a plan: numbers only, no functions, so a plan can be printed and hashed.

A number is a float, or a tuple of floats with one entry per coordinate.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# A plan holds numbers of any field, and arrays of them.

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any

from solvers.form import Form
from solvers.schedules import Schedule
from solvers.weights import Weights


@dataclass(frozen=True)
class Call:
    """x = scale u + shift, P = model(kind, x), N = u_weight u + p_weight P + constant."""

    kind: str
    t: Any
    alpha: Any
    sigma: Any
    scale: Any
    shift: Any
    u_weight: Any
    p_weight: Any
    constant: Any


@dataclass(frozen=True)
class Advance:
    """One step of a method; phi0, force and deviation have one entry per row."""

    tau: Any
    h: Any
    weights: Weights
    phi0: tuple[Any, ...]
    force: tuple[Any, ...]
    deviation: tuple[Any, ...]
    calls: tuple[Call, ...]
    """At the start, then after each stage; empty for a step without evaluations."""


@dataclass(frozen=True)
class Jump(Advance):
    """A teleport: whatever its length, u stays but for what a call at its end adds; h is 1."""


@dataclass(frozen=True)
class Renoise:
    """u ← factor u + offset + noise ξ: the state is raised to more noise, without evaluation."""

    tau: Any
    to: Any
    factor: Any
    offset: Any
    noise: Any
    arrives: bool = False
    """Whether it ends a step, at a node."""


@dataclass(frozen=True)
class Affine:
    """u ← u_weight u + constant; N ← n_u u + n_n N + n_constant (u before the change)."""

    tau: Any
    u_weight: Any
    constant: Any
    n_u: Any = 0.0
    n_n: Any = 0.0
    n_constant: Any = 0.0


@dataclass(frozen=True)
class Switch:
    """u and the kept evaluations, newest first, re-expressed in another form."""

    form: Form
    state: Affine
    kept: tuple[Affine, ...]


@dataclass(frozen=True)
class Recall:
    """The past of a run in the form GAUSSIAN: u at these clock values, newest first, N = 0."""

    taus: tuple[Any, ...]


@dataclass(frozen=True)
class Denoise:
    """One more call; the result is the data prediction there."""

    call: Call


Op = Advance | Renoise | Switch | Recall | Denoise


@dataclass(frozen=True)
class Plan:
    """A method on a grid, evaluated: everything a run needs besides the model and the start."""

    schedule: Schedule
    form: Form
    """In which the run begins."""
    method: str
    options: Mapping[str, Any]
    model: tuple[str, ...]
    enter: tuple[Any, Any]
    """x = enter[0] u + enter[1] at the first node."""
    leave: tuple[tuple[Any, Any], ...]
    """The same after every operation."""
    ops: tuple[Op, ...]

    @property
    def evaluations(self) -> tuple[int, ...]:
        """The step of each model call; the final denoising counts as one more step."""
        out: list[int] = []
        n, carried = -1, False
        for op in self.ops:
            if isinstance(op, Advance):
                n += 1
                out += [n] * max(len(op.calls) - carried, 0)
                carried = op.weights.carry is not None
                continue
            carried = carried and isinstance(op, Switch)
            if isinstance(op, Denoise):
                out.append(n + 1)
        return tuple(out)

    @property
    def nfe(self) -> int:
        """Model calls for one sample."""
        return len(self.evaluations)

    @property
    def noisy(self) -> bool:
        """Whether a run draws noise."""
        rows = (r for op in self.ops if isinstance(op, Advance) for r in op.weights.rows)
        drawn = any(not isinstance(r.noise, int | float) or r.noise != 0 for r in rows)
        return drawn or any(isinstance(op, Renoise) for op in self.ops)

    @property
    def teleports(self) -> bool:
        """Whether a run begins with a jump."""
        return isinstance(next(iter(self.ops), None), Jump)

    @property
    def coordinates(self) -> int | None:
        """How many a state must have on its last axis; None if any number will do."""
        steps = (op for op in self.ops if isinstance(op, Advance))
        inner = (v for op in steps for v in (*op.phi0, *op.force))
        ends = (v for pair in (self.enter, *self.leave) for v in pair)
        return next((len(v) for v in (*inner, *ends) if isinstance(v, tuple)), None)

    @property
    def memory(self) -> int:
        """Past evaluations that a run keeps."""
        return max((op.weights.memory for op in self.ops if isinstance(op, Advance)), default=0)

    def to_json(self) -> dict[str, Any]:
        """Plain values; floats survive a round trip."""
        return {
            "schedule": {"name": self.schedule.name, **asdict(self.schedule)},
            "form": self.form.name,
            "method": self.method,
            "options": plain(self.options),
            "model": list(self.model),
            "enter": plain(self.enter),
            "leave": plain(self.leave),
            "ops": [{"op": type(op).__name__, **plain(op)} for op in self.ops],
        }

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def realize(
        self, array: Callable[[tuple[Any, ...]], Any], number: Callable[[float], Any] | None = None
    ) -> Plan:
        """The plan in the caller's arithmetic: per-coordinate tuples, and floats if asked."""
        return realize(self, array, number)


def plain(value: Any) -> Any:
    """Dataclasses to dictionaries, forms to names, numbers to floats or strings of digits."""
    if isinstance(value, Form):
        return value.name
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


NUMBERS = {"now", "past", "d", "phi0", "force", "deviation", "enter", "taus"}


def realize(
    value: Any,
    array: Callable[[tuple[Any, ...]], Any],
    number: Callable[[float], Any] | None = None,
    key: str = "",
) -> Any:
    """Tuples of numbers become arrays; tuples named in NUMBERS hold one number per place."""
    if isinstance(value, float):
        return number(value) if number else value
    if isinstance(value, tuple):
        if key in NUMBERS or key == "leave":
            inner = "enter" if key == "leave" else ""
            return tuple(realize(v, array, number, inner) for v in value)
        if value and not is_dataclass(value[0]):
            return array(value)
        return tuple(realize(v, array, number) for v in value)
    if is_dataclass(value) and not isinstance(value, type | Form | Schedule):
        new = {
            f.name: realize(getattr(value, f.name), array, number, f.name)
            for f in fields(value)
            if f.name not in ("model", "options")
        }
        return replace(value, **new)
    return value
