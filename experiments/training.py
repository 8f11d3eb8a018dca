"""What decides a training, and the network that it begins with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from experiments.backbones import built, config_of
from experiments.datamodules import Part, Pictures, pictures
from experiments.networks import LogNormal, Preconditioned, Scaling
from experiments.residual import GaussianScaling
from experiments.targets import TARGETS
from gaussian_score.eigenbasis import truncated
from gaussian_score.moments import Moments
from gaussian_score.streaming import stream

RANK = 256
"""Eigenvectors of the data that D_G keeps at most; the rest shares one variance."""
WIDEST = 4096
"""Numbers an image up to which the residual's covariance is diagonalised."""
BACKBONES = ("mlp", "unet")


@dataclass(frozen=True)
class Training:
    """Everything that the trained weights depend on besides the pixels and the machine.

    Attributes:
        data: "digits", "fashion", or the path of pictures; see `datamodules`.
        images: how many are shown in all, counting repetitions.
        batch: images in a gradient step.
        seed: of the weights and all draws.
        target: what the backbone predicts, a key of `targets.TARGETS`.
        residual: "gaussian", see `residual`, or None.
        floor: the smallest variance that it takes a direction of the data to have; the default is
            about the rounding variance of 17 grey levels in [-1, 1].
        backbone: "mlp" or "unet".
        widths, depth: of the backbone; see `backbones.config_of`.
        labels: whether classes are given to it, where the data have them.
        dropout: the share of images whose class is hidden, for guidance.
        rate: Adam's largest; it rises over ``warm_up`` images and falls to zero with a cosine.
        half_life: of a step's share in the averaged weights, in images; at most ``ramp`` times
            the images seen, so that an average of a young network forgets its start.
        clip: the largest norm of a gradient.
        level_mean, level_deviation: log σ ~ N(mean, deviation²).
        pad: Fashion-MNIST in 32 x 32.
        every: images between two rows of the curve, each with a state to resume from.

    Raises:
        ValueError: a number outside its set, or a combination that means nothing.
    """

    data: str
    images: int
    batch: int = 128
    seed: int = 0
    target: str = "edm"
    residual: str | None = None
    floor: float = 1e-3
    backbone: str = "mlp"
    widths: tuple[int, ...] = (128,)
    depth: int = 2
    labels: bool = True
    dropout: float = 0.1
    rate: float = 2e-3
    warm_up: int = 10_000
    half_life: int = 50_000
    ramp: float = 0.05
    clip: float = 1.0
    level_mean: float = -0.8
    level_deviation: float = 1.4
    pad: bool = False
    every: int = 10_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        least = {"images": 1, "batch": 1, "seed": 0, "depth": 1, "warm_up": 1, "half_life": 1}
        for name, value in {**least, "every": 1}.items():
            _integer(name, getattr(self, name), value)
        for width in self.widths or (0,):
            _integer("widths", width, 1)
        for name in ("rate", "ramp", "clip", "level_deviation"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name}: got {getattr(self, name)}; a number > 0 is allowed")
        if not 0 <= self.floor < math.inf:
            raise ValueError(f"floor: got {self.floor}; a finite number >= 0 is allowed")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: got {self.dropout}; a number from 0 to below 1 is allowed")
        for name, allowed in {"target": TARGETS, "backbone": BACKBONES}.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}: got {getattr(self, name)!r}; {', '.join(allowed)} are allowed"
                )
        if self.residual not in (None, "gaussian"):
            raise ValueError(f"residual: got {self.residual!r}; gaussian or nothing is allowed")
        if self.residual and self.target != "edm":
            raise ValueError(
                f"target: got {self.target!r}; with residual {self.residual!r} edm is allowed"
            )

    @classmethod
    def suited(cls, data: str, images: int, **options: Any) -> Training:
        """With the backbone that fits the data, where it is not among the options.

        digits: the MLP; else the UNet of 1.1 million weights on 28 x 28, with its rate and batch.
        """
        mlp = options.get("backbone", "mlp" if data == "digits" else "unet") == "mlp"
        fit: dict[str, Any] = {"backbone": "mlp" if mlp else "unet"}
        if not mlp:
            fit |= {"widths": (32, 64, 64), "depth": 1, "rate": 1e-3, "batch": 128}
        fit["every"] = max(1, images // 25)
        return cls(data, images, **(fit | options))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Training:
        """The training of `to_json`.

        Raises:
            ValueError: keys are missing or unknown, or a value has another type.
        """
        known = {f.name for f in fields(cls)}
        if not isinstance(value, Mapping) or set(value) != known:
            raise ValueError(f"training: the keys {', '.join(sorted(known))} are allowed")
        try:
            return cls(**value)
        except TypeError as error:
            raise ValueError(f"training: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"widths": list(self.widths)}

    @property
    def steps(self) -> int:
        """Gradient steps in all."""
        return -(-self.images // self.batch)

    @property
    def levels(self) -> LogNormal:
        """What noise levels are drawn from."""
        return LogNormal(self.level_mean, self.level_deviation)

    def module(self) -> Pictures:
        """The data, not yet read."""
        return pictures(self.data, pad=self.pad)

    def config(self, data: Pictures) -> dict[str, Any]:
        """The content of config.json."""
        classes = len(data.names) if self.labels else 0
        sizes: dict[str, Any] = {"widths": self.widths, "depth": self.depth}
        return config_of(self.backbone, data.shape, classes=classes, **sizes)

    def rate_at(self, step: int) -> float:
        """rate · min(1, seen/warm_up) · (1 + cos(π step/steps))/2."""
        rise = min(1.0, (step + 1) * self.batch / self.warm_up)
        return self.rate * rise * (1 + math.cos(math.pi * step / self.steps)) / 2

    def memory_at(self, step: int) -> float:
        """β of a ← β a + (1 − β) w after step: 2^{−batch/H}, H = min(half_life, ramp · seen)."""
        seen = (step + 1) * self.batch
        return 2 ** (-self.batch / min(self.half_life, self.ramp * seen))


def moments_of(part: Part) -> Moments:
    """Mean and covariance of the images in [-1, 1], cut to RANK eigenvectors and a floor.

    Raises:
        ValueError: images of more than WIDEST numbers.
    """
    dim = part.pixels[0].numel()
    if dim > WIDEST:
        raise ValueError(
            f"residual: images have {dim} numbers; at most {WIDEST} are allowed with gaussian"
        )
    blocks = ((part[i : i + 4096][0]).numpy() for i in range(0, len(part), 4096))
    found = stream(blocks)
    return truncated(found, RANK) if found.rank > RANK else found


def network(
    training: Training,
    config: Mapping[str, Any],
    deviation: float,
    moments: Moments | None,
) -> Preconditioned:
    """D(x, σ, labels) with the weights that the seed draws."""
    scaling: Scaling = TARGETS[training.target](deviation)
    if moments is not None:
        scaling = GaussianScaling(moments, training.floor)
    return Preconditioned(built(config, seed=training.seed), scaling)


def _integer(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: got {value!r}; an integer >= {least} is allowed")
