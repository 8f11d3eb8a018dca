"""Rows to figures, in one look: nothing is computed here that is not in the rows.

A function of a module takes rows and returns a matplotlib figure; ``style.save`` writes it, as
vectors or pixels. ``from experiments import plots`` finds ``plots.orders.overview(rows)``; a
module is loaded when it is first asked for, as some need torch and most commands need none.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

MODULES = frozenset(module.name for module in iter_modules(__path__))


def __getattr__(name: str) -> ModuleType:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
