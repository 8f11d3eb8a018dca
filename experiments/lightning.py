"""Lightning for those who call us: without its advice, and with Ctrl-C as Ctrl-C."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.warnings import PossibleUserWarning  # pyright: ignore

LOGGERS = ("pytorch_lightning", "lightning_fabric")


class Interrupt(pl.Callback):
    """Notes Ctrl-C, which Lightning turns into an exit."""

    seen = False

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Whatever ended the loop."""
        self.seen = isinstance(exception, KeyboardInterrupt)


@contextmanager
def quiet(interrupt: Interrupt) -> Iterator[None]:
    """A trainer that has the callback is made and run in it.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            yield
    except SystemExit:
        if interrupt.seen:
            raise KeyboardInterrupt from None
        raise
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
