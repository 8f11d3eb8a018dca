"""Published settings of ADM, improved DDPM and DDIM, as printed, by the names of their files.

Sources: github.com/openai/guided-diffusion, github.com/openai/improved-diffusion,
github.com/ermongroup/ddim.
"""

from __future__ import annotations

from typing import Any

WIDE: dict[str, Any] = {
    "attention_resolutions": "32,16,8",
    "num_channels": 256,
    "num_head_channels": 64,
    "num_res_blocks": 2,
    "resblock_updown": True,
    "learn_sigma": True,
}

IMPROVED: dict[str, Any] = {
    "num_channels": 128,
    "num_res_blocks": 3,
    "learn_sigma": True,
    "diffusion_steps": 4000,
    "noise_schedule": "cosine",
    "rescale_timesteps": True,
}

NARROW: dict[str, Any] = {
    "image_size": 256,
    "num_channels": 128,
    "num_res_blocks": 2,
    "num_heads": 1,
    "learn_sigma": True,
    "use_scale_shift_norm": False,
    "attention_resolutions": "16",
}

FLAGS: dict[str, dict[str, Any]] = {
    "adm/64x64_diffusion": {
        **WIDE,
        "image_size": 64,
        "class_cond": True,
        "num_channels": 192,
        "num_res_blocks": 3,
        "noise_schedule": "cosine",
        "use_new_attention_order": True,
    },
    "adm/128x128_diffusion": {
        **{k: v for k, v in WIDE.items() if k != "num_head_channels"},
        "image_size": 128,
        "class_cond": True,
        "num_heads": 4,
    },
    "adm/256x256_diffusion": {**WIDE, "image_size": 256, "class_cond": True},
    "adm/256x256_diffusion_uncond": {**WIDE, "image_size": 256},
    "adm/512x512_diffusion": {**WIDE, "image_size": 512, "class_cond": True},
    **{
        f"adm/lsun_{kind}": {**WIDE, "image_size": 256}
        for kind in ("bedroom", "cat", "horse", "horse_nodropout")
    },
    **{
        f"iddpm/cifar10_uncond_{name}": {**IMPROVED, "image_size": 32}
        for name in ("50M_500K", "vlb_50M_500K")
    },
    **{
        f"iddpm/imagenet64_uncond_{name}": {**IMPROVED, "image_size": 64}
        for name in ("100M_1500K", "vlb_100M_1500K")
    },
    "iddpm/imagenet64_cond_270M_250K": {
        **IMPROVED,
        "image_size": 64,
        "num_channels": 192,
        "class_cond": True,
        "rescale_timesteps": False,
    },
    **{f"iddpm/lsun_uncond_{name}": NARROW for name in ("100M_1200K_bs128", "100M_2400K_bs64")},
}
"""Of ADM."""


def _ddim(side: int, *widths: int) -> dict[str, dict[str, Any]]:
    blocks = {"ch": 128, "ch_mult": list(widths), "num_res_blocks": 2, "attn_resolutions": [16]}
    return {
        "data": {"image_size": side, "channels": 3, "rescaled": True},
        "model": {"type": "simple", "in_channels": 3, "out_ch": 3, **blocks},
        "diffusion": {
            "beta_schedule": "linear",
            "beta_start": 1e-4,
            "beta_end": 0.02,
            "num_diffusion_timesteps": 1000,
        },
    }


DDIM = {
    "ddim/cifar10": _ddim(32, 1, 2, 2, 2),
    "ddim/celeba": _ddim(64, 1, 2, 2, 2, 4),
    "ddim/bedroom": _ddim(256, 1, 1, 2, 2, 4, 4),
    "ddim/church": _ddim(256, 1, 1, 2, 2, 4, 4),
}
"""Of the DDIM paper's code."""
