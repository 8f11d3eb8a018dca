"""Networks from what ``stored.read`` found: records of EDM, weights of score_sde, ADM and DDIM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from experiments.checkpoints.checkpoint import Checkpoint
from experiments.checkpoints.configured import configured, count
from experiments.checkpoints.pickles import Record
from experiments.checkpoints.preconditioned import PRECONDITIONED
from experiments.checkpoints.schedules import written
from solvers.schedules import EDM

FLAT = {"ADM": "input_blocks.0.0.weight", "DDIM": "temb.dense.0.weight"}
"""Architectures whose files are weights by name, and one such name."""

DEEPEST, MOST = 12, 20_000
"""Levels of modules and number of tensors that are looked at."""


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
    side, channels = (count(given, k) for k in ("img_resolution", "img_channels"))
    low, high = (record.state.get(k) for k in ("sigma_min", "sigma_max"))
    top = float(high) if isinstance(high, int | float) and math.isfinite(high) else None
    return Checkpoint(
        architecture=record.name,
        arguments={k: v for k, v in given.items() if k not in ("sigma_min", "sigma_max")},
        predicts="denoised",
        schedule=written(EDM()),
        shape=(channels, side, side),
        range=(-1.0, 1.0),
        classes=count(given, "label_dim", 0),
        levels=(float(low) if isinstance(low, int | float) else 0.0, top),
    ), dict(_tensors(record, ""))


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
    about = configured(config, "ScoreSDE")
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


def named(found: Any) -> dict[str, Any]:
    """What a file holds by name; of a DDIM training's list, its moving average."""
    ddim = type(found) is list and len(found) == 5
    held = found[4] if ddim else found
    if type(held) is not dict:
        return {}
    return {k.removeprefix("module.") if type(k) is str else k: v for k, v in held.items()}


def network(found: Any, config: str | Mapping[str, Any] | None) -> tuple[Checkpoint, dict]:
    """The network in what a file holds: the moving average where there is one.

    Raises:
        ValueError: none that is known, or a configuration for a file that has its own.
    """
    held = named(found)
    record = next((held[k] for k in ("ema", "net") if type(held.get(k)) is Record), found)
    if type(record) is Record and config is not None:
        raise ValueError(
            f"config: got {config!r}; a pickle of EDM has its own, so none is allowed"
        )
    if type(record) is Record:
        return edm(record)
    if "model" in held and "ema" in held:
        return score_sde(held, config)
    for architecture, name in FLAT.items():
        if name in held:
            return configured(config, architecture), held
    raise ValueError(
        f"FILE: got {ascii(sorted(map(str, held)))[:80]}; EDM's ema or net, score_sde's model and"
        f" ema, or weights by name with {' or '.join(FLAT.values())}, are allowed"
    )


def size(state: Mapping[str, Any]) -> int:
    """Bytes of all tensors."""
    return sum(v.nbytes for v in state.values() if isinstance(v, Tensor))
