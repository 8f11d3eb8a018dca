"""Every published number has a run of as many calls as its column says, and every recipe runs from
a checkpoint file to its table; what does not fit a recipe is refused, and nothing is invented.

Weights are random here, so a figure means nothing: the runs have the published architecture, the
recipe's solver, grid, guidance and statistics, and few images. Features are means of colours.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments import cli
from experiments.checkpoints import safe
from experiments.checkpoints.schedules import tabulated
from experiments.reproduce import measures, need
from experiments.reproduce.classifier import Guided, guided
from experiments.reproduce.classifier import read as read_classifier
from experiments.reproduce.latent_mse import Bench, Texts, encoded, spoken, stored
from experiments.reproduce.recipe import Cell, Recipe, networks, recipe, recipes
from experiments.reproduce.recipe import read as read_page
from experiments.reproduce.run import Asked, Report, reproduce
from experiments.reproduce.setting import job_of, landing, levels
from experiments.sampling.draw import prepared, run
from experiments.sampling.source import Source
from gaussian_score.moments import Moments
from gaussian_score.streaming import stream
from solvers.denoiser import Denoiser, Network
from solvers.schedules import EDM, DDPMDiscrete, Schedule, VPLinear
from solvers.statistics import Table
from tests import recipe_files as files

SCHEDULES: dict[str, Schedule] = {
    "edm": EDM(),
    "vp_linear": VPLinear(),
    "ddpm_discrete": DDPMDiscrete(),
    "ddpm_tabulated": tabulated(np.linspace(0.0015**0.5, 0.0195**0.5, 1000).__pow__(2).tolist()),
}
CELLS = [(name, i) for name, r in recipes().items() for i in range(len(r.cells))]


class Colours(nn.Module):
    """The mean of every channel: features that cost nothing."""

    num_features, title = 3, "means of colours"

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@pytest.fixture
def data(place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A law of colours as published laws of features are kept."""
    monkeypatch.setattr(measures, "extractor", lambda *_, **__: Colours())
    file = place / "law.npz"
    np.savez(file, mu=np.zeros(3), sigma=0.1 * np.eye(3))
    return str(file)


def dummy(r: Recipe, **more: Any) -> Source:
    """A checkpoint of a recipe's kind with four numbers a sample."""
    s, nothing = SCHEDULES[r.network.schedule], nn.Linear(1, 1)
    about = {"free": s.name == "edm", "levels": (0.002, 80.0), "classes": r.network.classes}
    about |= {"context": 0, "range": (-1.0, 1.0), "digest": "", "moments": None}
    about |= {"statistics": None, "module": nothing, "schedule": s, "shape": (1, 2, 2)}
    return Source(**{**about, "bind": lambda m, c: Network(m, "noise", s), **more})


def calls_of(r: Recipe, i: int, options: dict[str, Any]) -> int:
    """Model calls in the plan of a cell."""
    cell = r.cells[i]
    source = need.adapted(cell, dummy(r))
    job = job_of(r, cell, source, "", options)
    if cell.statistics:
        low, high = levels(cell, source.schedule)
        lam = np.linspace(-np.log(high), -np.log(low), cell.statistics.nodes + 1)
        one = np.ones((len(lam), 4))
        source = replace(source, moments=Table(lam, 0.5 * one, 0.1 * one, 0.2 * one))
    elif cell.moments:
        source = replace(source, moments=stream(np.eye(4)))
    p = prepared(job, source)
    return max(len(w.plan.evaluations) for w in p.ways.values() if w.plan)


def chosen(size: int) -> list[tuple[str, int]]:
    """The smallest run of every row; at the long size all."""
    if size > 1:
        return CELLS
    first = {(n, recipes()[n].cells[i].shown): (n, i) for n, i in reversed(CELLS)}
    return [(n, i) for n, i in first.values() if not recipes()[n].cells[i].skipped]


