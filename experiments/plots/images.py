"""Images in rows and columns with words beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from experiments.plots.style import style

SCALE = 2
"""Dots of the picture to a pixel of an image, each way."""
GAP = 1
"""Pixels between images."""


def table(images: Tensor, down: Sequence[str], across: Sequence[str]) -> Figure:
    """Grey images in [−1, 1], (rows, columns, H, W); words for the rows and for the columns."""
    rows, columns, height, width = images.shape
    grey = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    framed = np.pad(grey, ((0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=255)
    h, w = height + GAP, width + GAP
    whole = framed.transpose(0, 2, 1, 3).reshape(rows * h, columns * w)
    with style():
        figure = Figure(figsize=(0.62 * columns + 1.2, 0.62 * rows + 0.6), layout="constrained")
        axes = figure.add_subplot()
        dots = whole.repeat(SCALE, 0).repeat(SCALE, 1)
        axes.imshow(dots, cmap="gray", vmin=0, vmax=255, interpolation="none")
        axes.set_xticks([(i + 0.5) * w * SCALE for i in range(columns)], across)
        axes.set_yticks([(i + 0.5) * h * SCALE for i in range(rows)], down)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
    return figure
