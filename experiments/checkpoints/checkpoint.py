"""A network of others as this program keeps it: what it is, its weights, the denoiser it makes.

``Checkpoint`` says everything but the weights in plain values, as ``config.json`` does. ``build``
makes the module from it and refuses weights that do not fit; nothing is allocated from an argument
alone: shapes are compared without memory before the module is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from experiments.checkpoints.adm import ADM
from experiments.checkpoints.backbone import ScaledUNet2D, UNet2D, UNet2DCondition
from experiments.checkpoints.conditioned import Conditioned, classes, texts
from experiments.checkpoints.ddim import DDIM
from experiments.checkpoints.galaxy import GalaxyScore
from experiments.checkpoints.preconditioned import PRECONDITIONED
from experiments.checkpoints.schedules import Label, recalled
from experiments.checkpoints.score_sde import ScoreSDE
from experiments.networks import Learned
from solvers.denoiser import Denoiser, Network, Predicts

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    **PRECONDITIONED,
    "GalaxyScore": GalaxyScore,
    "ScoreSDE": ScoreSDE,
    "ADM": ADM,
    "DDIM": DDIM,
    "UNet2DModel": UNet2D,
    "UNet2DConditionModel": UNet2DCondition,
    "ScaledUNet2DModel": ScaledUNet2D,
}
"""Networks by name. A module maps (x, label or σ, condition or None) to the shape of x."""

SCALED = (*PRECONDITIONED, "GalaxyScore", "ScaledUNet2DModel")
"""Those that are D(x, σ) themselves."""

PREDICTS = ("denoised", "noise", "data", "v", "velocity", "score")

LIMITS = {"num_blocks": 64, "num_res_blocks": 64, "layers_per_block": 64}
LARGEST, LONGEST = 1_000_000, 16
"""Of any count, and of any list, in the arguments of a network."""

TOP = 1e30
"""Of any number that is no count."""


def _count(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= LARGEST


def _interval(value: Any) -> bool:
    """Two numbers, low < high."""
    numbers = all(type(v) in (int, float) and abs(v) <= TOP for v in value)
    return numbers and len(value) == 2 and value[0] < value[1]


FACTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "shape": (lambda v: len(v) == 3 and all(_count(n, 1) for n in v), "three counts"),
    "range": (lambda v: v is None or _interval(v), "two numbers, low < high, or none"),
    "classes": (lambda v: _count(v, 0), "a count"),
    "context": (lambda v: _count(v, 0), "a count"),
    "levels": (
        lambda v: _interval([TOP if n is None else n for n in v]) and v[0] >= 0,
        "0 <= low < high, high none where it is not known,",
    ),
}
"""Of a checkpoint, what each must be."""

REFUSALS = (TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError)
"""What a constructor raises for arguments that make no network."""


@dataclass(frozen=True)
class Checkpoint:
    """A network without its weights.

    ``predicts`` is "denoised" where the module is D(x/α, σ/α), else what ``Network`` takes at
    ``label`` of the schedule's time. ``shape`` is (C, H, W) of an image, ``classes`` how many
    there are (0: none), ``context`` the width of its text embeddings (0: none), ``range`` where
    the data lie (None: they are latents), ``levels`` the σ/α trained on where known.
    """

    architecture: str
    arguments: dict[str, Any]
    predicts: str
    schedule: dict[str, Any]
    shape: tuple[int, int, int]
    range: tuple[float, float] | None
    classes: int = 0
    context: int = 0
    label: dict[str, Any] = field(default_factory=dict)
    levels: tuple[float, float | None] = (0.0, None)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture: got {self.architecture!r}; {', '.join(ARCHITECTURES)} are allowed"
            )
        if self.predicts not in PREDICTS:
            raise ValueError(f"predicts: got {self.predicts!r}; {', '.join(PREDICTS)} are allowed")
        if (self.predicts == "denoised") != (self.architecture in SCALED):
            raise ValueError(
                f'predicts: got {self.predicts!r} of {self.architecture}; "denoised" is allowed'
                f" for {', '.join(SCALED)} alone"
            )
        for name, value in self.arguments.items():
            _bounded(name, value)
        Label(**self.label)
        for name, (holds, allowed) in FACTS.items():
            if not holds(getattr(self, name)):
                raise ValueError(f"{name}: got {getattr(self, name)!a}; {allowed} is allowed")

    def written(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def make(self) -> nn.Module:
        """The module with weights drawn from torch's generator.

        Raises:
            ValueError: arguments that the architecture does not take.
        """
        try:
            return ARCHITECTURES[self.architecture](**self.arguments)
        except REFUSALS as error:
            reason = str(error).partition("\n")[0]
        raise ValueError(f"arguments: {self.architecture} does not take them ({reason})")

    def shapes(self) -> nn.Module:
        """The module without memory."""
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return self.make()

    def build(self, state: Mapping[str, Any]) -> nn.Module:
        """The module with these weights, for evaluation.

        Raises:
            ValueError: a name, shape or type that does not fit, or a number that is not finite.
        """
        wanted = self.shapes().state_dict()
        for name in sorted(wanted.keys() - state.keys()):
            raise ValueError(f"weights: got no {name}; {list(wanted[name].shape)} is needed")
        for name in sorted(state.keys() - wanted.keys()):
            raise ValueError(f"weights: got {name!a}; {self.architecture} has none such")
        for name, given in state.items():
            _fits(name, given, wanted[name])
        with torch.random.fork_rng(devices=[]):
            module = self.make()
        module.load_state_dict(dict(state))
        return module.eval().requires_grad_(False)

    def denoiser(
        self,
        module: nn.Module,
        *,
        label: int | Tensor | None = None,
        context: Tensor | None = None,
    ) -> Denoiser:
        """Noise and data predictions of the module.

        Args:
            module: what ``build`` made, in any floating dtype and on any device.
            label: a class for all samples, or int64 (B,), one a sample of the batches that the
                denoiser is asked about. None: no class, which is the unconditional model where
                the network has one (EDM's), and refused where it has not.
            context: text embeddings (1, L, C) for all samples or (B, L, C), where C is
                ``self.context``. Networks of text need them: the unconditional model of
                guidance is the embedding of the empty text.

        Raises:
            ValueError: a class or text that the network does not take, or none where it needs one.
        """
        if label is not None:
            asked = classes(label, self.classes)
            condition = cast(Any, module).of(asked)
        elif context is not None:
            condition = texts(context, self.context)
        elif self.context:
            raise ValueError(f"context: got None; floats [B, L, {self.context}] are allowed")
        elif getattr(module, "needs_class", False):
            raise ValueError(f"label: got None; 0 to {self.classes - 1} is allowed")
        else:
            condition = None
        net = Conditioned(module, self.shape, condition)
        if self.predicts == "denoised":
            return Learned(net)
        s = recalled(self.schedule)
        map_time = Label(**self.label).of_schedule(s)
        return Network(net, cast(Predicts, self.predicts), s, map_time)


def _bounded(name: str, value: Any) -> None:
    """Counts and lists of a size that networks have; None, numbers, strings or lists of them."""
    if isinstance(value, list | tuple):
        if len(value) > LONGEST:
            raise ValueError(f"{name}: got {len(value)} entries; at most {LONGEST} are allowed")
        for v in value:
            _bounded(name, v)
    elif not isinstance(value, str | int | float | type(None)):
        raise ValueError(f"{name}: got a {type(value).__name__}; a plain value is allowed")
    most = LIMITS.get(name, LARGEST)
    if isinstance(value, int | float) and not abs(value) <= most:
        raise ValueError(f"{name}: got {value}; at most {most} is allowed")


def _fits(name: str, given: Any, wanted: Tensor) -> None:
    if not isinstance(given, Tensor) or given.shape != wanted.shape:
        got = list(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise ValueError(f"weights.{name}: got {got}; {list(wanted.shape)} is allowed")
    if given.is_floating_point() != wanted.is_floating_point():
        raise ValueError(f"weights.{name}: got {given.dtype}; {wanted.dtype} is allowed")
    if not bool(given.isfinite().all()):
        raise ValueError(f"weights.{name}: got a number that is not finite")
