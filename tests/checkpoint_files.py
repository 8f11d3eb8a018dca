"""Files in the formats of others, made here: small networks, reproducible weights, writers.

Weights do not come from torch's generator, so that the same numbers can be put into anybody's
network of the same architecture, in any version.
"""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SMALL = {"model_channels": 16, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [8]}
FOURIER = {
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "resample_filter": [1, 3, 3, 1],
    "channel_mult_noise": 2,
}
SKIP = {"encoder_type": "skip", "decoder_type": "skip", "resample_filter": [1, 3, 3, 1]}
ADM = {"model_type": "DhariwalUNet", **SMALL, "model_channels": 64}

EDM_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "EDM DDPM++": (
        "EDMPrecond",
        {"model_type": "SongUNet", "label_dim": 3, "augment_dim": 9, **SMALL},
    ),
    "EDM NCSN++": ("EDMPrecond", {"model_type": "SongUNet", **FOURIER, **SMALL}),
    "EDM skip": (
        "EDMPrecond",
        {"model_type": "SongUNet", **SKIP, **SMALL, "channel_mult": [1, 2, 1], "num_blocks": 2},
    ),
    "EDM ADM": ("EDMPrecond", {**ADM, "label_dim": 4, "sigma_data": 0.7}),
    "VP DDPM++": ("VPPrecond", SMALL),
    "VE NCSN++": ("VEPrecond", {**FOURIER, **SMALL}),
    "iDDPM ADM": ("iDDPMPrecond", {**ADM, "M": 50}),
}

NCSNPP = {
    "name": "ncsnpp",
    "nf": 32,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [8],
    "resblock_type": "biggan",
    "skip_rescale": True,
    "num_scales": 20,
    "beta_max": 5.0,
    "fir_kernel": [1, 3, 3, 1],
}
DDPM = {**NCSNPP, "name": "ddpm", "resblock_type": "ddpm", "skip_rescale": False}
FIR = {**NCSNPP, "fir": True, "progressive_input": "residual"}
PYRAMIDS = {**FIR, "progressive_input": "input_skip", "progressive": "output_skip"}
SCORE = {"embedding_type": "fourier", "scale_by_sigma": True}

SDE_CASES: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "ddpm": ("vpsde", False, DDPM),
    "ddpm VE": ("vesde", False, {**DDPM, "scale_by_sigma": True, "resamp_with_conv": False}),
    "ddpm++": ("vpsde", True, NCSNPP),
    "ncsn++ sub-VP": ("subvpsde", True, FIR),
    "ncsn++ VE": ("vesde", True, {**FIR, **SCORE}),
    "ncsn++ 256": ("vesde", True, {**PYRAMIDS, **SCORE, "ch_mult": [1, 1, 2]}),
    "ncsn++ cat": ("vpsde", False, {**PYRAMIDS, "progressive_combine": "cat"}),
    "ncsn++ plain": ("vpsde", False, {**FIR, "fir": False, "skip_rescale": False}),
}

ADM_FLAGS = {
    "image_size": 16,
    "num_channels": 32,
    "num_res_blocks": 1,
    "channel_mult": "1,2",
    "attention_resolutions": "8",
}
ADM_CASES: dict[str, dict[str, Any]] = {
    "guided": {
        **ADM_FLAGS,
        "num_head_channels": 16,
        "resblock_updown": True,
        "learn_sigma": True,
        "class_cond": True,
        "use_new_attention_order": True,
        "noise_schedule": "cosine",
    },
    "guided, heads first": {**ADM_FLAGS, "num_heads": 2, "num_heads_upsample": 4},
    "improved": {
        **ADM_FLAGS,
        "use_scale_shift_norm": False,
        "learn_sigma": True,
        "diffusion_steps": 50,
        "rescale_timesteps": True,
    },
}

DDIM_CONFIG = {
    "data": {"image_size": 16, "channels": 3, "rescaled": True},
    "model": {
        "type": "simple",
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 2],
        "num_res_blocks": 1,
        "attn_resolutions": [8],
        "resamp_with_conv": True,
        "dropout": 0.1,
    },
    "diffusion": {
        "beta_schedule": "linear",
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "num_diffusion_timesteps": 1000,
    },
}

SIDE, LEVELS, TIMES = 16, (0.05, 0.5, 3.0, 40.0), (0.0, 7.0, 19.0)


def sde_config(case: str) -> dict[str, dict[str, Any]]:
    """The configuration tree of a case."""
    sde, continuous, model = SDE_CASES[case]
    data = {"image_size": SIDE, "num_channels": 3, "centered": sde != "vesde"}
    return {
        "training": {"sde": sde, "continuous": continuous},
        "data": data,
        "model": {"dropout": 0.0, **model},
    }


