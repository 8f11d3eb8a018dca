"""score_sde's published settings, by the names of its configuration files.

Its .pth files hold weights alone: which network they are of is said by a configuration, one of
these or the JSON of ``config.to_dict()`` of one's own.

Source: github.com/yang-song/score_sde_pytorch, ``configs``.
"""

from __future__ import annotations

from typing import Any

Settings = dict[str, dict[str, Any]]

SHAPES: dict[str, dict[str, Any]] = {
    "ddpm": {"name": "ddpm", "num_res_blocks": 2},
    "ddpmpp": {"name": "ncsnpp", "num_res_blocks": 4, "skip_rescale": True},
    "ncsnpp": {
        "name": "ncsnpp",
        "num_res_blocks": 4,
        "skip_rescale": True,
        "fir": True,
        "progressive_input": "residual",
    },
}
SHAPES |= {f"{k}_deep": {**SHAPES[k], "num_res_blocks": 8} for k in ("ddpmpp", "ncsnpp")}

LARGE = {
    **SHAPES["ncsnpp"],
    "num_res_blocks": 2,
    "ch_mult": [1, 1, 2, 2, 2, 2, 2],
    "progressive": "output_skip",
    "progressive_input": "input_skip",
}
"""256 pixels."""

LARGEST = {**LARGE, "num_res_blocks": 1, "ch_mult": [1, 2, 4, 8, 16, 32, 32, 32], "nf": 16}
"""1024 pixels."""


def _settings(sde: str, continuous: bool, side: int, **model: Any) -> Settings:
    """The tree of a configuration, as far as a network and its schedule need it."""
    noise = sde == "vesde"
    base = {
        "nf": 128,
        "ch_mult": [1, 2, 2, 2],
        "attn_resolutions": [16],
        "resblock_type": "ddpm" if model["name"] == "ddpm" else "biggan",
        "embedding_type": "fourier" if noise and continuous else "positional",
        "scale_by_sigma": noise,
    }
    return {
        "training": {"sde": sde, "continuous": continuous},
        "data": {"image_size": side, "num_channels": 3, "centered": not noise},
        "model": {**base, **model},
    }


CIFAR10 = """
vp/ddpm/cifar10 vp/ddpm/cifar10_continuous
vp/cifar10_ddpmpp vp/cifar10_ddpmpp_continuous vp/cifar10_ddpmpp_deep_continuous
vp/cifar10_ncsnpp vp/cifar10_ncsnpp_continuous vp/cifar10_ncsnpp_deep_continuous
subvp/cifar10_ddpm_continuous
subvp/cifar10_ddpmpp_continuous subvp/cifar10_ddpmpp_deep_continuous
subvp/cifar10_ncsnpp_continuous subvp/cifar10_ncsnpp_deep_continuous
ve/cifar10_ddpm
ve/cifar10_ncsnpp ve/cifar10_ncsnpp_continuous ve/cifar10_ncsnpp_deep_continuous
""".split()

TALL = {"celebahq_256": 348.0, "ffhq_256": 348.0, "bedroom": 378.0, "church": 380.0}
"""VE at 256 pixels: its largest σ."""


def _cifar10(name: str) -> Settings:
    folder, kind = name.split("/", 1)
    shape = kind.replace("ddpm/cifar10", "cifar10_ddpm").removeprefix("cifar10_")
    model = SHAPES[shape.removesuffix("_continuous")]
    return _settings(f"{folder}sde", kind.endswith("_continuous"), 32, **model)


def _tall(side: int, model: dict[str, Any], top: float) -> Settings:
    return _settings("vesde", True, side, **model, sigma_max=top, num_scales=2000)


WIDE = {**SHAPES["ddpm"], "ch_mult": [1, 1, 2, 2, 4, 4]}

SCORE_SDE: dict[str, Settings] = {
    **{name: _cifar10(name) for name in CIFAR10},
    **{
        f"vp/ddpm/{data}": _settings("vpsde", False, 256, **WIDE)
        for data in ("bedroom", "church", "celebahq")
    },
    "ve/celeba_ncsnpp": _settings("vesde", False, 64, **SHAPES["ncsnpp"], sigma_max=90.0),
    **{f"ve/{data}_ncsnpp_continuous": _tall(256, LARGE, top) for data, top in TALL.items()},
    **{
        f"ve/{data}_ncsnpp_continuous": _tall(1024, LARGEST, 1348.0)
        for data in ("celebahq", "ffhq")
    },
}
