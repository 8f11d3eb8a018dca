"""Methods by name, or out of a file: ``FILE.py:function`` for one that is not registered."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from solvers.form import Form
from solvers.forms import FORMS, NOISE_RHO
from solvers.method import Entry, WeightFunction, entry, published_by, unpublished


def find(name: str, *, form: str | None = None, q: int | None = None) -> Entry:
    """The registered entry, or the function of a file as an entry of its own.

    A registered method may be moved to another ``form``.
    A file's function takes the form and parameters of its own ``published(...)`` call if the file
    makes one; otherwise ``form`` (default NOISE_RHO) and ``q``.
    """
    if ".py:" not in name:
        if q is not None:
            raise ValueError(f"q: got {q!r}; it is allowed with FILE.py:function only")
        return entry(name) if form is None else in_form(entry(name), form)
    if q is not None and (not isinstance(q, int) or isinstance(q, bool) or q < 1):
        raise ValueError(f"q: got {q!r}; an integer >= 1 is allowed")
    path, _, function = name.rpartition(":")
    module = _load(Path(path))
    fn: Any = getattr(module, function, None)
    if not callable(fn):
        here = [k for k, v in vars(module).items() if hasattr(v, "is_method")]
        near = ", ".join(difflib.get_close_matches(function, here) or here)
        raise ValueError(
            f"method: got {name!r}; nearest: {near or 'none'}; an @method of {path} is allowed"
        )
    own = published_by(_checked(name, fn))
    if own is not None and form is None and q is None:
        return own
    fixed = {} if q is None else {"q": q}
    if q is None and "q" in inspect.signature(fn).parameters:
        raise ValueError(f"q: got None; {function} takes the order parameter q, --q N is needed")
    return unpublished(_checked(name, fn), form_named(form) if form else NOISE_RHO, **fixed)


def in_form(e: Entry, form: str) -> Entry:
    """The entry in another form, where nothing is claimed of it."""
    forms = MappingProxyType({"": form_named(form)})
    return replace(e, forms=forms, selector=None, variants=())


def _checked(name: str, fn: Any) -> WeightFunction:
    if not hasattr(fn, "is_method"):
        raise ValueError(f"method: got {name!r}; a function marked @method is allowed")
    return fn


def form_named(name: str) -> Form:
    """The canonical form of this name."""
    if not isinstance(name, str) or name not in FORMS:
        near = ", ".join(difflib.get_close_matches(str(name).upper(), FORMS, n=3, cutoff=0.3))
        raise ValueError(
            f"form: got {name!r}; nearest: {near or 'none'}; allowed: {', '.join(FORMS)}"
        )
    return FORMS[name]


def _load(path: Path) -> ModuleType:
    """The file as a module; a file that fails to import is an error of the input."""
    if not path.is_file():
        raise ValueError(f"method: got {str(path)!r}; an existing Python file is allowed")
    spec = importlib.util.spec_from_file_location(f"solver_file_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"method: {path} fails to import: {type(error).__name__}: {error}"
        ) from error
    return module
