"""DPM-Solver-v3's published statistics, in the format of this program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.problems import Floats, read_schedule
from solvers.grids import explicit
from solvers.statistics import Table


def statistics(files: Sequence[str], low: float, high: float) -> Table:
    """DPM-Solver-v3's published l.npz and sb.npz, (n+1, ..) each, as one table.

    Their nodes are even in λ from the start of a run to its end, which the files do not say.
    """
    if len(files) != 2:
        raise ValueError(
            f"FILE: got {len(files)} files; l.npz (key l) and sb.npz (keys s, b) are allowed"
        )
    l = _array(files[0], "l")
    s, b = (_array(files[1], key) for key in ("s", "b"))
    if not l.shape == s.shape == b.shape or l.ndim < 2:
        raise ValueError(
            f"FILE: got shapes {l.shape}, {s.shape}, {b.shape} of l, s, b;"
            " one shape (n+1, ..) is allowed"
        )
    l, s, b = (v.reshape(len(l), -1) for v in (l, s, b))
    return Table(np.linspace(low, high, len(l)), l, s, b)


def ends(
    lam: Sequence[float] | None, name: str | None, times: Sequence[float] | None
) -> tuple[float, float]:
    """The range of λ: given, or between two times of a schedule."""
    if lam is not None and name is None and times is None:
        low, high = lam
        if not (np.isfinite(lam).all() and low < high):
            raise ValueError(f"--lam-range: got {low!r} {high!r}; LO < HI is allowed")
        return low, high
    if lam is not None or name is None or times is None:
        given = {"--lam-range": lam, "--schedule": name, "--t-range": times}
        got = ", ".join(k for k, v in given.items() if v is not None) or "none of them"
        raise ValueError(
            f"--lam-range: got {got}; it alone, or --schedule and --t-range, are allowed"
        )
    try:
        start, end = explicit(read_schedule({"name": name}), "t", list(times)).points
        return float(start.lam), float(end.lam)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"--t-range: {error}") from None


def _array(path: str, key: str) -> Floats:
    try:
        with np.load(Path(path), allow_pickle=False) as file:
            return np.asarray(file[key], dtype=np.float64)
    except OSError as error:
        raise ValueError(
            f"FILE: got {path!r} ({error.strerror or 'no .npz'}); a .npz is allowed"
        ) from None
    except (KeyError, ValueError, TypeError, EOFError):
        raise ValueError(
            f"FILE: got {path!r}; a .npz with an array of numbers {key!r} is allowed"
        ) from None
