"""One .npz file: float64 arrays and their provenance as JSON, written whole or not at all.

The zip container carries a CRC-32 of every member, so a file that lost or changed a byte is
refused when it is read. Objects are never unpickled.
"""

from __future__ import annotations

import json
import os
import platform
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PROVENANCE = "provenance"
NUMERICAL = ("numpy", "scipy", "scikit-learn")


def versions() -> dict[str, str]:
    """Python and the libraries that moments and fits are computed with."""
    return {"python": platform.python_version()} | {name: version(name) for name in NUMERICAL}


def write(path: str | Path, arrays: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """Write the file beside its place, then rename it.

    Raises:
        ValueError: the path lies in no folder or is one, or the provenance has no JSON form.
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        why = "is a folder" if path.is_dir() else "lies in no folder"
        raise ValueError(f"path is {str(path)!r}, which {why}; a file in a folder is allowed")
    try:
        text = json.dumps(dict(provenance), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"provenance has no JSON form ({error}); plain data is allowed") from None
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **{PROVENANCE: np.array(text)}, **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read(
    path: str | Path, names: Iterable[str], optional: Iterable[str] = ()
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The named arrays, the optional ones that are there, and the provenance.

    Raises:
        ValueError: no such file, a damaged one, one without these arrays, or no provenance; the
            line begins with the path.
    """
    path, names = Path(path), (*names, PROVENANCE)
    try:
        # np.load would take any .npy as well
        with path.open("rb") as raw, zipfile.ZipFile(raw) as members:
            held = {name.removesuffix(".npy") for name in members.namelist()}
            missing = [name for name in names if name not in held]
            if missing:
                raise ValueError(f"it has no {', '.join(missing)}")
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in (*names, *held.intersection(optional))}
        provenance = json.loads(str(arrays.pop(PROVENANCE)[()]))
        if not isinstance(provenance, dict):
            raise ValueError("its provenance is no JSON object")
    except Exception as error:  # a damaged header sends numpy's parser anywhere
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        why = " ".join(why.split()) or type(error).__name__
        raise ValueError(
            f"{path}: cannot be read ({why}); an .npz file with {', '.join(names)} is allowed"
        ) from None
    return arrays, provenance
