"""What a method is: a function from one step to weights; the registry of published names.

An author writes a weight function, marks it ``@method`` and names it with ``published``.  The
function's keyword parameters are its options: their annotations say what is allowed.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol

from solvers.field import Exact, Field, Scalar, total
from solvers.forms import Form
from solvers.options import Option, options_of

Weight = Scalar | Exact
WeightFunction = Callable[..., "Weights"]


class Step(Protocol):
    """All that a method may know about one step, made by a plan or by the prover.

    Fractions c and θ are of the step h in the form's clock; 0 is its start, 1 its end.
    """

    @property
    def F(self) -> Field:
        """Whose scalars the weights are."""
        ...

    @property
    def index(self) -> int:
        """Of this step, from 0."""
        ...

    @property
    def steps(self) -> int:
        """Of the whole grid."""
        ...

    def phi(self, k: int, c: Weight = 1) -> Scalar:
        """φ_k(c) of the form."""
        ...

    def past(self, j: int) -> Scalar:
        """(τ_{n−j} − τ_n)/h, negative."""
        ...

    def ratio(self, j: int = 1, clock: str | None = None) -> Scalar:
        """h_{n−j}/h_n, in the form's clock or in the named one."""
        ...

    def at(self, fraction: Weight, clock: str) -> Scalar:
        """The fraction c of the point that lies at this fraction in the named clock."""
        ...


@dataclass(frozen=True)
class Row:
    """u(c) = φ₀(c) u + h [Σ now_j N_j + Σ past_j N_{−j} + Σ d_k h^k N^{(k)}]."""

    now: tuple[Any, ...] = ()
    """Weights of this step's evaluations N₀, N₁, ..."""
    past: tuple[Any, ...] = ()
    """Weights of N₋₁, N₋₂, ..."""
    d: tuple[Any, ...] = ()
    """Weights of h^k N^{(k)} at the start, k = 1, 2, ..."""
    c: Any = 1
    """Where the result lies."""
    noise: Any = 0
    """Multiple of the form's exact noise deviation over [0, c]; one ξ a step."""


@dataclass(frozen=True)
class Weights:
    """One step: the stages, whose results are evaluated in order, and the update."""

    b: Row
    stages: tuple[Row, ...] = ()
    carry: int | None = None
    """This evaluation (1 = first stage) is the next step's N₀; None: evaluate at the new point."""
    low: Row | None = None
    """Embedded update of lower order."""
    consistent: bool = True
    """Whether every row integrates a constant N exactly; False only as published."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Stages, then the update."""
        return (*self.stages, self.b)

    @property
    def memory(self) -> int:
        """Past evaluations used."""
        return max(len(row.past) for row in self.rows)

    @property
    def derivatives(self) -> int:
        """Total derivatives used."""
        return max(len(row.d) for row in self.rows)


def lagrange(F: Field, nodes: Sequence[Weight]) -> list[list[Weight]]:
    """Coefficients, constant first, of the polynomials ℓ_j with ℓ_j(x_m) = [j = m]."""
    bases: list[list[Weight]] = []
    for j, xj in enumerate(nodes):
        basis: list[Weight] = [F.lift(1)]
        for m, xm in enumerate(nodes):
            if m != j:
                scale = 1 / (F.lift(1) * (xj - xm))
                up, stay = [0, *basis], [*(b * xm for b in basis), 0]
                basis = [(p - q) * scale for p, q in zip(up, stay, strict=True)]
        bases.append(basis)
    return bases


def interpolate(s: Step, c: Weight, nodes: Sequence[Weight]) -> tuple[Scalar, ...]:
    """∫₀ᶜ of the polynomial with N_j at x_j, ``nodes``:  Σ b_j x_j^k = k! c^{k+1} φ_{k+1}(c).

    Exact for N polynomial of degree < len(nodes) in the form's clock (Lagrange's basis).
    """
    moments = [s.phi(k + 1, c) * c ** (k + 1) * math.factorial(k) for k in range(len(nodes))]
    return tuple(
        total(b * moment for b, moment in zip(basis, moments, strict=True))
        for basis in lagrange(s.F, nodes)
    )


# --- registry -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """A row of the table of orders: options, their source's claim, whether it published them."""

    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    claim: int | None = None
    published: bool = True


@dataclass(frozen=True, eq=False)
class Entry:
    """A published name: a weight function with its form and its fixed parameters."""

    name: str
    fn: WeightFunction
    forms: Mapping[str, Form]
    """By the value of the option ``selector``; a single form has the key ""."""
    fixed: Mapping[str, Any]
    variants: tuple[Variant, ...]
    cite: str
    selector: str | None = None
    aliases: tuple[str, ...] = ()

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
        own = {k: o for k, o in options_of(self.fn).items()}
        for key, value in self.fixed.items():
            if key in own:
                old = own[key]
                own[key] = Option(key, value, old.choices, old.kind)
        if self.selector:
            own[self.selector] = Option(
                self.selector, next(iter(self.forms)), tuple(self.forms), "choice"
            )
        return own

    def form(self, options: Mapping[str, Any]) -> Form:
        """The form that these options select."""
        if self.selector is None:
            return self.forms[""]
        value = options.get(self.selector, next(iter(self.forms)))
        if not isinstance(value, str) or value not in self.forms:
            allowed = " or ".join(repr(name) for name in self.forms)
            raise ValueError(f"options.{self.selector}: got {value!r}; {allowed} is allowed")
        return self.forms[value]

    def resolve(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All keyword arguments of the weight function but ``q``; unknown options are refused."""
        table = self.options
        for key, value in options.items():
            if key not in table:
                raise ValueError(
                    f"options.{key}: got {value!r}; {self.name} takes"
                    f" {', '.join(table) or 'no options'}"
                )
        merged = {k: o.check(options[k]) if k in options else o.default for k, o in table.items()}
        return {k: v for k, v in merged.items() if k != self.selector}


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
    form: Form | Mapping[str, Form],
    *,
    claim: int | None = None,
    cite: str,
    select: str | None = None,
    variants: Sequence[Variant] = (),
    aliases: Sequence[str] = (),
    **fixed: Any,
) -> Entry:
    """Name a method: ``fixed`` are its parameters, ``variants`` the further rows of the table."""
    forms = {"": form} if isinstance(form, Form) else dict(form)
    if (len(forms) > 1) != (select is not None):
        raise ValueError(
            f"{name}: several forms need select=, the option that chooses; one has none"
        )
    rows = (Variant({}, claim), *variants)
    entry = Entry(
        name,
        fn,
        MappingProxyType(forms),
        MappingProxyType(fixed),
        rows,
        cite,
        select,
        tuple(aliases),
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
