"""What was expensive to compute, kept in the user's cache folder under a hash of what decides it.

SCOREPROOF_CACHE moves the folder. A damaged file counts as none, and no folder means no cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gaussian_score import archive

CACHE_ENV = "SCOREPROOF_CACHE"


def place(kind: str, law: Mapping[str, Any]) -> Path:
    """The file of everything in ``law``, so that a stale entry cannot be read."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scoreproof"
    key = hashlib.sha256(json.dumps(law, sort_keys=True).encode()).hexdigest()[:20]
    return Path(os.environ.get(CACHE_ENV) or default) / f"{kind}-{key}.npz"


def load(file: Path, names: Iterable[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The named arrays and their provenance, or None where there is none or it is damaged."""
    with contextlib.suppress(ValueError):
        return archive.read(file, names)
    return None


def store(file: Path, arrays: Mapping[str, np.ndarray], provenance: Mapping[str, Any]) -> None:
    """Write the file whole or not at all."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        archive.write(file, arrays, provenance)
