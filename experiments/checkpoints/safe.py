"""Files of tensors and nothing else: safetensors, read and written; hashes of files; JSON."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


def _library() -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise ValueError(
            "safetensors: not installed; pip install scoreproof[train] is allowed"
        ) from None
    return safetensors.torch


def weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors by name.

    Raises:
        ValueError: the file is missing or damaged, or safetensors is not installed.
    """
    library = _library()
    try:
        return library.load_file(file)
    except OSError as error:
        reason = error.strerror or "unreadable"
    except Exception as error:  # the library's own error is no ValueError in every version
        reason = str(error).partition("\n")[0]
    raise ValueError(f"FILE: got {str(file)!r} ({reason}); a whole .safetensors is allowed")


def write(file: Path, state: Mapping[str, Tensor]) -> None:
    """Tensors by name to a .safetensors."""
    _library().save_file({k: v.contiguous().clone() for k, v in state.items()}, file)


def sha256(*files: Path) -> str:
    """The hash of the bytes of files, one after the other; ``ValueError`` where one is unread."""
    whole = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    whole.update(block)
        except OSError as error:
            raise ValueError(
                f"FILE: got {str(file)!r} ({error.strerror}); a file is allowed"
            ) from None
    return whole.hexdigest()


def parsed(text: str) -> Any:
    """The value of JSON. 10⁴⁰⁰ is infinite, as 1e400 is, and refused where numbers are finite."""
    return json.loads(text, parse_int=_whole)


def _whole(text: str) -> int | float:
    return int(text) if len(text) <= sys.float_info.max_10_exp else float(text)