def test_every_run_makes_the_calls_of_its_column(size: int) -> None:
    for name, i in chosen(size):
        cell = recipes()[name].cells[i]
        if cell.blocked or (cell.statistics and cell.moments):
            continue
        for options in cell.variants():
            made = calls_of(recipes()[name], i, options)
            assert made == cell.made <= cell.nfe, (name, cell)
            # Fewer only where steps of several calls do not fill the column: the papers' daggers.
            assert cell.nfe - made < cell.calls, (name, cell)


DAGGERS = {
    "scire-cifar10-discrete": {
        "SciRE-V1-2": {15},
        "SciRE-V1-3": {20, 50},
        "DPM-Solver-2": {15},
        "DPM-Solver-3": {20, 50, 200},
    },
    "scire-cifar10": {
        "SciRE-V1-2": {15},
        "SciRE-V1-3": {20, 50, 100},
        "DPM-Solver-2": {15},
        "DPM-Solver-3": {20, 50, 200},
    },
    "scire-cifar10-edm": {"Heun": {15}},
    "scire-celeba": {"SciRE-V1-2": {15}, "SciRE-V1-3": {10, 20, 50}},
}
"""Columns in which SciRE's table 1 says that fewer calls were made."""


@pytest.mark.parametrize("name", DAGGERS)
def test_fewer_calls_are_made_where_the_paper_says_so(name: str) -> None:
    cells = recipe(name).cells
    found = {
        row: {c.nfe for c in cells if c.shown == row and c.made < c.nfe}
        for row in {c.shown for c in cells}
    }
    assert {row: counts for row, counts in found.items() if counts} == DAGGERS[name]


def test_skipped_nodes_are_those_of_the_published_grid() -> None:
    """The levels that 18 nodes of EDM's grid have, as the reproducers print them."""
    r = recipe("teleport-cifar10-heun")
    found = [landing(c, EDM()) for c in r.cells]
    printed = [None, 57.6, 40.8, 28.4, 19.4, 12.9, 8.4, 5.3, 3.3, 1.1, 0.3]
    assert found[0] is None
    # They round to one decimal.
    assert all(abs(a - b) <= 0.05 for a, b in zip(found[1:], printed[1:], strict=True) if a and b)
    assert [c.made for c in r.cells] == [35, 33, 31, 29, 27, 25, 23, 21, 19, 15, 11]


def rounded(count: int, like: str) -> str:
    """A number of parameters as a paper writes it: so many digits of millions."""
    digits = len(like[:-1].partition(".")[2])
    return f"{count / 1e6:.{digits}f}M"


@pytest.mark.parametrize("name", networks())
def test_published_networks_have_the_published_number_of_parameters(name: str) -> None:
    n = networks()[name]
    count = files.count(need.published(n))
    if n.parameters:
        assert rounded(count, n.parameters) == n.parameters
    if n.also:
        assert files.count(need._made(n.also, n.arguments)) == count
    assert rounded(55_733_891, "55.7M") == "55.7M" != rounded(55_800_000, "55.7M")


# --- every recipe, from a file to the table ------------------------------------------------------


LARGEST = 20_000
"""Numbers of an image up to which statistics of 500 levels fit a test's memory."""
SIDES = {"adm-imagenet256": 32, "sd-v1-4": 8, "ldm-bedroom": 16, "ddim-celeba": 16}
SIDES |= dict.fromkeys(("edm-ffhq", "edm-afhq", "edm-imagenet64"), 16)
"""Pixels, or places of latents, that are fewer here than in the paper."""
REFERENCE = 20
"""Steps of the paper's reference, likewise."""


def small(r: Recipe, size: int = 1) -> Recipe:
    """The recipe, with smaller images where the network is slow; as published in the long run."""
    side = SIDES.get(r.network.name)
    if side is None or size > 1:
        return r
    network = replace(r.network, shape=(r.network.shape[0], side, side))
    reference = {**r.reference, "steps": REFERENCE} if r.reference else None
    return replace(r, network=network, reference=reference)


