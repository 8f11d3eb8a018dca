"""Networks of others, rebuilt from their files, give the numbers that the authors' code gives.

The stored numbers were computed by NVlabs/edm, yang-song/score_sde_pytorch, ermongroup/ddim,
openai/guided-diffusion and openai/improved-diffusion with the weights of
``checkpoint_files.filled`` (16 pixels, 3 channels, seed 0, images of seed 1, float32).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from experiments.checkpoints import Checkpoint, convert, load, network
from experiments.checkpoints.configured import PUBLISHED, configured
from experiments.checkpoints.pickled import network as of_values
from experiments.checkpoints.preconditioned import PRECONDITIONED
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
    "DDIM": [1.0457504, 0.99560709, 1.00844, -0.0055389888, -0.0044660977, 0.0035704591],
    "guided": [
        0.15887515,
        0.16062988,
        0.15891818,
        6.726837e-05,
        -0.0020608511,
        -0.00067124345,
    ],
    "guided, heads first": [
        0.10903034,
        0.1099112,
        0.11432982,
        -0.0014935542,
        -0.0021487739,
        -0.00019737164,
    ],
    "improved": [
        0.21669976,
        0.21674658,
        0.21922659,
        -0.00064545431,
        -0.00050210948,
        -0.00040886666,
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
    said, parameters = convert(file, tmp_path / "out")
    assert parameters == sum(p.numel() for p in module.parameters())
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


SIZES = {
    "adm/64x64_diffusion": 295_904_454,
    "adm/128x128_diffusion": 421_529_606,
    "adm/256x256_diffusion": 553_838_086,
    "adm/512x512_diffusion": 558_997_638,
    "adm/lsun_bedroom": 552_814_086,
    "iddpm/cifar10_uncond_50M_500K": 52_546_438,
    "iddpm/imagenet64_uncond_100M_1500K": 121_063_942,
    "iddpm/imagenet64_cond_270M_250K": 273_049_350,
    "iddpm/lsun_uncond_100M_1200K_bs128": 113_676_678,
    "ddim/cifar10": 35_746_307,
    "ddim/celeba": 78_700_803,
    "ddim/bedroom": 113_673_219,
}
"""Parameters of the authors' code with the printed flags."""


def test_every_published_setting_is_a_network() -> None:
    """As large as the authors' where that was counted, and of at least 30 million parameters."""
    seen: dict[str, int] = {}
    for name in PUBLISHED:
        about = configured(name)
        kind = json.dumps(about.arguments, sort_keys=True)
        if kind not in seen:
            seen[kind] = sum(p.numel() for p in about.shapes().parameters())
        assert seen[kind] > 3e7, name
        assert seen[kind] == SIZES.get(name, seen[kind]), name


def test_a_pth_without_configuration_is_refused(tmp_path: Path) -> None:
    file = files.write_sde(tmp_path / "n.pth", sde("ddpm")[0])
    with pytest.raises(
        ValueError, match=r"^config: got NoneType; this file does not say its network"
    ):
        load(file)
    with pytest.raises(ValueError, match="^weights: got 134 moving averages; "):
        load(file, config="vp/ddpm/cifar10")
    with pytest.raises(ValueError, match="^FILE: got"):
        of_values({"state": 1}, None)


# --- ADM -----------------------------------------------------------------------------------------


def adm(case: str) -> nn.Module:
    module = configured(files.ADM_CASES[case]).make()
    module.load_state_dict(files.filled(module.state_dict()))
    return module


@pytest.mark.parametrize("case", files.ADM_CASES)
def test_adm_files_answer_as_the_authors(tmp_path: Path, case: str) -> None:
    flags = files.ADM_CASES[case]
    got, info = network(files.write_adm(tmp_path / "n.pt", adm(case)), config=flags)
    x, label, classes = files.adm_query(case)
    assert far(got(x, label, classes), case) < CLOSE
    assert (info.predicts, info.shape, info.classes) == (
        "noise",
        (3, 16, 16),
        1000 * (classes is not None),
    )
    # The denoiser asks at whole times, scaled to a thousand where the network was trained so.
    denoiser = info.denoiser(got, label=classes)
    scale = 1000 / flags.get("diffusion_steps", 1000) if flags.get("rescale_timesteps") else 1
    want = got(x, torch.full((3,), 7.0 * scale), classes)
    torch.testing.assert_close(denoiser.at("noise", x, 7.0, 0.9, 0.1), want)


def test_an_order_of_heads_is_seen() -> None:
    """The control: the same weights with the other order of attention are another network."""
    flags = {**files.ADM_CASES["guided, heads first"], "use_new_attention_order": True}
    module = configured(flags).make()
    module.load_state_dict(files.filled(module.state_dict()))
    assert far(module(*files.adm_query("guided, heads first")), "guided, heads first") > CLOSE


