r"""Analytical teleportation: a run's first levels are left to the flow of one Gaussian N(m, v).

In the form GAUSSIAN, u = (x/α − m)/√(v + ρ²), that flow is the identity: the jump costs nothing
and is the same for every schedule and every solver.  From there on three things may follow:

* a corrected landing, one model call at ρ:  x/α += (v + ρ²)/(3 ρ²) (D − D_G), which removes the
  jump's leading error; for independent coordinates it is the term of the third cumulant;
* a past: at nodes above the landing the Gaussian's own evaluations, N = 0 in this form;
* the method in its own form.

With ``prior="matched"`` the start is u = x/σ: a draw of the Gaussian at every level, not of
N(0, σ² I).  Source: Wang & Vastola, arXiv 2412.09726, for the jump; the rest is derived here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from solvers.form import Form
from solvers.forms import GAUSSIAN, Statistics
from solvers.ops import Jump, Op, Plan, Recall
from solvers.point import Point
from solvers.transfer import call, ends, store, switch
from solvers.weights import Row, Weights

PRIORS = ("reference", "matched")
"""How a start x is read: as a point of the flow, or as σ times a standard normal draw."""
NEAR = 1e-9
"""Of a step: a node this little above the start is at it."""


@dataclass(frozen=True)
class Teleport:
    """From ``start`` to the first node of a run, by the Gaussian of the data's moments."""

    start: Point
    statistics: Statistics
    prior: str = "reference"
    corrected: bool = False

    def __post_init__(self) -> None:
        if self.prior not in PRIORS:
            allowed = " or ".join(map(repr, PRIORS))
            raise ValueError(f"teleport.prior: got {self.prior!r}; {allowed} is allowed")

    @property
    def form(self) -> Form:
        """In which the run begins."""
        return GAUSSIAN.with_statistics(self.statistics)

    @property
    def enter(self) -> tuple[Any, Any]:
        """x = enter[0] u + enter[1] at ``start``, where α = 0 is allowed."""
        if self.prior == "matched":
            return store(self.start.F, self.start.sigma), 0.0
        return ends(self.form, self.start)

    def ops(
        self, form: Form, landing: Point, above: Sequence[Point] = ()
    ) -> list[tuple[Op, tuple[Any, Any]]]:
        """The jump into ``form`` at ``landing``, each operation with x = scale u + shift after it.

        ``above`` are the nodes of the past, newest first.
        """
        here = self.form
        ops: list[Op] = [self._jump(landing)]
        if above:
            ops.append(Recall(tuple(store(p.F, here.tau(p)) for p in above)))
        out = [(op, ends(here, landing)) for op in ops]
        if form != here:
            out.append((switch(here, form, landing, above), ends(form, landing)))
        return out

    def alone(self, form: Form, landing: Point) -> Plan:
        """The jump as a plan of its own, for runs that find their steps as they go."""
        jumped = self.ops(form, landing)
        ops, leave = tuple(op for op, _ in jumped), tuple(end for _, end in jumped)
        return Plan(landing.schedule, self.form, "", {}, (), self.enter, leave, ops)

    def _jump(self, landing: Point) -> Jump:
        """U stays; corrected, u += −(v + ρ²)/(3 ρ²) N, where N = −(D − D_G)/√(v + ρ²)."""
        F, form = landing.F, self.form
        one, zero = (F.out(F.lift(x)) for x in (1, 0))
        gain = 1 - form.read(landing).u_weight  # ρ²/(v + ρ²)
        now = (store(F, -leading(gain)),) if self.corrected else ()
        calls = (call(form, landing),) if self.corrected else ()
        w = Weights(b=Row(now=now), consistent=False)
        return Jump(store(F, form.tau(landing)), one, w, (one,), (zero,), (zero,), calls)


def leading(share: Any) -> Any:
    """1/(3 ρ²/c), c = v + ρ²: what D − D_G is multiplied by to give the jump's leading error."""
    return 1 / (3 * share)


def above(points: Sequence[Point], count: int, start: Point) -> tuple[Point, ...]:
    """``count`` nodes above the first, highest first: the first step's ratio of ρ goes on.

    Fewer where they would lie above ``start``: nodes that are closer would magnify what the
    Gaussian's evaluations lack.
    """
    first, second = points[0], points[1]
    F = first.F
    step = second.lam - first.lam
    if not start.silent:
        count = min(count, int(float(first.lam - start.lam) / float(step) + NEAR))
    places = (first.lam - step * j for j in range(count, 0, -1))
    return tuple(Point(first.schedule, F, "lam", lam) for lam in places)
