"""Runs that tests of ``solve`` change one value of."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]
RUN: Json = {
    "problem": {
        "weights": [0.4, 0.6],
        "means": [[-1.2], [1.5]],
        "covs": [[[0.25]], [[0.64]]],
    },
    "schedule": {"name": "vp_linear"},
    "method": "ddim",
    "grid": {"name": "logsnr", "steps": 4, "start": 0.9, "end": 0.01},
    "x_start": [[0.4], [-1.3]],
}
RULE = RUN["grid"]
GAUSSIAN: Json = {
    **RUN,
    "problem": {"weights": [1.0], "means": [[0.3, -0.2]], "covs": [[[0.5, 0.2], [0.2, 0.8]]]},
    "grid": {"rho": [50.0, 0.1]},
    "x_start": [[1.0, 2.0], [0.0, -1.0]],
}


def but(path: str, value: Any, run: Json = RUN) -> Json:
    """The run with another value at a dotted path."""
    changed = copy.deepcopy(run)
    *way, last = path.split(".")
    here = changed
    for key in way:
        here = here.setdefault(key, {})
    here[last] = value
    return changed


def scire(**options: Any) -> Json:
    return {"method": "scire_v1_3", "options": options}


def nodes(clock: str, *values: Any, schedule: str = "vp_linear") -> Json:
    return {"schedule": {"name": schedule}, "grid": {clock: list(values)}}
