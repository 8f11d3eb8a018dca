"""Of every run on a network both errors are measured, against its own exact flow and its data.

The network is an MLP trained on digits for a few seconds; the stored study of the shipped network
is looked at where it is stored.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distributed import Client

from experiments import network_report, store
from experiments.cli import main
from experiments.datamodules import Part
from experiments.model_statistics import by_moments
from experiments.network_study import distance, flows, model, scores, summary
from experiments.network_study import run as whole
from experiments.network_study.command import PRETRAINED
from experiments.network_study.problem import Problem, Trained, build
from experiments.network_study.run import Found
from experiments.network_study.study import Model, NetworkStudy, Scores
from experiments.study import load
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
            for way, run in (("off", pair["without"]), ("auto", pair["with"])):
                within = [
                    row[by]
                    for row in done.found.rows
                    if "refused" not in row
                    and row["teleport"] == way
                    and row["nfe"] + row["jvp"] <= pair["calls"]
                ]
                assert run[by] == pytest.approx(min(within), rel=1e-6)
    assert summary.read(tmp_path / "none.json") is None


def test_the_report_shows_stored_rows_and_says_when_they_are_old(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "network.json"
    file.write_text(store.line(summary.summary(TINY, done.found)))
    kept = summary.read(file)
    assert kept is not None
    html = network_report.section(kept, TINY)
    assert html.count("<svg") == 4
    assert "run it again" not in html
    assert "same run at" in html
    assert not network_report.stale(kept, TINY)
    assert network_report.stale({**kept, "run_id": "other"}, TINY)
    assert network_report.stale(kept, replace(TINY, samples=7))
    monkeypatch.setattr(network_report, "stale", lambda *_: True)
    monkeypatch.setattr(network_report, "_figure", lambda *_: "")
    assert "run it again" in network_report.section(kept, TINY)
    assert "scoreproof run network" in network_report.section(None)


def test_a_checkpoint_is_known_by_its_network_alone(done: Done, tmp_path: Path) -> None:
    place = Path(shutil.copytree(done.folder, tmp_path / "elsewhere"))
    shutil.rmtree(place / "snapshots")
    (place / "card.json").write_text("{}")
    assert Trained.read(place).digest == Trained.read(done.folder).digest
    file = sorted(done.folder.glob("snapshots/*"))[0]
    shutil.copy(file, place / "diffusion_pytorch_model.safetensors")
    assert Trained.read(place).digest != Trained.read(done.folder).digest


def test_scores_say_what_is_known_to_explain_them(done: Done) -> None:
    """At high noise the Gaussian does; a snapshot is nearer to its start, the Gaussian."""
    rows = {(r["of"], r["candidate"], r["sigma"]): r for r in done.found.scores}
    assert len(rows) == len(TINY.scores.sigmas) * (6 + 5)
    own = {s: rows["network", "Gaussian", s]["score"]["residual"] for s in (0.2, 20.0)}
    assert own[20.0] < 1e-4 < own[0.2]
    assert own[0.2] < rows["network", "mean", 0.2]["score"]["residual"]
    past = {(r["images"], r["candidate"]): r["score"]["residual"] for r in done.found.history}
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
    assert known.of_training(10)["frechet"]["mean"] > same["frechet"]  # few images


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
        (["run", "teleport", "--checkpoint", str(plain), *out], "allowed for studies of networks"),
    ):
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1


@pytest.mark.skipif(not summary.RESULTS.is_file(), reason="no study is stored yet")
def test_the_stored_study_is_the_one_of_the_file_and_can_be_run_again(client: Client) -> None:
    """Its checkpoint is the shipped one; its best runs at 8 calls are found again."""
    kept = summary.read()
    assert kept is not None
    assert kept["study"] == json.loads(json.dumps(STUDY.to_json()))
    assert len(kept["runs"]) == len(flows.asked(STUDY))
    trained = Trained.read(PRETRAINED)
    assert kept["checkpoint"] == trained.digest
    few = replace(STUDY, samples=2)
    known = build(few, trained, kept["level"], client)
    for by in summary.MEASURES:
        pair = next(p for p in summary.winners(kept["runs"], STUDY.nfe, by) if p["calls"] == 8)
        for way, run in (("off", pair["without"]), ("auto", pair["with"])):
            cell = {"method": run["method"], "options": run["options"], "grid": run["grid"]}
            cell |= {"teleport": way, "budget": 8, "seed": STUDY.seeds[0]}
            found = flows.measure(known, cell)
            assert (found["nfe"], found["jvp"]) == (run["nfe"], run["jvp"])
            assert found["error_rms"] < 10 * run["error_median"]  # two samples of 40
