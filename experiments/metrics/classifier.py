"""Which class of Fashion-MNIST an image shows, by a small network with committed weights.

Three convolutions and a linear layer, trained on the 60 000 training images with one seed in a
few minutes of one core; its card says how. The weights are those of

    python -m experiments.metrics.classifier FOLDER
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments import store, tensors
from experiments.datamodules import Batch, Fashion, Part, Pictures
from experiments.lightning import Interrupt, quiet
from experiments.metrics.extractors import as_bytes
from experiments.terminal import Tick, bar

KEPT = Path(__file__).resolve().parents[1] / "pretrained" / "fashion_classifier"
WEIGHTS, CARD = "classifier.safetensors", "CARD.md"
CLASSES = 10


@dataclass(frozen=True)
class Recipe:
    """What the weights depend on besides the data and the machine's arithmetic."""

    images: int = 300_000
    batch: int = 128
    seed: int = 0
    rate: float = 3e-3
    decay: float = 0.02
    widths: tuple[int, int, int] = (24, 48, 96)

    @property
    def steps(self) -> int:
        """Of the optimizer."""
        return -(-self.images // self.batch)


class Classifier(nn.Module):
    """Images (B, 1, 28, 28) in [−1, 1] to logits (B, 10)."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for into, out in zip((1, *widths[:-1]), widths, strict=True):
            layers += [
                nn.Conv2d(into, out, 3, padding=1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3))
        self.head = nn.Linear(9 * widths[-1], CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        return self.head(self.body(images))


class Learning(pl.LightningModule):
    """AdamW on the cross entropy; the rate rises and falls once."""

    def __init__(self, recipe: Recipe, progress: Tick | None) -> None:
        super().__init__()
        self.net, self.recipe, self.progress = Classifier(recipe.widths), recipe, progress

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Half of the images are mirrored: a shoe that points right is a shoe."""
        x, labels = batch
        assert labels is not None
        draw = torch.Generator().manual_seed(self.recipe.seed * self.recipe.steps + index)
        mirrored = torch.rand(len(x), 1, 1, 1, generator=draw) < 0.5
        x = torch.where(mirrored.to(x.device), x.flip(3), x)
        if self.progress is not None:
            self.progress((index + 1) * len(x), self.recipe.steps * len(x), "training")
        return F.cross_entropy(self.net(x), labels)

    def configure_optimizers(self) -> object:
        """With its schedule."""
        recipe = self.recipe
        adam = torch.optim.AdamW(self.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        rates = torch.optim.lr_scheduler.OneCycleLR(adam, recipe.rate, recipe.steps)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": rates, "interval": "step"}}


def trained(data: Pictures, recipe: Recipe, *, progress: Tick | None = None) -> Classifier:
    """The classifier of these images, which are 28 x 28 in `CLASSES` classes."""
    data.setup()
    data.begin(batch=recipe.batch, seed=recipe.seed, last=recipe.steps)
    interrupt = Interrupt()
    with torch.random.fork_rng(devices=[]), quiet(interrupt):
        torch.manual_seed(recipe.seed)
        learning = Learning(recipe, progress)
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=1,
            limit_val_batches=0,
            callbacks=[interrupt],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(learning, datamodule=data)
    return learning.net.cpu().eval().requires_grad_(False)


def classifier(folder: Path = KEPT) -> Classifier:
    """The one of a folder; by default the committed one.

    Raises:
        ValueError: its file is missing or damaged.
    """
    state, facts = tensors.read(folder / WEIGHTS)
    net = Classifier(tuple(facts["recipe"]["widths"]))
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


@torch.no_grad()
def classes(net: Callable[[Tensor], Tensor], images: Tensor, *, batch: int = 1000) -> Tensor:
    """The most probable class of each image, (N,); images (N, 1, 28, 28), bytes or in [−1, 1]."""
    if images.shape[1:] != (1, 28, 28):
        raise ValueError(f"images: got {tuple(images.shape[1:])}; (1, 28, 28) is allowed")
    parts = [as_bytes(part).float() / 127.5 - 1 for part in images.split(batch)]
    return torch.cat([net(part).argmax(1) for part in parts])


@dataclass(frozen=True)
class Agreement:
    """The share of images that show the class they have, its standard error, and every class's."""

    share: float
    error: float
    each: tuple[float, ...]
    images: int


def agreement(net: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Agreement:
    """Of images with the classes that they have, or were asked for."""
    right = (classes(net, images) == labels).double()
    share = float(right.mean())
    each = tuple(float(right[labels == k].mean()) for k in range(CLASSES))
    return Agreement(share, math.sqrt(share * (1 - share) / len(right)), each, len(right))


def accuracy(net: Callable[[Tensor], Tensor], part: Part) -> Agreement:
    """On images of the data."""
    assert part.labels is not None
    return agreement(net, part.pixels, part.labels)


def keep(net: Classifier, recipe: Recipe, data: Pictures, folder: Path) -> Agreement:
    """Weights and card into a folder; returns the accuracy that the card states."""
    found = accuracy(net, data.validation)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"recipe": asdict(recipe), "data": data.provenance(), "torch": torch.__version__}
    tensors.write(folder / WEIGHTS, net.state_dict(), facts)
    lines = [
        "# Classifier of Fashion-MNIST",
        "",
        f"{sum(p.numel() for p in net.parameters()):,} parameters; {recipe.images:,} training"
        f" images seen, seed {recipe.seed}.",
        f"Accuracy on {found.images:,} test images: {found.share:.2%} ± {found.error:.2%}.",
        "",
        *("| class | accuracy |", "|---|---|"),
        *(f"| {n} | {a:.1%} |" for n, a in zip(data.names, found.each, strict=True)),
        "",
        "Made by `python -m experiments.metrics.classifier FOLDER`; data: Fashion-MNIST (MIT),"
        f" SHA-256 `{data.provenance()['sha256']}`.",
    ]
    with store.replacing(folder / CARD) as file:
        file.write("\n".join(lines) + "\n")
    return found


def main(folder: str) -> None:
    """Train and keep."""
    data, recipe = Fashion(), Recipe()
    with bar("classifier") as tick:
        found = keep(trained(data, recipe, progress=tick), recipe, data, Path(folder))
    print(f"{folder}: {found.share:.2%} of {found.images} test images")


if __name__ == "__main__":
    main(sys.argv[1])
