"""A function of many tasks on Dask, with the contract of `experiments.parallel.unordered`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from distributed import Client, KilledWorker, as_completed

from experiments.sweep.cluster import DEATHS

T = TypeVar("T")
R = TypeVar("R")


def unordered(
    function: Callable[[Any, T], R],
    shared: Any,
    tasks: Sequence[T],
    client: Client,
    *,
    given_up: Callable[[T, str], R] | None = None,
) -> Iterator[tuple[T, R]]:
    """(task, function(shared, task)) as they complete, on the workers of `cluster.workers`.

    A task whose worker dies is begun again elsewhere; one over which several died becomes
    ``given_up(task, why)``. What is shared lies in the scheduler's graph, so that it outlives the
    workers that hold it.

    Raises:
        ValueError: a task is given up and nobody takes it.
    """
    held = client.submit(_same, shared, pure=False)
    futures = client.map(_call, tasks, function=function, shared=held, pure=False)
    place = {future.key: task for future, task in zip(futures, tasks, strict=True)}
    try:
        for batch in as_completed(futures).batches():
            for future in batch:
                task = place[future.key]
                yield task, _result(future, task, given_up)
                future.release()
    finally:
        client.cancel(futures)


def _result(future: Any, task: Any, given_up: Callable[[Any, str], Any] | None) -> Any:
    try:
        return future.result()
    except KilledWorker:
        why = f"{DEATHS + 1} workers died over it"
        if given_up is None:
            raise ValueError(f"task: got {task!r}; {why}") from None
        return given_up(task, why)


def _same(shared: Any) -> Any:
    return shared


def _call(task: Any, *, function: Callable[[Any, Any], Any], shared: Any) -> Any:
    return function(shared, task)
