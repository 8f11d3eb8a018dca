"""Trainings learn, stop and go on bit for bit, and leave folders that are whole or refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from experiments import folder as folders
from experiments import tensors
from experiments.cli import main
from experiments.compare_training import residual_rows
from experiments.datamodules import Digits, Pictures
from experiments.folder import CARD, CONFIG, GAUSSIAN, ROWS, STATE, WEIGHTS, Folder
from experiments.module import ScoreModule, draws, weights
from experiments.plots.training import comparison, curves, long
from experiments.sampling.draw import draw, prepared
from experiments.sampling.job import Job
from experiments.sampling.source import opened
from experiments.train import Outcome, load_trained, train, with_label
from experiments.training import Training, network
from solvers.grids import laid
from solvers.guidance import Guided
from solvers.method import entry
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import schedule

RECIPE = Training(
    "digits", 40_000, residual="gaussian", every=4096, warm_up=2000, half_life=4000, rate=4e-3
)
SHORT = replace(RECIPE, images=2048, every=512)
UNET = replace(SHORT, images=96, batch=32, every=64, backbone="unet", widths=(16, 32), depth=1)


@pytest.fixture(scope="module")
def data() -> Pictures:
    module = Digits()
    module.setup()
    return module


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Pictures, size: int) -> Outcome:
    recipe = replace(RECIPE, images=RECIPE.images * min(size, 5))
    return train(recipe, tmp_path_factory.mktemp("training") / "digits", data=data)


@pytest.fixture
def copied(trained: Outcome, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.folder, tmp_path / "copy"))


def learning_of(recipe: Training, data: Pictures) -> ScoreModule:
    plain = replace(recipe, residual=None)
    return ScoreModule(network(plain, recipe.config(data), 0.75, None), recipe, 10)


def same(a: Path, b: Path) -> bool:
    first, second = (load_file(place / WEIGHTS) for place in (a, b))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# --- what is learned ----------------------------------------------------------------------------


def test_the_loss_falls_below_what_the_gaussian_leaves(trained: Outcome) -> None:
    first, last = trained.rows[0], trained.rows[-1]
    assert trained.finished
    assert last["images"] == -(-Folder(trained.folder).training().images // 128) * 128
    assert last["loss"] < 0.97 * first["loss"]  # 1 is D_G's
    for level in ("0.5", "1.0"):
        assert last["validation"][level] < 0.95 * first["validation"][level]
    figure = curves(trained.rows)
    assert len(figure.axes) == 2


def test_a_row_of_a_few_steps_is_no_point_of_the_curve() -> None:
    rows = [{"images": n, "loss": float(n)} for n in (1000, 2000, 2100)]
    assert [row["images"] for row in long(rows)] == [1000, 2000]
    assert long(rows[:1]) == rows[:1]


def test_the_card_says_what_was_done(trained: Outcome) -> None:
    card = Folder(trained.folder).card()
    assert card["data"]["source"] == "digits"
    assert len(card["data"]["sha256"]) == 64
    assert card["training"]["seed"] == 0
    assert card["versions"]["torch"] == torch.__version__
    assert not (trained.folder / STATE).exists()
    assert {p.name for p in trained.folder.iterdir()} == {CONFIG, CARD, GAUSSIAN, WEIGHTS, ROWS}


def test_averages_are_averages(data: Pictures) -> None:
    recipe = replace(SHORT, half_life=300, ramp=0.5)
    learning = learning_of(recipe, data)
    expected = {k: v.clone() for k, v in learning.net.backbone.named_parameters()}
    start = {k: v.clone() for k, v in expected.items()}
    optimizer = torch.optim.SGD(learning.net.parameters(), lr=0.0)
    for step in range(4):
        with torch.no_grad():
            for i, p in enumerate(learning.net.backbone.parameters()):
                p.add_((i + step) % 3 - 0.5)
        learning.optimizer_step(0, step, _Bare(optimizer), lambda: None)
        beta = 2 ** (-128 / min(300, 0.5 * 128 * (step + 1)))
        for k, p in learning.net.backbone.named_parameters():
            expected[k] = beta * expected[k] + (1 - beta) * p.detach()
    for k, p in learning.average.backbone.named_parameters():
        torch.testing.assert_close(p, expected[k], rtol=1e-5, atol=1e-6)
    now = dict(learning.net.backbone.named_parameters())
    assert any((now[k] - expected[k]).abs().max() > 0.1 for k in start)  # control
    assert learning.step == 4


class _Bare:
    """An optimizer as Lightning's hook calls it."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.param_groups = inner.param_groups

    def step(self, closure: Any = None, **_: Any) -> None:
        closure()


