"""Networks of others, rebuilt from their files, give the numbers that the authors' code gives.

The stored numbers were computed by NVlabs/edm and yang-song/score_sde_pytorch with the weights of
``checkpoint_files.filled`` (16 pixels, 3 channels, seed 0, images of seed 1, float32).
"""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from experiments.checkpoints import convert, load
from experiments.checkpoints.folders import describe
from experiments.checkpoints.pickled import configured, network
from experiments.checkpoints.preconditioned import PRECONDITIONED
from experiments.checkpoints.published import PUBLISHED
from experiments.checkpoints.schedules import recalled
from experiments.checkpoints.score_sde import ScoreSDE
from solvers.float64 import FLOAT64
from tests import checkpoint_files as files

AUTHORS = {
    "EDM DDPM++": [
        0.058004864,
        0.36848588,
        0.40294641,
        0.3803317,
        -0.0027141063,
        -0.013326496,
        0.0025171339,
        -0.0039686837,
    ],
    "EDM NCSN++": [
        0.058234945,
        0.36339517,
        0.39962106,
        0.37863008,
        -0.0015297596,
        -0.013903252,
        0.0007392493,
        -0.0027182324,
    ],
    "EDM skip": [
        0.078915554,
        0.4898102,
        0.60259706,
        0.62573314,
        -0.0019867989,
        -0.0031373433,
        0.0033316712,
        0.0053396447,
    ],
    "EDM ADM": [
        0.091079614,
        0.70472856,
        1.0468279,
        1.1452533,
        -0.00084701196,
        -0.016720897,
        0.0032403459,
        0.00094518525,
    ],
    "VP DDPM++": [
        0.061706074,
        0.66702819,
        3.8496152,
        47.168029,
        -0.0022148263,
        -0.026197141,
        -0.12952368,
        0.86869488,
    ],
    "VE NCSN++": [
        0.059765499,
        0.6280298,
        3.9913928,
        49.611186,
        -0.0022634852,
        -0.027324938,
        -0.11990752,
        -1.084177,
    ],
    "iDDPM ADM": [
        0.084382071,
        0.80572656,
        4.9113847,
        68.085646,
        -0.002420991,
        -0.026241101,
        -0.086025953,
        -0.44556462,
    ],
    "ddpm": [0.19911072, 0.19711665, 0.19824508, -0.0015214608, 0.0015250574, -0.00045728063],
    "ddpm VE": [0.0023352934, 0.05274681, 11.686621, -1.2865921e-05, -7.891191e-05, 0.040532874],
    "ddpm++": [0.24493192, 0.24532022, 0.24036202, 0.00039860728, 0.0026524484, -0.00010748172],
    "ncsn++ sub-VP": [
        0.19343546,
        0.18467053,
        0.19790915,
        0.0064245532,
        -0.0015173846,
        0.0019712372,
    ],
    "ncsn++ VE": [
        1.809899,
        0.11563015,
        0.0056736261,
        -0.0059399336,
        -0.0038361357,
        -7.9136434e-05,
    ],
    "ncsn++ 256": [2.898682, 0.18718298, 0.0093915173, 0.046925403, 0.00062416773, 6.6947142e-05],
    "ncsn++ cat": [
        0.33043633,
        0.31680265,
        0.3298045,
        -0.0011618054,
        -0.00026448957,
        -0.0012954107,
    ],
    "ncsn++ plain": [
        0.20263567,
        0.19245109,
        0.20411558,
        0.0050202032,
        -0.0011530532,
        0.0014912578,
    ],
}

# float32 sums of 10³ terms in another order; the project's bound for other people's networks.
CLOSE = 1e-5


def edm(case: str) -> tuple[nn.Module, dict[str, Any]]:
    name, kwargs = files.EDM_CASES[case]
    module = PRECONDITIONED[name](img_resolution=files.SIDE, img_channels=3, **kwargs)
    module.load_state_dict(files.filled(module.state_dict()))
    return module, kwargs


