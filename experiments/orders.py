"""The table of orders: claimed, proved, measured; one row per method and variant.

The three columns have three sources: the registry's claims, ``theory.order`` and
``experiments.measure``; none reads another.  Of a stochastic method these are the orders of its
drift's scheme, measured with the noise switched off; two more columns have its weak order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from experiments import weak
from experiments.measure import Kind, OrderEstimate, errors, estimate, fingerprint
from experiments.parallel import unordered
from experiments.store import Run
from solvers.float64 import FLOAT64
from solvers.forms import ConstantForm
from solvers.method import Entry, Variant, entry, registry
from theory.certificates import status
from theory.order import OrderProof, prove_order
from theory.weak import prove_weak_order

Size = Literal["small", "full"]
STEPS: dict[Size, tuple[int, ...]] = {
    "small": (16, 32, 64, 128, 256, 512),
    "full": (16, 32, 64, 128, 256, 512, 1024),
}
"""Numbers of steps; a measurement stops earlier when its slope has settled."""
SETTLED = 0.05
"""A measurement ends when its last slope seems nearer than this to the limit, ..."""
TOGETHER = 0.25
"""... and the last three are nearer than this to each other."""
TOLERANCE = 0.1
"""Distance of measured and proved at which the verdict says that they disagree."""
FLOOR = 1e-12
"""Relative to states of size one, float64 errors below this are rounding."""


def tolerance(order: int) -> float:
    """Twice as wide from order 4 on, where slopes settle late."""
    return TOLERANCE if order < 4 else 2 * TOLERANCE


@dataclass(frozen=True)
class Task:
    """One row's worth of work, by name so that a worker process can find it."""

    method: str
    options: dict[str, Any]
    size: Size

    @property
    def key(self) -> tuple[str, str]:
        """The same for the task and for its row."""
        return self.method, repr(sorted(self.options.items()))


Progress = Callable[[int, int, str], None]
Curve = Sequence[tuple[float, float]]
"""(h, error) for each number of steps."""


def key(row: Mapping[str, Any]) -> tuple[str, str]:
    """``Task.key`` of a row."""
    return row["method"], repr(sorted(row["options"].items()))


def tasks(names: Sequence[str] | None, size: Size) -> list[Task]:
    """The rows of the named methods, all by default."""
    entries = [entry(n) for n in names] if names else registry().values()
    return [Task(e.name, dict(v.options), size) for e in entries for v in e.variants]


def order_rows(
    *,
    names: Sequence[str] | None = None,
    size: Size = "small",
    workers: int = 2,
    progress: Progress | None = None,
    run: Run | None = None,
) -> list[dict[str, Any]]:
    """The table, in the order of the registry; rows that ``run`` holds are not measured again."""
    wanted = tasks(names, size)
    done = {key(row): row for row in (run.rows() if run else ())}
    missing = [task for task in wanted if task.key not in done]
    slow_first = sorted(alike(missing), key=_cost, reverse=True)
    for same, fresh in unordered(_rows, None, slow_first, workers):
        done |= zip((task.key for task in same), fresh, strict=True)
        if run:
            run.add(fresh)
        if progress:
            progress(len(done), len(wanted), same[-1].method)
    return [done[task.key] for task in wanted]


