r"""Inception-v3 as the FID has it: the network of 2015-12-05, in torch alone.

It is Inception-v3 with 1008 outputs and three departures: averages over 3 x 3 places leave out the
border's padding, the last block takes a maximum there, and an image is brought to 299 x 299 by
lines through its pixels with pixel i of 299 at i H/299 (no half pixels, as TensorFlow 1 did), then
scaled to (byte − 128)/128. Layers have the names of torch-fidelity's file of its weights.

Sources: Szegedy et al. 2016, arXiv 1512.00567; Heusel et al. 2017, arXiv 1706.08500.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE, CLASSES = 299, 1008
Size = int | tuple[int, int]


class Layer(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, into: int, out: int, kernel: Size, *, stride: int = 1, padding: Size = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, .., ..)."""
        return F.relu(self.bn(self.conv(x)))


def mean(x: Tensor) -> Tensor:
    """Over 3 x 3 places, of those that there are."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def maximum(x: Tensor) -> Tensor:
    """Over 3 x 3 places."""
    return F.max_pool2d(x, 3, stride=1, padding=1)


class A(nn.Module):
    """35 x 35 places: 1 x 1; 5 x 5; twice 3 x 3; pooled."""

    def __init__(self, into: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Layer(into, 64, 1)
        self.branch5x5_1 = Layer(into, 48, 1)
        self.branch5x5_2 = Layer(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Layer(into, 64, 1)
        self.branch3x3dbl_2 = Layer(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Layer(96, 96, 3, padding=1)
        self.branch_pool = Layer(into, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """224 + pooled channels."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        parts = self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double
        return torch.cat([*parts, self.branch_pool(mean(x))], 1)


class B(nn.Module):
    """From 35 x 35 to 17 x 17."""

    def __init__(self, into: int) -> None:
        super().__init__()
        self.branch3x3 = Layer(into, 384, 3, stride=2)
        self.branch3x3dbl_1 = Layer(into, 64, 1)
        self.branch3x3dbl_2 = Layer(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Layer(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """480 + into channels."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], 1)


class C(nn.Module):
    """17 x 17 places: 7 x 7 as rows and columns, once and twice."""

    def __init__(self, into: int, width: int) -> None:
        super().__init__()
        row, column = (0, 3), (3, 0)
        self.branch1x1 = Layer(into, 192, 1)
        self.branch7x7_1 = Layer(into, width, 1)
        self.branch7x7_2 = Layer(width, width, (1, 7), padding=row)
        self.branch7x7_3 = Layer(width, 192, (7, 1), padding=column)
        self.branch7x7dbl_1 = Layer(into, width, 1)
        self.branch7x7dbl_2 = Layer(width, width, (7, 1), padding=column)
        self.branch7x7dbl_3 = Layer(width, width, (1, 7), padding=row)
        self.branch7x7dbl_4 = Layer(width, width, (7, 1), padding=column)
        self.branch7x7dbl_5 = Layer(width, 192, (1, 7), padding=row)
        self.branch_pool = Layer(into, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """768 channels."""
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(mean(x))], 1)


class D(nn.Module):
    """From 17 x 17 to 8 x 8."""

    def __init__(self, into: int) -> None:
        super().__init__()
        self.branch3x3_1 = Layer(into, 192, 1)
        self.branch3x3_2 = Layer(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Layer(into, 192, 1)
        self.branch7x7x3_2 = Layer(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Layer(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Layer(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """512 + into channels."""
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        parts = self.branch3x3_2(self.branch3x3_1(x)), self.branch7x7x3_4(seven)
        return torch.cat([*parts, F.max_pool2d(x, 3, stride=2)], 1)


class E(nn.Module):
    """8 x 8 places, where 3 x 3 is a row and a column side by side."""

    def __init__(self, into: int, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        row, column = (0, 1), (1, 0)
        self.branch1x1 = Layer(into, 320, 1)
        self.branch3x3_1 = Layer(into, 384, 1)
        self.branch3x3_2a = Layer(384, 384, (1, 3), padding=row)
        self.branch3x3_2b = Layer(384, 384, (3, 1), padding=column)
        self.branch3x3dbl_1 = Layer(into, 448, 1)
        self.branch3x3dbl_2 = Layer(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Layer(384, 384, (1, 3), padding=row)
        self.branch3x3dbl_3b = Layer(384, 384, (3, 1), padding=column)
        self.branch_pool = Layer(into, 192, 1)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """2048 channels."""
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = (
            self.branch1x1(x),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(x)),
        )
        return torch.cat(parts, 1)


class Inception(nn.Module):
    """Images (B, 1 or 3, H, W) in [−1, 1] to 2048 features; `logits` of them are for the score."""

    num_features, title = 2048, "Inception-v3 of the FID"

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Layer(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Layer(32, 32, 3)
        self.Conv2d_2b_3x3 = Layer(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Layer(64, 80, 1)
        self.Conv2d_4a_3x3 = Layer(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = A(192, 32), A(256, 64), A(288, 64)
        self.Mixed_6a = B(288)
        self.Mixed_6b, self.Mixed_6c = C(768, 128), C(768, 160)
        self.Mixed_6d, self.Mixed_6e = C(768, 160), C(768, 192)
        self.Mixed_7a = D(768)
        self.Mixed_7b, self.Mixed_7c = E(1280, mean), E(2048, maximum)
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 2048)."""
        x = resized(images.expand(-1, 3, -1, -1).float()) * (127.5 / 128) - 0.5 / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, stride=2))))
        x = self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(self.Mixed_6e(x))))
        return x.mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """(B, 1008), without the bias, as published scores have it."""
        return features.to(self.fc.weight) @ self.fc.weight.mT


def resized(x: Tensor) -> Tensor:
    """(B, C, 299, 299): pixel i is at i H/299 of the image's rows, and so for columns."""
    rows, columns = (_lines(n).to(x) for n in x.shape[2:])
    return rows @ x @ columns.mT


def _lines(count: int) -> Tensor:
    """(299, count): the weights of the two pixels around each place."""
    place = torch.arange(SIDE, dtype=torch.float64) * count / SIDE
    low = place.floor().long()
    high = (low + 1).clamp(max=count - 1)
    share = place - low
    every = torch.arange(SIDE)
    weights = torch.zeros(SIDE, count, dtype=torch.float64)
    weights[every, low] += 1 - share
    weights[every, high] += share
    return weights