def test_labels_are_hidden_as_often_as_asked(data: Pictures, size: int) -> None:
    count = 50_000 * size
    hidden = draws(replace(SHORT, dropout=0.2), 3, torch.Size([count, 1])).hidden
    deviation = (0.2 * 0.8 / count) ** 0.5
    assert abs(float(hidden.float().mean()) - 0.2) < 5 * deviation
    given: list[Tensor] = []
    learning = learning_of(SHORT, data)
    learning.net.register_forward_pre_hook(lambda _, args: given.append(args[2]))
    x, labels = data.training[slice(0, 512)]
    assert labels is not None
    learning.training_step((x, labels), 0)
    hide = draws(SHORT, 0, x.shape).hidden
    assert torch.equal(given[0], torch.where(hide, 10, labels))
    assert 0 < hide.sum() < 512


def test_draws_depend_on_seed_and_step_alone() -> None:
    shape = torch.Size([4, 1, 2, 2])
    a, b = draws(SHORT, 7, shape), draws(SHORT, 7, shape)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    others = draws(SHORT, 8, shape), draws(replace(SHORT, seed=1), 7, shape)
    assert all(not torch.equal(a.noise, other.noise) for other in others)


# --- stop and go on -----------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [SHORT, UNET], ids=["mlp", "unet"])
def test_stopping_changes_no_bit(tmp_path: Path, data: Pictures, recipe: Training) -> None:
    whole = train(recipe, tmp_path / "whole", data=data)
    piece = train(recipe, tmp_path / "pieces", data=data, minutes=0)
    assert not piece.finished
    assert (tmp_path / "pieces" / STATE).exists()
    while not piece.finished:
        piece = train(recipe, tmp_path / "pieces", data=data, minutes=0, resume=True)
    assert same(whole.folder, piece.folder)
    curve = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.rows]
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in piece.rows] == curve
    seconds = [row["seconds"] for row in piece.rows]  # of all calls
    assert seconds == sorted(seconds)
    again = train(recipe, tmp_path / "pieces", data=data, resume=True)
    assert again.finished
    assert again.rows == piece.rows
    other = train(replace(recipe, seed=1), tmp_path / "other", data=data)
    assert not same(whole.folder, other.folder)  # control


def test_a_killed_process_leaves_what_goes_on(tmp_path: Path, data: Pictures) -> None:
    recipe = replace(SHORT, images=30_000, every=2560)
    code = (
        "import sys; from experiments.train import train; from experiments.training import "
        "Training; import json; train(Training.from_json(json.loads(sys.argv[1])), sys.argv[2])"
    )
    place = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(recipe.to_json()), place])
    while not (place / STATE).exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    folder = Folder(place)
    assert folder.unfinished
    assert folder.state()[1] >= 1
    killed = train(folder.training(), place, data=data, resume=True)
    whole = train(recipe, tmp_path / "whole", data=data)
    assert same(killed.folder, whole.folder)
    assert [row["images"] for row in killed.rows] == [row["images"] for row in whole.rows]
    assert not list(place.glob(".*.part"))


class _Killed(BaseException):
    """Stands for a SIGKILL at a chosen moment."""


