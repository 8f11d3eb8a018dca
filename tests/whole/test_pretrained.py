"""The checkpoint in the repository draws what it is asked for, and is what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from experiments.metrics.classifier import agreement, classifier
from experiments.sampling.draw import draw, prepared
from experiments.sampling.job import Job
from experiments.sampling.source import Source, opened

PLACE = Path(__file__).parents[2] / "experiments" / "pretrained" / "fashion"
SHARE = 0.8
"""Asked of the classes; the card has more than that by many standard errors."""


@pytest.fixture(scope="module")
def source() -> Source:
    return opened(PLACE)


def drawn(source: Source, count: int, labels: str | None = "cycle") -> torch.Tensor:
    job = Job(
        checkpoint=str(PLACE),
        method="unipc_3",
        steps=10,
        grid="logsnr",
        levels=(0.01, 80.0),
        labels=labels,
        guidance=None if labels is None else 1.5,
    )
    return draw(prepared(job, source), range(count))


def test_images_show_the_class_asked_for(source: Source, size: int) -> None:
    count = 40 * (1 if size == 1 else 10)
    asked = torch.arange(count) % source.classes
    net = classifier()
    assert agreement(net, drawn(source, count), asked).share >= SHARE
    assert agreement(net, drawn(source, 20, None), asked[:20]).share < SHARE  # control: none asked


def test_the_card_has_the_curve_and_the_limits() -> None:
    rows = [json.loads(line) for line in (PLACE / "rows.jsonl").read_text().splitlines()]
    card = json.loads((PLACE / "training.json").read_text())
    assert rows[-1]["images"] >= card["training"]["images"]
    assert rows[-1]["seconds"] <= 2 * 3600
    files = list(PLACE.iterdir())
    assert sum(f.stat().st_size for f in files) <= 16 * 2**20
    assert {"CARD.md", "loss.svg", "samples.png", "nearest.png"} <= {f.name for f in files}


def test_it_has_no_more_than_two_million_parameters(source: Source) -> None:
    assert 0 < sum(p.numel() for p in source.module.parameters()) <= 2_000_000
