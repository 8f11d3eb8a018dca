"""The names that a pickle may mention, and the functions of ours that stand for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.checkpoints.pickles import Machine, Record, scalar, shown

NUMBERS = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())
"""numpy's codes of numbers."""


def _mapping(machine: Machine, items: Any = ()) -> dict[Any, Any]:
    """OrderedDict([[k, v], ..]) and dicts with attributes."""
    machine.spend(2 * len(items))
    return {scalar(k): v for k, v in items}


def _members(machine: Machine, items: Any = ()) -> set[Any]:
    machine.spend(len(items))
    return {scalar(v) for v in items}


def _encoded(machine: Machine, text: str, encoding: str) -> bytes:
    """Bytes as protocol 2 writes them."""
    if type(text) is not str or encoding != "latin1":
        raise ValueError(f"encodes {shown(type(text).__name__)} as {shown(encoding)}")
    machine.spend(len(text))
    return text.encode("latin1")


def _dtype(machine: Machine, code: str, *_: Any) -> np.dtype[Any]:
    """A numpy number type; objects and compounds are no numbers."""
    if type(code) is not str or code not in NUMBERS:
        raise ValueError(f"names the numpy dtype {shown(code)}")
    return np.dtype(code)


def _number(machine: Machine, dtype: Any, data: Any) -> Any:
    """A numpy scalar as a Python number."""
    if type(data) is not bytes or not isinstance(dtype, np.dtype) or len(data) != dtype.itemsize:
        raise ValueError("holds a numpy scalar of the wrong size")
    return np.frombuffer(data, dtype)[0].item()


def _persistent_class(machine: Machine, meta: Any) -> Record:
    """EDM's object: class name, attributes and its module's source, which stays unread text."""
    name, state = (meta.get(k) if type(meta) is dict else None for k in ("class_name", "state"))
    if type(name) is not str or type(state) is not dict:
        raise ValueError("describes an object without class name and state")
    return Record(name, state)


def _record(name: str) -> Callable[[Machine], Record]:
    return lambda machine: Record(name)


PLAIN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _mapping,
    "dnnlib.util.EasyDict": _mapping,
    "dnnlib.EasyDict": _mapping,
    "builtins.set": _members,
    "__builtin__.set": _members,
    "_codecs.encode": _encoded,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent_class,
    "torch.nn.modules.container.ModuleDict": _record("ModuleDict"),
    "torch.nn.modules.container.ModuleList": _record("ModuleList"),
}
"""The names that need no tensor."""
