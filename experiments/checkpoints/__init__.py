"""Networks of others, read without running anything of theirs.

    load(path)            EDM's .pkl, score_sde's .pth, diffusers' folders, folders of ``convert``
    convert(file, out)    the same as a folder of model.safetensors and config.json

A checkpoint from elsewhere is data: see ``pickles`` for how it is read, ``checkpoint`` for what
is built from it. Every refusal is one ``ValueError`` of one line.
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

from torch import nn

from experiments.checkpoints import folders, pickled, safe, stored
from experiments.checkpoints.checkpoint import Checkpoint
from solvers.denoiser import Denoiser

__all__ = ["Checkpoint", "Loaded", "convert", "load"]

FORMAT = "scoreproof checkpoint 1"
LONGEST = 2000
"""Characters of a message."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Loaded(NamedTuple):
    """A network for evaluation, its predictions, and what it is."""

    module: nn.Module
    denoiser: Denoiser
    info: Checkpoint


def load(
    path: str | os.PathLike[str],
    *,
    config: str | Mapping[str, Any] | None = None,
    label: int | None = None,
    predicts: str | None = None,
) -> Loaded:
    """The network of a file or folder, on the CPU.

    ``config`` says which network a score_sde .pth is of: a published name, a JSON file or its
    values. ``label`` is the class of the denoiser; without, EDM's networks are asked for no class.
    ``predicts`` is what the caller expects, if it must be one kind.

    Raises:
        ValueError: a file that is missing, damaged, or holds anything but a known network; a
            class or prediction that it does not have.
    """
    info, module = _network(Path(path), config)
    if predicts is not None and predicts != info.predicts:
        raise ValueError(f"predicts: got {predicts!r}; the file's {info.predicts!r} is allowed")
    return Loaded(module, info.denoiser(module, label=label), info)


def convert(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    config: str | Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Write the network of a file or folder to the new folder ``out``; all of it, or nothing.

    Raises:
        ValueError: as ``load``; ``out`` exists or cannot be written.
    """
    target = Path(out)
    if target.exists():
        raise ValueError(f"OUT: got {str(target)!r}, which exists; a new folder is allowed")
    info, module = _network(Path(file), config)
    draft: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        safe.write(draft / WEIGHTS, module.state_dict())
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
    return info


def _network(path: Path, config: str | Mapping[str, Any] | None) -> tuple[Checkpoint, nn.Module]:
    """The network and what it is; what a file says cannot lengthen a message."""
    try:
        info, state, source = _read(path, config)
        if pickled.size(state) > source.stat().st_size:
            raise ValueError(f"weights: got more bytes than {str(source)!r} has")
        return info, info.build(state)
    except ValueError as error:
        message = " ".join(str(error).split())
    raise ValueError(message if len(message) < LONGEST else f"{message[: LONGEST - 3]} ..")


def _read(
    path: Path, config: str | Mapping[str, Any] | None
) -> tuple[Checkpoint, dict[str, Any], Path]:
    """What a network is, its weights, and the file that they are in."""
    if path.is_dir():
        if config is not None:
            raise ValueError(f"config: got {config!r}; a folder has its own, so none is allowed")
        if _own(path):
            return _recalled(path)
        info, state, file = folders.folder(path)
    elif path.suffix in (".pkl", ".pth", ".pt"):
        info, state = pickled.network(stored.read(path), config)
        file = path
    else:
        raise ValueError(
            f"FILE: got {str(path)!r}; .pkl, .pth, .pt or a folder that exists is allowed"
        )
    origin = {"file": file.name, "bytes": file.stat().st_size, "sha256": safe.sha256(file)}
    return replace(info, provenance=origin), state, file


def _own(path: Path) -> bool:
    """Whether ``convert`` wrote the folder."""
    return (path / WEIGHTS).exists() and not (path / "model_index.json").exists()


def _recalled(path: Path) -> tuple[Checkpoint, dict[str, Any], Path]:
    about = folders.json_object(path / CONFIG)
    if about.pop("format", None) != FORMAT:
        raise ValueError(f"format: got another in {str(path / CONFIG)!r}; {FORMAT!r} is allowed")
    if about.pop("weights", None) != safe.sha256(path / WEIGHTS):
        raise ValueError(f"FILE: got {str(path / WEIGHTS)!r}, which is not what config.json says")
    pairs = {k: tuple(about[k]) for k in ("shape", "range", "levels") if k in about}
    try:
        info = Checkpoint(**{**about, **pairs})
    except (TypeError, AttributeError) as error:
        raise ValueError(f"FILE: got {str(path / CONFIG)!r} ({error})") from None
    return info, safe.weights(path / WEIGHTS), path / WEIGHTS
