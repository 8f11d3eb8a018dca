"""One number scales every long check; one thread, no network, nothing left to the next test."""

from __future__ import annotations

import os

# Before torch or numpy is loaded, and inherited by every process that a test starts: sums in
# another order are other numbers, and on a busy machine two threads are slower than one.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import ipaddress
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

SIZES = {"test": 1, "nightly": 20}
NAME = os.environ.get("SCOREPROOF_SIZE", "test")
if NAME not in SIZES:
    raise pytest.UsageError(f"SCOREPROOF_SIZE: must be one of {sorted(SIZES)}; got {NAME!r}")
SIZE = SIZES[NAME]

# `ci` draws the same examples everywhere; `nightly` draws new ones and prints how to repeat one.
settings.register_profile("ci", max_examples=25, deadline=None, derandomize=True, database=None)
settings.register_profile("nightly", max_examples=25 * SIZE, deadline=None, print_blob=True)
settings.load_profile("nightly" if NAME == "nightly" else "ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what this size or this machine cannot run, and say why."""
    for item in items:
        if item.get_closest_marker("nightly") and NAME != "nightly":
            item.add_marker(pytest.mark.skip(reason="runs under SCOREPROOF_SIZE=nightly"))
        if item.get_closest_marker("gpu") and not _cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def size() -> int:
    """How many times as long as `make test` a long check may take."""
    return SIZE


@pytest.fixture(autouse=True)
def strict_dtypes() -> Iterator[None]:
    """Torch's default dtype is float32 in every test, so code that forgets float64 is seen."""
    yield
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        found = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        assert found is torch.float32, f"the test left {found} as the default dtype"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine may be spoken to."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and not _loopback(address[0]):
            raise PermissionError(f"a test tried to reach {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits are kept for the session, away from the user's cache."""
    monkeypatch.setenv("SCOREPROOF_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
