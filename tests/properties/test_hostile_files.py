"""A hostile or damaged checkpoint runs nothing, takes no memory it has not, gives one ValueError.

Every hostile file tries to make a file of its own, the canary. The control shows that the same
bytes do so under Python's own reader.
"""

from __future__ import annotations

import builtins
import collections
import io
import json
import os
import pickle
import random
import re
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.checkpoints import convert, load, stored
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


def honest(folder: Path) -> bytes:
    return files.write_edm(folder / "honest.pkl", network(), KWARGS).read_bytes()


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
    "a name that is no text": (".pkl", lambda c: b"\x80\x04K\x01K\x02\x93.", "names 1.2"),
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
    "modules within each other": (".pkl", lambda c: looped(), "within each other|modules"),
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


def refused(file: Path) -> str:
    """The message of the refusal, of one line."""
    with pytest.raises(ValueError, match="allowed|needed|finite|exists|has none|got") as caught:
        load(file)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 3000
    return message


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_run_nothing(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    suffix, make, says = HOSTILE[name]
    file = tmp_path / f"file{suffix}"
    file.write_bytes(make(canary))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refused(file)
    assert re.search(says, message), message
    assert not canary.exists()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown} kB more"
    with pytest.raises(ValueError, match="got"):
        convert(file, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == [file.name]


@pytest.mark.parametrize("name", ["os.system, protocol 4", "eval", "INST", "in a key", "dropped"])
def test_the_same_bytes_run_under_pythons_own_reader(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    pickle.loads(HOSTILE[name][1](canary))
    assert canary.exists()


def test_damaged_files_run_nothing(tmp_path: Path, size: int) -> None:
    """Cut anywhere: refused. One bit turned: refused, or the same names and shapes."""
    draw = random.Random(0)
    module = network()
    whole_file = honest(tmp_path)
    shapes = {k: v.shape for k, v in load(tmp_path / "honest.pkl").module.state_dict().items()}
    archive = files.write_sde(tmp_path / "n.pth", module).read_bytes()
    older = files.write_sde(tmp_path / "o.pth", module, zipped=False).read_bytes()
    file = tmp_path / "damaged.pkl"
    outcomes = collections.Counter[str]()
    for _ in range(12 * size):
        kept = draw.choice((whole_file, archive, older))
        file.write_bytes(kept[: draw.randrange(len(kept))])
        refused(file)
        at = draw.randrange(len(whole_file))
        turned = whole_file[at] ^ 1 << draw.randrange(8)
        file.write_bytes(whole_file[:at] + bytes([turned]) + whole_file[at + 1 :])
        try:
            found = load(file).module.state_dict()
            assert {k: v.shape for k, v in found.items()} == shapes
            outcomes["a number changed"] += 1
        except ValueError as error:
            outcomes["refused" if "\n" not in str(error) else "of two lines"] += 1
    assert set(outcomes) <= {"a number changed", "refused"}


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    module = network()
    module.get_parameter("model.map_layer0.bias").data[3] = float("nan")
    file = files.write_edm(tmp_path / "n.pkl", module, KWARGS)
    assert "model.map_layer0.bias: got a number that is not finite" in refused(file)


def test_a_folder_of_diffusers_is_no_safer(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    canary = tmp_path / "canary"
    folder = tmp_path / "folder"
    folder.mkdir()
    config = {"_class_name": "UNet2DModel", "sample_size": 16}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDPMScheduler"}))
    assert "without diffusion_pytorch_model.safetensors" in refused(folder)
    (folder / "diffusion_pytorch_model.bin").write_bytes(zipped(whole(evil(canary))))
    assert "names posix.system" in refused(folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    for data in (b"", b"x" * 7, struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 2) + b"{}x"):
        weights.write_bytes(data)
        assert "a whole .safetensors is allowed" in refused(folder)
    weights.write_bytes(struct.pack("<Q", 2) + b"{}")
    assert "weights: got no model." in refused(folder)
    (folder / "config.json").write_text(json.dumps({**config, "block_out_channels": [10**9]}))
    assert "block_out_channels: got 1000000000" in refused(folder)
    (folder / "config.json").write_text("[" * 100_000)
    assert "a JSON object is allowed" in refused(folder)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["absent.pkl", "absent", "text.txt"])
def test_missing_and_unknown_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("x")
    refused(tmp_path / name)


def test_torchs_tensors_come_back(tmp_path: Path) -> None:
    """Every dtype, strides, shared storages and empty tensors, in both formats."""
    base = torch.arange(24.0)
    value = {
        "view": base.view(4, 6).t()[1:3],
        "row": base[3:7],
        "none": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        **{str(d): torch.arange(3).to(d) for d in stored.DTYPES.values()},
        "parameter": torch.nn.Parameter(base[:2].clone()),
        "plain": [1, -1.5, None, True, "x", b"y", (2**70, ()), {"k": {1: 2}}],
    }
    for zip_format in (True, False):
        torch.save(value, tmp_path / "t.pt", _use_new_zipfile_serialization=zip_format)
        found = stored.read(tmp_path / "t.pt")
        assert found["plain"] == value["plain"]
        for key, want in value.items():
            if isinstance(want, torch.Tensor):
                assert found[key].dtype is want.dtype
                assert torch.equal(found[key], want), key
