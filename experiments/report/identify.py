"""Every stored row has a short id, from what decides it; by the id it is found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import store

Row = Mapping[str, Any]
DECIDES: dict[str, tuple[str, ...]] = {
    "order": ("method", "options"),
    "work": ("target", "method", "options", "schedule", "grid", "steps", "level"),
    "map": ("scheme", "form"),
    "audit": ("library", "scheduler", "config", "nominal"),
    "teleport": ("method", "options", "grid", "level", "nfe"),
    "level": ("level",),
    "reach": ("of",),
    "score": ("of", "candidate", "sigma"),
    "jump": ("sigma",),
    "network": ("method", "options", "grid", "teleport", "budget", "seed"),
    "baseline": ("seed",),
    "explained": ("of", "candidate", "sigma"),
    "history": ("images", "candidate", "sigma"),
    "difference": ("statistics", "lam"),
    "v3": ("statistics", "method", "budget", "seed"),
}
"""What a row of each kind is decided by; an id begins with the kind's first letter.

teleport: the best runs of that study.  level, reach: a landing's cost level by level, and how low
one may be.  score, jump: the digits' network.  network to v3: the trained network's study, see
`experiments.network_study`.
"""
RUNS = "runs.json"
"""Beside a page: the kinds of its rows and the folders of their runs."""
OF_NETWORK = {
    "network": "runs",
    "baseline": "baseline",
    "explained": "scores",
    "history": "history",
    "difference": "differences",
    "v3": "statistics",
}
"""Where the summary of a network's study has the rows."""
WHOLE = {"history": "scoreproof run network --checkpoint DIR"}
"""What makes rows that none makes alone: here those of a training's own snapshots."""
RESULTS = store.ROOT / "experiments" / "results"
AUDIT = RESULTS / "audit.json"
TELEPORT = RESULTS / "teleport.json"
"""The best runs of the whole study, as `scoreproof run teleport --summary` writes them."""


def identity(kind: str, row: Row) -> str:
    """The letter of the kind and eight hexadecimal digits."""
    text = store.line([kind, *(row.get(key) for key in DECIDES[kind])])
    return kind[0] + hashlib.sha256(text.encode()).hexdigest()[:8]


def command(name: str) -> str:
    """What makes the row again."""
    kind = next(kind for kind in DECIDES if kind[0] == name[0])
    return WHOLE.get(kind, f"scoreproof report --row {name} --rerun")


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


def listed(out: Path, runs: Iterable[tuple[str, store.Run]]) -> str:
    """The text of `RUNS`, of (kind of row, run)."""
    return store.page([[kind, run.folder.relative_to(out).as_posix()] for kind, run in runs])


def stored(out: str | Path) -> Iterator[Found]:
    """Every row behind the report in ``out``: its own, and those that lie beside the sources."""
    out = Path(out)
    for kind, folder in _read(out / RUNS) if (out / RUNS).is_file() else ():
        run = store.Run(out / folder)
        study = run.about()["study"]
        yield from (Found(kind, row, study) for row in run.rows())
    yield from _kept()


def _kept() -> Iterator[Found]:
    from experiments import atlas
    from experiments.network_study import summary

    yield from (Found("map", row) for row in atlas.read()["cells"])
    yield from (Found("audit", row) for row in _read(AUDIT))
    teleport = _read(TELEPORT)
    for pair in teleport["best"]:
        yield from (Found("teleport", pair[k], teleport["study"]) for k in ("without", "with"))
    found = summary.read(summary.RESULTS)
    if found is not None:
        for kind, name in OF_NETWORK.items():
            yield from (Found(kind, row, found) for row in found[name])


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def find(name: str, out: str | Path) -> Found:
    """The row of this id."""
    found = next((f for f in stored(out) if f.id == name), None)
    if found is None:
        raise ValueError(
            f"--row: got {name!r}; an id that the page in {out} shows is allowed"
            f" (a letter, {', '.join(kind[0] for kind in DECIDES)}, and eight hexadecimal digits)"
        )
    return found
