"""What a notebook shows: pictures and tables that read as well where no kernel runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from experiments.plots.style import vector


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure as vector graphics on white paper, with words for those who do not see it."""

    figure: Figure
    words: str

    def _repr_svg_(self) -> str:
        """The same bytes whenever the same figure is drawn."""
        return vector(self.figure, self.words, self.words, facecolor="white")

    def __repr__(self) -> str:
        return f"[picture: {self.words}]"


@dataclass(frozen=True)
class Table:
    """Rows under a head; cells may hold Markdown."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def _repr_markdown_(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
        return "\n".join("| " + " | ".join(line) + " |" for line in cells)

    def __repr__(self) -> str:
        return self._repr_markdown_()


def strict() -> None:
    """Warnings are errors from here on, as in the tests, but for those of the kernel itself."""
    warnings.simplefilter("error")
    warnings.filterwarnings("default", module="ipykernel")
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
