"""What there is: methods, schedules, grids, forms and options, as plain values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from solvers.forms import FORMS, ConstantForm
from solvers.grids import RULES
from solvers.method import Entry, registry
from solvers.options import Option
from solvers.schedules import SCHEDULES
from theory.certificates import load, status

Value = list[dict[str, Any]]
PLAN = [
    {
        "name": "orders",
        "default": None,
        "allowed": "a list with the order of every step, in place of warm-up and final lowering",
    },
    {"name": "lower_order_final", "default": False, "allowed": "true or false (multistep)"},
    {"name": "correct_last", "default": False, "allowed": "true or false (predictor-corrector)"},
]
"""Options of every plan, beside a method's own."""


def methods() -> Value:
    """The registry; ``proved`` is null where the certificate is not current."""
    return [_method(e) for e in registry().values()]


def _method(e: Entry) -> dict[str, Any]:
    state = status(e)
    certificate = load(e.name) if state == "current" else None
    row = certificate.row({}) if certificate else None
    return {
        "name": e.name,
        "aliases": list(e.aliases),
        "family": e.family,
        "form": e.form({}).name,
        "forms": {key: form.name for key, form in e.forms.items()} if e.selector else {},
        "options": [_option(o) for o in e.options.values()],
        "claim": e.variants[0].claim,
        "proved": row["order"] if row else None,
        "certificate": state,
        "cite": e.cite,
        "formula": inspect.cleandoc(e.fn.__doc__ or "").split("\n\n")[0],
    }


def _option(o: Option) -> dict[str, Any]:
    return {"name": o.name, "default": o.default, "allowed": o.allowed}


def schedules() -> Value:
    """Noise schedules with their parameters."""
    return [
        {
            "name": name,
            "parameters": {f.name: f.default for f in fields(kind)},
            "formula": inspect.cleandoc(kind.__doc__ or "").splitlines()[0],
        }
        for name, kind in SCHEDULES.items()
    ]


def grids() -> Value:
    """Rules that lay nodes, with their options."""
    return [{"name": name, "options": dict(options)} for name, (_, options) in RULES.items()]


def forms() -> Value:
    """Canonical forms u' = L u + K N + G."""
    return [
        {
            "name": form.name,
            "clock": form.clock,
            "u": form.of if isinstance(form, ConstantForm) else None,
            "L": form.L if isinstance(form, ConstantForm) else None,
            "N": form.N if isinstance(form, ConstantForm) else None,
            "formula": inspect.cleandoc(type(form).__doc__ or "").splitlines()[0],
        }
        for form in FORMS.values()
    ]


def options() -> Value:
    """Every option with the methods that take it; the last ones belong to plans."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for e in registry().values():
        for o in e.options.values():
            key = (o.name, repr(o.default), o.allowed)
            found.setdefault(key, {**_option(o), "methods": []})["methods"].append(e.name)
    return [*found.values(), *({**o, "methods": []} for o in PLAN)]


KINDS: dict[str, Callable[[], Value]] = {
    "methods": methods,
    "schedules": schedules,
    "grids": grids,
    "forms": forms,
    "options": options,
}
