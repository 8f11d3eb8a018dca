"""Backbones F(x, c_noise, labels) as folders describe them: diffusers' UNet, or the small MLP.

Both are smooth in x and σ, so that solvers keep their orders: SiLU, group or layer norms, nearest
neighbours for upsampling. F = 0 before training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from experiments.networks import ResidualMLP

TIME = 8.0
"""UNet's timestep is 8 c_noise = 2 log σ: no wave of its embedding is shorter than π in log σ."""
UNET, MLP = "UNet2DModel", "ResidualMLP"


class UNet(nn.Module):
    """diffusers' UNet2DModel; its own weights and config are ``net``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from diffusers.models.unets.unet_2d import UNet2DModel

        self.net = cast(Any, UNet2DModel.from_config(dict(config)))
        nn.init.zeros_(self.net.conv_out.weight)
        nn.init.zeros_(self.net.conv_out.bias)

    def forward(self, x: Tensor, c: Tensor, labels: Tensor | None = None) -> Tensor:
        """F, (B, C, H, W)."""
        return self.net(x, TIME * c, class_labels=labels).sample


class FlatMLP(nn.Module):
    """`ResidualMLP` for images, (B, C, H, W)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        dim = config["channels"] * config["side"] ** 2
        sizes = {key: config[key] for key in ("width", "depth", "classes")}
        self.net = ResidualMLP(dim, **sizes)

    def forward(self, x: Tensor, c: Tensor, labels: Tensor | None = None) -> Tensor:
        """F, (B, C, H, W)."""
        return self.net(x.flatten(1), c, labels).reshape(x.shape)


def config_of(
    kind: str, shape: Sequence[int], *, classes: int, widths: Sequence[int], depth: int
) -> dict[str, Any]:
    """The content of config.json: plain data from which `built` makes the backbone.

    Args:
        kind: "unet" or "mlp".
        shape: channels, rows, columns.
        classes: K; labels are 0..K, the last for no class; 0: no labels.
        widths: of the UNet's levels, attention on the last; of the MLP, one.
        depth: layers a level; residual blocks.

    Raises:
        ValueError: images that are not square or that a UNet cannot halve, or wrong widths.
    """
    channels, side, columns = shape
    if side != columns:
        raise ValueError(f"source: images are {side} x {columns}; square ones are allowed")
    if kind == "mlp":
        if len(widths) != 1:
            raise ValueError(f"widths are {tuple(widths)}; one number is allowed for an mlp")
        sizes = {"channels": channels, "side": side, "width": widths[0], "depth": depth}
        return {"_class_name": MLP, **sizes, "classes": classes}
    halvings = 2 ** (len(widths) - 1)
    if side % halvings:
        raise ValueError(
            f"source: images are {side} x {side}; a multiple of {halvings} is allowed with"
            f" {len(widths)} widths"
        )
    if any(width % 16 for width in widths):
        raise ValueError(f"widths are {tuple(widths)}; multiples of 16 are allowed for a unet")
    plain = len(widths) - 1
    return {
        "_class_name": UNET,
        "sample_size": side,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": list(widths),
        "layers_per_block": depth,
        "down_block_types": ["DownBlock2D"] * plain + ["AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D"] + ["UpBlock2D"] * plain,
        "norm_num_groups": 16,
        "attention_head_dim": 16,
        "act_fn": "silu",
        "num_class_embeds": classes + 1 if classes else None,
    }


def built(config: Mapping[str, Any], *, seed: int = 0) -> UNet | FlatMLP:
    """The backbone with the weights that the seed draws.

    Raises:
        ValueError: the config is of no such backbone.
    """
    kinds = {UNET: UNet, MLP: FlatMLP}
    kind = config.get("_class_name")
    if kind not in kinds:
        raise ValueError(f"_class_name is {kind!r}; {', '.join(kinds)} are allowed")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return kinds[kind](config)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"no {kind} ({' '.join(str(error).split())}); its config is allowed"
        ) from None