def alike(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks whose runs without noise are the same operations, together: measured once."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        e = entry(task.method)
        run = fingerprint(e, {**task.options, **(e.quiet or {})})
        groups.setdefault(run, []).append(task)
    return list(groups.values())


def _cost(same: Sequence[Task]) -> int:
    """Derivatives and quadratures take longest."""
    e = entry(same[0].method)
    constant = isinstance(e.form(same[0].options), ConstantForm)
    return 2 * (e.family == "taylor") + (not constant)


def _rows(shared: None, same: Sequence[Task]) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(1)  # more threads than cores are slower than none
    rows: list[dict[str, Any]] = []
    for task in same:
        e = entry(task.method)
        variant = next(v for v in e.variants if dict(v.options) == task.options)
        known = rows[0]["curves"] if rows else {}
        rows.append(row(e, variant, size=task.size, known=known))
    return rows


def converge(e: Entry, options: dict[str, Any], *, size: Size = "small") -> dict[str, Any]:
    """One row for any entry and options, registered or not."""
    known = next((v for v in e.variants if dict(v.options) == options), None)
    return row(e, known or Variant(options, None, published=False), size=size)


def row(
    e: Entry, variant: Variant, *, size: Size, known: Mapping[str, Curve] | None = None
) -> dict[str, Any]:
    """Prove, measure, compare; ``known`` are the curves of a row with the same runs."""
    options = dict(variant.options)
    proof = prove_order(e, **options)
    steps = STEPS[size]
    kinds: list[Kind] = ["exact", "irregular", *(["plain"] if proof.memory else [])]  # type: ignore[list-item]
    still = {**options, **(e.quiet or {})}
    known = known or {}
    curves = {kind: known.get(kind) or settle(e, kind, steps, still) for kind in kinds}
    found = {kind: estimate(curve, 0.0) for kind, curve in curves.items()}
    found.setdefault("plain", found["exact"])  # no history, so no warm-up
    few = [n for n in steps if n <= 128 >> max(0, proof.derivatives - 1)]
    floats = known.get("float64") or errors(e, "exact", few, F=FLOAT64, **still)
    rounded = estimate(floats, FLOOR)
    exact = found["exact"]
    proved_weak = None
    if e.quiet is not None:
        proved_weak = prove_weak_order(e, **options).order
        curves["weak"] = settle(e, "exact", steps, options, weak.errors)
        found["weak"] = estimate(curves["weak"], FLOOR)
    return {
        "method": e.name,
        "options": options,
        "published": variant.published,
        "right": _right(e, variant),
        "family": e.family,
        "form": e.form(options).name,
        "claimed": variant.claim,
        "proved": proof.graded,
        "proved_any_grid": proof.any_grid,
        "measured": exact.slope,
        "measured_irregular": found["irregular"].slope,
        "measured_plain_start": found["plain"].slope,
        "proved_plain_start": proof.plain_start,
        "measured_float64": rounded.slope,
        "proved_weak": proved_weak,
        "measured_weak": found["weak"].slope if "weak" in found else None,
        "window": list(exact.window),
        "window_float64": list(rounded.window),
        "evals_per_step": proof.evaluations,
        "leading_error": str(proof.leading),
        "source": e.cite,
        "verdict": verdict(variant.claim, proof, found, proved_weak),
        "certificate": status(e),
        "curves": {
            **{k: [list(p) for p in c] for k, c in curves.items()},
            "float64": floats,
        },
    }


def _right(e: Entry, variant: Variant) -> dict[str, Any] | None:
    """The row that belongs beside a published one that is not right."""
    found = e.right(variant)
    return {"method": found[0], "options": dict(found[1])} if found else None


def pairs(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(as published, right) for every row that has a right one among the others."""
    known = {key(row): row for row in rows}
    asked = ((row, row["right"]) for row in rows if row["right"])
    return [(row, known[key(right)]) for row, right in asked if key(right) in known]


def settle(
    e: Entry,
    kind: Kind,
    steps: Sequence[int],
    options: dict[str, Any],
    measure: Callable[..., list[tuple[float, float]]] = errors,
) -> list[tuple[float, float]]:
    """Errors, at 50 digits by default, until the slope has settled or the steps run out."""
    curve: list[tuple[float, float]] = []
    for n in steps:
        curve += measure(e, kind, [n], **options)
        if settled(curve, 0.0):
            break
    return curve


def settled(curve: Sequence[tuple[float, float]], floor: float) -> bool:
    """Whether the slopes above ``floor`` have nearly come to rest.

    Successive differences d, d' of three slopes that shrink by r = d'/d leave |d'| r/(1−r).
    """
    if sum(error > floor for _, error in curve) < 4:
        return False
    a, b, c = estimate(curve, floor).pairwise[-3:]
    if not (0 < c - b < b - a or b - a < c - b < 0):
        return max(abs(c - a), abs(c - b)) < SETTLED
    return abs(c - a) < TOGETHER and abs(c - b) * (c - b) / (2 * b - a - c) < SETTLED


def verdict(
    claim: int | None,
    proof: OrderProof,
    found: Mapping[Any, OrderEstimate],
    proved_weak: int | None = None,
) -> str:
    """In words: claim against proof, then start-up, grids, noise, then any disagreement."""
    if claim is None:
        words = [f"no claim; order {proof.graded}"]
    elif claim == proof.graded:
        words = [f"order {proof.graded} as claimed"]
    else:
        words = [f"claimed {claim}, is {proof.graded}"]
    if proof.plain_start < proof.graded:
        words.append(f"{proof.plain_start} with the usual warm-up")
    if proof.any_grid < proof.graded:
        words.append(f"{proof.any_grid} on irregular grids")
    expected = {"exact": proof.graded, "irregular": proof.any_grid, "plain": proof.plain_start}
    if proved_weak is not None:
        words.append(f"weak order {proved_weak}")
        expected["weak"] = proved_weak
    for kind, order in expected.items():
        slope = found[kind].slope  # type: ignore[index]
        if abs(slope - order) > (allowed := tolerance(order)):
            words.append(f"measured {slope:.2f} ({kind}), not yet within {allowed} of {order}")
    return "; ".join(words)