def sde(case: str) -> tuple[nn.Module, dict[str, Any]]:
    config = files.sde_config(case)
    model = {k: v for k, v in config["model"].items() if k not in ("dropout", "beta_max")}
    module = ScoreSDE(**model, **config["data"])
    module.load_state_dict(files.filled(module.state_dict()))
    return module, config


def far(found: torch.Tensor, case: str) -> float:
    """The largest difference from the authors' sums, in units of the image's RMS."""
    want, got = np.array(AUTHORS[case]), np.array(files.sums(found))
    return float(np.abs((got - want).reshape(2, -1) / want[: len(found)]).max())


@pytest.mark.parametrize("case", files.EDM_CASES)
@pytest.mark.parametrize("protocol", [2, 4])
def test_edm_pickles_answer_as_the_authors(tmp_path: Path, case: str, protocol: int) -> None:
    module, kwargs = edm(case)
    ran = tmp_path / "ran"
    source = f"open({str(ran)!r}, 'w').close()"
    file = files.write_edm(tmp_path / "n.pkl", module, kwargs, source=source, protocol=protocol)
    got, denoiser, info = load(file)
    x, sigma, classes = files.edm_query(kwargs)
    assert far(got(x, sigma, classes), case) < CLOSE
    assert not ran.exists()
    assert (info.predicts, info.shape, info.range) == ("denoised", (3, 16, 16), (-1.0, 1.0))
    assert info.classes == kwargs.get("label_dim", 0)
    # On another schedule (α = 1/2) the denoiser sees x/α and σ/α, in its own dtype.
    y = denoiser.at("data", x[1:2].double() / 2, 0.3, 0.5, 0.25)
    assert y.dtype == torch.float64
    assert torch.equal(y.float(), got(x[1:2], sigma[1]))


@pytest.mark.parametrize("case", files.SDE_CASES)
@pytest.mark.parametrize("zipped", [True, False])
def test_score_sde_files_answer_as_the_authors(tmp_path: Path, case: str, zipped: bool) -> None:
    module, config = sde(case)
    file = files.write_sde(tmp_path / "checkpoint_8.pth", module, zipped=zipped)
    got, denoiser, info = load(file, config=config)
    x, label = files.sde_query(case)
    assert far(got(x, label), case) < CLOSE
    # The denoiser asks the network where its schedule's time says so.
    s, F = recalled(info.schedule), FLOAT64
    t = 7.0 if info.schedule["name"] == "ddpm_discrete" else 0.625
    alpha, sigma = float(s.alpha(F.number(t), F).v), float(s.sigma(F.number(t), F).v)
    seen = {"vpsde": 999 * t, "subvpsde": 999 * t, "vesde": sigma}[config["training"]["sde"]]
    if not config["training"]["continuous"]:
        seen = t if info.predicts == "noise" else 19 * (1 - t)
    y = got(x[:1], torch.tensor([seen]))
    noise = y if info.predicts == "noise" else -sigma * y
    want = denoiser.at("noise", x[:1], t, alpha, sigma)
    torch.testing.assert_close(want, noise, rtol=1e-5, atol=1e-6)  # the label is rounded once


def test_a_wrong_weight_is_seen() -> None:
    module, kwargs = edm("EDM DDPM++")
    with torch.no_grad():
        module.get_parameter("model.dec.8x8_in0.qkv.weight")[0, 0] += 0.1
    assert far(module(*files.edm_query(kwargs)), "EDM DDPM++") > CLOSE


