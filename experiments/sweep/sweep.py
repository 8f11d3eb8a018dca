"""A row for every cell, each found once, whatever dies meanwhile.

A cell is a mapping of plain values, such as {"method": "ddim", "grid": "karras", "nfe": 8,
"teleport": "auto", "seed": 0}; its row is the cell and what was found for it.  A row is stored as
it comes, so a run that was stopped goes on with the cells that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from distributed import Client

from experiments import store
from experiments.sweep.spread import unordered
from experiments.terminal import Tick

Cell = Mapping[str, Any]
Row = dict[str, Any]
Measure = Callable[[Any, Cell], Mapping[str, Any]]
"""From what all cells share and a cell to what its row says besides."""


@dataclass(frozen=True)
class Sweep:
    """What is found for which cells.

    Attributes:
        measure: of a module, so that workers can import it; what it raises is the row's "refused".
        shared: what all cells need; sent to each worker once.
        cells: plain values under the same names in every cell, no cell twice.

    Raises:
        ValueError: the cells differ in their names, or two are equal.
    """

    measure: Measure
    shared: Any
    cells: Sequence[Cell]

    def __post_init__(self) -> None:
        for cell in self.cells:
            if list(cell) != self.axes:
                raise ValueError(f"cells: got {list(cell)}; the names {self.axes} are allowed")
        if len({self.key(cell) for cell in self.cells}) < len(self.cells):
            raise ValueError("cells: got one twice; each of them once is allowed")

    @property
    def axes(self) -> list[str]:
        """The cells' names."""
        return list(self.cells[0]) if self.cells else []

    def key(self, row: Cell) -> str:
        """The same for a cell and its row."""
        return store.line([row[name] for name in self.axes])

    def run(
        self,
        stored: store.Run,
        client: Client,
        *,
        progress: Tick | None = None,
    ) -> list[Row]:
        """All rows in the order of the cells; only those that are not stored are computed.

        A cell whose workers died is refused in this run's rows but not in the stored ones: the
        next run tries it again.
        """
        found = {self.key(row): row for row in stored.rows()}
        missing = [cell for cell in self.cells if self.key(cell) not in found]
        done, total = len(self.cells) - len(missing), len(self.cells)
        if progress:
            progress(done, total, "stored")
        shared = self.measure, self.shared
        fresh = unordered(_row, shared, missing, client, given_up=_given_up)
        for i, (cell, (row, final)) in enumerate(fresh, done + 1):
            if final:
                stored.append(row)
            found[self.key(cell)] = row
            if progress:
                progress(i, total, " ".join(str(value) for value in cell.values() if value))
        return [found[self.key(cell)] for cell in self.cells]


def cells(runs: Sequence[tuple[str, Mapping[str, Any]]], **axes: Sequence[Any]) -> list[Row]:
    """The product of solvers, each a method with its options, and axes; the last runs fastest."""
    return [
        {"method": method, "options": dict(options), **dict(zip(axes, values, strict=True))}
        for method, options in runs
        for values in product(*axes.values())
    ]


def _row(shared: tuple[Measure, Any], cell: Cell) -> tuple[Row, bool]:
    measure, known = shared
    try:
        return {**cell, **measure(known, cell)}, True
    except Exception as error:
        return {**cell, "refused": f"{type(error).__name__}: {error}"}, True


def _given_up(cell: Cell, why: str) -> tuple[Row, bool]:
    return {**cell, "refused": why}, False
