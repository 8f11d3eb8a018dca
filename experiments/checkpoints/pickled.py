"""Networks from what ``stored.read`` found: EDM's records and score_sde's dictionaries."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from experiments.checkpoints.checkpoint import Checkpoint
from experiments.checkpoints.pickles import Record
from experiments.checkpoints.preconditioned import PRECONDITIONED
from experiments.checkpoints.published import PUBLISHED
from experiments.checkpoints.schedules import Label, written
from solvers.schedules import EDM, VE, DDPMDiscrete, Schedule, SubVP, VPLinear

DEEPEST, MOST = 12, 20_000
"""Levels of modules and number of tensors that are looked at."""

TRAINING_ONLY = frozenset(
    "ema_rate dropout init_scale attention_type conv_size beta_min beta_max sigma_begin".split()
)
"""Settings of score_sde's ``model`` that do not change the network."""


def edm(record: Record) -> tuple[Checkpoint, dict[str, Any]]:
    """A preconditioned network as EDM's ``persistence`` wrote it.

    Raises:
        ValueError: another class, or an object without its arguments.
    """
    if record.name not in PRECONDITIONED:
        raise ValueError(
            f"architecture: got {record.name!a}; {', '.join(PRECONDITIONED)} are allowed"
        )
    given, plain = (record.state.get(k) for k in ("_init_kwargs", "_init_args"))
    if type(given) is not dict or plain != () or not all(type(k) is str for k in given):
        raise ValueError("arguments: got none by name; an EDM network keeps its own")
    side, channels = (_count(given, k) for k in ("img_resolution", "img_channels"))
    low, high = (record.state.get(k) for k in ("sigma_min", "sigma_max"))
    top = float(high) if isinstance(high, int | float) and math.isfinite(high) else None
    return Checkpoint(
        architecture=record.name,
        arguments={k: v for k, v in given.items() if k not in ("sigma_min", "sigma_max")},
        predicts="denoised",
        schedule=written(EDM()),
        shape=(channels, side, side),
        range=(-1.0, 1.0),
        classes=_count(given, "label_dim", 0),
        levels=(float(low) if isinstance(low, int | float) else 0.0, top),
    ), dict(_tensors(record, ""))


def _count(values: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = values.get(name, default)
    if type(value) is not int or not 0 <= value <= 1_000_000:
        raise ValueError(f"{name}: got {ascii(value)[:40]}; a count is allowed")
    return value


def _tensors(record: Any, prefix: str, depth: int = 0, seen: list[int] | None = None) -> Iterator:
    """(name, tensor) of all parameters and buffers, as a state dict names them."""
    seen = [0] if seen is None else seen
    if type(record) is not Record or depth > DEEPEST:
        raise ValueError("weights: got modules that are none, or too many within each other")
    parts = {k: record.state.get(k, {}) for k in ("_parameters", "_buffers", "_modules")}
    if not all(type(v) is dict and all(type(k) is str for k in v) for v in parts.values()):
        raise ValueError("weights: got a module without its parts by name")
    for name, value in (*parts["_parameters"].items(), *parts["_buffers"].items()):
        if value is not None:
            yield prefix + name, value
    for name, part in parts["_modules"].items():
        seen[0] += 1
        if seen[0] > MOST:
            raise ValueError(f"weights: got more than {MOST} modules")
        if part is not None:
            yield from _tensors(part, f"{prefix}{name}.", depth + 1, seen)


def score_sde(found: Any, config: str | Mapping[str, Any] | None) -> tuple[Checkpoint, dict]:
    """The moving average of a training checkpoint, with its configuration.

    Raises:
        ValueError: no or an unknown configuration, or weights that do not fit it.
    """
    about = configured(config)
    model, ema = (found.get(k) for k in ("model", "ema"))
    shadow = ema.get("shadow_params") if type(ema) is dict else None
    if type(model) is not dict or type(shadow) is not list:
        raise ValueError("FILE: got no model and ema.shadow_params; score_sde's .pth has both")
    state = {str(k).removeprefix("module."): v for k, v in model.items()}
    trained = {n for n, p in about.shapes().named_parameters() if p.requires_grad}
    names = [n for n in state if n in trained]
    if len(names) != len(shadow) or len(names) != len(trained):
        raise ValueError(
            f"weights: got {len(shadow)} moving averages; {len(trained)} are allowed"
            f" for this configuration"
        )
    return about, state | dict(zip(names, shadow, strict=True))


def configured(config: str | Mapping[str, Any] | None) -> Checkpoint:
    """The network of a published name, a JSON file or a configuration's values."""
    if isinstance(config, str) and config in PUBLISHED:
        tree: Any = PUBLISHED[config]
    elif isinstance(config, str) and config.endswith(".json"):
        try:
            tree = json.loads(Path(config).read_text())
        except (OSError, ValueError):
            raise ValueError(f"config: got {config!r}; a JSON file is allowed") from None
    else:
        tree = config
    whole = tree if isinstance(tree, Mapping) else {}
    data, model, training = (whole.get(k) for k in ("data", "model", "training"))
    if not (
        isinstance(data, Mapping) and isinstance(model, Mapping) and isinstance(training, Mapping)
    ):
        got = repr(config) if isinstance(config, str) else type(config).__name__
        raise ValueError(
            f"config: got {got}; a .pth does not say its network: one of {', '.join(PUBLISHED)},"
            " or a JSON file with its data, model and training, is allowed"
        )
    side, channels = _count(data, "image_size"), _count(data, "num_channels")
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
    count = _count(model, "num_scales", 1000)
    if type(continuous) is not bool:
        raise ValueError(f"training.continuous: got {continuous!r}; true or false is allowed")
    if sde == "vesde":
        ends = (float(model.get(k, v)) for k, v in (("sigma_min", 0.01), ("sigma_max", 50.0)))
        # In discrete time the labels count down from the noisiest level.
        label = Label("sigma") if continuous else Label(scale=1.0 - count, offset=count - 1.0)
        return VE(*ends), "score", label
    if sde == "subvpsde":
        return SubVP(low, high), "noise", Label(scale=999.0)
    if sde == "vpsde" and continuous:
        return VPLinear(low, high), "noise", Label(scale=999.0)
    if sde == "vpsde":
        return DDPMDiscrete(low / count, high / count, count), "noise", Label()
    raise ValueError(f"training.sde: got {sde!r}; vpsde, subvpsde, vesde are allowed")


def network(found: Any, config: str | Mapping[str, Any] | None) -> tuple[Checkpoint, dict]:
    """The network in what a file holds: the moving average where there is one.

    Raises:
        ValueError: none that is known, or a configuration for a file that has its own.
    """
    held = found if type(found) is dict else {}
    record = next((held[k] for k in ("ema", "net") if type(held.get(k)) is Record), found)
    if type(record) is Record and config is not None:
        raise ValueError(
            f"config: got {config!r}; a pickle of EDM has its own, so none is allowed"
        )
    if type(record) is Record:
        return edm(record)
    if "model" in held and "ema" in held:
        return score_sde(held, config)
    raise ValueError(
        f"FILE: got {ascii(sorted(map(str, held)))[:80]}; EDM's ema or net, or score_sde's model"
        " and ema, are allowed"
    )


def size(state: Mapping[str, Any]) -> int:
    """Bytes of all tensors."""
    return sum(v.nbytes for v in state.values() if isinstance(v, Tensor))
