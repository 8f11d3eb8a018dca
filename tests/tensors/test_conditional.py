"""Each row is answered by its label's law, and all classes together are their mixture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gaussian_score.conditional import ConditionalLaw, EmptyClassWarning
from gaussian_score.delta import DeltaMixture
from gaussian_score.mixture import GaussianMixture

F64 = torch.float64
METHODS = ("log_density", "score", "noise", "denoise")
RNG = np.random.default_rng(0)
MEANS, VARIANCES = RNG.normal(size=(4, 3)), RNG.uniform(0.1, 1, 4)
FIRST = GaussianMixture.isotropic((0.25, 0.75), MEANS[:2], VARIANCES[:2])
SECOND = GaussianMixture.isotropic((0.5, 0.5), MEANS[2:], VARIANCES[2:])
LAW = ConditionalLaw.of([FIRST, None, SECOND], (0.4, 0, 0.6))
WHOLE = GaussianMixture.isotropic((0.1, 0.3, 0.3, 0.3), MEANS, VARIANCES)
X = torch.from_numpy(RNG.normal(size=(6, 3)))
LABELS = torch.tensor([2, 0, 0, 2, 0, 2])
LEVELS: list[tuple[Any, Any]] = [
    (0.8, 0.6),
    (torch.linspace(0, 1, 6, dtype=F64), torch.linspace(1, 0.2, 6, dtype=F64)),
]
# rounding of a few sums, times 1/σ² at most
CLOSE: dict[str, Any] = {"rtol": 1e-13, "atol": 1e-13}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("level", LEVELS)
def test_every_row_has_its_law(name: str, level: tuple[Any, Any]) -> None:
    found = getattr(LAW, name)(X, LABELS, *level)
    for i, label in enumerate(LABELS.tolist()):
        a, s = (v[i] if isinstance(v, torch.Tensor) else v for v in level)
        one = getattr(LAW.laws[label], name)(X[[i]], a, s)[0]
        torch.testing.assert_close(found[i], one, **CLOSE)
    other = getattr(LAW, name)(X, 2 - LABELS, *level)
    assert (other - found).abs().max() > 1e-3


@pytest.mark.parametrize("name", [*METHODS, "responsibilities"])
@pytest.mark.parametrize("level", LEVELS)
def test_all_classes_are_one_mixture(name: str, level: tuple[Any, Any]) -> None:
    found = getattr(LAW.unconditional, name)(X, *level)
    expected = getattr(WHOLE, name)(X, *level)
    if name == "responsibilities":
        expected = torch.stack([expected[:, :2].sum(1), expected[:, 2:].sum(1)], 1)
    torch.testing.assert_close(found, expected, **CLOSE)


def test_derivatives() -> None:
    leaf = X.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LAW.score(x, LABELS, 0.8, 0.6), leaf)
    assert torch.autograd.gradcheck(lambda x: LAW.unconditional.score(x, 0.8, 0.6), leaf)


@pytest.mark.parametrize("whole", [np.uint8, np.float32, torch.Tensor])
def test_labelled_points(whole: Any) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 3), dtype=np.uint8)
    labels = np.arange(20) % 3
    points = torch.from_numpy(pixels) if whole is torch.Tensor else pixels.astype(whole)
    options: dict[str, Any] = {"scale": 1 / 127.5, "shift": -1.0, "block": 4}
    law = ConditionalLaw.of_points(points, labels, **options)
    assert law.frequencies.tolist() == [7 / 20, 7 / 20, 6 / 20]
    every = DeltaMixture.of(pixels, **options)
    for name in METHODS:
        found = getattr(law.unconditional, name)(X, 0.8, 0.6)
        torch.testing.assert_close(found, getattr(every, name)(X, 0.8, 0.6), **CLOSE)
        own = DeltaMixture.of(pixels[1::3], **options)
        found = getattr(law, name)(X, torch.ones(6, dtype=torch.int32), 0.8, 0.6)
        torch.testing.assert_close(found, getattr(own, name)(X, 0.8, 0.6), **CLOSE)


def test_empty_classes_are_named() -> None:
    points, labels = np.zeros((4, 3)), np.array([0, 2, 2, 0])
    with pytest.warns(EmptyClassWarning, match=r"classes \[1, 3\] have no points"):
        law = ConditionalLaw.of_points(points, labels, classes=4)
    assert law.frequencies.tolist() == [0.5, 0, 0.5, 0]
    law.unconditional.score(X, 1, 1)
    with pytest.raises(ValueError, match="labels has the entry 3, a class without points"):
        law.score(X, torch.full((6,), 3), 1, 1)


@pytest.mark.parametrize(
    ("laws", "frequencies", "message"),
    [
        ([FIRST, SECOND], (0.5, 0.4), r"frequencies sum to 0\.9"),
        ([FIRST, SECOND], (1.5, -0.5), r"frequencies has the entry -0\.5"),
        ([FIRST, SECOND], (1.0,), r"frequencies has shape \(1,\)"),
        ([FIRST, None], (0.5, 0.5), r"laws\[1\] is None at frequency 0\.5"),
        ([None], (1.0,), r"laws have dimensions \[\]"),
        (
            [FIRST, GaussianMixture.isotropic((1.0,), ((0, 0),), (1,))],
            (0.5, 0.5),
            r"dimensions \[2, 3\]",
        ),
        ([FIRST], (math.nan,), "frequencies is"),
    ],
)
def test_bad_laws(laws: Any, frequencies: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConditionalLaw.of(laws, frequencies)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 0, 0, 0, 0, 3]), "labels has the entry 3; 0 to 2 are allowed"),
        (torch.tensor([0, 0, 0, 0, 0, -1]), "labels has the entry -1"),
        (torch.zeros(5, dtype=torch.int64), r"labels have shape \(5,\)"),
        (torch.zeros(6), r"labels have .* torch\.float32"),
        (torch.ones(6, dtype=torch.int64), "labels has the entry 1, a class without points"),
    ],
)
def test_bad_labels(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LAW.score(X, labels, 1, 1)


def test_bad_labelled_points() -> None:
    points = np.zeros((3, 2))
    for labels, message in (
        ([0, 1], r"labels have shape \(2,\)"),
        ([0.0, 1, 2], "labels have .* float64"),
        ([0, 1, -1], "labels has the entry -1"),
        ([0, 1, 5], "labels has the entry 5; 0 to 2 are allowed"),
    ):
        with pytest.raises(ValueError, match=message):
            ConditionalLaw.of_points(points, labels, classes=3)


@pytest.mark.gpu
def test_device() -> None:
    laws = [None if law is None else law.to(device="cuda") for law in (FIRST, None, SECOND)]
    law = ConditionalLaw.of(laws, LAW.frequencies)
    found = law.score(X.cuda(), LABELS.cuda(), 0.8, 0.6)
    torch.testing.assert_close(found.cpu(), LAW.score(X, LABELS, 0.8, 0.6))
