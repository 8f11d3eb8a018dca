"""Tensors of torch's files without torch's reader: zip archives, the older format, plain pickles.

A storage is the bytes that the file holds; a tensor is a copy of them, cut to the shape that the
file claims after checking that the bytes are there. Nothing of a claimed size is allocated before.

Sources: ``torch.serialization`` (both formats), ``torch._utils`` (the names of tensors).
"""

from __future__ import annotations

import io
import math
import mmap
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.checkpoints.names import PLAIN
from experiments.checkpoints.pickles import Global, Machine

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What the older format begins with."""

DAMAGE = (
    *(ValueError, RuntimeError, OverflowError, EOFError, KeyError),
    *(NotImplementedError, struct.error, zipfile.BadZipFile),
)
"""What readers of the standard library and torch raise on bytes that make no sense."""

DTYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
"""Storage types by the first part of their name."""


@dataclass(frozen=True, eq=False)
class Storage:
    """Numbers in a row, 1-d."""

    numbers: Tensor


def read(path: Path) -> Any:
    """What a .pkl, .pt or .pth holds: plain values, tensors and ``pickles.Record``.

    Raises:
        ValueError: the file is missing, damaged, or names what no network needs.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if not size:
                raise ValueError("is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _archive(path, size) if data[:2] == b"PK" else _stream(data, size)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or 'no reason given'})"
    except DAMAGE as error:
        reason = str(error).partition("\n")[0][:200] or "is damaged"
    raise ValueError(
        f"FILE: got {str(path)!r}, which {reason}; a file of tensors and plain values is allowed"
    )


def _stream(data: Any, size: int) -> Any:
    """A plain pickle, or the older format, which begins with a pickled number."""
    first = Machine(data, size, calls=TENSORS).read()
    return _older(data, size) if type(first) is int and first == MAGIC else first


def _older(data: Any, size: int) -> Any:
    """Protocol, system, object, storage keys, then each storage's count and bytes.

    The object's pickle lies before the bytes it needs: it is passed over, then read.
    """

    def plain() -> Any:
        return Machine(data, size, calls=PLAIN).read()

    protocol, system, start = plain(), plain(), data.tell()
    if protocol != PROTOCOL or type(system) is not dict or not system.get("little_endian"):
        raise ValueError("is of another protocol or byte order than 1001, little-endian")
    named: dict[str, tuple[torch.dtype, int]] = {}

    def claim(key: str, dtype: torch.dtype, count: int) -> tuple[torch.dtype, int]:
        if named.setdefault(key, (dtype, count)) != (dtype, count):
            raise ValueError("reads one storage as two types")
        return dtype, count

    _machine(data, size, claim).read()
    keys = plain()
    if type(keys) is not list or sorted(map(str, keys)) != sorted(named):
        raise ValueError("lists other storages than its tensors use")
    held: dict[str, Storage] = {}
    for key in keys:
        dtype, claimed = named[key]
        (count,) = struct.unpack("<q", _exactly(data, 8))
        if count != claimed or count < 0:
            raise ValueError(f"claims a storage of {claimed} numbers and holds {count}")
        held[key] = _storage(_exactly(data, count * dtype.itemsize), dtype)
    data.seek(start)
    return _machine(data, size, lambda key, dtype, count: held[key]).read()


def _archive(path: Path, size: int) -> Any:
    """A zip of ``data.pkl`` and ``data/KEY``, stored without compression."""
    with zipfile.ZipFile(path) as archive:
        entries = {e.filename: e for e in archive.infolist()}
        packed = any(e.compress_type or e.file_size != e.compress_size for e in entries.values())
        if packed or len(entries) != len(archive.infolist()):
            raise ValueError("is a zip archive with compressed or repeated entries")
        if sum(e.file_size for e in entries.values()) > size:
            raise ValueError("is a zip archive whose entries claim more bytes than the file has")
        roots = [n.removesuffix("data.pkl") for n in entries if n.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("is a zip archive without one data.pkl")
        order = roots[0] + "byteorder"
        if order in entries and archive.read(order) != b"little":
            raise ValueError("is of another byte order than little-endian")
        held: dict[str, Storage] = {}

        def storage(key: str, dtype: torch.dtype, count: int) -> Storage:
            entry = entries.get(f"{roots[0]}data/{key}")
            if entry is None or entry.file_size != count * dtype.itemsize:
                raise ValueError(f"claims a storage of {count} numbers that it does not hold")
            if key not in held:
                held[key] = _storage(archive.read(entry), dtype)
            if held[key].numbers.dtype is not dtype:
                raise ValueError("reads one storage as two types")
            return held[key]

        program = archive.read(roots[0] + "data.pkl")
        return _machine(io.BytesIO(program), len(program), storage).read()


def _machine(data: Any, size: int, storage: Callable[[str, torch.dtype, int], Any]) -> Machine:
    """A reader whose persistent ids are ("storage", type, key, location, count[, None])."""

    def persistent(identity: Any) -> Any:
        if type(identity) is not tuple or identity[:1] != ("storage",) or len(identity) < 5:
            raise ValueError("refers to objects that are no storages")
        _, kind, key, _, count, *view = identity
        dtype = STORAGES.get(kind.name) if type(kind) is Global else None
        if dtype is None or type(key) is not str or type(count) is not int or any(view):
            raise ValueError("refers to a storage in a way of its own")
        return storage(key, dtype, count)

    return Machine(data, size, calls=TENSORS, persistent=persistent)


def _exactly(data: Any, count: int) -> bytes:
    """``count`` bytes; a stream in memory reads no more than it has."""
    found = data.read(count)
    if len(found) != count:
        raise ValueError("is truncated")
    return found


def _storage(data: bytes, dtype: torch.dtype) -> Storage:
    if dtype is torch.bool and data.strip(b"\0\1"):
        raise ValueError("holds truth values other than 0 and 1")
    if not data:
        return Storage(torch.empty(0, dtype=dtype))
    return Storage(torch.frombuffer(bytearray(data), dtype=dtype))


def _inner(machine: Machine, data: Any) -> Storage:
    """The storage that a plain pickle holds as a file of the older format."""
    if type(data) is not bytes or machine.persistent is not None:
        raise ValueError("holds a file within a file")
    machine.spend(len(data))
    stream = io.BytesIO(data)
    first = Machine(stream, len(data), calls=PLAIN).read()
    value = _older(stream, len(data)) if first == MAGIC else None
    if type(value) is not Storage:
        raise ValueError("holds a storage that is none")
    return value


def _tensor(machine: Machine, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Any:
    """A tensor of its storage, after the claim is checked.

    A file that only names its storages (the first of two readings) has no numbers yet.
    """
    if type(storage) is tuple:
        return storage
    whole = (offset, *shape, *stride)
    counts = len(whole) <= 17 and all(type(n) is int and n >= 0 for n in whole)
    if type(storage) is not Storage or not counts:
        raise ValueError("describes a tensor by other things than a storage and counts")
    held, count = storage.numbers.numel(), math.prod(shape)
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if count > held or (count and last >= held):
        raise ValueError(f"claims a tensor {list(shape)} of a storage of {held} numbers"[:200])
    return storage.numbers.as_strided(shape, stride, offset if count else 0)


def _parameter(machine: Machine, data: Any, *_: Any) -> Any:
    """A parameter is its tensor."""
    return data


def _size(machine: Machine, shape: Any = ()) -> Any:
    """A shape is its tuple."""
    return shape


def _kind(machine: Machine, *_: Any) -> Any:
    raise ValueError("calls a storage's type")


STORAGES = {f"torch.{name}Storage": dtype for name, dtype in DTYPES.items()}

TENSORS: dict[str, Callable[..., Any]] = {
    **PLAIN,
    **dict.fromkeys(STORAGES, _kind),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _inner,
    "torch.Size": _size,
}
"""The names of all files that are read."""
