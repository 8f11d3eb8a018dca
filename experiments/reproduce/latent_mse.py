r"""How far guided latents are from a converged run of the same network.

    MSE = mean over images of |x − x*|²/D

x* is the paper's own reference, a run of many steps from the same noise. For the first images it
can also be the converged flow in float64 (`experiments.metrics.converged`), which has an error of
its own; the paper's reference is then measured against it as well.

Texts come as embeddings, a .safetensors with ``prompt`` (N, L, C) and ``null`` (1, L, C), or as a
file of prompts, one a line, for the tokenizer and the text encoder in the checkpoint's folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.checkpoints.safe import weights
from experiments.metrics.converged import Reference, converged
from experiments.reproduce.recipe import Cell, Recipe
from experiments.reproduce.setting import job_of
from experiments.sampling.draw import prepared, run
from experiments.sampling.plans import levels_of
from experiments.sampling.source import Source
from experiments.terminal import Tick


@dataclass(frozen=True, eq=False)
class Texts:
    """What images are asked for: prompt (N, L, C); null (1, L, C), that of the empty text."""

    prompt: Tensor
    null: Tensor

    def __post_init__(self) -> None:
        for name, value in (("prompt", self.prompt), ("null", self.null)):
            if value.dim() != 3 or not value.is_floating_point():
                raise ValueError(
                    f"--embeddings: {name} is {list(value.shape)} of {value.dtype}; floats"
                    " [N, L, C] are allowed"
                )
        if len(self.null) != 1 or self.null.shape[1:] != self.prompt.shape[1:]:
            raise ValueError(
                f"--embeddings: null is {list(self.null.shape)};"
                f" {[1, *self.prompt.shape[1:]]}, as prompt has, is allowed"
            )

    def of(self, seeds: range) -> Tensor:
        """One embedding an image: in turn, where there are more images."""
        return self.prompt[torch.tensor(seeds) % len(self.prompt)]


def stored(file: str | Path) -> Texts:
    """The embeddings of a .safetensors.

    Raises:
        ValueError: a file that is missing or damaged, or has other tensors.
    """
    held = weights(Path(file))
    if set(held) != {"prompt", "null"}:
        raise ValueError(f"--embeddings: got {sorted(held)}; prompt and null are allowed")
    return Texts(held["prompt"], held["null"])


def encoded(prompts: str | Path, checkpoint: str | Path) -> Texts:
    """The embeddings of a file of prompts by the text encoder of a folder.

    Raises:
        ValueError: no prompts, a folder without tokenizer/ and text_encoder/, or no transformers.
    """
    try:
        lines = [s for s in Path(prompts).read_text(encoding="utf-8").splitlines() if s.strip()]
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"--prompts: got {str(prompts)!r}; a file of text is allowed") from None
    if not lines:
        raise ValueError(f"--prompts: got {str(prompts)!r} without a line; one is allowed")
    places = [Path(checkpoint) / part for part in ("tokenizer", "text_encoder")]
    for place in places:
        if not place.is_dir():
            raise ValueError(f"--prompts: {str(place)!r} is no folder; --embeddings is allowed")
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError:
        raise ValueError(
            "transformers: not installed; pip install scoreproof[text] is allowed"
        ) from None
    try:
        tokenizer = CLIPTokenizer.from_pretrained(places[0], local_files_only=True)
        encoder = CLIPTextModel.from_pretrained(
            places[1], local_files_only=True, use_safetensors=True
        ).eval()
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--prompts: {reason}; a whole folder is allowed") from None

    @torch.no_grad()
    def embed(text: str) -> Tensor:
        made = tokenizer(text, padding="max_length", truncation=True, return_tensors="pt")
        return encoder(made.input_ids)[0]

    return Texts(torch.cat([embed(line) for line in lines]), embed(""))


def spoken(source: Source, texts: Texts) -> Source:
    """The checkpoint whose unconditional model is that of the empty text."""
    own, null = source.bind, texts.null

    def bind(module: nn.Module, condition: Tensor | None) -> Any:
        return own(module, null if condition is None else condition)

    mark = hashlib.sha256(f"{source.digest} {null.tolist()}".encode()).hexdigest()
    # One class, so that a job may ask for guidance; every run is given its embeddings.
    return replace(source, bind=bind, classes=1, digest=mark)


@dataclass(frozen=True, eq=False)
class Bench:
    """The references of a recipe's images, made once for all its cells."""

    recipe: Recipe
    texts: Texts
    seeds: range
    batch: int
    target: list[Tensor]
    exact: Reference | None
    """The converged flow of the first images."""

    @classmethod
    def made(
        cls,
        recipe: Recipe,
        source: Source,
        texts: Texts,
        *,
        images: int,
        batch: int,
        exact: int = 0,
        progress: Tick | None = None,
    ) -> Bench:
        """The paper's reference of all images, and the converged flow of the first ``exact``."""
        assert recipe.reference is not None
        like = replace(recipe.cells[0], options={}, best=({},), statistics=None, odd=None)
        how = recipe.reference
        long = replace(like, method=how["method"], nfe=how["steps"], calls=1, shown="reference")
        bench = cls(recipe, texts, range(images), batch, [], None)
        bench.target.extend(bench.states(long, source, {}, None, progress))
        if not exact:
            return bench
        job = job_of(recipe, long, source, "", {})
        flow = converged(
            source.to(device="cpu"),
            range(exact),
            condition=texts.of(range(exact)),
            scale=recipe.guidance,
            levels=levels_of(job, source),
            progress=progress,
        )
        return replace(bench, exact=flow)

    def states(
        self,
        cell: Cell,
        source: Source,
        options: dict[str, Any],
        file: str | None,
        progress: Tick | None,
    ) -> Iterator[Tensor]:
        """Final latents of a cell's run, a batch at a time, on the CPU."""
        job = replace(
            job_of(self.recipe, cell, source, "", options, file=file),
            labels=(0,),
            guidance=self.recipe.guidance,
        )
        p = prepared(job, source)
        for first in range(0, len(self.seeds), self.batch):
            seeds = self.seeds[first : first + self.batch]
            device = next(source.module.parameters()).device
            yield run(p, seeds, condition=self.texts.of(seeds).to(device)).x.cpu()
            if progress is not None:
                progress(seeds[-1] + 1, len(self.seeds), f"{cell.shown} {cell.nfe}")

    def errors(
        self,
        cell: Cell,
        source: Source,
        options: dict[str, Any],
        file: str | None,
        progress: Tick | None = None,
    ) -> tuple[float, float | None]:
        """The mean square distance from the paper's reference and from the converged flow."""
        found = list(self.states(cell, source, options, file, progress))
        near = square(torch.cat(found), torch.cat(self.target))
        if self.exact is None:
            return near, None
        return near, square(torch.cat(found)[: len(self.exact.x)], self.exact.x)

    @property
    def seen(self) -> range:
        """The images that are compared with the converged flow."""
        return range(0 if self.exact is None else len(self.exact.x))

    def of_reference(self) -> tuple[float, float] | None:
        """The same of the paper's reference itself, and the square error of the converged flow."""
        if self.exact is None:
            return None
        own = float(self.exact.error.square().mean())
        return square(torch.cat(self.target)[: len(self.exact.x)], self.exact.x), own


def square(x: Tensor, y: Tensor) -> float:
    """Mean of (x − y)²."""
    return float((x.double() - y.double()).square().mean())
