"""Folders of diffusers, of one file of weights or of shards, answer as diffusers beside them does.

Every network has random weights; text is read as Stable Diffusion's network reads it.
"""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.checkpoints import convert, load, network
from experiments.checkpoints.folders import describe
from experiments.checkpoints.schedules import recalled
from solvers.float64 import FLOAT64
from tests import checkpoint_files as files

# float32 sums of 10³ terms in another order; the project's bound for other people's networks.
CLOSE = 1e-5


UNET = {
    "sample_size": 16,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [32, 32],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}
VE_UNET = {
    **UNET,
    "time_embedding_type": "fourier",
    "center_input_sample": True,
    "down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D"],
    "up_block_types": ["AttnSkipUpBlock2D", "SkipUpBlock2D"],
}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
SCHEDULERS: dict[str, tuple[dict[str, Any], str]] = {
    "DDPM": ({"_class_name": "DDPMScheduler", "prediction_type": "epsilon"}, "noise"),
    "DDIM": (
        {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
        | {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        "v",
    ),
    "PNDM": (
        {"_class_name": "PNDMScheduler", "prediction_type": "epsilon"}
        | {"beta_schedule": "squaredcos_cap_v2"},
        "noise",
    ),
    "UniPC": (
        {"_class_name": "UniPCMultistepScheduler", "prediction_type": "sample"}
        | {"trained_betas": [0.01, 0.02, 0.05]},
        "data",
    ),
    "VE": ({"_class_name": "ScoreSdeVeScheduler", "sigma_max": 348.0}, "score"),
    "EDM": ({"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}, "denoised"),
    "flow": (FLOW, "velocity"),
}


def write_diffusers(folder: Path, scheduler: dict[str, Any], *, pipeline: bool) -> Any:
    """A folder of diffusers and the network in it."""
    unet2d = pytest.importorskip("diffusers.models.unets.unet_2d")
    config = VE_UNET if scheduler["_class_name"] == "ScoreSdeVeScheduler" else UNET
    torch.manual_seed(0)
    unet = unet2d.UNet2DModel(**config).eval()
    home = folder / "unet" if pipeline else folder
    unet.save_pretrained(home)
    place = folder / "scheduler" if pipeline else folder
    place.mkdir(exist_ok=True)
    (place / "scheduler_config.json").write_text(json.dumps(scheduler))
    if pipeline:
        (folder / "model_index.json").write_text("{}")
    return unet


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("pipeline", [True, False])
def test_diffusers_folders(tmp_path: Path, name: str, pipeline: bool) -> None:
    scheduler, predicts = SCHEDULERS[name]
    unet = write_diffusers(tmp_path, scheduler, pipeline=pipeline)
    got, denoiser, info = load(tmp_path)
    assert info.predicts == predicts
    x = files.images(2)
    t, alpha, sigma, label = {
        "VE": (0.5, 1.0, math.sqrt(0.01 * 348), math.sqrt(0.01 * 348)),
        "EDM": (0.7, 1.0, 0.7, math.log(0.7) / 4),
        "flow": (0.25, 0.75, 0.25, 250.0),
    }.get(name, (2.0, 0.8, 0.6, 2.0))
    with torch.no_grad():
        scaled = x / math.hypot(0.5, 0.7) if name == "EDM" else x
        y = unet(scaled, torch.full((2,), label), return_dict=False)[0]
        noise = {
            "noise": lambda: y,
            "data": lambda: (x - alpha * y) / sigma,
            "v": lambda: sigma * x + alpha * y,
            "score": lambda: -sigma * y,
            "velocity": lambda: x + alpha * y,
            "denoised": lambda: (x - (0.25 * x + 0.35 * math.sqrt(0.74) * y) / 0.74) / 0.7,
        }[predicts]()
    # The label passes through float32, and 1/√(σ²+s²) through rsqrt.
    torch.testing.assert_close(
        denoiser.at("noise", x, t, alpha, sigma), noise, rtol=1e-4, atol=1e-5
    )
    convert(tmp_path, tmp_path / "out")
    label = torch.tensor(label) if name != "EDM" else torch.tensor(0.7)
    assert torch.equal(load(tmp_path / "out").module(x, label), got(x, label))


@pytest.mark.parametrize("name", ["DDPM", "DDIM", "PNDM", "UniPC"])
def test_levels_are_those_of_diffusers(name: str) -> None:
    schedulers = pytest.importorskip("diffusers.schedulers")
    config = SCHEDULERS[name][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(schedulers, config["_class_name"])(
            **{k: v for k, v in config.items() if k != "_class_name"}
        ).alphas_cumprod.double()
    s = recalled(describe(dict(UNET), config).schedule)
    at = sorted({0, 1, len(theirs) // 2, len(theirs) - 1})
    ours = [float(s.alpha(FLOAT64.number(float(n)), FLOAT64).v) ** 2 for n in at]
    # They multiply 10³ float32 numbers near one: 10³ · 2⁻²⁴ relative at most.
    np.testing.assert_allclose(ours, theirs[at].numpy(), rtol=1e-4)


REFUSED = [
    ({"_class_name": "IPNDMScheduler"}, "^scheduler: got 'IPNDMScheduler'"),
    ({"_class_name": "DDPMScheduler", "prediction_type": "x"}, "^prediction_type: got 'x'"),
    ({"_class_name": "DDPMScheduler", "beta_schedule": "laplace"}, "^beta_schedule: got"),
    ({"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True}, "^rescale_betas_zero_snr"),
]


@pytest.mark.parametrize(("scheduler", "message"), REFUSED)
def test_unknown_settings_are_refused(scheduler: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(dict(UNET), scheduler)


def test_activations_with_kinks_are_refused() -> None:
    pytest.importorskip("diffusers")
    about = describe({**UNET, "act_fn": "relu"}, SCHEDULERS["DDPM"][0])
    with pytest.raises(
        ValueError, match="act_fn: got 'relu'; silu, swish, mish, gelu are allowed"
    ):
        about.make()


TEXT_UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
}
STABLE = {
    "_class_name": "PNDMScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


def write_text(folder: Path, *, shard: str | None = None) -> Any:
    """A pipeline on latents with text as Stable Diffusion's, and its network."""
    unets = pytest.importorskip("diffusers.models.unets")
    torch.manual_seed(0)
    unet = unets.UNet2DConditionModel(**TEXT_UNET).eval()
    unet.save_pretrained(folder / "unet", **({"max_shard_size": shard} if shard else {}))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(STABLE))
    (folder / "vae").mkdir()
    (folder / "model_index.json").write_text("{}")
    return unet


def test_networks_of_text(tmp_path: Path) -> None:
    unet = write_text(tmp_path)
    module, info = network(tmp_path)
    assert (info.predicts, info.shape, info.context, info.range) == ("noise", (4, 8, 8), 24, None)
    draw = torch.Generator().manual_seed(1)
    x, texts = (torch.randn(*s, generator=draw) for s in ((2, 4, 8, 8), (2, 5, 24)))
    got = info.denoiser(module, context=texts).at("noise", x, 7.0, 0.9, 0.4)
    with torch.no_grad():
        want = unet(x, torch.full((2,), 7.0), texts, return_dict=False)[0]
    torch.testing.assert_close(got, want, rtol=CLOSE, atol=CLOSE)
    with torch.no_grad():  # the control: the other sample's text
        other = unet(x, torch.full((2,), 7.0), texts.flip(0), return_dict=False)[0]
    assert (other - want).abs().max() > 1e-3
    one = info.denoiser(module, context=texts[:1]).at("noise", x[:1].double(), 7.0, 0.9, 0.4)
    torch.testing.assert_close(one.float(), want[:1], rtol=CLOSE, atol=CLOSE)
    for wrong in (None, torch.zeros(2, 24), torch.zeros(2, 5, 23), torch.zeros(2, 5, 24).long()):
        with pytest.raises(ValueError, match=r"^context: got .*; floats \[B, L, 24\] are allowed"):
            info.denoiser(module, context=wrong)
    with pytest.raises(ValueError, match="^label: got 0; it has no classes"):
        info.denoiser(module, label=0)
    convert(tmp_path, tmp_path / "out")
    again, said = network(tmp_path / "out")
    assert said == info
    label = torch.tensor(7.0)
    assert torch.equal(again(x, label, texts), module(x, label, texts))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("addition_embed_type", "text_time"),
        ("class_embed_type", "timestep"),
        ("act_fn", "relu"),
        ("cross_attention_dim", [24, 12]),
    ],
)
def test_networks_of_more_than_text_are_refused(name: str, value: Any) -> None:
    pytest.importorskip("diffusers")
    config = {"_class_name": "UNet2DConditionModel", **TEXT_UNET, name: value}
    with pytest.raises(ValueError, match=f"^{name}: got "):
        describe(config, STABLE).make()


# --- shards --------------------------------------------------------------------------------------

INDEX = "diffusion_pytorch_model.safetensors.index.json"


def moved(index: dict[str, Any]) -> None:
    first = min(index["weight_map"])
    places = set(index["weight_map"].values())
    index["weight_map"][first] = min(places - {index["weight_map"][first]})


DAMAGES: dict[str, tuple[Any, str]] = {
    "a tensor elsewhere": (moved, "alone; both is allowed"),
    "a tensor less": (lambda i: i["weight_map"].pop(min(i["weight_map"])), "alone; both is"),
    "a size": (lambda i: i["metadata"].update(total_size=1), "for another total_size; "),
    "a path": (
        lambda i: i["weight_map"].update(dict.fromkeys(i["weight_map"], "../x-00001-of-00001")),
        "NAME-00001-of-0000N.safetensors, all N of them, are allowed",
    ),
    "a shard less": (
        lambda i: i["weight_map"].update(
            {k: v for k, v in i["weight_map"].items() if "-00001-" not in v}
            | dict.fromkeys([k for k, v in i["weight_map"].items() if "-00001-" in v], None)
        ),
        "a weight_map of names to files is allowed",
    ),
}


def test_shards_are_one_network(tmp_path: Path) -> None:
    unet = write_text(tmp_path, shard="400KB")
    home = tmp_path / "unet"
    parts = sorted(home.glob("*-of-*.safetensors"))
    assert len(parts) > 2
    module, info = network(tmp_path)
    for name, weight in unet.state_dict().items():
        assert torch.equal(module.state_dict()[f"model.{name}"], weight)
    assert info.provenance["file"] == INDEX
    before = info.provenance["sha256"]
    whole = (home / INDEX).read_text()
    for change, message in DAMAGES.values():
        index = json.loads(whole)
        change(index)
        (home / INDEX).write_text(json.dumps(index))
        with pytest.raises(ValueError, match=message):
            network(tmp_path)
    (home / INDEX).write_text(whole)
    assert network(tmp_path)[1].provenance["sha256"] == before
    kept = parts[1].read_bytes()
    parts[1].write_bytes(kept[:-1])
    with pytest.raises(ValueError, match=r"a whole \.safetensors is allowed"):
        network(tmp_path)
    parts[1].unlink()
    with pytest.raises(ValueError, match=r"a whole \.safetensors is allowed"):
        network(tmp_path)
