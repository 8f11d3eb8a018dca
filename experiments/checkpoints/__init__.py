"""Networks of others, read without running anything of theirs.

    network(path)         the module of EDM's .pkl, score_sde's .pth, ADM's .pt, DDIM's .ckpt, of
                          galaxies' .eqx, of diffusers' folders and those of ``convert``, and
                          what it is
    load(path)            the same with its denoiser
    convert(file, out)    the same as a folder of model.safetensors and config.json

A checkpoint from elsewhere is data: see ``pickles`` for how pickles are read, ``checkpoint`` for
what is built from it. Every refusal is one ``ValueError`` of one line.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from experiments.checkpoints import folders, galaxy, pickled, safe, stored
from experiments.checkpoints.checkpoint import Checkpoint
from experiments.checkpoints.schedules import written
from experiments.terminal import Tick
from solvers.denoiser import Denoiser
from solvers.schedules import EDM

__all__ = ["Checkpoint", "Loaded", "convert", "load", "network"]

FORMAT = "scoreproof checkpoint 1"
LONGEST = 2000
"""Characters of a message."""

SUFFIXES = (".pkl", ".pth", ".pt", ".ckpt")
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Loaded(NamedTuple):
    """A network for evaluation, its predictions, and what it is."""

    module: nn.Module
    denoiser: Denoiser
    info: Checkpoint


def network(
    path: str | os.PathLike[str],
    *,
    config: str | Mapping[str, Any] | None = None,
    predicts: str | None = None,
    shape: tuple[int, int, int] | None = None,
) -> tuple[nn.Module, Checkpoint]:
    """The network of a file or folder, on the CPU, and what it is; see ``Checkpoint.denoiser``.

    ``config`` says which network a file of weights alone is of (score_sde, ADM, DDIM): a published
    name, a JSON file or its values. ``predicts`` and ``shape`` are what the caller
    expects, if it must be one kind of prediction or images of one shape.

    Raises:
        ValueError: a file that is missing, damaged, or holds anything but a known network; a
            prediction or a shape that it does not have.
    """
    info, module = _network(Path(path), config)
    if predicts is not None and predicts != info.predicts:
        raise ValueError(f"predicts: got {predicts!r}; the file's {info.predicts!r} is allowed")
    if shape is not None and tuple(shape) != info.shape:
        raise ValueError(f"shape: got {tuple(shape)}; the file's {info.shape} is allowed")
    return module, info


def load(
    path: str | os.PathLike[str],
    *,
    config: str | Mapping[str, Any] | None = None,
    label: int | Tensor | None = None,
    context: Tensor | None = None,
    predicts: str | None = None,
    shape: tuple[int, int, int] | None = None,
) -> Loaded:
    """``network`` with its denoiser of a class or a text, or of none.

    Raises:
        ValueError: as ``network`` and ``Checkpoint.denoiser``.
    """
    module, info = network(path, config=config, predicts=predicts, shape=shape)
    return Loaded(module, info.denoiser(module, label=label, context=context), info)


def convert(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    config: str | Mapping[str, Any] | None = None,
    progress: Tick = lambda done, total, label: None,
) -> tuple[Checkpoint, int]:
    """Write the network of a file or folder to the new folder ``out``; all of it, or nothing.

    Returns:
        What the network is, and how many parameters it has.

    Raises:
        ValueError: as ``network``; ``out`` exists or cannot be written.
    """
    target = Path(out)
    if target.exists():
        raise ValueError(f"OUT: got {str(target)!r}, which exists; a new folder is allowed")
    progress(0, 3, "read")
    info, module = _network(Path(file), config)
    progress(1, 3, "write")
    draft: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        safe.write(draft / WEIGHTS, module.state_dict())
        progress(2, 3, "hash")
        about = {"format": FORMAT, "weights": safe.sha256(draft / WEIGHTS), **info.written()}
        (draft / CONFIG).write_text(json.dumps(about, indent=1) + "\n")
        draft.chmod(0o755)
        draft.rename(target)
    except Exception as error:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise ValueError(
            f"OUT: got {str(target)!r} ({reason}); a place to write is allowed"
        ) from None
    progress(3, 3, "done")
    return info, sum(p.numel() for p in module.parameters())


def _network(path: Path, config: str | Mapping[str, Any] | None) -> tuple[Checkpoint, nn.Module]:
    """The network and what it is; what a file says cannot lengthen a message."""
    try:
        info, state, files = _read(path, config)
        if pickled.size(state) > sum(file.stat().st_size for file in files):
            raise ValueError(f"weights: got more bytes than {str(files[0])!r} has")
        return info, info.build(state)
    except ValueError as error:
        message = " ".join(str(error).split())
    raise ValueError(message if len(message) < LONGEST else f"{message[: LONGEST - 3]} ..")


def _read(
    path: Path, config: str | Mapping[str, Any] | None
) -> tuple[Checkpoint, dict[str, Any], tuple[Path, ...]]:
    """What a network is, its weights, and the files that they are in."""
    if path.is_dir():
        if config is not None:
            raise ValueError(f"config: got {config!r}; a folder has its own, so none is allowed")
        if _own(path):
            return _recalled(path)
        info, state, files = folders.folder(path)
    elif path.suffix in SUFFIXES:
        info, state = pickled.network(stored.read(path), config)
        files = (path,)
    elif path.suffix == ".eqx":
        info, state = _galaxy(path)
        files = (path,)
    else:
        raise ValueError(
            f"FILE: got {str(path)!r}; {', '.join(SUFFIXES)}, .eqx or a folder that exists"
            " is allowed"
        )
    size = sum(file.stat().st_size for file in files)
    origin = {"file": files[0].name, "bytes": size, "sha256": safe.sha256(*files)}
    return replace(info, provenance=origin), state, files


def _galaxy(path: Path) -> tuple[Checkpoint, dict[str, Any]]:
    arguments, state = galaxy.read(path)
    about = Checkpoint(
        architecture="GalaxyScore",
        arguments=arguments,
        predicts="denoised",
        schedule=written(EDM()),
        shape=(arguments["channels"], arguments["side"], arguments["side"]),
        range=galaxy.RANGE,
        levels=galaxy.LEVELS,
    )
    return about, state


def _own(path: Path) -> bool:
    """Whether ``convert`` wrote the folder."""
    return (path / WEIGHTS).exists() and not (path / "model_index.json").exists()


def _recalled(path: Path) -> tuple[Checkpoint, dict[str, Any], tuple[Path, ...]]:
    about = folders.json_object(path / CONFIG)
    if about.pop("format", None) != FORMAT:
        raise ValueError(f"format: got another in {str(path / CONFIG)!r}; {FORMAT!r} is allowed")
    if about.pop("weights", None) != safe.sha256(path / WEIGHTS):
        raise ValueError(f"FILE: got {str(path / WEIGHTS)!r}, which is not what config.json says")
    try:
        pairs = {k: tuple(about[k]) for k in ("shape", "range", "levels") if about.get(k)}
        info = Checkpoint(**{**about, **pairs})
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"FILE: got {str(path / CONFIG)!r} ({error})") from None
    return info, safe.weights(path / WEIGHTS), (path / WEIGHTS,)
