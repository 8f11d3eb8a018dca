"""diffusers' UNet2DModel, plain and in EDM's scaling."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from experiments.checkpoints.unet import one_of
from experiments.networks import EDMScaling

SMOOTH = ("silu", "swish", "mish", "gelu")


class UNet2D(nn.Module):
    """(B, C, H, W), labels (B,) and classes (B,) of int64 or None to (B, C, H, W).

    Channels beyond C (learned variances) are dropped.

    Raises:
        ValueError: diffusers is not installed, or an activation that is not smooth.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__()
        try:
            from diffusers.models.unets.unet_2d import UNet2DModel
        except ImportError:
            raise ValueError(
                "diffusers: not installed; pip install scoreproof[train] is allowed"
            ) from None
        one_of("act_fn", config.get("act_fn", "silu"), *SMOOTH)
        self.model = UNet2DModel(**config)
        self.channels = self.model.config["in_channels"]
        self.needs_class = self.model.class_embedding is not None

    def one(self, label: int) -> Tensor:
        """The class (1,)."""
        return torch.tensor([label])

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
