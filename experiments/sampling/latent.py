"""The autoencoder of a pipeline's folder: images of its latents, by diffusers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.checkpoints.folders import FORMER, NAME, json_object
from experiments.checkpoints.safe import weights

PLACES = ("vae", "vqvae")
KINDS = ("AutoencoderKL", "VQModel")


class Autoencoder(nn.Module):
    """x ↦ decoder(x/scale + shift), for latents that a network sees as scale (z − shift)."""

    def __init__(self, model: nn.Module, scale: float, shift: float) -> None:
        super().__init__()
        self.model, self.scale, self.shift = model, scale, shift

    def decode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [−1, 1], one at a time: they are larger than their latents."""
        z = x / self.scale + self.shift
        each = [self.model.decode(one[None]).sample for one in z]  # type: ignore[operator]
        return torch.cat(each)


def autoencoder(place: Path) -> Autoencoder | None:
    """The one of a pipeline's folder; None where it has none.

    Raises:
        ValueError: another class than AutoencoderKL and VQModel, no safetensors, or weights that
            do not fit.
    """
    home = _home(place)
    if home is None:
        return None
    config = json_object(home / "config.json")
    kind = config.get("_class_name")
    if kind not in KINDS:
        raise ValueError(
            f"autoencoder: got {kind!r} in {str(home)!r}; {' or '.join(KINDS)} is allowed"
        )
    state = {_renamed(k): v.float() for k, v in weights(home / f"{NAME}.safetensors").items()}
    model = _built(kind, config, state, home)
    scale = config.get("scaling_factor", model.config.scaling_factor)
    shift = config.get("shift_factor")
    shift = 0.0 if shift is None else shift
    for name, value in (("scaling_factor", scale), ("shift_factor", shift)):
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{name}: got {value!r} in {str(home)!r}; a finite number is allowed")
    if not scale:
        raise ValueError(f"scaling_factor: got {scale} in {str(home)!r}; not 0 is allowed")
    return Autoencoder(model, float(scale), float(shift))


def latent_files(place: Path) -> tuple[Path, ...]:
    """What decides it."""
    home = _home(place)
    return () if home is None else (home / "config.json", home / f"{NAME}.safetensors")


def _home(place: Path) -> Path | None:
    return next((place / name for name in PLACES if (place / name).is_dir()), None)


def _built(kind: str, config: dict[str, Any], state: dict[str, Tensor], home: Path) -> Any:
    """The model with these weights; its shapes are compared before there is memory for it."""
    import diffusers

    try:
        with torch.device("meta"):
            model = getattr(diffusers, kind).from_config(config)
        model.load_state_dict(state, assign=True)
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError) as error:
        why = " ".join(str(error).split())[:200]
        raise ValueError(
            f"autoencoder: {home} does not fit its config.json ({why}); a whole one is allowed"
        ) from None
    return model.eval().requires_grad_(False)


def _renamed(key: str) -> str:
    for former, now in FORMER.items():
        key = key.replace(former, now)
    return key
