"""Networks from configurations: files of weights alone do not say which network they are of.

    score_sde    the tree of ``config.to_dict()``: data, model and training
    ADM          the flags of the authors' scripts: image_size, num_channels, ..
    DDIM         the tree of its YAML files: data, model and diffusion

each by a published name, as a JSON file or as its values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.checkpoints.checkpoint import Checkpoint
from experiments.checkpoints.published import SCORE_SDE
from experiments.checkpoints.published_adm import DDIM, FLAGS
from experiments.checkpoints.safe import parsed
from experiments.checkpoints.schedules import Label, cosine, written
from solvers.schedules import VE, DDPMDiscrete, Schedule, SubVP, VPLinear, check_parameters

TRAINING_ONLY = frozenset(
    "ema ema_rate var_type dropout init_scale attention_type conv_size beta_min beta_max"
    " sigma_begin".split()
)
"""Settings of score_sde's and DDIM's ``model`` that do not change the network."""

OF_DIFFUSION = frozenset(
    "class_cond channel_mult attention_resolutions diffusion_steps noise_schedule predict_xstart"
    " rescale_timesteps rescale_learned_sigmas timestep_respacing use_kl dropout use_checkpoint"
    " use_fp16".split()
)
"""Flags of ADM that are no arguments of the network as they stand."""

WIDTHS: dict[int, list[float]] = {
    32: [1, 2, 2, 2],
    64: [1, 2, 3, 4],
    128: [1, 1, 2, 3, 4],
    256: [1, 1, 2, 2, 4, 4],
    512: [0.5, 1, 1, 2, 2, 4, 4],
}
"""ADM's channel_mult by the side of an image."""

CLASSES = 1000
"""Of guided-diffusion's networks with classes."""


def configured(
    config: str | Mapping[str, Any] | None, architecture: str | None = None
) -> Checkpoint:
    """The network of a published name, a JSON file or a configuration's values.

    Raises:
        ValueError: none that is known, or one of another ``architecture`` than the file's.
    """
    if isinstance(config, str) and config in PUBLISHED:
        tree: Any = PUBLISHED[config]
    elif isinstance(config, str) and config.endswith(".json"):
        try:
            tree = parsed(Path(config).read_text())
        except (OSError, ValueError, RecursionError):
            raise ValueError(f"config: got {config!r}; a JSON file is allowed") from None
    else:
        tree = config
    for name, kind in KINDS.items():
        if architecture in (None, name) and kind.of(tree):
            return kind.read(tree)
    got = repr(config) if isinstance(config, str) else type(config).__name__
    kinds = [kind for name, kind in KINDS.items() if architecture in (None, name)]
    allowed = "; ".join(f"{', '.join(k.names)}, or JSON with {', '.join(k.keys)}" for k in kinds)
    raise ValueError(
        f"config: got {got}; this file does not say its network: one of {allowed}, is allowed"
    )


def _score_sde(tree: Mapping[str, Any]) -> Checkpoint:
    data, model, training = (tree[k] for k in ("data", "model", "training"))
    side, channels = count(data, "image_size"), count(data, "num_channels")
    arguments = {k: v for k, v in model.items() if k not in TRAINING_ONLY}
    arguments |= {k: data.get(k) for k in ("image_size", "num_channels", "centered")}
    s, predicts, label = _process(training, model)
    return Checkpoint(
        architecture="ScoreSDE",
        arguments=arguments,
        predicts=predicts,
        schedule=written(s),
        shape=(channels, side, side),
        range=(-1.0, 1.0) if data.get("centered") else (0.0, 1.0),
        label={"of": label.of, "scale": label.scale, "offset": label.offset},
    )


