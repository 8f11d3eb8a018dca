"""A training's folder: what it holds, in which order it is written, how it is checked when read.

    config.json                             the backbone; diffusers' own where it is a UNet
    training.json                           the card: recipe, deviation, data, command, versions
    gaussian.npz                            moments of the data, with residual "gaussian" only
    diffusion_pytorch_model.safetensors     averaged weights
    rows.jsonl                              the curve so far
    state.safetensors                       what the training goes on from; gone when it is done
    snapshots/IMAGES.safetensors            averaged weights at each row, where they were asked for

The first three are written before the first step, the card last, and never change. The others are
replaced whole, the state last, so a process killed at any moment leaves what it can go on from:
rows beyond the state are dropped. Weights and state name the card that they belong to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import module, store, tensors
from experiments.networks import Preconditioned
from experiments.rows import Row
from experiments.training import Training, network
from gaussian_score import archive
from gaussian_score.moments import Moments

CONFIG, CARD, GAUSSIAN = "config.json", "training.json", "gaussian.npz"
WEIGHTS, ROWS, STATE = "diffusion_pytorch_model.safetensors", "rows.jsonl", "state.safetensors"
SNAPSHOTS = "snapshots"
FORMAT = 1


@dataclass(frozen=True)
class Folder:
    """The folder of one training; nothing is read before it is asked for."""

    place: Path

    @property
    def begun(self) -> bool:
        """Whether there is a card."""
        return (self.place / CARD).is_file()

    @property
    def unfinished(self) -> bool:
        """Whether there is a state to go on from."""
        return (self.place / STATE).is_file()

    def finished(self, steps: int) -> bool:
        """Whether the averaged weights are those after so many steps."""
        return (self.place / WEIGHTS).is_file() and self._tensors(WEIGHTS)[1]["step"] == steps

    def begin(
        self,
        training: Training,
        *,
        config: Mapping[str, Any],
        deviation: float,
        moments: Moments | None,
        data: Mapping[str, Any],
        command: str | None,
    ) -> None:
        """Write what does not change."""
        self.place.mkdir(parents=True, exist_ok=True)
        if moments is not None:
            moments.save(self.place / GAUSSIAN)
        card = {
            "format": FORMAT,
            "training": training.to_json(),
            "deviation": deviation,
            "noise": "x = x0 + sigma n; c_noise = log(sigma)/4; UNet's timestep 8 c_noise",
            "data": data,
            "command": command,
            "versions": archive.versions() | {"torch": torch.__version__},
        }
        for name, value in ((CONFIG, config), (CARD, card)):
            with store.replacing(self.place / name) as file:
                file.write(store.page(value))

    def card(self) -> dict[str, Any]:
        """The card.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        card = self._json(CARD)
        deviation = card.get("deviation")
        whole = card.get("format") == FORMAT and isinstance(card.get("data"), dict)
        if not whole or not isinstance(deviation, float):
            raise ValueError(
                f"{self.place / CARD}: format, deviation and data of a training are allowed"
            )
        return card

    def training(self) -> Training:
        """The recipe on the card."""
        card = self.card()
        return self._about(CARD, lambda: Training.from_json(card.get("training", {})))

    def network(self) -> Preconditioned:
        """The network with the weights that it begins with."""
        training, card = self.training(), self.card()
        moments = Moments.load(self.place / GAUSSIAN) if training.residual else None
        config = self._json(CONFIG)
        net = self._about(CONFIG, lambda: network(training, config, card["deviation"], moments))
        shape = card["data"].get("shape")
        if moments is not None and moments.dim != _numbers(shape):
            raise ValueError(
                f"{self.place / GAUSSIAN}: moments of {moments.dim} numbers; those of images"
                f" {shape} are allowed"
            )
        return net

    def trained(self, images: int | None = None) -> Preconditioned:
        """The network with the averaged weights; those kept after so many images, where named.

        Raises:
            ValueError: a file is missing, damaged, or of another training.
        """
        net = self.network()
        name = WEIGHTS if images is None else _snapshot(images)
        found, _ = self._tensors(name)
        try:
            module.load(net, found)
        except RuntimeError:
            raise ValueError(
                f"{self.place / name}: weights of another backbone than {CONFIG}'s; those of"
                " this training are allowed"
            ) from None
        if not all(bool(w.isfinite().all()) for w in found.values()):
            raise ValueError(f"{self.place / name}: has NaN or infinity; numbers are allowed")
        return net.eval()

    def snapshots(self) -> tuple[int, ...]:
        """After how many images averaged weights were kept."""
        return tuple(sorted(int(f.stem) for f in (self.place / SNAPSHOTS).glob("*.safetensors")))

    def keep(
        self,
        learning: module.ScoreModule,
        rows: Sequence[Row],
        *,
        done: bool,
        snapshot: bool = False,
    ) -> None:
        """Weights, rows, and the state, or no state where the training is done."""
        facts = {"card": self._hash(), "step": learning.step}
        names = [_snapshot(rows[-1]["images"])] * snapshot + [WEIGHTS]
        for name in names:
            (self.place / name).parent.mkdir(exist_ok=True)
            tensors.write(self.place / name, module.weights(learning.average), facts)
        with store.replacing(self.place / ROWS) as file:
            file.writelines(store.line(row) + "\n" for row in rows)
        if done:
            (self.place / STATE).unlink(missing_ok=True)
        else:
            tensors.write(self.place / STATE, learning.state(), facts)

    def state(self) -> tuple[dict[str, Tensor], int]:
        """The state and its step."""
        found, facts = self._tensors(STATE)
        return found, int(facts["step"])

    def rows(self, images: int | None = None) -> list[dict[str, Any]]:
        """The curve, up to so many images."""
        file = self.place / ROWS
        if not file.is_file():
            return []
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(text) for text in lines]
            return [row for row in rows if images is None or row["images"] <= images]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}: cannot be read ({error}); rows are allowed") from None

    def sweep(self) -> None:
        """Remove what a killed process was writing."""
        for part in self.place.rglob(".*.part"):
            part.unlink(missing_ok=True)

    def _tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        found, facts = tensors.read(self.place / name)
        if facts.get("card") != self._hash():
            raise ValueError(
                f"{self.place / name}: belongs to another {CARD} than the one beside it; files of"
                " one training are allowed"
            )
        return found, facts

    def _hash(self) -> str:
        return hashlib.sha256((self.place / CARD).read_bytes()).hexdigest()

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.place / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "no JSON"
            raise ValueError(
                f"{self.place / name}: cannot be read ({why}); the folder of a training is allowed"
            ) from None
        if not isinstance(value, dict):
            raise ValueError(f"{self.place / name}: a JSON object is allowed")
        return value

    def _about(self, name: str, call: Any) -> Any:
        try:
            return call()
        except ValueError as error:
            raise ValueError(f"{self.place / name}: {error}") from None


def _snapshot(images: int) -> str:
    return f"{SNAPSHOTS}/{images:09d}.safetensors"


def _numbers(shape: Any) -> int:
    ok = isinstance(shape, list) and all(isinstance(n, int) for n in shape)
    return int(torch.Size(shape).numel()) if ok else -1