def filled(state: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """0.1 n (1 + 0.1 n for scales of norms), n normal, by sorted name; tables stay."""
    draw = np.random.default_rng(seed)
    out = dict(state)
    for name in sorted(state):
        if name.endswith(("sigmas", "resample_filter")) or name == "u":
            continue
        value = 0.1 * torch.from_numpy(draw.standard_normal(state[name].shape)).float()
        scale = "norm" in name.lower() and name.endswith("weight")
        out[name] = value + 1 if scale else value
    return out


def images(count: int, seed: int = 1) -> Tensor:
    """(count, 3, 16, 16) normal numbers."""
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.standard_normal((count, 3, SIDE, SIDE))).float()


def sums(y: Tensor) -> list[float]:
    """Per image: its RMS, and the mean of y cos(k) over its numbers k = 0, 1, .. ."""
    flat = y.double().flatten(1)
    probe = torch.arange(flat.shape[1], dtype=torch.float64).cos()
    return [*flat.square().mean(1).sqrt().tolist(), *(flat * probe).mean(1).tolist()]


def edm_query(kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Noisy images, their levels, and classes 0, 1, 2, 0 where the network has them."""
    sigma = torch.tensor(LEVELS)
    x = images(len(LEVELS)) * sigma[:, None, None, None]
    dim = kwargs.get("label_dim", 0)
    return x, sigma, torch.eye(dim)[torch.tensor([0, 1, 2, 0])] if dim else None


def sde_query(case: str) -> tuple[Tensor, Tensor]:
    """Images and labels: noise levels where the network takes them, else whole times."""
    fourier = SDE_CASES[case][2].get("embedding_type") == "fourier"
    return images(3), torch.tensor([0.1, 1.5, 30.0] if fourier else TIMES)


def adm_query(case: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images, times and classes 0, 7, 999 where the network has them."""
    classes = torch.tensor([0, 7, 999]) if ADM_CASES[case].get("class_cond") else None
    return images(3), torch.tensor(TIMES), classes


def write_adm(file: Path, module: nn.Module) -> Path:
    """A network of ours as guided-diffusion's .pt."""
    torch.save(module.state_dict(), file)
    return file


class Persistent:
    """An object as EDM's pickles hold it: its class by name, with source that must never run."""

    def __init__(self, name: str, state: dict[str, Any], source: str) -> None:
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": source,
            "class_name": name,
            "state": state,
        }

    def __reduce__(self) -> Any:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


def record(module: nn.Module, name: str, kwargs: Any, source: str = "") -> Any:
    """A module of ours as such an object."""
    parts = {k: record(m, type(m).__name__, {}, source) for k, m in module.named_children()}
    if isinstance(module, nn.ModuleDict):
        holder = nn.ModuleDict()
        holder._modules.update(parts)
        return holder
    hidden = module._non_persistent_buffers_set
    state = {
        "training": False,
        "_parameters": dict(module._parameters),
        "_buffers": {k: v for k, v in module._buffers.items() if k not in hidden},
        "_non_persistent_buffers_set": set(),
        "_modules": parts,
        "_init_args": (),
        "_init_kwargs": {**kwargs, "skip_scale": np.sqrt(0.5)} if not kwargs else kwargs,
    }
    return Persistent(name, state, source)


def dumped(value: Any, protocol: int = 4) -> bytes:
    """The pickle of a value, while EDM's module seems to exist."""
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("the file ran")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # pyright: ignore
    sys.modules |= {"torch_utils": package, "torch_utils.persistence": module}
    try:
        return pickle.dumps(value, protocol=protocol)
    finally:
        del sys.modules["torch_utils"], sys.modules["torch_utils.persistence"]


def write_edm(file: Path, module: nn.Module, kwargs: Any, *, source: str = "", **how: Any) -> Path:
    """A network of ours as EDM's .pkl."""
    interface = {"img_resolution": SIDE, "img_channels": 3, **kwargs}
    network = record(module, type(module).__name__, interface, source)
    loss = Persistent("EDMLoss", {"P_mean": -1.2}, source)
    data = {"ema": network, "loss_fn": loss, "augment_pipe": None, "dataset_kwargs": {"p": 1}}
    file.write_bytes(dumped(data, **how))
    return file


def write_sde(file: Path, module: nn.Module, *, zipped: bool = True) -> Path:
    """A network of ours as score_sde's .pth: half its weights as weights, they as the average."""
    state = {f"module.{k}": v.clone() for k, v in module.state_dict().items()}
    shadow = [p.detach() for p in module.parameters() if p.requires_grad]
    for name, p in module.named_parameters():
        if p.requires_grad:
            state[f"module.{name}"] /= 2
    ema = {"decay": 0.999, "num_updates": 3, "shadow_params": shadow}
    whole = {"optimizer": {"state": {}}, "model": state, "ema": ema, "step": 7}
    torch.save(whole, file, _use_new_zipfile_serialization=zipped)
    return file
