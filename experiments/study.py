"""Study files: TOML read into frozen values; unknown, missing and mistyped keys are refused."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from solvers.grids import RULES
from solvers.method import entry
from solvers.schedules import schedule

STUDIES = Path(__file__).parent / "studies"
T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """A grid rule on a schedule; ``options`` are the rule's own (rho, k)."""

    name: str
    schedule: str
    options: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        schedule(self.schedule)
        check("grids.name", self.name, self.name in RULES, f"one of {', '.join(RULES)}")
        known = RULES[self.name][1]
        for key, value in self.options.items():
            allowed = f"a rule {self.name} with {', '.join(known) or 'no options'}"
            check(f"grids.options.{key}", value, key in known, allowed)
            positive = 0 < value < math.inf
            check(f"grids.options.{key}", value, positive, "a finite number > 0")


@dataclass(frozen=True)
class Sheet:
    """Which pictures are shown: these methods on the first grid."""

    methods: tuple[str, ...]
    nfe: int
    samples: int


@dataclass(frozen=True)
class Study:
    """Error against work: every published method x grid x number of model calls on one target."""

    name: str
    target: str
    components: int
    floor: float
    seed: int
    samples: int
    rho_start: float
    rho_end: float
    nfe: tuple[int, ...]
    work: int
    """Largest model calls + directional derivatives of a run that takes derivatives."""
    grids: tuple[Rule, ...]
    sheet: Sheet
    methods: tuple[str, ...] = ()
    """Names; empty means all."""
    levels: tuple[float, ...] = ()
    """Where teleports land, σ/α; every task is run without one and with one to each of these."""

    def __post_init__(self) -> None:
        for name in ("components", "samples", "work"):
            check(name, getattr(self, name), getattr(self, name) >= 1, "an integer >= 1")
        for name, counts in (("nfe", self.nfe), ("sheet.nfe", (self.sheet.nfe,))):
            good = len(counts) > 0 and all(n >= 1 for n in counts)
            check(name, counts, good, "one integer >= 1 or more")
        shown = 1 <= self.sheet.samples <= self.samples
        check("sheet.samples", self.sheet.samples, shown, f"1 to samples, {self.samples},")
        check("rho_start", self.rho_start, 0 < self.rho_start < math.inf, "a finite number > 0")
        ordered = 0 < self.rho_end < self.rho_start
        check("rho_end", self.rho_end, ordered, f"0 to rho_start, {self.rho_start},")
        for i, level in enumerate(self.levels):
            inside = self.rho_end < level < self.rho_start
            allowed = f"a level between rho_end and rho_start, {self.rho_end} and {self.rho_start}"
            check(f"levels[{i}]", level, inside, allowed)
        check_grids(self.grids)
        for name in (*self.methods, *self.sheet.methods):
            entry(name)

    def to_json(self) -> dict[str, Any]:
        """Plain values: what a run's id is computed from."""
        return asdict(self)


def check_grids(grids: Sequence[Rule]) -> None:
    """Rows are told apart by the grid's name."""
    names = [grid.name for grid in grids]
    one_each = 0 < len(names) == len(set(names))
    check("grids", names, one_each, "one grid or more, each of another name,")


def load(study: str | Path, hint: type[T] = Study) -> T:
    """The study of this name, or of a TOML file, as a study of this kind."""
    file, table = opened(study)
    try:
        return read(hint, table)
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from None


def opened(study: str | Path) -> tuple[Path, dict[str, Any]]:
    """The file, and what it says."""
    file = Path(study) if Path(study).suffix == ".toml" else STUDIES / f"{study}.toml"
    known = ", ".join(sorted(f.stem for f in STUDIES.glob("*.toml")))
    check("study", str(study), file.is_file(), f"{known} or a TOML file")
    try:
        return file, tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"study: got {str(file)!r} ({error}); TOML is allowed") from None


def read(hint: Any, value: Any, where: str = "") -> Any:
    """``value`` as the annotated type: a dataclass from a table, a tuple from a list, or as is."""
    if is_dataclass(hint):
        check(where, value, isinstance(value, dict), "a table")
        hints = get_type_hints(hint)
        for key in value:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)
            check(f"{where}{key}", value[key], key in hints, f"no such key (nearest: {near[0]})")
        for f in fields(hint):
            optional = not (f.default is MISSING and f.default_factory is MISSING)
            check(f"{where}{f.name}", None, optional or f.name in value, f"a {f.type}")
        return hint(**{k: read(hints[k], v, f"{where}{k}.") for k, v in value.items()})  # type: ignore[operator]
    name = where.rstrip(".")
    if get_origin(hint) is tuple:
        check(name, value, isinstance(value, list), "a list")
        return tuple(read(get_args(hint)[0], v, f"{name}[{i}].") for i, v in enumerate(value))
    if get_origin(hint) is Mapping:
        check(name, value, isinstance(value, dict), "a table")
        return {k: read(get_args(hint)[1], v, f"{name}.{k}.") for k, v in value.items()}
    allowed = (int, float) if hint is float else hint
    good = isinstance(value, allowed) and not isinstance(value, bool)
    check(name, value, good, f"a {getattr(hint, '__name__', hint)}")
    return value


def check(name: str, value: Any, holds: bool, allowed: str) -> None:
    """``ValueError`` in one line unless the value is as it should be."""
    if not holds:
        raise ValueError(f"{name.rstrip('.')}: got {value!r}; {allowed} is allowed")
