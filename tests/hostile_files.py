"""Checkpoint files that mean harm or are damaged, made here.

``HOSTILE`` has one of each kind. ``carrying`` has files that make the canary, a file of theirs,
when they are read by the reader that they were written for: functions x protocols x places.
"""

from __future__ import annotations

import builtins
import io
import itertools
import os
import pickle
import random
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.checkpoints import stored
from experiments.checkpoints.preconditioned import PRECONDITIONED
from tests import checkpoint_files as files

KWARGS = {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": []}


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.parts = function, arguments

    def __reduce__(self) -> Any:
        return self.parts


def network() -> Any:
    return PRECONDITIONED["VPPrecond"](img_resolution=16, img_channels=3, **KWARGS)


def shell(canary: Path) -> Calls:
    return Calls(os.system, f"touch {canary}")


def evil(canary: Path) -> bytes:
    """The command as protocol 2 names it."""
    return b"cposix\nsystem\nX" + _text(f"touch {canary}") + b"\x85R"


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


def whole(body: bytes) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + body + b"."


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def zipped(program: bytes, data: bytes = b"", **how: Any) -> bytes:
    """A torch archive of one storage."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **how) as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/data/0", data)
    return out.getvalue()


def storage(count: int, kind: bytes = b"ctorch\nFloatStorage\n") -> bytes:
    """The persistent id of storage 0."""
    where = b"X" + _text("storage") + kind + b"X" + _text("0") + b"X" + _text("cpu")
    return b"(" + where + _number(count) + b"tQ"


def _number(n: int) -> bytes:
    return b"\x8a\x09" + n.to_bytes(9, "little", signed=True)


def tensor(count: int, offset: int, shape: list[int], stride: list[int], **kind: bytes) -> bytes:
    """{"ema": tensor}."""
    sizes = [b"(" + b"".join(map(_number, v)) + b"t" for v in (shape, stride)]
    made = named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage(count, **kind)
    return whole(made + _number(offset) + sizes[0] + sizes[1] + b"\x89}tR")


def persistent(name: str, state: Any) -> bytes:
    return files.dumped({"ema": files.Persistent(name, state, "")})


def looped() -> bytes:
    state: dict[str, Any] = {"_init_args": (), "_init_kwargs": {"img_resolution": 16}}
    state["_init_kwargs"]["img_channels"] = 3
    state["_modules"] = {f"m{i}": files.Persistent("Linear", state, "") for i in range(9)}
    return persistent("VPPrecond", state)


def deep(levels: int = 20) -> bytes:
    state: dict[str, Any] = {"_init_args": (), "_init_kwargs": {}}
    for _ in range(levels):
        state = {"_init_args": (), "_init_kwargs": {"img_resolution": 16, "img_channels": 3}} | {
            "_modules": {"m": files.Persistent("Linear", state, "")}
        }
    return persistent("VPPrecond", state)


def claiming(**kwargs: Any) -> bytes:
    """A true network that claims other arguments."""
    given = {"img_resolution": 16, "img_channels": 3, **KWARGS, **kwargs}
    return files.dumped({"ema": files.record(network(), "VPPrecond", given)})


def legacy(main: bytes, keys: bytes = b"]", tail: bytes = b"") -> bytes:
    """torch's older format."""
    system = pickle.dumps({"little_endian": True}, protocol=2)
    head = [pickle.dumps(n, protocol=2) for n in (stored.MAGIC, stored.PROTOCOL)]
    return b"".join(head) + system + whole(main) + whole(keys) + tail


def nested(inner: bytes) -> bytes:
    """A plain pickle that holds a file of the older format as a storage."""
    loads = named("torch.storage", "_load_from_bytes")
    body = b"\x80\x03" + loads + b"B" + struct.pack("<I", len(inner)) + inner
    return body + b"\x85R."


def repeated() -> bytes:
    """One long string, encoded 10⁴ times."""
    encode = named("_codecs", "encode")
    once = encode + b"h\x00h\x01\x86R0"
    start = b"X" + _text("a" * 100_000) + b"q\x000X" + _text("latin1") + b"q\x010"
    return whole(start + once * 10_000 + b"}")


def doubled(times: int = 60) -> bytes:
    """(x, x) of (x, x) of .. 1: few bytes, and 2⁶⁰ numbers for whoever prints them."""
    once = (b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(times))
    return b"K\x01" + b"".join(once)


def halves(times: int = 60) -> list[Any]:
    """The same in lists."""
    made: list[Any] = [1, 2]
    for _ in range(times):
        made = [made, made]
    return made


def objects() -> bytes:
    return pickle.dumps({"ema": np.array([Calls(os.system, "true")], dtype=object)})


def number_of_objects() -> bytes:
    dtype = named("numpy", "dtype") + b"X" + _text("O8") + b"\x89\x88\x87R"
    return whole(named("numpy.core.multiarray", "scalar") + dtype + b"U\x01a\x86R")


Maker = Callable[[Path], bytes]

HOSTILE: dict[str, tuple[str, Maker, str]] = {
    **{
        f"os.system, protocol {p}": (
            ".pkl",
            lambda c, p=p: pickle.dumps({"ema": shell(c)}, protocol=p),
            "names posix.system|uses (UNICODE|PUT)",
        )
        for p in range(6)
    },
    "eval": (
        ".pkl",
        lambda c: pickle.dumps(Calls(builtins.eval, f"open({str(c)!r}, 'w').close()")),
        "names builtins.eval",
    ),
    "in a network": (
        ".pkl",
        lambda c: persistent("VPPrecond", {"_init_args": (), "_modules": {"m": shell(c)}}),
        "names posix.system",
    ),
    "in a key": (".pkl", lambda c: whole(b"}" + evil(c) + b"K\x01s"), "names posix.system"),
    "dropped": (".pkl", lambda c: whole(evil(c) + b"0}"), "names posix.system"),
    "in an archive": (".pth", lambda c: zipped(whole(evil(c))), "names posix.system"),
    "in the older format": (".pt", lambda c: legacy(evil(c)), "names posix.system"),
    "in the older format's keys": (
        ".pt",
        lambda c: legacy(b"}", evil(c)),
        "names posix.system",
    ),
    "in a storage": (".pkl", lambda c: nested(legacy(evil(c))), "names posix.system"),
    "a storage in a storage": (
        ".pkl",
        lambda c: nested(legacy(nested(legacy(evil(c)))[2:-1])),
        "holds a file within a file",
    ),
    "INST": (".pkl", lambda c: f"(S'touch {c}'\niposix\nsystem\n.".encode(), "uses STRING"),
    "INST alone": (".pkl", lambda c: b"(iposix\nsystem\n.", "uses INST posix.system"),
    "OBJ": (
        ".pkl",
        lambda c: whole(b"(cposix\nsystem\nX" + _text(f"touch {c}") + b"o"),
        "names posix.system",
    ),
    "OBJ of a known name": (
        ".pkl",
        lambda c: whole(b"(" + named("collections", "OrderedDict") + b"o"),
        "uses OBJ",
    ),
    "EXT1": (".pkl", lambda c: whole(b"\x82\x01"), "uses EXT1 1"),
    "EXT2": (".pkl", lambda c: whole(b"\x83\x01\x01"), "uses EXT2"),
    "EXT4": (".pkl", lambda c: whole(b"\x84\x01\x01\x01\x01"), "uses EXT4"),
    "NEWOBJ_EX": (
        ".pkl",
        lambda c: b"\x80\x04" + named("collections", "OrderedDict") + b")}\x92.",
        "uses NEWOBJ_EX",
    ),
    "buffers": (".pkl", lambda c: b"\x80\x05\x97.", "uses NEXT_BUFFER"),
    "a persistent id": (".pkl", lambda c: whole(b"X" + _text("x") + b"Q"), "outside the file"),
    "a textual persistent id": (".pkl", lambda c: b"Pposix.system\n.", "uses PERSID"),
    "a persistent id of a name": (
        ".pth",
        lambda c: zipped(whole(storage(1, b"cposix\nsystem\n"))),
        "names posix.system",
    ),
    "a persistent id that is no storage": (
        ".pth",
        lambda c: zipped(whole(b"(X" + _text("module") + b"tQ")),
        "refers to objects that are no storages",
    ),
    "a key with a path": (
        ".pth",
        lambda c: zipped(tensor(1, 0, [1], [1]).replace(b"\x01\0\0\x000", b"\x03\0\0\x00../")),
        "claims a storage of 1 numbers",
    ),
    "copyreg": (
        ".pkl",
        lambda c: whole(named("copyreg", "_reconstructor") + b")R"),
        "names copyreg._reconstructor",
    ),
    "an attribute of a known name": (
        ".pkl",
        lambda c: whole(named("torch._utils", "_rebuild_tensor_v2.__globals__")),
        "names torch._utils._rebuild_tensor_v2.__globals__",
    ),
    "an attribute on the stack": (
        ".pkl",
        lambda c: b"\x80\x04X" + _text("builtins") + b"X" + _text("eval.__call__") + b"\x93.",
        "names builtins.eval.__call__",
    ),
    "a name that is no text": (".pkl", lambda c: b"\x80\x04K\x01K\x02\x93.", "what is no text"),
    "a name without end": (
        ".pkl",
        lambda c: b"\x80\x04" + doubled() + b"X" + _text("a") + b"\x93.",
        "names what is no text",
    ),
    "an encoding without end": (
        ".pkl",
        lambda c: whole(named("_codecs", "encode") + b"X" + _text("a") + doubled() + b"\x86R"),
        "encodes str as tuple",
    ),
    "keys without end": (
        ".pt",
        lambda c: legacy(b"}", b"]" + doubled() + b"a"),
        "repeats an object",
    ),
    "arguments without end": (
        ".pkl",
        lambda c: claiming(channel_mult=halves()),
        "repeats an object",
    ),
    "attributes of a name": (
        ".pkl",
        lambda c: whole(named("collections", "OrderedDict") + b"}X" + _text("a") + b"K\x01sb"),
        "sets attributes of a Global",
    ),
    "a call of a value": (".pkl", lambda c: whole(b"K\x01)R"), "calls what is not a name"),
    "append to a name": (
        ".pkl",
        lambda c: whole(named("collections", "OrderedDict") + b"K\x01a"),
        "appends to a Global",
    ),
    "an object array": (".pkl", lambda c: objects(), "names numpy"),
    "a number of objects": (".pkl", lambda c: number_of_objects(), "names the numpy dtype|uses"),
    "pathlib": (
        ".pkl",
        lambda c: pickle.dumps(Calls(Path.touch, c)),
        "names builtins.getattr|names pathlib",
    ),
    "a storage too long": (
        ".pth",
        lambda c: zipped(tensor(2**40, 0, [1], [1]), b"\0" * 4),
        "claims a storage of",
    ),
    "a tensor too large": (
        ".pth",
        lambda c: zipped(tensor(1, 0, [2**40], [1]), b"\0" * 4),
        "claims a tensor",
    ),
    "a tensor of one number repeated": (
        ".pth",
        lambda c: zipped(tensor(1, 0, [2**40], [0]), b"\0" * 4),
        "claims a tensor",
    ),
    "a tensor from before its storage": (
        ".pth",
        lambda c: zipped(tensor(1, -1, [1], [1]), b"\0" * 4),
        "describes a tensor",
    ),
    "a tensor past its storage": (
        ".pth",
        lambda c: zipped(tensor(2, 1, [2], [1]), b"\0" * 8),
        "claims a tensor",
    ),
    "strides past a storage": (
        ".pth",
        lambda c: zipped(tensor(4, 0, [2, 2], [1, 3]), b"\0" * 16),
        "claims a tensor",
    ),
    "a deflated archive": (
        ".pth",
        lambda c: zipped(
            tensor(2**20, 0, [1], [1]), b"\0" * 2**22, compression=zipfile.ZIP_DEFLATED
        ),
        "compressed",
    ),
    "an archive with a false size": (
        ".pth",
        lambda c: _patched(zipped(tensor(1, 0, [1], [1]), b"\0" * 4)),
        "compressed|claim more bytes",
    ),
    "a memo at 2³²": (".pkl", lambda c: whole(b"}r\xff\xff\xff\xff"), "allowed"),
    "bytes that are not there": (
        ".pkl",
        lambda c: b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
        "expected|exceeds",
    ),
    "a number that is not there": (
        ".pkl",
        lambda c: whole(b"\x8b" + struct.pack("<i", 2**31 - 1)),
        "expected|not enough",
    ),
    "a storage of the older format that is not there": (
        ".pt",
        lambda c: legacy(storage(2**40), b"]X" + _text("0") + b"a", struct.pack("<q", 2**40)),
        "is truncated",
    ),
    "one string many times": (".pkl", lambda c: repeated(), "repeats an object"),
    "a deep key": (".pkl", lambda c: whole(b"})" + b"\x85" * 100_000 + b"K\x01s"), "as a key"),
    "modules within each other": (".pkl", lambda c: looped(), "repeats an object"),
    "modules deep within each other": (".pkl", lambda c: deep(), "within each other"),
    "another class": (".pkl", lambda c: persistent("os.system", {}), "architecture: got"),
    "many channels": (".pkl", lambda c: claiming(model_channels=10**6), "weights"),
    "too many channels": (".pkl", lambda c: claiming(model_channels=10**9), "model_channels: got"),
    "many blocks": (".pkl", lambda c: claiming(num_blocks=10**6), "num_blocks: got"),
    "many levels": (".pkl", lambda c: claiming(channel_mult=[1] * 99), "channel_mult: got 99"),
    "an unknown argument": (".pkl", lambda c: claiming(hook="os.system"), "arguments"),
    "no pickle": (".pkl", lambda c: b"<html>not found</html>", "allowed"),
    "nothing": (".pth", lambda c: b"", "is empty"),
}


def _patched(data: bytes) -> bytes:
    """A central directory that claims 2 GiB for the last entry."""
    at = data.rindex(b"PK\x01\x02")
    return data[: at + 20] + struct.pack("<II", 2**31, 2**31) + data[at + 28 :]


# --- code in every place -------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[Path], Calls]] = {
    "os.system": shell,
    "os.mkdir": lambda c: Calls(os.mkdir, str(c)),
    "os.symlink": lambda c: Calls(os.symlink, ".", str(c)),
    "eval": lambda c: Calls(builtins.eval, f"__import__('os').mkdir({str(c)!r})"),
    "exec": lambda c: Calls(builtins.exec, f"import os; os.mkdir({str(c)!r})"),
    "subprocess.call": lambda c: Calls(subprocess.call, ["touch", str(c)]),
    "shutil.copyfile": lambda c: Calls(shutil.copyfile, __file__, str(c)),
    "Path.touch": lambda c: Calls(Path.touch, c),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "alone": lambda call: call,
    "the network": lambda call: {"ema": call},
    "a key": lambda call: {call: 1},
    "before a network": lambda call: {"loss_fn": call, "ema": recorded()},
    "a list": lambda call: {"net": [[(call,)]]},
}