def statistics(r: Recipe, source: Source, place: Path) -> tuple[str, ...]:
    """Files for all that the smallest runs of a recipe need."""
    size, out = math.prod(source.shape), []
    for cell in smallest(r) if size <= LARGEST else ():
        if cell.statistics and not cell.moments:
            nodes, ends = cell.statistics.nodes, levels(cell, source.schedule)
            file = place / f"table-{size}-{nodes}-{ends[0]:.4g}-{ends[1]:.4g}.npz"
            if not file.exists():
                files.table(file, nodes, ends, size)
            out.append(str(file))
        elif cell.moments and source.moments is None:
            file = place / f"moments-{size}.npz"
            if not file.exists():
                basis = np.eye(size)[:, :4]
                Moments(np.zeros(size), np.array([4.0, 3.0, 2.0, 1.0]), basis, 0.1).save(file)
            out.append(str(file))
    return tuple(dict.fromkeys(out))


def smallest(r: Recipe) -> list[Cell]:
    """The run of the fewest calls of every row; of many rows three at most, the last is one."""
    first: dict[str, Cell] = {}
    for cell in r.cells:
        if not cell.blocked:
            first.setdefault(cell.shown, cell)
    cells = list(first.values())[::-1]
    return cells[:: -(-len(cells) // 3)]


def ran(r: Recipe, place: Path, data: str, *, full: bool = False, **more: Any) -> Report:
    """The smallest runs of a recipe, from files made here."""
    path = files.checkpoint(r.network, place, full=full)
    cells = tuple(smallest(r))
    given: dict[str, Any] = {"checkpoint": str(path), "images": 2, "batch": 2}
    if r.metric == "FID":
        given |= {"data": data, "extractor": "colours"}
    if r.network.text:
        given["embeddings"] = str(embeddings(place))
    if r.network.classifier:
        given["classifier"] = str(files.classifier(place, r.network.shape[-1]))
    source = need.given(r, str(path)).source
    given["stats"] = statistics(r, source, place)
    return reproduce(replace(r, cells=cells), Asked(**{**given, **more}))


def embeddings(place: Path) -> Path:
    """Two texts and the empty one, of as many numbers as the narrow network takes."""
    file = place / "texts.safetensors"
    if not file.exists():
        draw = torch.randn(3, need.TOKENS, 32, generator=torch.Generator().manual_seed(0))
        safe.write(file, {"prompt": draw[1:], "null": draw[:1]})
    return file


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_runs_from_its_checkpoint_to_its_table(
    name: str, place: Path, data: str, size: int
) -> None:
    r = small(recipe(name), size)
    report = ran(r, place, data)
    for line, cell in zip(report.lines, smallest(r), strict=True):
        assert line.paper == cell.paper
        if line.why:
            assert line.measured is None
            assert cell.statistics
            missing = math.prod(r.network.shape) > LARGEST
            assert cell.moments or missing
            assert ("in one run" if cell.moments else "needs --stats") in line.why
            continue
        assert line.measured is not None, line
        assert math.isfinite(line.measured)
        same = report.metric == r.metric
        assert line.difference == (line.measured - cell.paper if same else None)
        assert line.more["calls"] == cell.made
    said = " ".join(report.notes)
    assert f"2 images, the paper has {r.images}" in said
    assert "the network has" in said


def test_control_the_settings_of_a_table_give_different_figures(place: Path, data: str) -> None:
    """A run that ignored method, grid or statistics would repeat its neighbour's figure."""
    found = [line.measured for line in ran(recipe("v3-cifar10-edm"), place, data).lines]
    assert len(set(found)) == len(found) == 2


LARGE = ("v3-cifar10-edm", "v3-cifar10-scoresde", "deis-throughput")


@pytest.mark.parametrize(
    "name",
    ["scire-cifar10-discrete", *(pytest.param(n, marks=pytest.mark.nightly) for n in LARGE)],
)
def test_networks_of_cifar10_run_at_their_published_widths(
    name: str, place: Path, data: str
) -> None:
    """DDPM's weights alone on SciRE's own schedule; EDM's pickle, score_sde's .pth."""
    r = recipe(name)
    one = replace(r, cells=tuple(smallest(r))[-1:])
    report = ran(one, place, data, full=True)
    assert report.lines[0].measured is not None
    assert not any("the network has" in note for note in report.notes)


# --- what latents are compared with --------------------------------------------------------------


@dataclass(frozen=True)
class Normal(Denoiser):
    """D of a law N(m, 0.09), m one a sample."""

    mean: Tensor

    def at(self, kind: str, x: Tensor, t: Any, alpha: Any, sigma: Any) -> Tensor:
        m = self.mean.to(x).reshape(-1, *(1,) * (x.dim() - 1))
        gain = alpha**2 * 0.09 / (alpha**2 * 0.09 + sigma**2)
        clean = m + gain * (x / alpha - m)
        return clean if kind == "data" else (x - alpha * clean) / sigma


def test_errors_are_those_from_the_papers_reference_and_from_the_flow() -> None:
    """√MSE is a distance: the three of a run, the reference and the flow make a triangle."""
    r = small(recipe("v3-sd-1.5"))

    def bind(module: nn.Module, condition: Tensor | None) -> Denoiser:
        assert condition is not None
        return Normal(condition.mean((1, 2)))

    texts = Texts(torch.tensor([0.5, -0.3])[:, None, None], torch.zeros(1, 1, 1))
    source = spoken(dummy(r, bind=bind), texts)
    bench = Bench.made(r, source, texts, images=3, batch=2, exact=2)
    cell = r.chosen(nfe=(5,), rows=("DPM-Solver++(2M)",))[0]
    near, far = bench.errors(cell, source, dict(cell.options), None)
    own = bench.of_reference()
    assert own is not None
    assert far is not None
    reference, error = own
    # The flow errs by 1e-6 (its tolerance), twenty steps by more, and five by more still.
    assert math.sqrt(error) <= 1e-6 < math.sqrt(reference) < math.sqrt(far)
    two = bench.target[0]
    x = torch.cat(list(bench.states(cell, source, dict(cell.options), None, None)))
    assert near == pytest.approx(float((x - torch.cat(bench.target)).square().mean()))
    apart = float((x[:2] - two).square().mean())
    assert abs(math.sqrt(apart) - math.sqrt(far)) <= math.sqrt(reference) * (1 + 1e-6)
    # Guidance 1.5 moves what the flow ends at beyond the law that the text alone has.
    plain = prepared(replace(job_of(r, cell, source, "", dict(cell.options)), labels=(0,)), source)
    free = run(plain, range(2), condition=texts.of(range(2))).x
    assert not torch.allclose(free, x[:2], atol=1e-2)


def test_guidance_of_texts_is_the_formula(place: Path) -> None:
    """P_null + s (P_text − P_null) of the diffusers network itself, called apart."""
    r = small(recipe("v3-sd-7.5"))
    path, texts = files.checkpoint(r.network, place), stored(embeddings(place))
    plain = need.given(r, str(path)).source
    source = spoken(plain, texts)
    x = torch.randn(2, *r.network.shape, generator=torch.Generator().manual_seed(1))
    model = source.denoiser(texts.of(range(2)), scale=7.5)
    found = model.at("noise", x, 500.0, 0.3, 0.9)
    net: Any = plain.module
    text, null = (
        net(x, torch.tensor(500.0), e) for e in (texts.prompt, texts.null.expand(2, -1, -1))
    )
    # float32 sums in another company
    assert torch.allclose(found, null + 7.5 * (text - null), atol=1e-4)
    assert not torch.allclose(found, text, atol=1e-2)
    assert source.digest != plain.digest


def test_prompts_are_read_by_the_folder(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    files.text_encoder(tmp_path, 32)
    (tmp_path / "prompts.txt").write_text("a cat\n\nthe dog\n")
    texts = encoded(tmp_path / "prompts.txt", tmp_path)
    assert texts.prompt.shape == (2, need.TOKENS, 32)
    assert texts.null.shape == (1, need.TOKENS, 32)
    assert not torch.allclose(texts.prompt[0], texts.prompt[1])
    with pytest.raises(ValueError, match="is no folder; --embeddings is allowed"):
        encoded(tmp_path / "prompts.txt", place)


# --- guidance by a classifier --------------------------------------------------------------------


def test_the_classifiers_gradient_moves_both_predictions(place: Path) -> None:
    """ε and D stay α D + σ ε = x, and the gradient is that of finite differences."""
    r = small(recipe("v3-imagenet256"))
    path, side = files.checkpoint(r.network, place), r.network.shape[-1]
    plain = need.given(r, str(path)).source
    source = guided(str(files.classifier(place, side)), 2.0, r.network)(plain)
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    alpha, sigma = 0.8, 0.6
    model = source.denoiser(torch.tensor([7]))
    assert isinstance(model, Guided)
    noise, clean = (model.at(kind, x, 300.0, alpha, sigma) for kind in ("noise", "data"))
    assert torch.allclose(alpha * clean + sigma * noise, x, atol=1e-4)
    slope = model.slope(x, 300.0)
    free = plain.denoiser(torch.tensor([7])).at("noise", x, 300.0, alpha, sigma)
    assert torch.allclose(noise, free - 2.0 * sigma * slope, atol=1e-5)

    def logp(y: Tensor) -> Tensor:
        return model.classifier.double()(y, torch.tensor(300.0).double()).log_softmax(1)[0, 7]

    step = 1e-4 * slope.double() / slope.norm()
    with torch.no_grad():
        change = (logp(x.double() + step) - logp(x.double() - step)) / 2e-4
    # float32 gradients of a float64 function
    assert abs(float(change) / float(slope.norm()) - 1) < 1e-3


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "other", "said"),
    [
        ("v3-cifar10-edm", "scoresde-cifar10", "architecture is ScoreSDE; EDMPrecond of SongUNet"),
        ("v3-cifar10-edm", "edm-imagenet64", "architecture is EDMPrecond of DhariwalUNet"),
        ("v3-cifar10-edm", "edm-ffhq", r"shape is \[3, 64, 64\]; \[3, 32, 32\]"),
        ("v3-cifar10-edm", "edm-cifar10-cond", "classes is 10; 0"),
        ("v3-bedroom", "ddim-celeba", "schedule is 'ddpm_discrete'; 'ddpm_tabulated'"),
    ],
)
def test_another_network_is_refused(name: str, other: str, said: str, place: Path) -> None:
    path = files.checkpoint(networks()[other], place)
    with pytest.raises(ValueError, match=said):
        need.given(recipe(name), str(path))


def test_another_prediction_is_refused(place: Path, tmp_path: Path) -> None:
    path = files.checkpoint(networks()["ddim-celeba"], place)
    out = tmp_path / "v"
    (out / "scheduler").mkdir(parents=True)
    for part in ("unet", "model_index.json"):
        (out / part).symlink_to(path / part)
    about = json.loads((path / "scheduler" / "scheduler_config.json").read_text())
    text = json.dumps({**about, "prediction_type": "v_prediction"})
    (out / "scheduler" / "scheduler_config.json").write_text(text)
    with pytest.raises(ValueError, match="predicts is 'v'; 'noise'"):
        need.given(recipe("scire-celeba"), str(out))


def test_statistics_of_another_network_are_refused(place: Path, tmp_path: Path) -> None:
    r, path = recipe("v3-cifar10-edm"), files.checkpoint(networks()["edm-cifar10"], place)
    file = files.table(tmp_path / "other.npz", 1200, (0.002, 80.0), 12)
    with pytest.raises(ValueError, match="12 numbers a sample"):
        need.given(r, str(path), [str(file)])


def few_levels() -> Cell:
    """A cell of DPM-Solver-v3 whose statistics have fewer levels than the paper's, for speed."""
    (cell,) = recipe("v3-cifar10-edm").chosen(nfe=(5,), rows=("DPM-Solver-v3",))
    assert cell.statistics is not None
    return replace(cell, statistics=replace(cell.statistics, nodes=12))


@pytest.mark.parametrize(
    ("nodes", "ends"), [(11, (0.002, 80.0)), (12, (0.002, 40.0)), (12, (0.01, 80.0))]
)
def test_statistics_of_another_range_leave_the_row_empty(
    nodes: int, ends: tuple[float, float], place: Path, tmp_path: Path
) -> None:
    r, path = recipe("v3-cifar10-edm"), files.checkpoint(networks()["edm-cifar10"], place)
    file = files.table(tmp_path / "ems.npz", nodes, ends, 3 * 32 * 32)
    held = need.given(r, str(path), [str(file)])
    with pytest.raises(need.Missing, match="needs --stats with 12 intervals"):
        held.of(few_levels())


def test_control_statistics_of_the_range_are_taken(place: Path, tmp_path: Path) -> None:
    r, path = recipe("v3-cifar10-edm"), files.checkpoint(networks()["edm-cifar10"], place)
    file = files.table(tmp_path / "ems.npz", 12, (0.002, 80.0), 3 * 32 * 32)
    assert need.given(r, str(path), [str(file)]).of(few_levels())[0] == str(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "IS"}, "metric: got 'IS'"),
        ({"grid": "sigmoid"}, "grid: got 'sigmoid'"),
        ({"checkpoint": "none"}, "checkpoint: got 'none'"),
        ({"speed": 1}, "got the key 'speed'"),
        ({"nfe": [5]}, "2 values of 1 numbers"),
        ({"sure": "surely"}, "sure: got 'surely'"),
        ({"row": [{"shown": "x", "method": "ddim", "values": [1, 2], "options": {"r1": 0}}]}, ""),
    ],
)
def test_a_wrong_table_is_refused(change: dict[str, Any], said: str) -> None:
    row = {"shown": "x", "method": "dpm_solver_2", "calls": 2, "values": [1, 2]}
    table = {"checkpoint": "edm-cifar10", "metric": "FID", "data": "d", "images": 9, "nfe": [4, 6]}
    table |= {"grid": "karras", "sure": "paper", "row": [row]}
    page = {"paper": "0", "title": "t", "table": table}
    assert len(read_page(page, "file")[0].cells) == 2
    if said:
        with pytest.raises(ValueError, match=said):
            read_page({**page, "table": {**table, **change}}, "file")


