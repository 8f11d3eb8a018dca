"""Of every run on a network both errors are measured, against its own exact flow and its data.

The network is an MLP trained on digits for seconds; the shipped network has its stored study.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distributed import Client

from experiments import store
from experiments.cli import main
from experiments.datamodules import Digits, Part
from experiments.model_statistics import by_moments
from experiments.network_study import (
    command,
    distance,
    flows,
    forward_mode,
    model,
    scores,
    summary,
)
from experiments.network_study import run as whole
from experiments.network_study.command import PRETRAINED
from experiments.network_study.problem import Problem, Trained, build
from experiments.network_study.run import Found
from experiments.network_study.study import Model, NetworkStudy, Scores
from experiments.report import identify, network, rerun
from experiments.report.compare import Compared, compared
from experiments.sampling.draw import prepared, run
from experiments.sampling.job import Job
from experiments.sampling.source import opened
from experiments.study import load
from experiments.sweep import cluster
from experiments.sweep.cluster import workers
from experiments.train import train
from experiments.training import Training
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments
from solvers.denoiser import Known
from solvers.forms import Statistics
from solvers.schedules import EDM

# Dask says so where a disk is slow, as it may be under two test processes.
pytestmark = pytest.mark.filterwarnings("ignore:Creating scratch directories")

STUDY = load("network", NetworkStudy)
TINY = replace(
    STUDY,
    name="tiny",
    methods=("ddim", "dpm_solver_v3_2", "rho_heun3"),
    nfe=(2, 6, 12),
    samples=6,
    dimensions=3,
    converged=1e-3,
    grids=STUDY.grids[1:],
    scores=Scores((0.2, 20.0), 64, 4, 16, (0.5,), 32),
    model=Model(9, 64, 16, ("dpm_solver_v3_2",)),
)
TIMED = {"seconds"}


@dataclass(frozen=True)
class Done:
    """A training and what the tiny study found of it."""

    folder: Path
    root: Path
    found: Found

    @property
    def run(self) -> Path:
        return self.root / "network-tiny" / self.found.run_id


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with workers(1) as found:
        yield found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, client: Client) -> Done:
    place, root = tmp_path_factory.mktemp("training") / "digits", tmp_path_factory.mktemp("rows")
    recipe = Training(
        "digits", 6144, residual="gaussian", every=3072, warm_up=1000, half_life=1000, widths=(64,)
    )
    train(recipe, place, snapshots=True)
    return Done(place, root, whole.run(TINY, place, root, client))


@pytest.fixture(scope="module")
def problem(done: Done, client: Client) -> Problem:
    return build(TINY, Trained.read(done.folder), done.found.level, client)


def untimed(rows: list[Any]) -> list[Any]:
    return [{k: v for k, v in row.items() if k not in TIMED} for row in rows]


def test_every_run_is_a_row_with_both_errors(done: Done) -> None:
    rows = done.found.rows
    assert untimed(rows) == untimed([{**row} for row in rows])
    assert [{k: row[k] for k in cell} for row, cell in zip(rows, flows.asked(TINY), strict=True)]
    ran = [row for row in rows if "refused" not in row]
    for row in ran:
        assert row["nfe"] + row["jvp"] <= row["budget"]
        assert row["error_reference"] < 1e-3 < row["error_median"] <= 2 * row["error_rms"]
        assert 0 < row["frechet"] < math.inf
        assert -0.5 < row["kernel"] < 2
        assert (row["level"] is None) == (row["teleport"] == "off")
    assert {(r["grid"], r["teleport"]) for r in ran} == {
        (grid.name, way) for grid in TINY.grids for way in TINY.teleports
    }
    refused = [row for row in rows if "refused" in row]
    assert {(r["method"], r["budget"]) for r in refused} == {("rho_heun3", 2)}
    assert {r["refused"] for r in refused} == {
        "ValueError: budget: got 2; the calls of a step or more are allowed"
    }


def test_rows_are_bitwise_those_of_a_plain_loop(done: Done, problem: Problem) -> None:
    """On Dask and in this process; another landing is another row."""
    for row in done.found.rows[::5]:
        if "refused" in row:
            continue
        cell = {key: row[key] for key in flows.asked(TINY)[0]}
        again = json.loads(store.line({**cell, **flows.measure(problem, cell)}))
        assert untimed([again]) == untimed([row])
        other = flows.measure(replace(problem, level=2 * problem.level), cell)
        assert (other["error_rms"] == row["error_rms"]) == (row["teleport"] == "off")


def test_errors_are_to_the_networks_own_flow(done: Done, problem: Problem) -> None:
    """They fall with the calls to what the reference has; a jump's own error stays."""
    cell = {"method": "rho_heun3", "options": {}, "grid": "karras", "teleport": "off", "seed": 0}
    errors = [flows.measure(problem, {**cell, "budget": n})["error_rms"] for n in (12, 48, 192)]
    assert errors[0] > 4 * errors[1] > 4 * 4 * errors[2]
    assert errors[2] < 3e-3  # the reference is allowed 1e-3
    jumped = flows.measure(problem, {**cell, "teleport": "auto", "budget": 192})["error_rms"]
    assert jumped > 3 * errors[2]
    assert TINY.rho_end < done.found.level < TINY.rho_start