@pytest.mark.parametrize("case", ["EDM NCSN++", "iDDPM ADM"])
def test_a_converted_folder_gives_the_same_bits(tmp_path: Path, case: str) -> None:
    module, kwargs = edm(case)
    file = files.write_edm(tmp_path / "n.pkl", module, kwargs)
    said = convert(file, tmp_path / "out")
    got, _, info = load(tmp_path / "out")
    assert info == said
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert info.provenance["file"] == "n.pkl"
    assert len(info.provenance["sha256"]) == 64
    query = files.edm_query(kwargs)
    assert torch.equal(got(*query), load(file).module(*query))
    with pytest.raises(ValueError, match=r"^OUT: got .*, which exists; a new folder is allowed"):
        convert(file, tmp_path / "out")
    weights = tmp_path / "out" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match="which is not what config.json says"):
        load(tmp_path / "out")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, kwargs = edm("VP DDPM++")
    file = files.write_edm(tmp_path / "n.pkl", module, kwargs)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ValueError, match=r"^OUT: got .* \(No space left on device\)"):
        convert(file, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["n.pkl"]


def test_a_class_is_asked_for(tmp_path: Path) -> None:
    module, kwargs = edm("EDM ADM")
    file = files.write_edm(tmp_path / "n.pkl", module, kwargs)
    x, sigma, _ = files.edm_query(kwargs)
    got, denoiser, _ = load(file, label=2)
    want = got(x, sigma[2], torch.eye(4)[2:3])
    assert torch.equal(denoiser.at("data", x, 0.0, 1.0, float(sigma[2])), want)
    assert not torch.equal(want, got(x, sigma[2]))
    with pytest.raises(ValueError, match="^label: got 4; 0 to 3 is allowed"):
        load(file, label=4)
    with pytest.raises(ValueError, match="^predicts: got 'v'; the file's 'denoised' is allowed"):
        load(file, predicts="v")


def test_every_published_setting_is_a_network() -> None:
    for name in PUBLISHED:
        assert sum(p.numel() for p in configured(name).shapes().parameters()) > 3e7, name


# --- diffusers -----------------------------------------------------------------------------------

UNET = {
    "sample_size": 16,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [32, 32],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}
VE_UNET = {
    **UNET,
    "time_embedding_type": "fourier",
    "center_input_sample": True,
    "down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D"],
    "up_block_types": ["AttnSkipUpBlock2D", "SkipUpBlock2D"],
}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
SCHEDULERS: dict[str, tuple[dict[str, Any], str]] = {
    "DDPM": ({"_class_name": "DDPMScheduler", "prediction_type": "epsilon"}, "noise"),
    "DDIM": (
        {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
        | {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        "v",
    ),
    "PNDM": (
        {"_class_name": "PNDMScheduler", "prediction_type": "epsilon"}
        | {"beta_schedule": "squaredcos_cap_v2"},
        "noise",
    ),
    "UniPC": (
        {"_class_name": "UniPCMultistepScheduler", "prediction_type": "sample"}
        | {"trained_betas": [0.01, 0.02, 0.05]},
        "data",
    ),
    "VE": ({"_class_name": "ScoreSdeVeScheduler", "sigma_max": 348.0}, "score"),
    "EDM": ({"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}, "denoised"),
    "flow": (FLOW, "velocity"),
}


def write_diffusers(folder: Path, scheduler: dict[str, Any], *, pipeline: bool) -> Any:
    """A folder of diffusers and the network in it."""
    unet2d = pytest.importorskip("diffusers.models.unets.unet_2d")
    config = VE_UNET if scheduler["_class_name"] == "ScoreSdeVeScheduler" else UNET
    torch.manual_seed(0)
    unet = unet2d.UNet2DModel(**config).eval()
    home = folder / "unet" if pipeline else folder
    unet.save_pretrained(home)
    place = folder / "scheduler" if pipeline else folder
    place.mkdir(exist_ok=True)
    (place / "scheduler_config.json").write_text(json.dumps(scheduler))
    if pipeline:
        (folder / "model_index.json").write_text("{}")
    return unet


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("pipeline", [True, False])
def test_diffusers_folders(tmp_path: Path, name: str, pipeline: bool) -> None:
    scheduler, predicts = SCHEDULERS[name]
    unet = write_diffusers(tmp_path, scheduler, pipeline=pipeline)
    got, denoiser, info = load(tmp_path)
    assert info.predicts == predicts
    x = files.images(2)
    t, alpha, sigma, label = {
        "VE": (0.5, 1.0, math.sqrt(0.01 * 348), math.sqrt(0.01 * 348)),
        "EDM": (0.7, 1.0, 0.7, math.log(0.7) / 4),
        "flow": (0.25, 0.75, 0.25, 250.0),
    }.get(name, (2.0, 0.8, 0.6, 2.0))
    with torch.no_grad():
        scaled = x / math.hypot(0.5, 0.7) if name == "EDM" else x
        y = unet(scaled, torch.full((2,), label), return_dict=False)[0]
        noise = {
            "noise": lambda: y,
            "data": lambda: (x - alpha * y) / sigma,
            "v": lambda: sigma * x + alpha * y,
            "score": lambda: -sigma * y,
            "velocity": lambda: x + alpha * y,
            "denoised": lambda: (x - (0.25 * x + 0.35 * math.sqrt(0.74) * y) / 0.74) / 0.7,
        }[predicts]()
    # The label passes through float32, and 1/√(σ²+s²) through rsqrt.
    torch.testing.assert_close(
        denoiser.at("noise", x, t, alpha, sigma), noise, rtol=1e-4, atol=1e-5
    )
    convert(tmp_path, tmp_path / "out")
    label = torch.tensor(label) if name != "EDM" else torch.tensor(0.7)
    assert torch.equal(load(tmp_path / "out").module(x, label), got(x, label))


@pytest.mark.parametrize("name", ["DDPM", "DDIM", "PNDM", "UniPC"])
def test_levels_are_those_of_diffusers(name: str) -> None:
    schedulers = pytest.importorskip("diffusers.schedulers")
    config = SCHEDULERS[name][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(schedulers, config["_class_name"])(
            **{k: v for k, v in config.items() if k != "_class_name"}
        ).alphas_cumprod.double()
    s = recalled(describe(dict(UNET), config).schedule)
    at = sorted({0, 1, len(theirs) // 2, len(theirs) - 1})
    ours = [float(s.alpha(FLOAT64.number(float(n)), FLOAT64).v) ** 2 for n in at]
    # They multiply 10³ float32 numbers near one: 10³ · 2⁻²⁴ relative at most.
    np.testing.assert_allclose(ours, theirs[at].numpy(), rtol=1e-4)


REFUSED = [
    ({"_class_name": "IPNDMScheduler"}, "^scheduler: got 'IPNDMScheduler'"),
    ({"_class_name": "DDPMScheduler", "prediction_type": "x"}, "^prediction_type: got 'x'"),
    ({"_class_name": "DDPMScheduler", "beta_schedule": "laplace"}, "^beta_schedule: got"),
    ({"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True}, "^rescale_betas_zero_snr"),
]


@pytest.mark.parametrize(("scheduler", "message"), REFUSED)
def test_unknown_settings_are_refused(scheduler: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(dict(UNET), scheduler)


def test_activations_with_kinks_are_refused() -> None:
    pytest.importorskip("diffusers")
    about = describe({**UNET, "act_fn": "relu"}, SCHEDULERS["DDPM"][0])
    with pytest.raises(
        ValueError, match="act_fn: got 'relu'; silu, swish, mish, gelu are allowed"
    ):
        about.make()


def test_a_pth_without_configuration_is_refused(tmp_path: Path) -> None:
    file = files.write_sde(tmp_path / "n.pth", sde("ddpm")[0])
    with pytest.raises(
        ValueError, match=r"^config: got NoneType; a .pth does not say its network"
    ):
        load(file)
    with pytest.raises(ValueError, match="^weights: got 134 moving averages; "):
        load(file, config="vp/ddpm/cifar10")
    with pytest.raises(ValueError, match="^FILE: got"):
        network({"state": 1}, None)
