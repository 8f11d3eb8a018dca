"""The table of orders: claimed, proved, measured; one row per method and variant.

The three columns have three sources: the registry's claims, ``theory.order`` and
``experiments.measure``; none reads another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from experiments.measure import PROBLEM, Kind, OrderEstimate, errors, estimate
from experiments.parallel import unordered
from experiments.store import Run
from solvers.float64 import FLOAT64
from solvers.method import Entry, Variant, entry, registry
from theory.certificates import status
from theory.order import OrderProof, prove_order

Size = Literal["small", "full"]
STEPS: dict[Size, tuple[int, ...]] = {
    "small": (16, 32, 64, 128, 256, 512),
    "full": (16, 32, 64, 128, 256, 512, 1024),
}
"""Numbers of steps; a measurement stops earlier when its slope has settled."""
SETTLED = 0.02
"""Two successive slopes nearer than this end a measurement."""
TOLERANCE = 0.1
"""Distance of measured and proved at which the verdict says that they disagree."""
FLOOR = 1e-12
"""Relative to states of size one, float64 errors below this are rounding."""


@dataclass(frozen=True)
class Task:
    """One row's worth of work, by name so that a worker process can find it."""

    method: str
    options: dict[str, Any]
    claim: int | None
    published: bool
    size: Size

    @property
    def key(self) -> tuple[str, str]:
        """The same for the task and for its row."""
        return self.method, repr(sorted(self.options.items()))


Progress = Callable[[int, int, str], None]


def key(row: Mapping[str, Any]) -> tuple[str, str]:
    """``Task.key`` of a row."""
    return row["method"], repr(sorted(row["options"].items()))


def tasks(names: Sequence[str] | None, size: Size) -> list[Task]:
    """The rows of the named methods, all by default."""
    entries = [entry(n) for n in names] if names else registry().values()
    return [
        Task(e.name, dict(v.options), v.claim, v.published, size)
        for e in entries
        for v in e.variants
    ]


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
    slow_first = sorted(missing, key=_cost, reverse=True)
    for task, fresh in unordered(_row, None, slow_first, workers):
        done[task.key] = fresh
        if run:
            run.add([fresh])
        if progress:
            progress(len(done), len(wanted), task.method)
    return [done[task.key] for task in wanted]


def _cost(task: Task) -> int:
    """Derivatives and quadratures take longest."""
    return 2 * task.method.startswith("taylor") + task.method.startswith(("deis_t", "gaussian"))


def _row(shared: None, task: Task) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)  # more threads than cores are slower than none
    variant = Variant(task.options, task.claim, task.published)
    return row(entry(task.method), variant, size=task.size)


def converge(e: Entry, options: dict[str, Any], *, size: Size = "small") -> dict[str, Any]:
    """One row for any entry and options, registered or not."""
    known = next((v for v in e.variants if dict(v.options) == options), None)
    return row(e, known or Variant(options, None, published=False), size=size)


def row(e: Entry, variant: Variant, *, size: Size) -> dict[str, Any]:
    """Prove, measure, compare."""
    options = dict(variant.options)
    proof = prove_order(e, **options)
    steps = STEPS[size]
    kinds: list[Kind] = ["exact", "irregular", *(["plain"] if proof.memory else [])]  # type: ignore[list-item]
    curves = {kind: settle(e, kind, steps, options) for kind in kinds}
    found = {kind: estimate(curve, 0.0) for kind, curve in curves.items()}
    found.setdefault("plain", found["exact"])  # no history, so no warm-up
    curves_float = errors(
        e,
        "exact",
        [n for n in steps if n <= 128 >> max(0, proof.derivatives - 1)],
        F=FLOAT64,
        **options,
    )
    rounded = estimate(curves_float, FLOOR)
    exact = found["exact"]
    return {
        "method": e.name,
        "options": options,
        "published": variant.published,
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
        "window": list(exact.window),
        "window_float64": list(rounded.window),
        "evals_per_step": proof.evaluations,
        "leading_error": str(proof.leading),
        "source": e.cite,
        "verdict": verdict(variant.claim, proof, found),
        "certificate": status(e),
        "curves": {
            **{k: [list(p) for p in c] for k, c in curves.items()},
            "float64": curves_float,
        },
    }


def settle(
    e: Entry, kind: Kind, steps: Sequence[int], options: dict[str, Any]
) -> list[tuple[float, float]]:
    """Errors at 50 digits, refined until the slope has settled or the steps run out."""
    curve: list[tuple[float, float]] = []
    for n in steps:
        curve += errors(e, kind, [n], problem=PROBLEM, **options)
        if len(curve) >= 4:
            pairwise = estimate(curve, 0.0).pairwise
            if max(abs(a - pairwise[-1]) for a in pairwise[-3:-1]) < SETTLED:
                break
    return curve


def verdict(claim: int | None, proof: OrderProof, found: Mapping[Any, OrderEstimate]) -> str:
    """In words: claim against proof, then start-up, then grids, then any disagreement."""
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
    for kind, order in expected.items():
        slope = found[kind].slope  # type: ignore[index]
        if abs(slope - order) > TOLERANCE:
            words.append(f"measured {slope:.2f} ({kind}), not yet within {TOLERANCE} of {order}")
    return "; ".join(words)
