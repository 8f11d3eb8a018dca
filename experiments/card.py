r"""A trained network's card: what it is, how it was made, and figures computed from its images.

    CARD.md      data, command, seed, curve, figures of a set of images, EV of the Gaussian
    loss.svg     the loss and the errors of the averaged network against images seen
    samples.png  a row of images of each class, in the order of their seeds
    nearest.png  of each class the image nearest to training images, and these, nearest first

EV(σ) = 1 − E|s_θ − s_G|²/|s_θ|² at held-out images with noise of level σ: how much of the
network's score the Gaussian of the data's moments explains.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import store
from experiments.datamodules import Pictures
from experiments.folder import CARD as TRAINING
from experiments.folder import Folder
from experiments.metrics.extractors import as_bytes
from experiments.metrics.measured import CHECKED, Images, data_for, measured, read
from experiments.metrics.nearest import nearest
from experiments.network_study.scores import Flat
from experiments.plots.style import save
from experiments.plots.training import curves, long
from experiments.sampling.sheet import tiled
from experiments.sampling.source import Source, opened
from experiments.terminal import Stage, silent
from experiments.training import moments_of
from gaussian_score.diagnostics import SIGMAS, baselines, compare

CARD, CURVE, SAMPLES, NEAREST = "CARD.md", "loss.svg", "samples.png", "nearest.png"
POINTS = 256
"""At each level of EV."""
UNLABELLED = 10
"""Rows of a sheet where images have no classes."""
FIGURES = ("figure", "value", "images", "held out", "of them", "training images")
TOLD = ("method", "steps", "first", "last", "levels", "grid", "teleport", "labels", "guidance")
"""Of the job that made the images."""


@dataclass(frozen=True)
class Written:
    """The card's place, and the figures in it."""

    card: Path
    figures: Mapping[str, Any]


def write(
    place: str | Path,
    images: str | Path,
    *,
    extractors: Sequence[str] = ("pca",),
    weights: str | Path | None = None,
    stage: Stage = silent,
) -> Written:
    """Card and pictures into a training's folder; nothing of it is written if a figure fails.

    Args:
        place: the folder of a training.
        images: a folder of `sample` with images of this network.
        extractors: names; see `measured`.
        weights: of Inception.
        stage: progress of one part after the other.

    Raises:
        ValueError: images of another network, or a folder or data that cannot be read.
    """
    folder = Folder(Path(place))
    if not folder.begun:
        raise ValueError(f"FOLDER: got {str(place)!r} without {TRAINING}; a training's is allowed")
    named = folder.training().data
    source, shown = opened(place), read(images)
    if shown.about.get("checkpoint") != source.digest:
        raise ValueError(
            f"SET: got {str(images)!r}, which is no set of images of {folder.place}; a folder"
            " that sample wrote with it is allowed"
        )
    data = data_for(named, shown)
    rows, sheet = folder.rows(), tiled(by_class(shown, data))
    figures = measured(shown, data, extractors, weights=weights, stage=stage)
    with stage("explained variance"):
        levels = explained(source, data)
    copies = tiled(beside_training(shown, data))
    sheet.save(folder.place / SAMPLES)
    copies.save(folder.place / NEAREST)
    save(curves(rows), folder.place / CURVE)
    text = "\n".join(_lines(folder, source, shown, data, figures, levels)) + "\n"
    with store.replacing(folder.place / CARD) as file:
        file.write(text)
    return Written(folder.place / CARD, figures)


def explained(source: Source, data: Pictures, *, points: int = POINTS) -> list[dict[str, Any]]:
    """EV and E|s_θ − s_G|² of the network without a class, at held-out images; a row a level."""
    pixels = data.validation[slice(None)][0].double()
    moments = moments_of(data.training)
    law = {"Gaussian": baselines(moments)["Gaussian"]}
    learned = Flat(source.denoiser(), source.shape)
    rows = compare(learned, law, pixels.flatten(1), sigmas=SIGMAS, samples=points)
    return [
        {"sigma": r["sigma"], "explained": r["score"]["explained"], "gap": r["gap"]} for r in rows
    ]


def by_class(images: Images, data: Pictures) -> Tensor:
    """As many images of each class as there are classes, in the order of their seeds."""
    groups = _groups(images, data)
    return torch.cat([images.pixels[group[: len(groups)]] for group in groups])


