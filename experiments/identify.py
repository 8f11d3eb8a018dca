"""Every stored row has a short id, from what decides it; by the id it is found again and rerun."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import Any

from experiments import store

Row = Mapping[str, Any]
DECIDES: dict[str, tuple[str, ...]] = {
    "order": ("method", "options"),
    "work": ("target", "method", "options", "schedule", "grid", "steps", "level"),
    "map": ("scheme", "form"),
    "audit": ("library", "scheduler", "config", "nominal"),
}
"""What a row of each kind is decided by; an id begins with the kind's first letter."""
PASSING = ("seconds", "certificate")
"""What no run decides: time, and whether a file is current."""
AUDIT = Path(__file__).parent / "results" / "audit.json"
ROUNDING = 1e-6
"""Relative difference that another processor may make."""


def identity(kind: str, row: Row) -> str:
    """The letter of the kind and eight hexadecimal digits."""
    text = store.line([kind, *(row[key] for key in DECIDES[kind])])
    return kind[0] + hashlib.sha256(text.encode()).hexdigest()[:8]


def command(name: str) -> str:
    """What makes the row again."""
    return f"scoreproof report --row {name} --rerun"


@dataclass(frozen=True)
class Found:
    """A stored row, and the study that it belongs to, if any."""

    kind: str
    row: dict[str, Any]
    study: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """Of the row."""
        return identity(self.kind, self.row)


def stored(out: str | Path) -> Iterator[Found]:
    """Every row behind the report in ``out``: of its own studies, of the map and of the audit."""
    out = Path(out)
    if (out / "orders.json").is_file():
        yield from (Found("order", row) for row in _read(out / "orders.json"))
    for file in sorted(out.glob("results/work-*/*/provenance.json")):
        study = _read(file)["study"]
        yield from (Found("work", row, study) for row in store.Run(file.parent).rows())
    from experiments import atlas

    yield from (Found("map", row) for row in atlas.read()["cells"])
    yield from (Found("audit", row) for row in _read(AUDIT))


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def find(name: str, out: str | Path) -> Found:
    """The row of this id."""
    found = next((f for f in stored(out) if f.id == name), None)
    if found is None:
        raise ValueError(
            f"--row: got {name!r}; an id that the page in {out} shows is allowed"
            " (the letter o, w, m or a, and eight hexadecimal digits)"
        )
    return found


def recomputed(found: Found) -> dict[str, Any]:
    """The row, made anew."""
    return {"order": _order, "work": _work, "map": _map, "audit": _audit}[found.kind](found)


def _options(row: Row) -> tuple[Any, dict[str, Any]]:
    """The entry and the options, which JSON has as plain values."""
    from solvers.method import entry

    e = entry(row["method"])
    known = (dict(v.options) for v in e.variants)
    return e, next(
        (o for o in known if store.line(o) == store.line(row["options"])), row["options"]
    )


def _order(found: Found) -> dict[str, Any]:
    from experiments.orders import converge

    return converge(*_options(found.row))


def _work(found: Found) -> dict[str, Any]:
    from experiments import work
    from experiments.study import Study, read

    row, study = found.row, read(Study, found.study)
    e, options = _options(row)
    rule = next(grid for grid in study.grids if grid.name == row["grid"])
    task = work.Task(e.name, options, rule, row["level"])
    rows = work.measure(replace(study, nfe=(row["nfe"],)), work.build(study), task)
    return next(fresh for fresh in rows if fresh["steps"] == row["steps"])


def _map(found: Found) -> dict[str, Any]:
    from experiments.atlas import cell

    return cell(found.row["scheme"], found.row["form"])


def _audit(found: Found) -> dict[str, Any]:
    from experiments.peers import audit

    rows = audit.rows([found.row["scheduler"]], workers=1)
    name = found.id
    return next(row for row in rows if identity("audit", row) == name)


@dataclass(frozen=True)
class Compared:
    """One figure or word of a row, stored and made anew."""

    name: str
    stored: Any
    recomputed: Any

    @property
    def difference(self) -> float | None:
        """Recomputed less stored; None where one is no number."""
        both = (self.recomputed, self.stored)
        number = all(isinstance(x, int | float) and not isinstance(x, bool) for x in both)
        return both[0] - both[1] if number else None

    @property
    def same(self) -> bool:
        """Equal, or numbers that only rounding tells apart."""
        if self.difference is None:
            return self.stored == self.recomputed
        return isclose(self.stored, self.recomputed, rel_tol=ROUNDING, abs_tol=1e-12)


def compared(old: Row, new: Row) -> list[Compared]:
    """Everything that both rows have but what passes; of curves point by point: "curve[3][1]"."""
    kept = (key for key in old if key in new and key not in PASSING)
    return [c for key in kept for c in _leaves(key, old[key], new[key])]


def _leaves(name: str, old: Any, new: Any) -> Iterator[Compared]:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() == new.keys():
        for key in old:
            yield from _leaves(f"{name}.{key}", old[key], new[key])
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _leaves(f"{name}[{i}]", a, b)
    else:
        yield Compared(name, old, new)
