r"""One gradient step as Lightning asks for it, a function of (weights, seed, step) alone.

    w ← Adam(∇ E weight(σ) |D_w(x₀ + σ n, σ, y) − x₀|²),    a ← β a + (1 − β) w

σ, n and which classes y are hidden come from a generator seeded by (seed, step), on the CPU for
every device; the rate and β are functions of the step. So weights, Adam's moments, averages and
the step are all that a training needs to go on, bit for bit on the same CPU and threads.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from experiments.datamodules import Batch
from experiments.networks import Preconditioned, edm_loss
from experiments.training import Training

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
NET, AVERAGE = "net/", "average/"


class Draws(NamedTuple):
    """Noise levels, (B,), noise of the images' shape, and whose class is hidden, (B,)."""

    sigma: Tensor
    noise: Tensor
    hidden: Tensor


def draws(training: Training, step: int, shape: torch.Size) -> Draws:
    """Those of one step."""
    state = np.random.SeedSequence([training.seed, step]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0]))
    sigma = training.levels.sample(shape[0], generator=generator)
    noise = torch.randn(shape, generator=generator)
    hidden = torch.rand(shape[0], generator=generator) < training.dropout
    return Draws(sigma, noise, hidden)


class ScoreModule(pl.LightningModule):
    """A network in training.

    Attributes:
        average: the same network with averaged weights, which is what is kept.
        step: gradient steps taken.
        classes: K; label K stands for a hidden class; 0: the network takes no labels.
    """

    def __init__(self, net: Preconditioned, training: Training, classes: int) -> None:
        super().__init__()
        self.net, self.recipe, self.classes = net, training, classes
        self.average = copy.deepcopy(net).eval().requires_grad_(False)
        self.step = 0
        self.losses: list[Tensor] = []
        self._adam: Mapping[str, Tensor] = {}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of one batch."""
        x0, labels = batch
        sigma, noise, hidden = (d.to(x0.device) for d in draws(self.recipe, self.step, x0.shape))
        given = None
        if self.classes:
            given = torch.where(hidden, self.classes, cast(Tensor, labels))
        loss = edm_loss(self.net, x0, sigma, noise, given)
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, with its moments where the training goes on."""
        adam = torch.optim.Adam(self.net.parameters(), lr=self.recipe.rate)
        if self._adam:
            names = [name for name, _ in self.net.backbone.named_parameters()]
            state = {
                i: {key: self._adam[f"{key}/{name}"] for key in MOMENTS}
                for i, name in enumerate(names)
            }
            adam.load_state_dict(
                {"state": state, "param_groups": adam.state_dict()["param_groups"]}
            )
        return adam

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """The step with its rate, then the averages."""
        for group in optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(self.step)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        share = 1 - self.recipe.memory_at(self.step)
        pairs = zip(
            self.average.backbone.parameters(), self.net.backbone.parameters(), strict=True
        )
        with torch.no_grad():
            for average, now in pairs:
                average.lerp_(now, share)
        self.step += 1

    def state(self) -> dict[str, Tensor]:
        """Weights, averages and Adam's moments, by names."""
        adam = self._optimizer.state_dict()["state"]
        names = [name for name, _ in self.net.backbone.named_parameters()]
        moments = {
            f"{key}/{name}": adam[i][key] for i, name in enumerate(names) for key in MOMENTS
        }
        return {
            **{NET + k: v for k, v in weights(self.net).items()},
            **{AVERAGE + k: v for k, v in weights(self.average).items()},
            **moments,
        }

    def restore(self, state: Mapping[str, Tensor], step: int) -> None:
        """Go on from what `state` gave after so many steps.

        Raises:
            ValueError: the state is another network's.
        """
        expected = [
            f"{key}/{n}" for n, _ in self.net.backbone.named_parameters() for key in MOMENTS
        ]
        try:
            for net, prefix in ((self.net, NET), (self.average, AVERAGE)):
                load(net, {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
            self._adam = {key: state[key] for key in expected}
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"state: of another network ({error})") from None
        self.step = step

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        return cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False))


def weights(net: Preconditioned) -> dict[str, Tensor]:
    """The backbone's, under the names of its own file."""
    return cast(Any, net.backbone).net.state_dict()


def load(net: Preconditioned, tensors: Mapping[str, Tensor]) -> None:
    """The backbone's, from its own file; ``RuntimeError`` where they do not fit."""
    cast(Any, net.backbone).net.load_state_dict(dict(tensors), strict=True)