# --- DDIM ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n.ckpt", "n.pth"])
def test_ddim_files_answer_as_the_authors(tmp_path: Path, name: str) -> None:
    """Weights alone (.ckpt), and a training's list whose last entry is the moving average."""
    module = configured(files.DDIM_CONFIG).make()
    state = files.filled(module.state_dict())
    parallel = {f"module.{k}": torch.zeros_like(v) for k, v in state.items()}
    whole = [parallel, {"state": {}}, 3, 7, state]
    torch.save(state if name == "n.ckpt" else whole, tmp_path / name)
    got, info = network(tmp_path / name, config=files.DDIM_CONFIG)
    x = files.images(3)
    assert far(got(x, torch.tensor(files.TIMES)), "DDIM") < CLOSE
    want = got(x, torch.full((3,), 7.0))
    torch.testing.assert_close(info.denoiser(got).at("noise", x, 7.0, 0.9, 0.1), want)
    with pytest.raises(ValueError, match="^config: got 'adm/lsun_cat'; this file does not say"):
        network(tmp_path / name, config="adm/lsun_cat")


# --- conditions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["EDM ADM", "guided"])
def test_each_sample_has_its_own_class(case: str) -> None:
    """A batch of classes is its samples one by one."""
    if case == "guided":
        module, about = adm(case), configured(files.ADM_CASES[case])
        x, t = files.images(3), 5.0
    else:
        name, kwargs = files.EDM_CASES[case]
        module, _ = edm(case)
        given = {"img_resolution": files.SIDE, "img_channels": 3, **kwargs}
        about = Checkpoint(name, given, "denoised", {"name": "edm"}, (3, 16, 16), (-1, 1), 4)
        x, t = files.images(3), 0.7
    labels = torch.tensor([2, 0, 3])
    alpha = 1.0 if case != "guided" else 0.8
    both = about.denoiser(module, label=labels).at("data", x, t, alpha, 0.7)
    for i, label in enumerate(labels.tolist()):
        one = about.denoiser(module, label=label).at("data", x[i : i + 1], t, alpha, 0.7)
        torch.testing.assert_close(both[i : i + 1], one, rtol=1e-4, atol=1e-5)
    shuffled = about.denoiser(module, label=labels.flip(0)).at("data", x, t, alpha, 0.7)
    assert (shuffled - both).abs().amax((1, 2, 3)).tolist()[0] > 1e-3
    with pytest.raises(ValueError, match="^condition: got 3 entries; 2, one a sample, are"):
        about.denoiser(module, label=labels).at("data", x[:2], t, alpha, 0.7)
    with pytest.raises(ValueError, match=r"^x: got \[3, 3, 16, 15\]; \[B, 3, 16, 16\] is"):
        about.denoiser(module, label=labels).at("data", x[..., :15], t, alpha, 0.7)
    for wrong in (
        torch.tensor([0, about.classes]),
        torch.tensor([0.0]),
        torch.tensor([[0]]),
        -1,
        True,
    ):
        with pytest.raises(ValueError, match=r"^label: got .*; 0 to \d+ is allowed"):
            about.denoiser(module, label=wrong)
    with pytest.raises(ValueError, match="^context: got embeddings; the network takes none"):
        about.denoiser(module, context=torch.zeros(1, 2, 3))


# --- what contradicts a file ---------------------------------------------------------------------


def test_a_prediction_or_a_shape_that_contradicts_the_file(tmp_path: Path) -> None:
    module, kwargs = edm("EDM ADM")
    file = files.write_edm(tmp_path / "n.pkl", module, kwargs)
    with pytest.raises(ValueError, match=r"^shape: got \(1, 28, 28\); the file's \(3, 16, 16\)"):
        network(file, shape=(1, 28, 28))
    assert network(file, shape=(3, 16, 16), predicts="denoised")[1].classes == 4
    convert(file, tmp_path / "out")
    about = json.loads((tmp_path / "out" / "config.json").read_text())
    (tmp_path / "out" / "config.json").write_text(json.dumps({**about, "predicts": "noise"}))
    with pytest.raises(ValueError, match="^predicts: got 'noise' of EDMPrecond; \"denoised\" is"):
        network(tmp_path / "out")


def test_a_configuration_of_another_architecture(tmp_path: Path) -> None:
    file = files.write_adm(tmp_path / "n.pt", adm("improved"))
    with pytest.raises(ValueError, match=r"^config: got 'vp/ddpm/cifar10'; this file does not"):
        network(file, config="vp/ddpm/cifar10")
    wide = {**files.ADM_CASES["improved"], "num_channels": 64}
    with pytest.raises(ValueError, match=r"^weights\.\S+: got \[\d+.*\]; \[\d+.*\] is allowed"):
        network(file, config=wide)
    with pytest.raises(ValueError, match="^noise_schedule: got 'sqrt'; linear, cosine are"):
        network(file, config={**wide, "noise_schedule": "sqrt"})