@pytest.mark.parametrize("moment", range(8))
def test_every_moment_of_writing_can_be_the_last(
    tmp_path: Path, data: Pictures, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    recipe = replace(SHORT, images=512, every=256)
    whole = train(recipe, tmp_path / "whole", data=data)
    left, real = [moment], os.replace

    def failing(a: Any, b: Any) -> None:
        if left[0] == 0:
            shutil.copy(a, Path(a).with_name(f".{Path(b).name}.1.part"))  # what stays behind
            raise _Killed
        left[0] -= 1
        real(a, b)

    monkeypatch.setattr(os, "replace", failing)
    try:
        train(recipe, tmp_path / "cut", data=data)
    except _Killed:
        left[0] = -1
        train(recipe, tmp_path / "cut", data=data, resume=True)
    assert same(whole.folder, tmp_path / "cut")
    assert len(Folder(tmp_path / "cut").rows()) == len(whole.rows)
    assert not list((tmp_path / "cut").glob(".*.part"))


# --- what the folder is good for ----------------------------------------------------------------


def test_diffusers_reads_the_folder(tmp_path: Path, data: Pictures) -> None:
    from diffusers.models.unets.unet_2d import UNet2DModel

    train(UNET, tmp_path / "unet", data=data)
    theirs: Any = UNet2DModel.from_pretrained(tmp_path / "unet", low_cpu_mem_usage=False)
    ours = Folder(tmp_path / "unet").trained()
    mine = weights(ours)
    assert all(torch.equal(v, mine[k]) for k, v in theirs.state_dict().items())
    x, c, y = torch.randn(2, 1, 8, 8), torch.tensor([-1.0, 0.5]), torch.tensor([3, 10])
    with torch.no_grad():
        found = theirs(x, 8 * c, class_labels=y).sample
        assert torch.equal(found, ours.backbone(x, c, y))
    assert found.abs().max() > 0


def test_a_trained_network_is_a_model_for_every_solver(trained: Outcome) -> None:
    x = torch.randn(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    three, none = load_trained(trained.folder, label=3), load_trained(trained.folder)
    model = Guided(three, none, 2.0)
    for name, start in (("edm", 40.0), ("vp_linear", 1.0)):
        s = schedule(name)
        end = 0.02 if name == "edm" else 1e-3
        grid = laid(s, "logsnr", steps=8, start=start, end=end)
        begin = x * start if name == "edm" else x
        found = sample(plan(entry("unipc_2"), grid, model=model.parts), model, begin).x
        assert found.dtype == torch.float64
        assert found.isfinite().all()
        assert 0.3 < found.std() < 1.5
    free, given = none.denoise(x, 1.0, 1.0), three.denoise(x, 1.0, 1.0)
    torch.testing.assert_close(model.at("data", x, 1.0, 1.0, 1.0), 2 * given - free)
    assert (given - free).abs().max() > 1e-3
    mixed = with_label(none, torch.tensor([3, 3, 3, 0, 1, 2])).denoise(x, 1.0, 1.0)
    torch.testing.assert_close(mixed[:3], given[:3], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(  # x/α at another α is the same question
        three.denoise(0.5 * x, 0.5, 0.5), given, rtol=1e-6, atol=1e-6
    )


def test_samples_show_the_class_asked_for(trained: Outcome, data: Pictures) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    (x, y), (v, w) = (part[slice(None)] for part in (data.training, data.validation))
    assert y is not None
    assert w is not None
    judge = KNeighborsClassifier().fit(x.flatten(1).numpy(), y.numpy())
    assert judge.score(v.flatten(1).numpy(), w.numpy()) > 0.95
    job = Job(checkpoint="", method="unipc_3", steps=16, grid="logsnr", last=199, labels="cycle")
    p = prepared(job, opened(trained.folder))
    seen = judge.predict(draw(p, range(200)).flatten(1).numpy())
    asked = torch.arange(200) % 10
    assert (seen == asked.numpy()).mean() >= 0.9
    assert (seen == asked.roll(1).numpy()).mean() < 0.1  # control


@pytest.mark.parametrize("label", [10, -1, 1.5, torch.tensor([[1]])])
def test_no_such_class(trained: Outcome, label: Any) -> None:
    with pytest.raises(ValueError, match="classes 0 to 9 or None"):
        load_trained(trained.folder, label=label)
    with pytest.raises(ValueError, match="label has 2 entries; 3"):
        load_trained(trained.folder, label=torch.tensor([1, 2])).denoise(
            torch.zeros(3, 1, 8, 8), 1.0, 1.0
        )


def test_the_residual_starts_ahead_and_the_rows_say_so(tmp_path: Path) -> None:
    rows = residual_rows(replace(SHORT, residual=None), tmp_path)
    counts = {row["images"] for row in rows}
    assert counts == {0, 512, 1024, 1536, 2048}
    errors = {(r["training"], r["images"], r["sigma"]): r["error"] for r in rows}
    for sigma in (0.5, 1.0, 5.0):
        assert errors["gaussian", 512, sigma] < 0.8 * errors["edm", 512, sigma]
        known = errors["gaussian", 0, sigma]  # after four steps it is still the Gaussian
        assert abs(errors["gaussian", 512, sigma] / known - 1) < 0.05
    assert residual_rows(replace(SHORT, residual=None), tmp_path) == rows
    assert len(comparison(rows).axes) == 4


# --- bad input ----------------------------------------------------------------------------------


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def edit(file: Path, *keys: str, to: Any) -> None:
    value = json.loads(file.read_text())
    inner = value
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    file.write_text(json.dumps(value))


DAMAGES = {
    "no card": lambda f: (f / CARD).unlink(),
    "no config": lambda f: (f / CONFIG).unlink(),
    "no weights": lambda f: (f / WEIGHTS).unlink(),
    "no moments": lambda f: (f / GAUSSIAN).unlink(),
    "torn weights": lambda f: cut(f / WEIGHTS),
    "torn card": lambda f: cut(f / CARD),
    "torn moments": lambda f: cut(f / GAUSSIAN),
    "a bit of the weights": lambda f: flip(f / WEIGHTS),
    "another target": lambda f: edit(f / CARD, "training", "residual", to=None),
    "no such target": lambda f: edit(f / CARD, "training", "target", to="x1"),
    "a field too few": lambda f: edit(f / CARD, "training", to={"data": "digits"}),
    "no deviation": lambda f: edit(f / CARD, "deviation", to=None),
    "another backbone": lambda f: edit(f / CONFIG, "_class_name", to="Transformer2DModel"),
    "another width": lambda f: edit(f / CONFIG, "width", to=64),
    "no width": lambda f: edit(f / CONFIG, "width", to="wide"),
    "not numbers": lambda f: tensors.write(
        f / WEIGHTS,
        {k: v.float() * float("nan") for k, v in load_file(f / WEIGHTS).items()},
        tensors.read(f / WEIGHTS)[1],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_in_one_line(copied: Path, damage: str) -> None:
    load_trained(copied)
    DAMAGES[damage](copied)
    with pytest.raises(ValueError, match=str(copied)) as error:
        load_trained(copied)
    assert "allowed" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_loss_that_is_no_number_keeps_nothing_of_it(tmp_path: Path, data: Pictures) -> None:
    with pytest.raises(ValueError, match="the loss before image 512 is not finite"):
        train(replace(SHORT, rate=1e30), tmp_path / "a", data=data)
    assert not (tmp_path / "a" / WEIGHTS).exists()
    assert not (tmp_path / "a" / STATE).exists()


def test_a_folder_is_not_trained_over(copied: Path, data: Pictures, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not empty"):
        train(SHORT, copied, data=data)
    with pytest.raises(ValueError, match="is no folder"):
        train(SHORT, tmp_path / "nowhere", data=data, resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="which is a file"):
        train(SHORT, tmp_path / "file", data=data)


@pytest.mark.parametrize(
    ("name", "value"), [("batch", 64), ("rate", 1e-3), ("residual", None), ("seed", 5)]
)
def test_another_recipe_does_not_go_on(
    copied: Path, data: Pictures, name: str, value: Any
) -> None:
    recipe = Folder(copied).training()
    before = {p.name: p.read_bytes() for p in copied.iterdir()}
    with pytest.raises(ValueError, match=f"^{name}: got {value!r}; .* is allowed"):
        train(replace(recipe, **{name: value}), copied, data=data, resume=True)
    assert {p.name: p.read_bytes() for p in copied.iterdir()} == before


def test_other_data_do_not_go_on(copied: Path, data: Pictures) -> None:
    edit(copied / CARD, "data", "sha256", to="0" * 64)
    with pytest.raises(ValueError, match="data: sha256 is"):
        train(Folder(copied).training(), copied, data=data, resume=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": 0}, "^images: got 0; an integer >= 1"),
        ({"batch": True}, "batch: got True"),
        ({"target": "score"}, "^target: got 'score'; edm, eps, x0, v, flow"),
        ({"target": "v", "residual": "gaussian"}, "^target: got 'v'; with residual"),
        ({"residual": "mixture"}, "^residual: got 'mixture'"),
        ({"dropout": 1.0}, "^dropout: got 1.0"),
        ({"rate": float("nan")}, "^rate: got nan"),
        ({"backbone": "transformer"}, "^backbone: got 'transformer'"),
        ({"widths": ()}, "^widths: got 0"),
    ],
)
def test_recipes_that_mean_nothing(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Training(**({"data": "digits", "images": 10} | options))


def test_images_that_a_backbone_cannot_take(data: Pictures) -> None:
    with pytest.raises(ValueError, match="images are 8 x 8; a multiple of 16"):
        replace(UNET, widths=(16,) * 5).config(data)
    with pytest.raises(ValueError, match="multiples of 16"):
        replace(UNET, widths=(16, 24)).config(data)
    with pytest.raises(ValueError, match="one number is allowed for an mlp"):
        replace(SHORT, widths=(16, 16)).config(data)


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders.store, "ROOT", tmp_path)
    out, plot = str(tmp_path / "out"), str(tmp_path / "curve.svg")
    options = ["--data", "digits", "--images", "1024", "--every", "512", "--batch", "64"]
    command = ["train", "--out", out, "--json"]
    assert main([*command, *options, "--residual", "gaussian", "--minutes", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["finished"] is False
    assert main([*command, "--resume", "--plot", plot]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["finished"] is True
    assert value["last"]["images"] == 1024
    assert Path(plot).stat().st_size > 1000
    card = Folder(Path(out)).card()
    assert card["command"] == (
        "scoreproof train --data digits --images 1024 --batch 64 --residual gaussian --every 512"
    )
    refused = {
        "--batch: got 32; 64": ["--resume", "--batch", "32"],
        "--out: got": options,
        "--rate: got -1.0; a number > 0 is allowed": [*options, "--rate=-1"],
        "--minutes: got -1.0; a number >= 0 is allowed": ["--resume", "--minutes=-1"],
        "--data and --images": ["--resume"],
    }
    for said, more in refused.items():
        where = command if "--data and" not in said else ["train", "--out", str(tmp_path)]
        assert main([*where, *more]) == 2
        assert said in capsys.readouterr().err
