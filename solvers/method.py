"""Naming methods: ``@method`` marks a weight function, ``published`` puts it into the registry.

An author writes a weight function, marks it ``@method`` and names it with ``published``; all that
such a file needs is imported from here.  The function's keyword parameters are its options: their
annotations say what is allowed.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any

from solvers.field import Scalar
from solvers.form import Form
from solvers.options import Option, options_of
from solvers.weights import Row, Step, Weight, Weights, interpolate, lagrange

__all__ = [
    "Entry",
    "Row",
    "Step",
    "Variant",
    "Weight",
    "Weights",
    "entry",
    "interpolate",
    "lagrange",
    "method",
    "published",
    "published_by",
    "registry",
    "rows",
    "unpublished",
]

WeightFunction = Callable[..., Weights]
Ladder = Callable[..., Sequence[int]]
"""ladder(steps, **options): the order of every step."""
NoiseRule = Callable[..., tuple[Scalar, Scalar, Any]]
"""rule(a, b, steps, **options) for a step from ρ = a to b: the state is first raised to the first
ρ returned, the step ends at the second and is raised to b; the last scales the noise of both."""


AS_PUBLISHED = ("as_published", "p_pseudo", "c_pseudo")
"""Options that ask for what a source does where it is not what the mathematics says."""


@dataclass(frozen=True)
class Variant:
    """A row of the table of orders: options, their source's claim, whether it published them."""

    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    claim: int | None = None
    published: bool = True
    right: str | None = None
    """The entry that is right where this one is published but is not what the mathematics says."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A published name: a weight function with its form and its fixed parameters."""

    name: str
    fn: WeightFunction
    forms: Mapping[Any, Form]
    """By the value of the option ``selector``; a single form has the key ""."""
    fixed: Mapping[str, Any]
    variants: tuple[Variant, ...]
    cite: str
    selector: str | None = None
    aliases: tuple[str, ...] = ()
    ladder: Ladder | None = None
    """The order of every step, where an option decides them: ladder(steps, **options)."""
    renoise: NoiseRule | None = None
    """Where a step begins and ends in ρ when noise is added before or after it."""
    controller: Callable[..., Any] | None = None
    """Of the step sizes, for a method that is run with ``Weights.low``."""
    quiet: Mapping[str, Any] | None = None
    """The options that switch a stochastic method's noise off; None for a deterministic one."""

    @property
    def family(self) -> str:
        """The file that defines the method."""
        return self.fn.__module__.rsplit(".", 1)[-1]

    @property
    def q(self) -> int | None:
        """The order parameter, where the method has one."""
        return self.fixed.get("q")

    @property
    def options(self) -> dict[str, Option]:
        """Everything that a caller may set, with defaults."""
        own = options_of(self.fn)
        for key, value in self.fixed.items():
            if key in own:
                own[key] = replace(own[key], default=value)
        if self.selector:
            first = next(iter(self.forms))
            names = tuple(k for k in self.forms if isinstance(k, str))
            kind = "choice" if names else "flag"
            own[self.selector] = Option(self.selector, first, names, kind, per_step=False)
        for part in self._parts:
            own |= part
        if self.quiet is not None:
            own["seed"] = Option("seed", 0, kind="count", per_step=False)
        return own

    @property
    def _parts(self) -> list[dict[str, Option]]:
        """Options of the form, the ladder, the noise rule and the controller."""
        form = {o.name: o for f in self.forms.values() for o in f.options}
        functions = (f for f in (self.ladder, self.renoise, self.controller) if f)
        return [form, *(options_of(f, per_step=False) for f in functions)]

    def right(self, variant: Variant) -> tuple[str, Mapping[str, Any]] | None:
        """The row to set beside a variant that is published but not right; None for the others.

        Another entry, if the variant names one; else of this entry the most similar variant
        without the switches of ``AS_PUBLISHED``.
        """
        if variant.right:
            return variant.right, {}
        rest = {k: v for k, v in variant.options.items() if k not in AS_PUBLISHED}
        if len(rest) == len(variant.options):
            return None
        fits = [v for v in self.variants if v.options.items() <= rest.items()]
        return self.name, max(fits, key=lambda v: len(v.options)).options

    def form(self, options: Mapping[str, Any]) -> Form:
        """The form that these options select and shape."""
        table = self.options
        chosen = next(iter(self.forms.values()))
        if self.selector:
            value = options.get(self.selector, table[self.selector].default)
            chosen = self.forms[table[self.selector].check(value)]
        own = {o.name: o.check(options[o.name]) for o in chosen.options if o.name in options}
        for name in {o.name for f in self.forms.values() for o in f.options} & set(options):
            if name not in own:
                raise ValueError(
                    f"options.{name}: got {options[name]!r}; it is allowed with another"
                    f" {self.selector} only"
                )
        return chosen.with_options(**own) if own else chosen

    def resolve(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All keyword arguments of the weight function but ``q``; unknown options are refused."""
        merged = self._merged(options)
        return {k: v for k, v in merged.items() if k in options_of(self.fn)}

    def part(self, fn: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of the entry's ladder, noise rule or controller."""
        merged = self._merged(options)
        return {k: merged[k] for k in options_of(fn)}

    def _merged(self, options: Mapping[str, Any]) -> dict[str, Any]:
        table = self.options
        for key, value in options.items():
            if key not in table:
                raise ValueError(
                    f"options.{key}: got {value!r}; {self.name} takes"
                    f" {', '.join(table) or 'no options'}"
                )
        return {k: o.check(options[k]) if k in options else o.default for k, o in table.items()}


_ENTRIES: dict[str, Entry] = {}


def method(fn: WeightFunction) -> WeightFunction:
    """Mark a weight function: first argument the step, every other one keyword-only."""
    first, *rest = inspect.signature(fn).parameters.values()
    for p in rest:
        if p.kind is not p.KEYWORD_ONLY:
            raise TypeError(
                f"{fn.__name__}: parameter {p.name!r} of {first.name!r} must be keyword-only"
            )
    fn.is_method = True  # type: ignore[attr-defined]
    return fn


def published(
    name: str,
    fn: WeightFunction,
    form: Form | Mapping[Any, Form],
    *,
    claim: int | None = None,
    right: str | None = None,
    cite: str,
    select: str | None = None,
    variants: Sequence[Variant] = (),
    aliases: Sequence[str] = (),
    ladder: Ladder | None = None,
    renoise: NoiseRule | None = None,
    controller: Callable[..., Any] | None = None,
    quiet: Mapping[str, Any] | None = None,
    **fixed: Any,
) -> Entry:
    """Name a method: ``fixed`` are its parameters, ``variants`` the further rows of the table."""
    forms = {"": form} if isinstance(form, Form) else dict(form)
    if (len(forms) > 1) != (select is not None):
        raise ValueError(
            f"{name}: several forms need select=, the option that chooses; one has none"
        )
    rows = (Variant({}, claim, right=right), *variants)
    entry = Entry(
        name,
        fn,
        MappingProxyType(forms),
        MappingProxyType(fixed),
        rows,
        cite,
        select,
        tuple(aliases),
        ladder,
        renoise,
        controller,
        MappingProxyType(quiet) if quiet is not None else None,
    )
    for key in (name, *entry.aliases):
        if key in _ENTRIES and _ENTRIES[key].fn.__module__ != fn.__module__:
            raise ValueError(
                f"{key}: published twice, in {_ENTRIES[key].family} and {entry.family}"
            )
        _ENTRIES[key] = entry
    return entry


def unpublished(fn: WeightFunction, form: Form, **fixed: Any) -> Entry:
    """An entry that is not in the registry: a method under study."""
    forms = MappingProxyType({"": form})
    return Entry(fn.__name__, fn, forms, MappingProxyType(fixed), (Variant(),), "unpublished")


@cache
def _load() -> None:
    import solvers.methods

    for module in pkgutil.iter_modules(solvers.methods.__path__):
        importlib.import_module(f"solvers.methods.{module.name}")


def published_by(fn: WeightFunction) -> Entry | None:
    """The last entry that names this function, if any."""
    return next((e for e in reversed(_ENTRIES.values()) if e.fn is fn), None)


def registry() -> dict[str, Entry]:
    """All published entries by name, aliases left out, sorted."""
    _load()
    return {name: e for name, e in sorted(_ENTRIES.items()) if name == e.name}


def entry(name: str) -> Entry:
    """The entry of this name or alias; ``ValueError`` lists the nearest names."""
    _load()
    if name not in _ENTRIES:
        near = difflib.get_close_matches(str(name), _ENTRIES, n=4, cutoff=0.4)
        raise ValueError(
            f"method: got {name!r}; nearest: {', '.join(near) or 'none'}"
            " (scoreproof list methods prints all)"
        )
    return _ENTRIES[name]


def rows() -> Iterator[tuple[Entry, Variant]]:
    """Every row of the table of orders."""
    for e in registry().values():
        for variant in e.variants:
            yield e, variant
