"""diffusers' folders: a pipeline (unet/, scheduler/) or a model beside its scheduler's file.

UNet2DModel and UNet2DConditionModel (text embeddings, as in Stable Diffusion) are read, from one
file of weights or from an index and its shards. What their numbers mean is said by the scheduler's
configuration:

    DDPM, DDIM, PNDM, ..       β at whole times; noise, data or v
    ScoreSdeVeScheduler        VE, the network sees σ(t) and gives the score
    EDMEulerScheduler          D(x, σ) in EDM's scaling
    FlowMatch..Scheduler       velocity x' of the rectified flow, label steps · t

A published model file from before 2023 names its attention layers otherwise; they are renamed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from experiments.checkpoints import shards
from experiments.checkpoints.checkpoint import Checkpoint
from experiments.checkpoints.safe import parsed, weights
from experiments.checkpoints.schedules import Label, cosine, tabulated, written
from experiments.checkpoints.stored import read
from solvers.schedules import EDM, VE, DDPMDiscrete, Flow, Schedule, check_parameters

DISCRETE = frozenset(
    f"{name}Scheduler"
    for name in (
        "DDPM DDPMParallel DDIM DDIMParallel DDIMInverse PNDM DPMSolverMultistep"
        " DPMSolverSinglestep DPMSolverMultistepInverse DPMSolverSDE UniPCMultistep DEISMultistep"
        " EulerDiscrete EulerAncestralDiscrete HeunDiscrete LMSDiscrete KDPM2Discrete"
        " KDPM2AncestralDiscrete SASolver LCM"
    ).split()
)

KINDS = {"epsilon": "noise", "sample": "data", "v_prediction": "v"}

FORMER = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}

NAME = "diffusion_pytorch_model"
INDICES = (f"{NAME}.safetensors.index.json", "model.safetensors.index.json")

MODELS = ("UNet2DModel", "UNet2DConditionModel")
AUTOENCODERS = ("vae", "vqvae", "movq")
"""Folders beside a network's whose presence says that it works on latents."""


def folder(path: Path) -> tuple[Checkpoint, dict[str, Any], tuple[Path, ...]]:
    """What a folder holds, and its files of weights.

    Raises:
        ValueError: a file is missing or damaged, another class, or a setting that is not known.
    """
    home = path / "unet" if (path / "model_index.json").exists() else path
    config = json_object(home / "config.json")
    if config.get("_class_name") not in MODELS:
        raise ValueError(
            f"architecture: got {config.get('_class_name')!r} in {str(home)!r};"
            f" {', '.join(MODELS)} are allowed"
        )
    state, files = _weights(home)
    about = describe(config, _scheduler(path, home))
    if any((home.parent / name).is_dir() for name in AUTOENCODERS):
        about = replace(about, range=None)
    return about, {f"model.{_renamed(k)}": v for k, v in state.items()}, files


def _weights(home: Path) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """The tensors of a model's folder: one file, or an index and its shards."""
    index = next((f for n in INDICES if (f := home / n).exists()), None)
    if index is not None and not (home / f"{NAME}.safetensors").exists():
        state, parts = shards.weights(index, json_object(index))
        return state, (index, *parts)
    file = next((f for e in ("safetensors", "bin") if (f := home / f"{NAME}.{e}").exists()), None)
    if file is None:
        raise ValueError(f"FILE: got {str(home)!r} without {NAME}.safetensors; it is needed")
    state = weights(file) if file.suffix == ".safetensors" else read(file)
    if type(state) is not dict or not all(type(k) is str for k in state):
        raise ValueError(f"FILE: got {str(file)!r}; tensors by name are allowed")
    return state, (file,)


def _scheduler(path: Path, home: Path) -> dict[str, Any]:
    places = (path / "scheduler", path, home.parent / "scheduler")
    for place in places:
        if (file := place / "scheduler_config.json").exists():
            return json_object(file)
    raise ValueError(
        f"FILE: got {str(path)!r} without scheduler_config.json, which says what the network"
        " predicts; in the folder or in scheduler/ is allowed"
    )


def json_object(file: Path) -> dict[str, Any]:
    """A file's JSON object; ``ValueError`` for anything else."""
    try:
        value = parsed(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"FILE: got {str(file)!r} ({error.strerror}); it is needed") from None
    except (ValueError, RecursionError):
        raise ValueError(f"FILE: got {str(file)!r}; a JSON object is allowed") from None
    if type(value) is not dict:
        raise ValueError(f"FILE: got {str(file)!r}; a JSON object is allowed")
    return value


def _renamed(key: str) -> str:
    for former, now in FORMER.items():
        key = key.replace(former, now)
    return key


