"""Dask's workers: those of a scheduler that runs somewhere, or processes of this machine's own.

A local worker has one thread, is spawned, and is started again when it dies.  It takes no part in
Ctrl-C, which is for the process that hands out the work.
"""

from __future__ import annotations

import logging
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from dask import config
from distributed import Client, LocalCluster

PATIENCE = 20
"""Seconds within which a scheduler must answer."""
DEATHS = 3
"""How many workers may die over one task before it is given up."""
SETTINGS = {
    "distributed.worker.multiprocessing-method": "spawn",  # a forked torch may hang
    "distributed.scheduler.allowed-failures": DEATHS,
    "distributed.admin.large-graph-warning-threshold": "4GB",  # what all tasks share is sent once
}


@contextmanager
def workers(count: int, scheduler: str | None = None) -> Iterator[Client]:
    """A client of ``count`` processes on this machine, or of the scheduler at an address.

    Raises:
        ValueError: nothing answers at the address.
    """
    with config.set(SETTINGS):
        if scheduler is None:
            with _local(count) as cluster, Client(cluster) as client:
                yield client
            return
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise ValueError(
                f"--scheduler: got {scheduler!r} ({why}); the address of a running Dask"
                " scheduler, such as tcp://10.0.0.1:8786, is allowed"
            ) from None
        with client:
            yield client


@contextmanager
def _local(count: int) -> Iterator[LocalCluster]:
    with tempfile.TemporaryDirectory(prefix="scoreproof-") as scratch:
        with config.set({"temporary-directory": scratch}), _without_interrupts():
            cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                host="127.0.0.1",
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                memory_limit=None,
                silence_logs=logging.CRITICAL,
            )
        with cluster:
            yield cluster


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A signal that is blocked stays so in threads and processes that begin meanwhile.

    The first process of multiprocessing unblocks it where it is started, so it is started before.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