@pytest.mark.parametrize("way", TINY.teleports)
@pytest.mark.parametrize("method", ["ipndm_3", "unipc_3"])
def test_sample_draws_what_the_study_measures(
    done: Done, problem: Problem, method: str, way: str
) -> None:
    """`scoreproof sample` by the row's method, grid, level and steps, here where α < 1."""
    cell = {"method": method, "options": {}, "grid": "t2", "teleport": way, "budget": 8, "seed": 0}
    made, steps = flows.plan_of(problem, cell)
    measured = flows.ends(problem, made, problem.starts[0])
    job = Job(
        checkpoint=str(done.folder),
        method=method,
        steps=steps,
        last=TINY.samples - 1,
        schedule={"name": TINY.grid("t2").schedule},
        grid="t2",
        levels=(TINY.rho_end, TINY.rho_start),
        teleport=problem.level if way == "auto" else None,
    )

    def drawn(job: Job) -> torch.Tensor:
        ready = prepared(job, opened(done.folder))
        (only,) = ready.ways.values()
        return run(ready, job.seeds).x / float(only.grid.points[-1].alpha)

    # Both round to float32 before every call of the network, in other coordinates.
    assert float((drawn(job) - measured).abs().max()) < 1e-4
    if way == "auto":
        assert float((drawn(replace(job, history="none")) - measured).abs().max()) > 1e-3


def test_each_set_of_starts_has_its_own_exact_ends(done: Done, client: Client) -> None:
    two = replace(TINY, samples=2, seeds=(0, 2), dimensions=1, converged=1e-2)
    known = build(two, Trained.read(done.folder), done.found.level, client)
    cell = {"method": "rho_heun3", "options": {}, "grid": "karras", "teleport": "off"}
    for seed in two.seeds:
        assert flows.measure(known, {**cell, "seed": seed, "budget": 96})["error_rms"] < 0.05
    assert float((known.exact[0].x - known.exact[2].x).square().mean().sqrt()) > 0.1


def test_options_and_the_limit_of_derivatives_are_kept(problem: Problem) -> None:
    cell = {"method": "dpm_solver_3m", "options": {}, "grid": "karras", "teleport": "off"}
    cell["seed"] = 0
    other = {**cell, "options": {"as_published": True}}
    one, two = (flows.measure(problem, {**c, "budget": 6})["error_rms"] for c in (cell, other))
    assert one != two
    taylor = {**cell, "method": "taylor_2", "budget": 12}
    with pytest.raises(ValueError, match="work: got 12 calls [+] 12 derivatives; 20 are allowed"):
        flows.plan_of(problem, taylor)
    assert flows.plan_of(problem, {**taylor, "budget": 10})[1] == 10


def test_a_group_norm_has_a_forward_derivative_of_any_layout() -> None:
    norm = torch.nn.GroupNorm(2, 4)
    forward_mode.prepare(norm)
    x = torch.randn(2, 4, 3, 3).to(memory_format=torch.channels_last)
    value, slope = torch.func.jvp(norm, (x,), (torch.ones_like(x),))[:2]
    torch.testing.assert_close(value, norm(x))
    assert float(slope.detach().abs().max()) < 1e-5  # a constant is taken away


