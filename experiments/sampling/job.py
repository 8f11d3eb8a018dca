"""What decides the images: everything but the machine. A value with a JSON form."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

from experiments.jump import HISTORIES
from solvers.plan import FINISHES
from solvers.sample import SEEDS
from solvers.teleport import PRIORS

PRECISIONS = ("fp32", "bf16")
STATES = ("float64", "float32")
Labels = tuple[int, ...] | str | None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One set of images: image i is that of seed i, for all seeds first .. last.

    Attributes:
        checkpoint: a place that `source.opened` takes.
        method: of the registry, or FILE.py:function.
        steps: intervals of the grid; for a method with a ladder its model calls.
        first, last: seeds.
        batch: images in one file and one call of the network; file b has b·batch .. of them.
        form: another canonical form than the method's own.
        options: of the method and of the plan.
        schedule: name and parameters, of a network that answers on every schedule.
        grid: rule; by default "karras" without a schedule of its own, "t" where the schedule
            begins without data, else "logsnr".
        grid_options: of the rule.
        levels: σ/α, lowest and highest; None for the checkpoint's own.
        finish: "none" or "denoise".
        teleport: "auto", a level σ/α to land on, or None.
        tolerance: of "auto", in nats.
        prior, corrected: of the jump; see ``solvers.teleport``.
        history: what a method that looks back sees above the landing: the "gaussian"'s own
            evaluations, or "none", with a warm-up.
        labels: image i has the class labels[i mod len]; "cycle" is all classes in turn.
        guidance: scale.
        statistics: a file; see `source.opened`.
        config: of a .pth.
        state: dtype of the state.
        precision: of the network's products; fp32 is the network's own dtype.
        compile, channels_last: of the network.

    Raises:
        ValueError: a number outside its set, or a combination that means nothing.
    """

    checkpoint: str
    method: str
    steps: int
    first: int = 0
    last: int = 0
    batch: int = 64
    form: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] | None = None
    grid: str | None = None
    grid_options: Mapping[str, float] = field(default_factory=dict)
    levels: tuple[float | None, float | None] | None = None
    finish: str = "none"
    teleport: str | float | None = None
    tolerance: float = 0.05
    prior: str = "reference"
    corrected: bool = False
    history: str = "gaussian"
    labels: Labels = None
    guidance: float | None = None
    statistics: str | None = None
    config: str | None = None
    state: str = "float64"
    precision: str = "fp32"
    compile: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        for name, least in {"steps": 1, "batch": 1, "first": 0, "last": 0}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}: got {value!r}; an integer >= {least} is allowed")
        if not self.first <= self.last < SEEDS:
            raise ValueError(
                f"seeds: got {self.first}-{self.last}; FIRST-LAST of 0 to {SEEDS - 1} is allowed"
            )
        end = self.seeds_of(self.batches[-1]).stop - 1
        if end >= SEEDS:
            raise ValueError(
                f"batch: got {self.batch}, whose last file ends with seed {end};"
                f" {SEEDS - 1} at most is allowed"
            )
        choices = {
            "finish": FINISHES,
            "prior": PRIORS,
            "history": HISTORIES,
            "state": STATES,
            "precision": PRECISIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}: got {getattr(self, name)!r}; {', '.join(allowed)} are allowed"
                )
        if self.levels is not None:
            low, high = (v if v is None else float(v) for v in self.levels)
            object.__setattr__(self, "levels", (low, high))
            given = [v for v in (low, high) if v is not None]
            if not (all(v > 0 for v in given) and given == sorted(set(given))):
                raise ValueError(f"levels: got {low}, {high}; 0 < low < high is allowed")
        if isinstance(self.teleport, str) and self.teleport != "auto":
            raise ValueError(f"teleport: got {self.teleport!r}; 'auto' or a level > 0 is allowed")
        for name in ("teleport", "tolerance"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not 0 < value < math.inf:
                raise ValueError(f"{name}: got {value!r}; a number > 0 is allowed")
        if self.guidance is not None and not math.isfinite(self.guidance):
            raise ValueError(f"guidance: got {self.guidance}; a finite number is allowed")
        if self.guidance is not None and self.labels is None:
            raise ValueError(f"guidance: got {self.guidance} without labels; allowed with them")
        if not (self.labels in (None, "cycle") or isinstance(self.labels, list | tuple)):
            raise ValueError(f"labels: got {self.labels!r}; classes or 'cycle' are allowed")
        if isinstance(self.labels, list | tuple):
            object.__setattr__(self, "labels", tuple(int(k) for k in self.labels))
            if not self.labels:
                raise ValueError("labels: got none; one class or more is allowed")

    @property
    def seeds(self) -> range:
        """All of them."""
        return range(self.first, self.last + 1)

    @property
    def batches(self) -> range:
        """Those whose images are asked for, by absolute index."""
        return range(self.first // self.batch, self.last // self.batch + 1)

    def seeds_of(self, batch: int) -> range:
        """The seeds of one batch, all of it."""
        return range(batch * self.batch, (batch + 1) * self.batch)

    def to_json(self) -> dict[str, Any]:
        """Plain values; those of tuples are lists."""
        value = {f.name: getattr(self, f.name) for f in fields(self)}
        return json.loads(json.dumps(value, allow_nan=False, default=_written))

    @classmethod
    def from_json(cls, value: Any) -> Job:
        """The job of `to_json`.

        Raises:
            ValueError: another key, or a value that is not allowed.
        """
        names = {f.name for f in fields(cls)}
        if not isinstance(value, dict) or not {"checkpoint", "method", "steps"} <= value.keys():
            raise ValueError("job: checkpoint, method and steps are needed")
        if value.keys() - names:
            raise ValueError(f"job: got {min(value.keys() - names)!r}; {names} are allowed")
        read = {**value, "options": {k: _read(v) for k, v in value.get("options", {}).items()}}
        if read.get("levels") is not None:
            read["levels"] = tuple(read["levels"])
        return cls(**read)


def _written(value: Any) -> Any:
    if isinstance(value, Fraction):
        return {"fraction": str(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _read(value: Any) -> Any:
    return Fraction(value["fraction"]) if isinstance(value, dict) else value