# --- the command ---------------------------------------------------------------------------------


def answered(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(["reproduce", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_command_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = answered(capsys, "--json")
    assert status == 0
    assert [row["recipe"] for row in json.loads(out)] == list(recipes())


@pytest.mark.parametrize("name", recipes())
def test_without_a_checkpoint_nothing_is_measured_and_all_is_said(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = answered(capsys, name, "--json")
    value, r = json.loads(out), recipe(name)
    assert status == 0
    assert [row["paper"] for row in value["rows"]] == [c.paper for c in r.cells]
    assert all(row["measured"] is row["difference"] is None for row in value["rows"])
    said = " ".join(value["needed"])
    assert r.network.file in said
    assert r.network.licence in said
    assert ("--inception" in said) == (r.metric == "FID")
    assert ("l.npz" in said) == any(c.statistics for c in r.cells)
    assert ("--prompts" in said) == bool(r.network.text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none"], "NAME: got 'none'"),
        (["ffhq64", "--nfe", "11"], "--nfe: got 11; ffhq64 has 3, 4"),
        (["ffhq64", "--row", "Euler", "--row", "Eule"], "--row: got 'Eule'"),
        (["ffhq64", "--checkpoint", "nowhere.pkl"], "--checkpoint: got 'nowhere.pkl', which does"),
        (["ffhq64", "--checkpoint", "."], "--checkpoint: got"),
        (["ffhq64", "--stats", "l.npz"], "--stats: got 'l.npz'; it is allowed with --checkp"),
        (["ffhq64", "--images", "0"], "an integer >= 1 is allowed"),
    ],
)
def test_the_command_refuses_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = answered(capsys, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_fid_without_its_weights_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files.checkpoint(networks()["edm-cifar10"], place)
    words = ["v3-cifar10-edm", "--checkpoint", str(path), "--data", str(tmp_path / "x.npz")]
    status, _, err = answered(capsys, *words)
    assert status == 2
    assert "FID needs the weights of its network" in err
    status, _, err = answered(capsys, *words[:-2])
    assert "--data: got none" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images", "1"], "--images: got 1; 2 or more are allowed"),
        (["--data", "8"], "--data: got pictures of [3, 8, 8]; [3, 32, 32]"),
        (["--data", "1"], "--data: got 1 picture; 2 or more"),
        (["--converged", "3"], "--converged: got 3; it has no use in v3-cifar10-edm"),
        (["--classifier", "c.pt"], "--classifier: got 'c.pt'; it has no use"),
    ],
)
def test_what_makes_no_distance_is_refused_before_images_are_drawn(
    words: list[str],
    said: str,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = files.checkpoint(networks()["edm-cifar10"], place)
    for name, shape in (("32", (9, 32, 32, 3)), ("8", (9, 8, 8, 3)), ("1", (1, 32, 32, 3))):
        np.savez(tmp_path / f"{name}.npz", images=np.zeros(shape, np.uint8))
    monkeypatch.chdir(tmp_path)
    data = [f"{w}.npz" if w in ("8", "1") and words[0] == "--data" else w for w in words]
    line = ["v3-cifar10-edm", "--checkpoint", str(path), "--images", "2", "--data", "32.npz"]
    status, out, err = answered(capsys, *line, "--extractor", "pca", "--out", "kept", *data)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "kept").exists()


def test_an_image_that_is_not_finite_has_no_distance(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        images = torch.full((2, 3, 32, 32), math.nan)

    monkeypatch.setattr(measures, "read_set", lambda *_: Broken)
    measure = measures.distance("colours", recipe("v3-cifar10-edm"), data=data, images=2)
    with pytest.raises(ValueError, match="images: got a number that is not finite"):
        measure.of(Path(), 2)


@pytest.mark.parametrize(
    "change",
    [
        {"input_blocks.0.0.weight": torch.zeros(())},
        {"input_blocks.0.0.weight": torch.zeros(4, 3, 3, 3)},
        {"out.2.c_proj.weight": torch.zeros(1000)},
        {"more": [1, 2]},
    ],
)
def test_a_file_of_no_classifier_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    held = {"input_blocks.0.0.weight": torch.zeros(32, 3, 3, 3)}
    held["out.2.c_proj.weight"] = torch.zeros(1000, 4, 1)
    torch.save({**held, **change}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="^--classifier: got .*256x256_classifier.pt is allowed"):
        read_classifier(tmp_path / "c.pt", networks()["adm-imagenet256"])


def test_the_command_measures_and_says_what_it_is_not(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With pixels' principal components: never called FID, and the few images are said."""
    path = files.checkpoint(networks()["edm-cifar10"], place)
    draw = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=draw)
    rows = draw.transpose(0, 3, 1, 2).reshape(80, -1) / 127.5 - 1
    _, spread, basis = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    law = Moments(rows.mean(0), spread[:70] ** 2 / 80, basis[:70].T, 0.0)
    monkeypatch.setattr(measures, "stream", lambda *_, **__: law)  # the same, in less time
    words = ["v3-cifar10-edm", "--checkpoint", str(path), "--data", str(tmp_path / "data.npz")]
    words += ["--extractor", "pca", "--images", "3", "--row", "UniPC-3", "--nfe", "5"]
    words += ["--out", str(tmp_path / "kept")]
    status, out, _ = answered(capsys, *words)
    assert status == 0
    assert "Frechet distance, PCA of pixels, 64 components" in out
    assert "3 images, the paper has 50000" in out
    assert "3 images are no more than the 64 features" in out
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == [
        "UniPC-3-5-bh1",
        "UniPC-3-5-bh2",
    ]
    again = answered(capsys, *words, "--json")[1]
    (row,) = json.loads(again)["rows"]
    assert f"{row['measured']:.4g}" in out