def _process(training: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[Schedule, str, Label]:
    """Schedule, prediction and label of the three processes, in discrete or continuous time."""
    sde, continuous = training.get("sde"), training.get("continuous")
    low, high = (float(model.get(k, v)) for k, v in (("beta_min", 0.1), ("beta_max", 20.0)))
    steps = count(model, "num_scales", 1000)
    if type(continuous) is not bool:
        raise ValueError(f"training.continuous: got {continuous!r}; true or false is allowed")
    if sde == "vesde":
        ends = (float(model.get(k, v)) for k, v in (("sigma_min", 0.01), ("sigma_max", 50.0)))
        # In discrete time the labels count down from the noisiest level.
        label = Label("sigma") if continuous else Label(scale=1.0 - steps, offset=steps - 1.0)
        return VE(*ends), "score", label
    if sde == "subvpsde":
        return SubVP(low, high), "noise", Label(scale=999.0)
    if sde == "vpsde" and continuous:
        return VPLinear(low, high), "noise", Label(scale=999.0)
    if sde == "vpsde":
        return DDPMDiscrete(low / steps, high / steps, steps), "noise", Label()
    raise ValueError(f"training.sde: got {sde!r}; vpsde, subvpsde, vesde are allowed")


def _adm(flags: Mapping[str, Any]) -> Checkpoint:
    """The network of flags; what they leave out has the authors' defaults."""
    side, steps = count(flags, "image_size"), count(flags, "diffusion_steps", 1000)
    kind = flags.get("noise_schedule", "linear")
    if kind == "cosine":
        s = cosine(steps)
    elif kind == "linear":
        scale = 1000 / max(steps, 1)
        s = check_parameters(DDPMDiscrete(1e-4 * scale, 0.02 * scale, steps))
    else:
        raise ValueError(f"noise_schedule: got {kind!r}; linear, cosine are allowed")
    widths = _list(flags, "channel_mult") or WIDTHS.get(side)
    if widths is None:
        raise ValueError(f"channel_mult: got none for image_size {side}; a list is allowed")
    arguments = {k: v for k, v in flags.items() if k not in OF_DIFFUSION}
    arguments |= {
        "channel_mult": [float(w) for w in widths],
        "attention_resolutions": _list(flags, "attention_resolutions") or [16, 8],
        "num_classes": CLASSES if flags.get("class_cond") else 0,
    }
    return Checkpoint(
        architecture="ADM",
        arguments=arguments,
        predicts="data" if flags.get("predict_xstart") else "noise",
        schedule=written(s),
        shape=(3, side, side),
        range=(-1.0, 1.0),
        classes=arguments["num_classes"],
        label={"scale": 1000 / steps if flags.get("rescale_timesteps") else 1.0},
    )


def _ddim(tree: Mapping[str, Any]) -> Checkpoint:
    data, model, diffusion = (tree[k] for k in ("data", "model", "diffusion"))
    kind, low, high = (diffusion.get(f"beta_{k}") for k in ("schedule", "start", "end"))
    if kind != "linear":
        raise ValueError(f"diffusion.beta_schedule: got {kind!r}; linear is allowed")
    s = check_parameters(DDPMDiscrete(low, high, count(diffusion, "num_diffusion_timesteps")))
    side = count(data, "image_size")
    arguments = {k: v for k, v in model.items() if k not in TRAINING_ONLY}
    return Checkpoint(
        architecture="DDIM",
        arguments=arguments | {"image_size": side},
        predicts="noise",
        schedule=written(s),
        shape=(count(data, "channels"), side, side),
        range=(-1.0, 1.0) if data.get("rescaled") else (0.0, 1.0),
    )


def _list(flags: Mapping[str, Any], name: str) -> list[Any]:
    """Numbers of "1,2,3" or of a list."""
    value = flags.get(name) or []
    parts = value.split(",") if isinstance(value, str) else value
    try:
        return [float(p) if "." in str(p) else int(p) for p in parts]
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {value!r}; numbers like 32,16,8 are allowed") from None


def count(values: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A whole number of a configuration; ``ValueError`` for anything else."""
    value = values.get(name, default)
    if type(value) is not int or not 0 <= value <= 1_000_000:
        raise ValueError(f"{name}: got {ascii(value)[:40]}; a count is allowed")
    return value


@dataclass(frozen=True)
class Kind:
    """Configurations of one architecture: the keys that tell them, published names, the reader."""

    keys: tuple[str, ...]
    names: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Checkpoint]
    trees: bool = True

    def of(self, tree: Any) -> bool:
        """Whether a configuration is of this kind."""
        if not isinstance(tree, Mapping):
            return False
        return all(k in tree and isinstance(tree[k], Mapping) == self.trees for k in self.keys)


KINDS = {
    "ScoreSDE": Kind(("data", "model", "training"), tuple(SCORE_SDE), _score_sde),
    "ADM": Kind(("image_size", "num_channels"), tuple(FLAGS), _adm, trees=False),
    "DDIM": Kind(("data", "model", "diffusion"), tuple(DDIM), _ddim),
}
PUBLISHED: dict[str, Mapping[str, Any]] = {**SCORE_SDE, **FLAGS, **DDIM}
"""All configurations that have a name."""
