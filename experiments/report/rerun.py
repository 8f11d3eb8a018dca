"""A stored row made anew, from no more than what the row needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from experiments.report.identify import OF_NETWORK, WHOLE, Found, Row, identity
from experiments.store import line
from experiments.sweep import needed
from experiments.terminal import Tick


@dataclass(frozen=True)
class How:
    """Processes for what takes minutes, and who is told how far it is."""

    workers: int
    tick: Tick


Maker = Callable[[Found, How], dict[str, Any]]


def recomputed(found: Found, *, workers: int, progress: Tick) -> dict[str, Any]:
    """The row, made anew.

    Raises:
        ValueError: no such row is made alone, or what it rests on is not here.
    """
    if found.kind in WHOLE:
        raise ValueError(
            f"--rerun: got {found.id!r}, which `{WHOLE[found.kind]}` makes with all of its study;"
            " a row that is made alone is allowed"
        )
    how = How(workers, progress)
    if found.kind in OF_NETWORK:
        needed()
        from experiments.report.rerun_network import MAKERS

        return MAKERS[found.kind](found, how)
    return PLAIN[found.kind](found, how)


def options_of(row: Row) -> tuple[Any, dict[str, Any]]:
    """The entry and the options, which JSON has as plain values."""
    from solvers.method import entry

    e = entry(row["method"])
    known = (dict(v.options) for v in e.variants)
    return e, next((o for o in known if line(o) == line(row["options"])), row["options"])


def picked(kind: str, rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The one of this id.

    Raises:
        ValueError: the present sources make no such row.
    """
    for row in rows:
        if identity(kind, row) == name:
            return row
    raise ValueError(f"--rerun: got {name!r}, which is made no more; a row made here is allowed")


def _order(found: Found, _: How) -> dict[str, Any]:
    from experiments.orders import converge

    return converge(*options_of(found.row))


def _work(found: Found, _: How) -> dict[str, Any]:
    from experiments import work
    from experiments.study import Study, read

    row, study = found.row, read(Study, found.study)
    e, options = options_of(row)
    rule = next(grid for grid in study.grids if grid.name == row["grid"])
    task = work.Task(e.name, options, rule, row["level"])
    rows = work.measure(replace(study, nfe=(row["nfe"],)), work.build(study), task)
    return next(fresh for fresh in rows if fresh["nfe"] == row["nfe"])


def _map(found: Found, _: How) -> dict[str, Any]:
    from experiments.atlas import cell

    return cell(found.row["scheme"], found.row["form"])


def _audit(found: Found, _: How) -> dict[str, Any]:
    from experiments.peers import audit

    rows = audit.rows([found.row["scheduler"]], workers=1)
    return picked("audit", rows, found.id)


def _level(found: Found, _: How) -> dict[str, Any]:
    from experiments.landings import level_rows
    from experiments.study import Study, read

    return level_rows(read(Study, found.study), [found.row["level"]])[0]


def _reach(found: Found, how: How) -> dict[str, Any]:
    from experiments.landings import reach_rows
    from experiments.report.scores import reached
    from experiments.study import Study, read

    if found.row["of"] == "network":
        return reached(how.tick)
    return picked("reach", reach_rows(read(Study, found.study)), found.id)


def _certified(found: Found, _: How) -> dict[str, Any]:
    from experiments.looseness import drawn, summary_rows

    return picked("certified", summary_rows(drawn()), found.id)


def _score(found: Found, how: How) -> dict[str, Any]:
    from experiments.report.scores import explained_rows

    return picked("score", explained_rows(how.tick, [found.row["sigma"]]), found.id)


def _jump(found: Found, how: How) -> dict[str, Any]:
    from experiments.digits import digits_denoiser
    from experiments.scores import jump_rows

    return jump_rows(*digits_denoiser(progress=how.tick), levels=[found.row["sigma"]])[0]


PLAIN: dict[str, Maker] = {
    "order": _order,
    "work": _work,
    "map": _map,
    "audit": _audit,
    "teleport": _work,
    "level": _level,
    "reach": _reach,
    "certified": _certified,
    "score": _score,
    "jump": _jump,
}
