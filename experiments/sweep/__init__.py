"""Sweeps: a row for every cell of a product of axes, found on Dask and kept as it comes."""

from __future__ import annotations

from importlib.util import find_spec


def needed() -> None:
    """``ValueError`` where Dask is not installed."""
    if find_spec("distributed") is None:
        raise ValueError("dask: not installed; pip install scoreproof[scale] is allowed")