def describe(config: dict[str, Any], scheduler: dict[str, Any]) -> Checkpoint:
    """The network of a model's and a scheduler's configuration.

    Raises:
        ValueError: a setting that is not known.
    """
    arguments = {k: v for k, v in config.items() if not k.startswith("_")}
    shape = _shape(arguments.get("in_channels", 3), arguments.get("sample_size"))
    name, architecture = scheduler.get("_class_name"), config.get("_class_name", "UNet2DModel")
    text = architecture == "UNet2DConditionModel"
    levels = (0.0, None)
    label = Label()
    if name == "ScoreSdeVeScheduler":
        ends = (scheduler.get(k, v) for k, v in (("sigma_min", 0.01), ("sigma_max", 1348.0)))
        s, predicts, label = check_parameters(VE(*ends)), "score", Label("sigma")
    elif name == "EDMEulerScheduler" and not text:
        s, predicts, architecture = EDM(), "denoised", "ScaledUNet2DModel"
        arguments |= {k: scheduler[k] for k in ("sigma_data", "prediction_type") if k in scheduler}
        arguments.setdefault("sigma_data", 0.5)
        levels = (scheduler.get("sigma_min", 0.002), scheduler.get("sigma_max", 80.0))
    elif name in ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"):
        s, predicts = Flow(), "velocity"
        label = Label(scale=float(_times(scheduler)))
    elif name in [*DISCRETE]:
        s, kind = discrete(scheduler), scheduler.get("prediction_type", "epsilon")
        if kind not in [*KINDS]:
            raise ValueError(f"prediction_type: got {kind!r}; {', '.join(KINDS)} are allowed")
        predicts = KINDS[kind]
    else:
        allowed = ", ".join(sorted(DISCRETE | {"EDMEulerScheduler", "ScoreSdeVeScheduler"}))
        raise ValueError(f"scheduler: got {name!r}; {allowed}, FlowMatch.. are allowed")
    return Checkpoint(
        architecture=architecture,
        arguments=arguments,
        predicts=predicts,
        schedule=written(s),
        shape=shape,
        range=(0.0, 1.0) if arguments.get("center_input_sample") else (-1.0, 1.0),
        classes=0 if text else arguments.get("num_class_embeds") or 0,
        context=_width(arguments.get("cross_attention_dim", 1280)) if text else 0,
        label={"of": label.of, "scale": label.scale, "offset": label.offset},
        levels=levels,
    )


def _shape(channels: Any, side: Any) -> tuple[int, int, int]:
    sides = side if isinstance(side, list | tuple) else (side, side)
    if len(sides) != 2 or not all(type(n) is int and n > 0 for n in (channels, *sides)):
        raise ValueError(
            f"sample_size, in_channels: got {side!r}, {channels!r}; counts are allowed"
        )
    return channels, sides[0], sides[1]


def _width(value: Any) -> int:
    """Of text embeddings; one number for all blocks."""
    widths = set(value) if isinstance(value, list | tuple) else {value}
    if len(widths) != 1 or type(width := widths.pop()) is not int or width < 1:
        raise ValueError(f"cross_attention_dim: got {value!r}; a count is allowed")
    return width


def _times(scheduler: dict[str, Any]) -> int:
    """How many there are in training."""
    steps = scheduler.get("num_train_timesteps", 1000)
    if type(steps) is not int or steps < 1:
        raise ValueError(f"num_train_timesteps: got {steps!r}; a count is allowed")
    return steps


def discrete(scheduler: dict[str, Any]) -> Schedule:
    """β of a scheduler's configuration: even, even in √β, from cos², or a list.

    Raises:
        ValueError: another rule, or an ᾱ that is brought to zero.
    """
    if scheduler.get("rescale_betas_zero_snr"):
        raise ValueError("rescale_betas_zero_snr: got true; false is allowed")
    steps = _times(scheduler)
    low, high = scheduler.get("beta_start", 1e-4), scheduler.get("beta_end", 0.02)
    even = check_parameters(DDPMDiscrete(low, high, steps))
    kind, given = scheduler.get("beta_schedule", "linear"), scheduler.get("trained_betas")
    if given is not None:
        return tabulated(given)
    if kind == "linear":
        return even
    if kind == "scaled_linear":
        roots = torch.linspace(low**0.5, high**0.5, steps, dtype=torch.float64)
        return tabulated(roots.square().tolist())
    if kind == "squaredcos_cap_v2":
        return cosine(steps)
    raise ValueError(
        f"beta_schedule: got {kind!r}; linear, scaled_linear, squaredcos_cap_v2 are allowed"
    )
