"""Worker processes with one thread each; results come as they are found, Ctrl-C stops them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

from experiments.sweep import needed

T = TypeVar("T")
R = TypeVar("R")


def unordered(
    function: Callable[[Any, T], R],
    shared: Any,
    tasks: Sequence[T],
    workers: int,
    *,
    scheduler: str | None = None,
) -> Iterator[tuple[T, R]]:
    """(task, function(shared, task)) as they complete; ``shared`` is sent once a worker.

    On so many processes of this machine, or on all workers of a Dask scheduler.
    """
    if scheduler is not None:
        needed()
        from experiments.sweep.cluster import workers as those_of
        from experiments.sweep.spread import unordered as spread

        with those_of(workers, scheduler) as client:
            yield from spread(function, shared, tasks, client)
        return
    if workers == 1 or len(tasks) < 2:
        yield from ((task, function(shared, task)) for task in tasks)
        return
    context = get_context("spawn")  # a forked torch may hang
    with ProcessPoolExecutor(workers, context, _begin, (function, shared)) as pool:
        try:
            futures = {pool.submit(_call, task): task for task in tasks}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_HELD: dict[str, Any] = {}


def _begin(function: Callable[[Any, Any], Any], shared: Any) -> None:
    """What a worker keeps; an interrupt is for the parent, which cancels what has not begun."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _HELD.update(function=function, shared=shared)


def _call(task: Any) -> Any:
    return _HELD["function"](_HELD["shared"], task)
