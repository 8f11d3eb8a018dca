"""Every stored row has a short id, from what decides it; by the id it is found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import store
from experiments.rows import Row

DECIDES: dict[str, tuple[str, ...]] = {
    "order": ("method", "options"),
    "work": ("target", "method", "options", "schedule", "grid", "steps", "level"),
    "map": ("scheme", "form"),
    "audit": ("library", "scheduler", "config", "nominal"),
    "teleport": ("method", "options", "grid", "level", "nfe"),
    "level": ("level",),
    "reach": ("of",),
    "certified": ("mixtures",),
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
one may be.  certified: its bound on random mixtures.  score, jump: the digits' network.  network
to v3: the trained network's study, see `experiments.network_study`.
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


def stored(out: str | Path, kinds: Collection[str] = tuple(DECIDES)) -> Iterator[Found]:
    """Rows of these kinds behind the page in ``out``: its own, and those beside the sources.

    Raises:
        ValueError: a file of the page is not what a report writes.
    """
    for kind, run in _runs(Path(out)):
        if kind in kinds:
            yield from _rows(kind, run, Path(out))
    if "map" in kinds:
        from experiments import atlas

        yield from (Found("map", row) for row in atlas.read()["cells"])
    if "audit" in kinds:
        yield from (Found("audit", row) for row in _read(AUDIT))
    if "teleport" in kinds and TELEPORT.is_file():
        teleport = _read(TELEPORT)
        for pair in teleport["best"]:
            yield from (Found("teleport", pair[k], teleport["study"]) for k in ("without", "with"))
    if not OF_NETWORK.keys().isdisjoint(kinds):
        from experiments.network_study import summary

        found = summary.read(summary.RESULTS) or dict.fromkeys(OF_NETWORK.values(), ())
        for kind, name in OF_NETWORK.items():
            if kind in kinds:
                yield from (Found(kind, row, found) for row in found[name])


def _runs(out: Path) -> list[tuple[str, store.Run]]:
    """Of the page; none where there is no page."""
    try:
        pairs = [(str(kind), str(folder)) for kind, folder in _read(out / RUNS)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, TypeError) as error:
        raise _damaged(out / RUNS, out, error) from None
    return [(kind, store.Run(out / folder)) for kind, folder in pairs]


def _rows(kind: str, run: store.Run, out: Path) -> Iterator[Found]:
    try:
        study = run.about()["study"]
        found = [Found(kind, dict(row), study) for row in run.rows()]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(run.folder, out, error) from None
    yield from found


def _damaged(place: Path, out: Path, error: Exception) -> ValueError:
    why = f"{type(error).__name__}: {error}"
    return ValueError(
        f"{place}: not what a report has written ({why}); a page's own rows are allowed,"
        f" `scoreproof report --out {out}` makes them"
    )


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def find(name: str, out: str | Path) -> Found:
    """The row of this id.

    Raises:
        ValueError: the page shows no such row, or there is no page.
    """
    kinds = [kind for kind in DECIDES if kind[0] == name[:1]]
    found = next((f for f in stored(out, kinds) if f.id == name), None)
    if found is None:
        makes = f"`scoreproof report --out {out}` makes it"
        why = "" if (Path(out) / RUNS).is_file() else f" (there is none: {makes})"
        raise ValueError(
            f"--row: got {name!r}; an id that the page in {out} shows{why} is allowed:"
            f" a letter, {', '.join(kind[0] for kind in DECIDES)}, and eight hexadecimal digits"
        )
    return found
