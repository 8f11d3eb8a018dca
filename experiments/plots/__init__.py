"""Figures in one look, from rows and curves that others have measured.

A function of a module returns a matplotlib figure; ``style.save`` writes it, as vectors or pixels.
``from experiments import plots`` finds ``plots.orders.overview(rows)``; a module is loaded when it
is first asked for, as some need torch and most commands need none.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

MODULES = frozenset(module.name for module in iter_modules(__path__))


def __getattr__(name: str) -> ModuleType:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return [*globals(), *MODULES]