def recorded() -> Any:
    """A true network as EDM's pickles hold it."""
    return files.record(network(), "VPPrecond", KWARGS)


WRITERS: dict[str, tuple[str, Callable[[Any, int], bytes]]] = {
    "a pickle": (".pkl", files.dumped),
    "an archive": (".pth", lambda value, protocol: saved(value, protocol, zipped=True)),
    "the older format": (".pt", lambda value, protocol: saved(value, protocol, zipped=False)),
}


def saved(value: Any, protocol: int, *, zipped: bool) -> bytes:
    """A file of torch."""
    out = io.BytesIO()
    torch.save(value, out, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def carrying(draw: random.Random) -> Iterator[tuple[str, str, Callable[[Path], bytes]]]:
    """Writer, suffix and maker of all files that carry code, shuffled."""
    every = itertools.product(FUNCTIONS, range(6), PLACES, WRITERS)
    for function, protocol, place, writer in draw.sample(chosen := list(every), len(chosen)):
        suffix, write = WRITERS[writer]
        if place == "before a network" and writer != "a pickle":
            continue  # EDM's networks are pickles

        def make(canary: Path, f=function, p=protocol, at=place, write=write) -> bytes:
            return write(PLACES[at](FUNCTIONS[f](canary)), p)

        yield writer, suffix, make


def damaged(draw: random.Random, whole_file: bytes) -> bytes:
    """The file cut off, with an eighth missing, or with zeros at its head."""
    size = len(whole_file)
    at = draw.randrange(size * 7 // 8)
    cut, hole = whole_file[:at], whole_file[:at] + whole_file[at + size // 8 :]
    return draw.choice((cut, hole, bytes(64) + whole_file[64:]))
