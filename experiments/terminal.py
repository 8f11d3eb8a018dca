"""What people see: tables on standard output, progress on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

Tick = Callable[[int, int, str], None]
"""(done, total, what was done last)."""
Stage = Callable[[str], AbstractContextManager[Tick]]
PAUSE = 10.0
"""Seconds between two lines of progress where there is no terminal to draw a bar on."""


@contextmanager
def bar(title: str) -> Iterator[Tick]:
    """A progress bar on a terminal, a line now and then elsewhere; nothing on standard output."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(title, total=None)

        def tick(done: int, total: int, label: str) -> None:
            shown.update(task, completed=done, total=total, description=f"{title}: {label}")

        yield tick


def _lines(title: str) -> Tick:
    last = time.monotonic()

    def tick(done: int, total: int, label: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            print(f"{title}: {done} of {total} ({label})", file=sys.stderr, flush=True)

    return tick


@contextmanager
def silent(title: str) -> Iterator[Tick]:
    """No progress."""
    yield lambda done, total, label: None


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """A table on standard output: None is a dash, numbers stand right with two decimals."""
    shown = Table(*heads, title=title or None, title_justify="left", box=None, pad_edge=False)
    rows = [list(row) for row in rows]
    for column, values in zip(shown.columns, zip(*rows, strict=True), strict=False):
        numeric = all(v is None or isinstance(v, int | float) for v in values)
        column.justify = "right" if numeric else "left"
        column.overflow = "fold"
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    _console().print(shown)


def say(text: str) -> None:
    """Plain text on standard output."""
    _console().print(text, markup=False, highlight=False, soft_wrap=True)


def _console() -> Console:
    """Standard output; a pipe is given room for a row on one line."""
    return Console(width=None if sys.stdout.isatty() else 200)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    return text.replace("[", "\\[")
