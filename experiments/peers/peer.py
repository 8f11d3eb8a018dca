"""Samplers of other libraries, put on our nodes and run in float64 with a model that is exact.

A scheduler keeps x = α v in a scale of its own, so states are v here and α belongs to ``Scale``.
An exact start needs no knowledge of a sampler's memory: it makes its first calls at states of the
exact flow, what it returns there is thrown away, and what it has stored is the exact history.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from gaussian_score.mixture import GaussianMixture

Flow = Callable[[Tensor], Tensor]
"""The states v of the exact flow at ρ, (B, D)."""


@dataclass(frozen=True)
class Scale:
    """x = α v of a sampler, named like our schedule with this α."""

    schedule: str
    alpha: Callable[[Tensor], Tensor]


VP = Scale("vp_linear", lambda rho: (1 + rho**2) ** -0.5)
VE = Scale("edm", torch.ones_like)
RECTIFIED = Scale("flow", lambda rho: 1 / (1 + rho))


@dataclass(frozen=True)
class Fault:
    """A coefficient that costs an order: the expression and what it should read."""

    cause: str
    proof: str
    """The statement of ``theory.peers``."""
    method: str
    """Where ``wrong`` stands, once."""
    wrong: str
    right: str
    helper: Callable[..., Any] | None = None
    """Joins the class under its own name, for use in ``right``."""


@dataclass(frozen=True)
class Peer:
    """A sampler with one configuration, the order its library gives it, and its equal of ours."""

    name: str
    nominal: int
    drive: Drive
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    call: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of every step."""
    given: int = 0
    """Calls of an exact start before the first that is its own."""
    nodes: int = 1
    """Nodes that one step of the method uses up."""
    floor: float = 0.0
    """Of its errors, where it rounds more than states of size one need."""
    fault: Fault | None = None
    ours: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    note: str = ""
    """How its formula stands to ours."""
    finish: str = "none"
    """With "denoise" its grid has one more node, at zero noise."""
    dtype: torch.dtype = torch.float64

    @property
    def library(self) -> str:
        """The distribution that it comes from."""
        return self.drive.library

    @property
    def described(self) -> dict[str, Any]:
        """The configuration as JSON; functions by their names."""
        plain = bool | int | float | str
        pairs = (*self.config.items(), *self.call.items())
        return {k: v if isinstance(v, plain) else getattr(v, "__name__", str(v)) for k, v in pairs}

    def load(self) -> Any:
        """The class or function as installed; ``ImportError`` where it is not."""
        return getattr(importlib.import_module(self.drive.module), self.name)


@dataclass(frozen=True)
class Course:
    """What a sampler has to do."""

    rho: Tensor
    """Of the nodes."""
    law: GaussianMixture
    """The data."""
    flow: Flow
    given: int = 0
    """How many calls after the first are put onto the flow."""


@dataclass(frozen=True)
class Drive:
    """How a family of samplers is run."""

    module: str
    scale: Scale
    run: Callable[[Peer, Any, Course], Tensor]
    """(peer, its class or function, course) to x at the last node."""
    backward: bool = False
    """From data to noise."""

    @property
    def library(self) -> str:
        """The distribution."""
        return self.module.split(".")[0]


def run(peer: Peer, course: Course, *, sampler: Any = None) -> Tensor:
    """v (B, D) at the last node, from the flow's state at the first; the peer's dtype throughout.

    ``sampler`` is a patched copy.
    """
    sampler = sampler or peer.load()
    with warnings.catch_warnings(), wide(sys.modules[sampler.__module__], peer.dtype):
        warnings.simplefilter("ignore")  # what a library says about itself
        x = peer.drive.run(peer, sampler, course)
    if x.dtype != peer.dtype:
        raise TypeError(f"{peer.name}: got {x.dtype}; {peer.dtype} is allowed")
    return x / peer.drive.scale.alpha(course.rho[-1])


class Torch:
    """``torch`` in all things, but that ``float32`` is ``dtype``."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.float32 = dtype

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def wide(module: types.ModuleType, dtype: torch.dtype) -> Iterator[None]:
    """Inside, the module's own name ``torch`` says ``dtype`` where its text says float32."""
    kept = module.torch
    module.torch = Torch(dtype)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.torch = kept  # type: ignore[attr-defined]


def patched(sampler: Any, fault: Fault) -> Any:
    """A copy of the class, or function, in which the wrong expression reads as it should.

    ``ValueError`` unless it stands there exactly once: then the library has changed.
    """
    inside = inspect.isclass(sampler)
    function = getattr(sampler, fault.method) if inside else sampler
    text = textwrap.dedent(inspect.getsource(function))
    if (found := text.count(fault.wrong)) != 1:
        raise ValueError(
            f"{fault.method}: got {fault.wrong!r} {found} times in {sampler.__name__};"
            " once is allowed"
        )
    made: dict[str, Any] = {}
    exec(text.replace(fault.wrong, fault.right), vars(sys.modules[sampler.__module__]), made)
    if not inside:
        return made[sampler.__name__]
    made |= {fault.helper.__name__: fault.helper} if fault.helper else {}
    return type(sampler.__name__, (sampler,), {**made, "__module__": sampler.__module__})


def version(library: str) -> str:
    """The installed version, "" where there is none."""
    try:
        return metadata.version(library.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return ""


def missing(library: str, module: str) -> str:
    """Why the library cannot be audited, in one line; "" where it can."""
    if not version(library):
        return f"{library}: not installed"
    try:
        importlib.import_module(module)
    except ImportError as error:
        return f"{library} {version(library)}: not importable ({error})"
    return ""
