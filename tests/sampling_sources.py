"""Checkpoints to sample that are made in a moment: random weights in folders of each kind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from experiments import tensors
from experiments.datamodules import Digits
from experiments.folder import WEIGHTS
from experiments.train import train
from experiments.training import Training

RECIPE = Training(
    "digits", 256, residual="gaussian", every=256, batch=64, widths=(32,), depth=1, rate=4e-3
)


def digits(place: Path, **changes: Any) -> Path:
    """A training's folder: 8 x 8, ten classes, moments; weights that do not leave F at 0."""
    folder = train(replace(RECIPE, **changes), place, data=_data()).folder
    state, facts = tensors.read(folder / WEIGHTS)
    g = torch.Generator().manual_seed(0)
    noisy = {k: v + 0.05 * torch.randn(v.shape, generator=g) for k, v in state.items()}
    tensors.write(folder / WEIGHTS, noisy, facts)
    return folder


def _data() -> Digits:
    data = Digits()
    data.setup()
    return data


def unet(place: Path, scheduler: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A pipeline's folder with a UNet of random weights; DDPM's scheduler where none is given."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    settings: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (16, 16),
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        **changes,
    }
    torch.manual_seed(0)
    UNet2DModel(**settings).save_pretrained(place / "unet")
    (place / "scheduler").mkdir()
    about = scheduler or {"_class_name": "DDPMScheduler", "prediction_type": "epsilon"}
    (place / "scheduler" / "scheduler_config.json").write_text(json.dumps(about))
    (place / "model_index.json").write_text("{}")
    return place


def latent(place: Path, kind: str = "AutoencoderKL", **changes: Any) -> Path:
    """A pipeline of latents (4, 8, 8) and images (3, 16, 16)."""
    import diffusers

    sizes: dict[str, Any] = {
        "block_out_channels": (16, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 8,
        "sample_size": 16,
        "scaling_factor": 0.5,
        **({"vq_embed_dim": 4, "num_vq_embeddings": 16} if kind == "VQModel" else {}),
        **changes,
    }
    unet(place, in_channels=4, out_channels=4)
    torch.manual_seed(1)
    folder = "vae" if kind == "AutoencoderKL" else "vqvae"
    getattr(diffusers, kind)(**sizes).save_pretrained(place / folder)
    return place