def test_a_second_run_reads_what_is_stored(
    done: Done, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stage; and nobody else may be at it meanwhile."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("computed again")

    for module, name in ((whole.problem, "landing"), (whole.model, "asked")):
        monkeypatch.setattr(module, name, never)
    lines = {f: f.read_bytes() for f in done.run.rglob("rows.jsonl")}
    assert len(lines) == 3
    with store.Run(done.run).alone(), pytest.raises(ValueError, match="another process"):
        whole.run(TINY, done.folder, done.root, client)
    assert whole.run(TINY, done.folder, done.root, client) == done.found
    assert {f: f.read_bytes() for f in done.run.rglob("rows.jsonl")} == lines


def test_the_summary_has_every_run_and_names_the_best(done: Done, tmp_path: Path) -> None:
    value = summary.summary(TINY, done.found)
    file = tmp_path / "network.json"
    file.write_text(store.line(value))
    kept = summary.read(file)
    assert kept is not None
    assert kept["study"] == json.loads(json.dumps(TINY.to_json()))
    assert len(kept["runs"]) == len(done.found.rows)
    for by in summary.MEASURES:
        for pair in summary.winners(kept["runs"], TINY.nfe, by):
            for way, row in (("off", pair["without"]), ("auto", pair["with"])):
                within = [
                    r[by]
                    for r in done.found.rows
                    if "refused" not in r
                    and r["teleport"] == way
                    and r["nfe"] + r["jvp"] <= pair["calls"]
                ]
                assert row[by] == pytest.approx(min(within), rel=1e-6)
    assert summary.read(tmp_path / "none.json") is None


def test_the_report_shows_stored_rows_and_says_when_they_are_old(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "network.json"
    file.write_text(store.line(summary.summary(TINY, done.found)))
    kept = summary.read(file)
    assert kept is not None
    html = network.section(kept, TINY)
    assert html.count("<svg") == 4
    for pair in summary.winners(kept["runs"], TINY.nfe, "frechet"):
        assert f'">{pair["with"]["frechet"]:.3g}</a></td>' in html
    ids = set(re.findall(r' id="([a-z][0-9a-f]{8})"', html))
    assert set(re.findall(r'href="#([a-z][0-9a-f]{8})"', html)) < ids
    shown = {identify.identity(k, row) for k, n in identify.OF_NETWORK.items() for row in kept[n]}
    assert ids < shown
    assert "of other sources" not in html
    assert "same run at" in html
    assert not network.stale(kept, TINY)
    assert network.stale({**kept, "run_id": "other"}, TINY)
    assert network.stale(kept, replace(TINY, samples=7))
    monkeypatch.setattr(network, "stale", lambda *_: True)
    monkeypatch.setattr(network, "_figure", lambda *_: "")
    assert "of other sources" in network.section(kept, TINY)
    assert "scoreproof run network" in network.section(None)


def test_a_row_is_made_again_alone(
    done: Done, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of each kind by its id, from what it needs: a landing is found for rows with a jump."""
    file = tmp_path / "network.json"
    file.write_text(store.line(summary.summary(TINY, done.found)))
    monkeypatch.setattr(summary, "RESULTS", file)
    monkeypatch.setattr(command, "PRETRAINED", done.folder)
    monkeypatch.setattr(cluster, "workers", lambda _: nullcontext(client))
    here = [f for f in identify.stored(tmp_path) if f.kind in identify.OF_NETWORK]
    assert len({f.id for f in here}) == len(here)
    last = {(f.kind, f.row.get("teleport")): f for f in here if not f.row.get("refused")}
    assert len(last) == len(identify.OF_NETWORK) + 1
    landed: list[float] = []
    landing = whole.problem.landing
    monkeypatch.setattr(
        whole.problem, "landing", lambda *given: landed.append(landing(*given)) or landed[-1]
    )

    def again(found: identify.Found) -> list[Compared]:
        fresh = rerun.recomputed(found, workers=1, progress=lambda *_: None)
        return compared(found, fresh)

    for (kind, way), found in last.items():
        assert identify.find(found.id, tmp_path) == found
        if kind in identify.WHOLE:
            assert identify.command(found.id) == identify.WHOLE[kind]
            with pytest.raises(ValueError, match="makes with all of its study"):
                again(found)
            continue
        before = len(landed)
        pairs = again(found)
        assert len(landed) - before == (way == "auto")
        assert len([c for c in pairs if c.difference is not None]) >= 3
        assert all(c.same for c in pairs), kind
    refused = next(f for f in here if f.row.get("refused"))
    assert all(c.same for c in again(refused))
    found = last["network", "off"]
    spoilt = replace(found, row={**found.row, "error_rms": 1.01 * found.row["error_rms"]})
    assert [c.name for c in again(spoilt) if not c.same] == ["error_rms"]
    other = replace(found, study={**(found.study or {}), "checkpoint": "other"})
    with pytest.raises(ValueError, match="of another checkpoint"):
        again(other)


def test_a_checkpoint_is_known_by_its_network_alone(done: Done, tmp_path: Path) -> None:
    place = Path(shutil.copytree(done.folder, tmp_path / "elsewhere"))
    shutil.rmtree(place / "snapshots")
    (place / "card.json").write_text("{}")
    assert Trained.read(place).digest == Trained.read(done.folder).digest
    file = sorted(done.folder.glob("snapshots/*"))[0]
    shutil.copy(file, place / "diffusion_pytorch_model.safetensors")
    assert Trained.read(place).digest != Trained.read(done.folder).digest


def test_other_images_than_those_of_the_training_are_refused(
    done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Digits.provenance
    monkeypatch.setattr(Digits, "provenance", lambda self: {**known(self), "sha256": "0" * 64})
    with pytest.raises(ValueError, match="was trained on other images than 'digits' has here"):
        Trained.read(done.folder)


def test_scores_say_what_is_known_to_explain_them(done: Done, tmp_path: Path) -> None:
    """At high noise the Gaussian does; a snapshot is nearer to its start, the Gaussian."""
    rows = {(r["of"], r["candidate"], r["sigma"]): r for r in done.found.scores}
    assert len(rows) == len(TINY.scores.sigmas) * (6 + 5)
    own = {s: rows["network", "Gaussian", s]["score"]["residual"] for s in (0.2, 20.0)}
    assert own[20.0] < 1e-4 < own[0.2]
    assert own[0.2] < rows["network", "mean", 0.2]["score"]["residual"]
    past = {(r["images"], r["candidate"]): r["score"]["residual"] for r in done.found.history}
    file = tmp_path / "network.json"
    file.write_text(store.line(summary.summary(TINY, done.found)))
    for row in (summary.read(file) or {})["history"]:
        assert row["residual"] == pytest.approx(past[row["images"], row["candidate"]], rel=1e-6)
    assert len(past) == 2 * len(scores.HISTORY)
    first, last = sorted({images for images, _ in past})
    assert 0 < past[first, "Gaussian"] < past[last, "Gaussian"]


def test_a_law_is_asked_once() -> None:
    asked: list[float] = []

    class Law:
        def denoise(self, x: torch.Tensor, alpha: Any, sigma: Any) -> torch.Tensor:
            asked.append(float(sigma))
            return x * 0.5

    law, x = scores.Once(Law()), torch.randn(3, 2)
    for sigma in (1.0, 1.0, 2.0, 1.0):
        assert torch.equal(law.denoise(x, 1.0, sigma), x * 0.5)
    law.denoise(x + 1, 1.0, 1.0)
    assert asked == [1.0, 2.0, 1.0]


def test_statistics_of_moments_are_those_of_their_gaussian() -> None:
    """The estimator finds their l at the Gaussian's own denoiser; b = M' = −(l m)' where s = 0."""
    mean, variances = np.array([0.4, -0.3]), np.array([0.8, 0.05])
    known = Statistics(tuple(mean), tuple(variances))
    lams = np.linspace(-1.0, 2.0, 31)
    law = GaussianMixture.diagonal(np.ones(1), mean[None], variances[None])
    found = by_moments(
        Known(law), lambda n, g: law.sample(n, generator=g), EDM(), lams, samples=4096
    )
    table = model.matched(known, lams)
    assert np.abs(found.table.l - table.l).max() < 0.05  # 4096 draws
    assert np.abs(found.table.l - 0.5 * table.l).max() > 0.3
    M = -table.l * mean
    slope = np.gradient(M, lams, axis=0, edge_order=2)
    assert np.abs(table.b - slope)[1:-1].max() < 2e-3  # central differences of step 0.1


def test_tables_of_the_network_are_compared_node_by_node(done: Done) -> None:
    rows = done.found.differences
    assert len(rows) == 2 * TINY.model.nodes
    for row in rows:
        assert 0 < row["l"]["moments"] <= 1
        assert 0 <= row["l"]["apart"] < 1
        assert row["l"]["error"] >= 0
    kinds = [[r["l"]["apart"] for r in rows if r["statistics"] == k] for k in model.KINDS]
    assert kinds[0] != kinds[1]
    kinds = {row["statistics"] for row in done.found.statistics if "refused" not in row}
    assert kinds == {"moments", "network moments", "network jvp"}
    errors = {
        (row["statistics"], row["budget"]): row["error_rms"] for row in done.found.statistics
    }
    plain = [row for row in done.found.rows if row["method"] == "dpm_solver_v3_2"]
    same = [
        row
        for row in plain
        if (row["grid"], row["teleport"], row["options"]) == (TINY.grids[0].name, "off", {})
    ]
    for row in same:  # "moments" are what the study's own runs are given
        assert errors["moments", row["budget"]] == row["error_rms"]
        assert errors["network moments", row["budget"]] != row["error_rms"]


def test_distances_grow_with_what_is_wrong() -> None:
    """Zero on average for the same law; what is far away is as far as can be, never near."""
    generator = torch.Generator().manual_seed(0)
    data, y = (torch.randn(n, 3, generator=generator).double() for n in (2000, 200))
    moments = Moments.from_covariance(np.zeros(3), np.eye(3))
    known = distance.Distance.to(
        Part(data.float(), None), Part(y.float(), None), moments, dimensions=3, samples=10
    )

    def cubic(y: torch.Tensor) -> float:
        """The kernel distance of (y·y'/d + 1)³ instead."""
        k = [(a @ b.mT / 3 + 1) ** 3 for a, b in ((y, y), (data, data), (y, data))]
        own, theirs = (float(distance._pairs(x)) for x in k[:2])
        return own + theirs - 2 * float(k[2].mean())

    same, near, far = (known(y + shift) for shift in (0.0, 0.5, 2.0))
    for key in ("frechet", "kernel"):
        assert abs(same[key]) < near[key] / 4 < far[key] / 8
    broken = y[:6].clone(), y[:6].clone()
    broken[0][0], broken[1][0] = 1e3, -1e3
    for some in broken:
        assert abs(known(some)["kernel"]) < 2 / len(some) < known(1e3 * y)["kernel"]
    assert min(map(cubic, broken)) < -1  # which would make the worst run the best
    chance = known.of_training(10)
    assert chance["frechet"]["mean"] > same["frechet"]  # few images
    each = torch.tensor([known(some)["kernel"] for some in y.split(10)])
    assert chance["kernel"]["deviation"] == pytest.approx(float(each.std()), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teleports": ["on"]}, "teleports: got .*off or auto"),
        ({"seeds": [0, 3]}, "seeds: got .*6 or more apart"),
        ({"samples": 1}, "samples: got 1; an integer >= 2"),
        ({"model": {**TINY.to_json()["model"], "nodes": 2}}, "model.nodes: got 2"),
        ({"grid": []}, "grid: got .*no such key"),
        ({"rho_end": 90.0}, "rho_end: got 90"),
    ],
)
def test_a_study_that_means_nothing_is_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    from experiments.study import read

    table = json.loads(json.dumps(TINY.to_json()))
    change = json.loads(json.dumps(change))
    assert read(NetworkStudy, table) == TINY
    with pytest.raises(ValueError, match=said):
        read(NetworkStudy, {**table, **change})


def test_the_command_refuses_in_one_line(
    done: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain"
    train(Training("digits", 256, every=256, widths=(16,)), plain)
    out = ["--out", str(tmp_path)]
    for arguments, said in (
        (["run", "network", "--checkpoint", str(tmp_path / "none"), *out], "cannot be read"),
        (["run", "network", "--checkpoint", str(plain), *out], "--residual gaussian is allowed"),
        (
            ["run", "teleport", "--checkpoint", str(plain), *out],
            "of galaxies and network",
        ),
    ):
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1


def test_the_stored_study_is_the_one_of_the_file_and_can_be_run_again(client: Client) -> None:
    """Its checkpoint is the shipped one; its best runs at 8 calls are found again."""
    kept = summary.read()
    assert kept is not None
    assert kept["study"] == json.loads(json.dumps(STUDY.to_json()))
    assert len(kept["runs"]) == len(flows.asked(STUDY))
    trained = Trained.read(PRETRAINED)
    assert kept["checkpoint"] == trained.digest
    few = replace(STUDY, samples=2, dimensions=1)
    known = build(few, trained, kept["level"], client)
    for by in summary.MEASURES:
        pair = next(p for p in summary.winners(kept["runs"], STUDY.nfe, by) if p["calls"] == 8)
        for way, row in (("off", pair["without"]), ("auto", pair["with"])):
            cell = {key: row[key] for key in ("method", "options", "grid")}
            cell |= {"teleport": way, "budget": row["nfe"] + row["jvp"], "seed": STUDY.seeds[0]}
            found = flows.measure(known, cell)
            assert (found["nfe"], found["jvp"]) == (row["nfe"], row["jvp"])
            assert found["error_rms"] < 10 * row["error_median"]  # two samples of 40
