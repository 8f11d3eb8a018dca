"""diffusers' U-Nets: of images and classes, plain and in EDM's scaling; of latents and text."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from experiments.checkpoints.layers import one_of
from experiments.networks import EDMScaling

SMOOTH = ("silu", "swish", "mish", "gelu")
"""Activations with a derivative everywhere."""

UNCONDITIONAL = (
    "class_embed_type",
    "addition_embed_type",
    "encoder_hid_dim_type",
    "time_cond_proj_dim",
    "num_class_embeds",
    "timestep_post_act",
)
"""Settings of UNet2DConditionModel that ask for more than text."""


def _diffusers(name: str) -> Any:
    """A class of diffusers.

    Raises:
        ValueError: diffusers is not installed.
    """
    try:
        import diffusers.models.unets as unets
    except ImportError:
        raise ValueError(
            "diffusers: not installed; pip install scoreproof[train] is allowed"
        ) from None
    return getattr(unets, name)


class UNet2D(nn.Module):
    """(B, C, H, W), labels (B,) and classes (B,) of int64 or None to (B, C, H, W).

    Channels beyond C (learned variances) are dropped.

    Raises:
        ValueError: diffusers is not installed, or an activation that is not smooth.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__()
        one_of("act_fn", config.get("act_fn", "silu"), *SMOOTH)
        self.model = _diffusers("UNet2DModel")(**config)
        self.channels = self.model.config["in_channels"]
        self.needs_class = self.model.class_embedding is not None

    def of(self, classes: Tensor) -> Tensor:
        """The classes."""
        return classes

    def forward(self, x: Tensor, label: Tensor, classes: Tensor | None = None) -> Tensor:
        """The network's output at x."""
        return self.model(x, label, classes, return_dict=False)[0][:, : self.channels]


class ScaledUNet2D(UNet2D):
    """D(x, σ) = c_skip x ± c_out F(c_in x, log(σ)/4); minus for "v_prediction"."""

    def __init__(
        self,
        *,
        sigma_data: float,
        prediction_type: Literal["epsilon", "v_prediction"] = "epsilon",
        **config: Any,
    ) -> None:
        super().__init__(**config)
        one_of("prediction_type", prediction_type, "epsilon", "v_prediction")
        self.scaling, self.sign = EDMScaling(float(sigma_data)), 1.0
        if prediction_type == "v_prediction":
            self.sign = -1.0

    def forward(self, x: Tensor, label: Tensor, classes: Tensor | None = None) -> Tensor:
        """The data prediction at σ = ``label``, () or (B,)."""
        c, sigma = self.scaling, label.expand(len(x))
        s = sigma[:, None, None, None]
        F = super().forward(c.into(s) * x, c.noise(sigma), classes)
        return c.skip(s) * x + self.sign * c.out(s) * F


class UNet2DCondition(nn.Module):
    """(B, C, H, W), labels (B,) and text embeddings (B, L, width) to (B, C, H, W).

    Raises:
        ValueError: diffusers is not installed, a network that needs more than text, or an
            activation that is not smooth.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__()
        one_of("act_fn", config.get("act_fn", "silu"), *SMOOTH)
        for name in UNCONDITIONAL:
            if config.get(name) is not None:
                raise ValueError(f"{name}: got {config[name]!r}; null is allowed")
        self.model = _diffusers("UNet2DConditionModel")(**config)
        self.channels = self.model.config["in_channels"]

    def forward(self, x: Tensor, label: Tensor, context: Tensor) -> Tensor:
        """The network's output at x."""
        out = self.model(x, label, context.to(x.dtype), return_dict=False)
        return out[0][:, : self.channels]