def beside_training(images: Images, data: Pictures) -> Tensor:
    """Of each class the image nearest to training images, then these."""
    groups = _groups(images, data)
    tiles = []
    for group in groups:
        mine = images.pixels[group[: CHECKED // len(groups)]]
        found = nearest(mine, data.training.pixels, count=len(groups) - 1)
        worst = int(found.distance[:, 0].argmin())
        theirs = as_bytes(data.training.pixels[found.index[worst]]).float() / 127.5 - 1
        tiles += [mine[worst][None], theirs]
    return torch.cat(tiles)


def _groups(images: Images, data: Pictures) -> list[Tensor]:
    """Places of the images of each class; of as many rows where there are none."""
    if images.labels is None:
        groups = list(torch.arange(len(images.pixels)).tensor_split(UNLABELLED))
    else:
        groups = [(images.labels == k).nonzero().flatten() for k in range(len(data.names))]
    fewest = min(map(len, groups))
    if fewest < len(groups):
        raise ValueError(
            f"SET: got {fewest} of one class; {len(groups)} or more of each, a row of the"
            " sheet, are allowed"
        )
    return groups


def _lines(
    folder: Folder,
    source: Source,
    shown: Images,
    data: Pictures,
    figures: Mapping[str, Any],
    levels: Sequence[Mapping[str, Any]],
) -> list[str]:
    card, rows = folder.card(), folder.rows()
    last = rows[-1]
    recipe, about = card["training"], card["data"]
    parameters = sum(p.numel() for p in source.module.parameters())
    side = " x ".join(map(str, about["shape"][1:]))
    plain = json.dumps({k: v for k, v in shown.about["job"].items() if k in TOLD and v})
    versions = ", ".join(f"{k} {v}" for k, v in card["versions"].items())
    return [
        f"# A score network of {about['source']}, {side}",
        "",
        *table(
            ("", ""),
            (
                ("network", f"{recipe['backbone']}, {parameters:,} parameters"),
                ("target", f"{recipe['target']}, residual {recipe['residual']}"),
                ("data", f"{about['training']:,} training images, {len(data.names)} classes"),
                ("SHA-256 of the data", f"`{about['sha256']}`"),
                ("images seen", f"{last['images']:,}, in batches of {recipe['batch']}"),
                ("seed", recipe["seed"]),
                ("command", f"`{card['command']}`"),
                ("versions", versions),
                ("time", f"{last['seconds'] / 60:.0f} minutes"),
                ("training loss at the end", f"{long(rows)[-1]['loss']:.4f}"),
            ),
        ),
        "",
        "Noise levels are σ of x = x₀ + σ n; a state's pixels lie in [−1, 1].",
        "",
        f"![Loss and errors against images seen]({CURVE})",
        "",
        "## Images",
        "",
        f"{figures['images']:,} images, by `{plain}`. Each row of the sheet is a class, in the"
        " order of the seeds.",
        "",
        f"![A row of images of each class]({SAMPLES})",
        "",
        *table(FIGURES, map(_cells, figures["figures"])),
        "",
        *_said(figures),
        "",
        "Of each class the image that is nearest to training images, and its nearest ones:",
        "",
        f"![Images and their nearest training images]({NEAREST})",
        "",
        "## The network beside the Gaussian of its data",
        "",
        *table(
            ("σ", "EV", "E\\|s_θ − s_G\\|²"),
            ((f"{r['sigma']:g}", f"{r['explained']:.6f}", f"{r['gap']:.4g}") for r in levels),
        ),
        "",
        "Squared error a pixel of the denoiser, at held-out images:",
        "",
        *table(("σ", "error"), ((k, f"{v:.5f}") for k, v in last["validation"].items())),
    ]


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def _cells(figure: Mapping[str, Any]) -> list[str]:
    if figure["value"] is None:
        return [figure["name"], figure["refused"], "", "", "", ""]
    error = "" if figure["error"] is None else f" ± {figure['error']:.2g}"
    data = "" if figure["data"] is None else f"{figure['data']:,}"
    mine = f"{figure['value']:.4g}{error}", f"{figure['images']:,}"
    held = f"{figure['held_out']:.4g}", f"{figure['held_images']:,}"
    return [figure["name"], *mine, *held, data]


def _said(figures: Mapping[str, Any]) -> list[str]:
    near, asked = figures["nearest"], figures["asked"]
    lines = [
        f"Distance to the nearest training image, a pixel: {near['median']:.4f} in the median,"
        f" {near['test_median']:.4f} for held-out images; {near['very_near']:.1%} of the images"
        " are nearer than the nearest hundredth of these."
    ]
    if asked is not None:
        lines += [
            "",
            f"A classifier that names {asked['held_out']:.2%} of real held-out images sees the"
            f" class asked for in {asked['share']:.2%} ± {asked['error']:.2%} of the images; the"
            f" worst class has {min(asked['each']):.1%}.",
        ]
    return lines
