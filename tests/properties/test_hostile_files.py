"""A hostile or damaged checkpoint runs nothing, takes no memory it has not, gives one ValueError.

200 such files in nightly, 20 in ``make test``, half of them with code that makes a file, the
canary. The control: the same files make it under the readers that they were written for.
"""

from __future__ import annotations

import collections
import itertools
import json
import pickle
import random
import re
import resource
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.checkpoints import convert, load, stored
from experiments.sampling.source import opened
from tests import checkpoint_files as files
from tests import sampling_sources as sources
from tests.hostile_files import HOSTILE, KWARGS, carrying, damaged, evil, network, whole, zipped

COUNTS = {1: 20, 20: 200}
"""Files, by size: half of them carry code, the others lie (a quarter at most) or are damaged."""


def refused(file: Path) -> str:
    """The message of the refusal, of one line."""
    with pytest.raises(ValueError, match="allowed|needed|finite|exists|has none|got") as caught:
        load(file)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 3000
    return message


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_run_nothing(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    suffix, make, says = HOSTILE[name]
    file = tmp_path / f"file{suffix}"
    file.write_bytes(make(canary))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refused(file)
    assert re.search(says, message), message
    assert not canary.exists()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown} kB more"
    with pytest.raises(ValueError, match="got"):
        convert(file, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == [file.name]


def test_two_hundred_files_run_nothing(tmp_path: Path, size: int) -> None:
    """Code, lies and damages, by draw: not one runs, each is refused in one line."""
    draw, count = random.Random(size), COUNTS[size]
    carriers = list(itertools.islice(carrying(draw), count // 2))
    makers = [(suffix, make) for _, suffix, make in carriers]
    lies = [(s, make) for s, make, says in HOSTILE.values() if not says.startswith("names posix")]
    makers += draw.sample(lies, min(count // 4, len(lies)))
    for suffix, original in itertools.islice(
        itertools.cycle(honest(tmp_path).items()), count - len(makers)
    ):
        makers.append((suffix, lambda _, original=original: damaged(draw, original)))
    for i, (suffix, make) in enumerate(makers):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / f"file{suffix}").write_bytes(make(folder / "canary"))
        refused(folder / f"file{suffix}")
        assert [p.name for p in folder.iterdir()] == [f"file{suffix}"]
    assert (len(makers), len(carriers)) == (count, count // 2)
    ran = 0
    for i, (writer, suffix, _) in enumerate(carriers):  # the control
        obey(writer, tmp_path / str(i) / f"file{suffix}")
        ran += (tmp_path / str(i) / "canary").exists()
    assert ran == count // 2


def honest(folder: Path) -> dict[str, bytes]:
    """Whole files of the three formats, by suffix."""
    module = network()
    return {
        ".pkl": files.write_edm(folder / "honest.pkl", module, KWARGS).read_bytes(),
        ".pth": files.write_sde(folder / "n.pth", module).read_bytes(),
        ".pt": files.write_sde(folder / "o.pt", module, zipped=False).read_bytes(),
    }


def obey(writer: str, file: Path) -> None:
    """What a reader does that trusts the file."""
    try:
        if writer == "a pickle":
            with file.open("rb") as stream:
                pickle.load(stream)
        else:
            torch.load(file, weights_only=False)
    except (ModuleNotFoundError, TypeError):  # EDM's own code is not here
        return


def test_a_turned_bit_runs_nothing(tmp_path: Path, size: int) -> None:
    """Refused, or the same names and shapes with another number."""
    draw = random.Random(0)
    whole_file = honest(tmp_path)[".pkl"]
    shapes = {k: v.shape for k, v in load(tmp_path / "honest.pkl").module.state_dict().items()}
    file = tmp_path / "damaged.pkl"
    outcomes = collections.Counter[str]()
    for _ in range(12 * size):
        at = draw.randrange(len(whole_file))
        turned = whole_file[at] ^ 1 << draw.randrange(8)
        file.write_bytes(whole_file[:at] + bytes([turned]) + whole_file[at + 1 :])
        try:
            found = load(file).module.state_dict()
            assert {k: v.shape for k, v in found.items()} == shapes
            outcomes["a number changed"] += 1
        except ValueError as error:
            outcomes["refused" if "\n" not in str(error) else "of two lines"] += 1
    assert set(outcomes) <= {"a number changed", "refused"}


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    module = network()
    module.get_parameter("model.map_layer0.bias").data[3] = float("nan")
    file = files.write_edm(tmp_path / "n.pkl", module, KWARGS)
    assert "model.map_layer0.bias: got a number that is not finite" in refused(file)


def test_a_folder_of_diffusers_is_no_safer(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    canary = tmp_path / "canary"
    folder = tmp_path / "folder"
    folder.mkdir()
    config = {"_class_name": "UNet2DModel", "sample_size": 16}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDPMScheduler"}))
    assert "without diffusion_pytorch_model.safetensors" in refused(folder)
    (folder / "diffusion_pytorch_model.bin").write_bytes(zipped(whole(evil(canary))))
    assert "names posix.system" in refused(folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    for data in (b"", b"x" * 7, struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 2) + b"{}x"):
        weights.write_bytes(data)
        assert "a whole .safetensors is allowed" in refused(folder)
    weights.write_bytes(struct.pack("<Q", 2) + b"{}")
    assert "weights: got no model." in refused(folder)
    (folder / "config.json").write_text(json.dumps({**config, "block_out_channels": [10**9]}))
    assert "block_out_channels: got 1000000000" in refused(folder)
    (folder / "config.json").write_text("[" * 100_000)
    assert "a JSON object is allowed" in refused(folder)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["absent.pkl", "absent", "text.txt"])
def test_missing_and_unknown_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("x")
    refused(tmp_path / name)


def test_torchs_tensors_come_back(tmp_path: Path) -> None:
    """Every dtype, strides, shared storages and empty tensors, in both formats."""
    base = torch.arange(24.0)
    value = {
        "view": base.view(4, 6).t()[1:3],
        "row": base[3:7],
        "none": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        **{str(d): torch.arange(3).to(d) for d in stored.DTYPES.values()},
        "parameter": torch.nn.Parameter(base[:2].clone()),
        "plain": [1, -1.5, None, True, "x", b"y", (2**70, ()), {"k": {1: 2}}],
    }
    for zip_format in (True, False):
        torch.save(value, tmp_path / "t.pt", _use_new_zipfile_serialization=zip_format)
        found = stored.read(tmp_path / "t.pt")
        assert found["plain"] == value["plain"]
        for key, want in value.items():
            if isinstance(want, torch.Tensor):
                assert found[key].dtype is want.dtype
                assert torch.equal(found[key], want), key


HUGE = 10**400
WRONG: dict[str, tuple[str, str, Any]] = {
    "a scheduler's name": ("pipeline/scheduler/scheduler_config.json", "_class_name", []),
    "a prediction": ("pipeline/scheduler/scheduler_config.json", "prediction_type", []),
    "times of a flow": ("flow/scheduler/scheduler_config.json", "num_train_timesteps", []),
    "no times of a flow": ("flow/scheduler/scheduler_config.json", "num_train_timesteps", -1),
    "endless times of a flow": (
        "flow/scheduler/scheduler_config.json",
        "num_train_timesteps",
        HUGE,
    ),
    "endless times": ("pipeline/scheduler/scheduler_config.json", "num_train_timesteps", HUGE),
    "a slope without end": ("pipeline/scheduler/scheduler_config.json", "beta_start", HUGE),
    "a lowest level": ("edm/scheduler/scheduler_config.json", "sigma_min", "x"),
    "a highest level": ("edm/scheduler/scheduler_config.json", "sigma_max", 1e-9),
    "no scale of latents": ("latent/vae/config.json", "scaling_factor", None),
    "a scale of 0": ("latent/vae/config.json", "scaling_factor", 0),
    "a shift that is no number": ("latent/vae/config.json", "shift_factor", float("nan")),
    "a shape of two": ("own/config.json", "shape", [1, 8]),
    "a shape of words": ("own/config.json", "shape", ["a", 8, 8]),
    "a shape without end": ("own/config.json", "shape", [1, 8, 10**9]),
    "no shape": ("own/config.json", "shape", None),
    "a range of words": ("own/config.json", "range", ["a", "b"]),
    "an empty range": ("own/config.json", "range", [1, 1]),
    "a range that is a number": ("own/config.json", "range", 3),
    "fewer classes than none": ("own/config.json", "classes", -1),
    "a label of its own": ("own/config.json", "label", {"zz": 1}),
    "levels upside down": ("own/config.json", "levels", [5, 1]),
    "a label without end": ("own/config.json", "label", {"scale": HUGE}),
    "a schedule without end": ("own/config.json", "schedule", {"name": "ve", "sigma_max": HUGE}),
}

NAMED = {
    "_class_name": "scheduler",
    "sigma_min": "levels",
    "sigma_max": "levels",
}
"""Keys of a file that this program names otherwise."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind that is read."""
    pytest.importorskip("diffusers")
    place = tmp_path_factory.mktemp("folders")
    sources.unet(place / "pipeline")
    sources.unet(place / "flow", {"_class_name": "FlowMatchEulerDiscreteScheduler"})
    sources.unet(place / "edm", {"_class_name": "EDMEulerScheduler"})
    sources.latent(place / "latent")
    convert(place / "pipeline", place / "own")
    return place


@pytest.mark.parametrize("case", WRONG)
def test_what_a_folder_says_is_checked(folders: Path, tmp_path: Path, case: str) -> None:
    """Every number and name that is used, in one line that names it."""
    name, key, value = WRONG[case]
    kind = name.partition("/")[0]
    opened(folders / kind)  # the control
    shutil.copytree(folders / kind, tmp_path / kind)
    file = tmp_path / name
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    named = NAMED.get(key, key)
    with pytest.raises(ValueError, match=rf"{named}(\.\w+)?: got|config.json") as caught:
        opened(tmp_path / kind)
    assert "\n" not in str(caught.value)
