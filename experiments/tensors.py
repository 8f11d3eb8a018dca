"""A safetensors file with facts about it: written whole or not at all, checked when it is read.

Equal tensors and facts make equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FACTS, HASH = "facts", "sha256"


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """The tensors, facts that have a JSON form, and the SHA-256 of both."""
    from safetensors.torch import save

    kept = {name: t.detach().to("cpu").contiguous().clone() for name, t in tensors.items()}
    text = json.dumps(dict(facts), allow_nan=False, sort_keys=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        header = {"format": "pt", FACTS: text, HASH: _digest(kept, text)}
        part.write_bytes(_ordered(save(kept, metadata=header)))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts.

    Raises:
        ValueError: no such file, or one that is damaged or was not written by `write`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:  # pyright: ignore
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if not {FACTS, HASH} <= header.keys():
            raise ValueError("it has no facts and no hash")
        if _digest(tensors, header[FACTS]) != header[HASH]:
            raise ValueError("its hash is another")
        return tensors, json.loads(header[FACTS])
    except (OSError, ValueError, SafetensorError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read ({why}); a whole file is allowed") from None


def _ordered(file: bytes) -> bytes:
    """The same file with its header's keys in order, which the library leaves to chance."""
    n = 8 + int.from_bytes(file[:8], "little")
    text = json.dumps(json.loads(file[8:n]), sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[n:]


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}\0".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
