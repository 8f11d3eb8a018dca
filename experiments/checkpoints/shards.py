"""Weights in several .safetensors with an index that says which tensor lies in which of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from experiments.checkpoints import safe

SHARD = re.compile(r"[\w.-]+-(\d{5})-of-(\d{5})\.safetensors")
"""A file's name: no folders, its number and how many there are."""


def weights(index: Path, said: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[Path, ...]]:
    """All tensors by name, and the files that they are in.

    Raises:
        ValueError: an index that is none, a shard that is missing, damaged or not listed, tensors
            that lie elsewhere than the index says, or another size than it says.
    """
    places = said.get("weight_map")
    if type(places) is not dict or not all(type(v) is str for v in places.values()):
        raise ValueError(f"FILE: got {str(index)!r}; a weight_map of names to files is allowed")
    names = sorted(set(places.values()))
    numbered = [SHARD.fullmatch(name) for name in names]
    counts = {match and match[2] for match in numbered}
    if None in numbered or counts != {f"{len(names):05}"}:
        raise ValueError(
            f"FILE: got {names[:3]!a} in {index.name!r}; NAME-00001-of-0000N.safetensors, all N of"
            " them, are allowed"
        )
    state: dict[str, Tensor] = {}
    for name in names:
        part = safe.weights(index.parent / name)
        wrong = part.keys() ^ {tensor for tensor, place in places.items() if place == name}
        if wrong:
            raise ValueError(
                f"FILE: got {min(wrong)!a} in {name!r} or in {index.name!r} alone; both is allowed"
            )
        state |= part
    size, claimed = sum(t.nbytes for t in state.values()), said.get("metadata", {})
    if type(claimed) is not dict or claimed.get("total_size", size) != size:
        raise ValueError(
            f"FILE: got {index.name!r} for another total_size; {size}, that of its files,"
            " is allowed"
        )
    return state, tuple(index.parent / name for name in names)
