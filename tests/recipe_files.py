"""Checkpoints of recipes with random weights: the published classes and blocks, widths as asked.

Written once a session; the full widths where a forward pass is cheap, else narrow ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.checkpoints import convert
from experiments.checkpoints.checkpoint import ARCHITECTURES
from experiments.checkpoints.configured import PUBLISHED, configured
from experiments.reproduce.classifier import Classifier
from experiments.reproduce.recipe import Network
from solvers.statistics import Table
from tests import checkpoint_files as files

NARROW: dict[str, Any] = {
    "EDMPrecond": {"model_channels": 32, "num_blocks": 1},
    "UNet2DModel": {"layers_per_block": 1, "attention_head_dim": 8, "norm_num_groups": 8},
    "UNet2DConditionModel": {
        "block_out_channels": [32, 32, 64, 64],
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    },
}
LEAST = 8
"""The first width of UNet2DModel, where it is narrowed; the others keep their share."""
SCALED_LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
STABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


Maker = Callable[[Network, Path, bool], None]


def arguments(n: Network, *, full: bool) -> dict[str, Any]:
    """Of the architecture, as published or narrower."""
    given, kind = dict(n.arguments), n.also or n.architecture
    if "sample_size" in given:
        given["sample_size"] = n.shape[-1]
    if "img_resolution" in given:
        given["img_resolution"] = n.shape[-1]
    if full:
        return given
    if kind == "UNet2DModel":
        widths = given["block_out_channels"]
        given["block_out_channels"] = [LEAST * c // widths[0] for c in widths]
    return given | NARROW[kind]


def checkpoint(n: Network, place: Path, *, full: bool = False) -> Path:
    """The file or folder of a network, made below ``place`` unless it is there."""
    out = place / f"{n.name}-{n.shape[-1]}-{'full' if full else 'narrow'}"
    makers: dict[str, tuple[Maker, str]] = {
        "EDMPrecond": (edm, ".pkl"),
        "ScoreSDE": (score_sde, ".pth" if full else ""),
        "ADM": (adm, ""),
        "DDIM": (ddim, ".pth" if full else ""),
    }
    maker, suffix = makers.get(n.architecture, (folder, ""))
    file = out.with_name(out.name + suffix)
    if not file.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            maker(n, file, full)
    return file


def edm(n: Network, file: Path, full: bool) -> None:
    """A pickle of EDM."""
    given = arguments(n, full=full)
    files.write_edm(file, ARCHITECTURES[n.architecture](**given), given)


def score_sde(n: Network, file: Path, full: bool) -> None:
    """A .pth of score_sde; narrower, as no published one is, a folder of `convert`."""
    tree = PUBLISHED[n.config or ""]
    if full:
        files.write_sde(file, configured(tree).make())
        return
    tree = {**tree, "model": {**tree["model"], "nf": 32, "num_res_blocks": 1}}
    pth = file.with_name(file.name + ".pth")
    files.write_sde(pth, configured(tree).make())
    convert(pth, file, config=tree)


def adm(n: Network, file: Path, full: bool) -> None:
    """A .pt of guided-diffusion as a folder of `convert`."""
    flags = dict(PUBLISHED[n.config or ""])
    flags |= {"image_size": n.shape[-1]}
    if not full:
        flags |= {"num_channels": 32, "num_head_channels": 16, "num_res_blocks": 1}
    pt = file.with_name(file.name + ".pt")
    files.write_adm(pt, configured(flags).make())
    convert(pt, file, config=flags)


def ddim(n: Network, file: Path, full: bool) -> None:
    """A .pth of ddim as weights alone; narrower, the same network in a folder of diffusers."""
    if full:
        torch.save(configured(n.config).make().state_dict(), file)
    else:
        folder(n, file, full)


def folder(n: Network, file: Path, full: bool) -> None:
    """A folder of diffusers: the U-Net, what says its schedule, and of latents the decoder."""
    import diffusers

    given = arguments(n, full=full)
    kind = n.also or n.architecture
    unet = getattr(diffusers, kind)(**given)
    unet.save_pretrained(file / "unet")
    beta = {} if not n.latent else STABLE if n.text else SCALED_LINEAR
    about = {"_class_name": "DDIMScheduler", "num_train_timesteps": 1000, **beta}
    _json(file / "scheduler" / "scheduler_config.json", about)
    index: dict[str, Any] = {"unet": ["diffusers", kind]}
    if n.latent and not n.text:
        from diffusers.models.autoencoders.vq_model import VQModel

        levels = {"down_block_types": ["DownEncoderBlock2D"] * 3}
        levels |= {"up_block_types": ["UpDecoderBlock2D"] * 3}
        vq = VQModel(
            block_out_channels=(8, 8, 8),  # pyright: ignore
            latent_channels=3,
            num_vq_embeddings=16,
            norm_num_groups=4,
            **levels,  # pyright: ignore
        )
        vq.save_pretrained(file / "vqvae")
        index["vqvae"] = ["diffusers", "VQModel"]
    _json(file / "model_index.json", {"_class_name": "DiffusionPipeline", **index})


def classifier(place: Path, side: int) -> Path:
    """A narrow .pt of guided-diffusion's classifier."""
    file = place / f"classifier-{side}.pt"
    if not file.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = Classifier(side=side, width=64, depth=1, classes=1000)
        torch.save(made.state_dict(), file)
    return file


def text_encoder(out: Path, width: int) -> None:
    """Tokenizer and text encoder of Stable Diffusion, of a few letters and ``width`` numbers."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    place = out / "tokenizer"
    place.mkdir(parents=True)
    _json(place / "vocab.json", {w: i for i, w in enumerate(words)})
    (place / "merges.txt").write_text("#version: 0.2\n")
    _json(place / "tokenizer_config.json", {"model_max_length": 77})
    CLIPTokenizer.from_pretrained(place).save_pretrained(place)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    CLIPTextModel(config).save_pretrained(out / "text_encoder")


def table(file: Path, nodes: int, levels: tuple[float, float], size: int) -> Path:
    """Statistics of a model between two levels σ/α: those of a standard normal law, nearly."""
    low, high = levels
    lam = np.linspace(-np.log(high), -np.log(low), nodes + 1)
    l = 1 / (1 + np.exp(2 * lam))[:, None] * np.ones(size)
    Table(lam, l, 0.3 * np.ones_like(l), 0.01 * l).save(file)
    return file


def count(module: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in module.parameters())


def _json(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))
