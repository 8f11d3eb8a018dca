"""``ems``: statistics of every kind reach a run, and what a run cannot use is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.cli import main
from experiments.ems import Draws
from experiments.problems import Law
from experiments.solve import solve
from gaussian_score.model_statistics import excess, marginals, moments, statistics
from solvers.float64 import FLOAT64
from solvers.schedules import schedule
from solvers.statistics import Table
from tests.whole.runs import RUN, Json

LAW = (RUN["problem"]["weights"], RUN["problem"]["means"], RUN["problem"]["covs"])
PLANE = {
    "weights": [0.3, 0.7],
    "means": [[-1.0, 0.5], [0.8, -0.2]],
    "covs": [[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]]],
}
V3: Json = {**RUN, "method": "dpm_solver_v3_2", "ems": "exact"}


def lam(t: float) -> float:
    return float(schedule("vp_linear").lam(FLOAT64.number(t), FLOAT64))


def table(path: Path, nodes: int = 400, start: float = 0.9, end: float = 0.01) -> str:
    """The exact statistics of the runs' law in a file."""
    at = np.linspace(lam(start), lam(end), nodes + 1)
    Table(at, *statistics(excess(*LAW), *marginals(*LAW), at)).save(path / "ems.npz")
    return str(path / "ems.npz")


def test_a_table_of_the_exact_statistics_is_the_exact_statistics(tmp_path: Path) -> None:
    """Through a file and splines 400 nodes leave 1e-8; sums on the nodes leave their h²."""
    exact = solve(V3)
    gaps = []
    for nodes in (400, 1600):
        path = table(tmp_path, nodes)
        splines = solve({**V3, "ems": path})
        assert splines["x_final"] == [pytest.approx(x, abs=1e-8) for x in exact["x_final"]]
        sums = solve({**V3, "ems": path, "options": {"integrals": "table"}})
        gaps.append(sums["x_final"][0][0] - exact["x_final"][0][0])
        assert exact["nfe"] == splines["nfe"] == sums["nfe"] == 4
        assert exact["plan_hash"] != splines["plan_hash"] != sums["plan_hash"]
    assert gaps[0] / gaps[1] == pytest.approx(16, rel=0.05)


def test_nodes_that_were_snapped_are_shown(tmp_path: Path) -> None:
    ems = table(tmp_path, nodes=13)
    out = solve({**V3, "ems": ems, "options": {"integrals": "table"}})
    at = np.linspace(lam(0.9), lam(0.01), 14)
    assert out["nodes"]["lam"] == pytest.approx(at[[0, 3, 6, 10, 13]])  # of 0, 3.25, 6.5, ..
    assert out["nodes"]["t"][0] == pytest.approx(0.9)


def test_a_relative_path_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert solve({**V3, "ems": "ems.npz"}, exact=False)["nfe"] == 4


def test_better_statistics_give_smaller_errors() -> None:
    """At first order: those of the law, of its Gaussian, of draws; DDIM has none."""
    run = {**V3, "method": "dpm_solver_v3_1"}
    run["grid"] = {"name": "logsnr", "steps": 8, "start": 0.9, "end": 0.1}
    error = {
        str(ems): solve({**run, "ems": ems})["error_rms"]
        for ems in ("exact", "moments", {"samples": 4000})
    }
    ddim = {k: v for k, v in run.items() if k != "ems"} | {"method": "ddim"}
    drawn = error["{'samples': 4000}"]
    assert error["exact"] < drawn < error["moments"] < solve(ddim)["error_rms"]


def test_draws_say_how_far_they_may_be_off() -> None:
    """The number l at the nodes within 4 of its standard errors, which fall as 1/√n."""
    few, many = (solve({**V3, "ems": {"samples": n}})["ems"] for n in (2000, 32000))
    l = statistics(excess(*LAW), *marginals(*LAW), few["lam"])[0]
    for got in (few, many):
        assert got["lam"] == pytest.approx(solve(V3)["nodes"]["lam"])
        miss, error = (np.abs(np.array(got["l"]) - l), np.array(got["standard_error"]))
        assert (error > 0).all()
        assert (miss <= 4 * error).all()
    ratio = np.array(few["standard_error"]) / many["standard_error"]
    assert np.median(ratio) == pytest.approx(4, rel=0.25)  # errors of errors, with heavy tails
    assert "ems" not in solve(V3)


def test_draws_are_of_e_squared() -> None:
    """Its regression on x is taken exactly: what is left is the mean of ε² less that of ε_G²."""
    law = Law(*(np.array(v) for v in LAW))
    draws, at = Draws(law, 200_000), 0.3
    mean, variance = marginals(*LAW)
    l = moments(draws.excess, variance, np.array([at]))[0][0]
    mixture, rho = draws._mixture, math.exp(-at)
    import torch

    generator = torch.Generator().manual_seed(1)
    x0 = mixture.sample(200_000, generator=generator)
    z = x0 + rho * torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    square = (mixture.noise(z, 1.0, rho) ** 2).numpy()
    assert abs(square.mean() - l[0]) < 4 * (square.std() / 447 + draws.error(at)[0])
    assert mean.shape == variance.shape == (1,)


def test_in_the_plane_and_with_teleport() -> None:
    """The run lies in the data's eigenbasis then, and so do the statistics."""
    run = {**V3, "problem": PLANE, "x_start": [[0.4, -1.1]]}
    run["grid"] = {"rho": [50.0, 20.0, 8.0, 2.0, 0.7, 0.2]}
    plain, jumped = (solve({**run, **more}) for more in ({}, {"teleport": {"sigma_skip": 8.0}}))
    assert plain["error_rms"] < 0.05
    assert jumped["error_rms"] < 0.05
    assert (plain["nfe"], jumped["nfe"]) == (5, 3)
    for ems in ("moments", {"samples": 500}):
        assert solve({**run, "ems": ems, "teleport": {"sigma_skip": 8.0}})["nfe"] == 3


def test_rectified_flow_starts_without_statistics() -> None:
    """At α = 0 there is no λ: the first step is the usual one, then the statistics begin."""
    run = {**V3, "schedule": {"name": "flow"}, "grid": {"t": [1.0, 0.8, 0.5, 0.2]}}
    out = solve(run)
    assert out["nfe"] == 3
    assert out["nodes"]["lam"][0] is None


def test_one_batch_computes_the_statistics_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laws are equal by value, so a second run on one finds its panels."""
    run = {**V3, "problem": {**RUN["problem"], "means": [[-1.1], [1.4]]}}
    first = solve(run, exact=False)
    monkeypatch.setattr("experiments.ems.chebyshev", None)
    again = solve(json.loads(json.dumps(run)), exact=False)
    assert (first["x_final"], first["plan_hash"]) == (again["x_final"], again["plan_hash"])
    with pytest.raises(ValueError, match="not callable"):  # control: another law has none
        solve({**V3, "problem": {**RUN["problem"], "means": [[-1.1], [1.41]]}}, exact=False)


REFUSED: list[tuple[Json, str]] = [
    ({"ems": None}, r"ems: got None; the path of a \.npz, 'exact', 'moments' or {'samples': n}"),
    ({"ems": 3}, r"ems: got 3; the path"),
    ({"ems": ""}, r"ems: got ''; the path"),
    ({"ems": ["exact"]}, r"ems: got \['exact'\]; the path"),
    ({"ems": {}}, r"ems: the key 'samples' is missing; needed: samples"),
    ({"ems": {"draws": 9}}, r"ems: got the key 'draws'; allowed: samples"),
    ({"ems": {"samples": 1}}, r"ems\.samples: got 1; an integer from 2 to 10\^8 is allowed"),
    ({"ems": {"samples": 2.5}}, r"ems\.samples: got 2\.5; an integer"),
    ({"ems": {"samples": True}}, r"ems\.samples: got True; an integer"),
    ({"ems": "none.npz"}, r"ems: got 'none\.npz' \(No such file or directory\); a \.npz with lam"),
    ({"method": "ddim"}, r"ems: got 'exact'; no model statistics are allowed with ddim"),
    ({"options": {"integrals": "table"}}, r"options\.integrals: got 'table'; 'accurate' is"),
    ({"options": {"integrals": "sums"}}, r"options\.integrals: got 'sums'; 'accurate' or 'table'"),
    ({"options": {"corrector": "half"}}, r"options\.corrector: got 'half'; 'none' or 'full' or"),
    (
        {"options": {"corrector_order": 3}},
        r"options\.corrector_order: got 3; 'same' or 'plus_one'",
    ),
    ({"options": {"p_pseudo": 1}}, r"options\.p_pseudo: got 1; true or false"),
    ({"options": {"orders": [1, 2, 3, 2]}}, r"options\.orders\[2\]: got 3; an integer 1\.\.2"),
    ({"method": "dpm_solver_v3_4"}, r"method: got 'dpm_solver_v3_4'; nearest: dpm_solver_v3"),
    (
        {
            "problem": {
                "weights": [0.5, 0.5],
                "means": [[1.0] * 4, [-1.0] * 4],
                "covs": [np.eye(4).tolist()] * 2,
            },
            "x_start": [[0.0] * 4],
        },
        r"ems: got 'exact'; the coordinates of 2 components in 4 dimensions depend on each other;"
        r" .* are allowed; 'moments' or {'samples': n} is allowed too",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=lambda v: str(v)[:30])
def test_what_cannot_be_used_is_refused(change: Json, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        solve({**V3, **change}, exact=False)
    assert "\n" not in str(caught.value)


def test_v3_needs_the_key() -> None:
    run = {k: v for k, v in V3.items() if k != "ems"}
    with pytest.raises(
        ValueError, match=r"ems: the key is missing; dpm_solver_v3_2 needs it; the"
    ):
        solve(run)


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path, nodes=20)
    for change, message in (
        ({"grid": {"t": [0.95, 0.5, 0.01]}}, r"ems: got lam = .*; their range .* is allowed"),
        ({"grid": {"t": [0.9, 0.5, 0.001]}}, r"ems: got lam = .*; their range .* is allowed"),
        (
            {"grid": {"t": [0.9, 0.5, 0.1]}, "options": {"integrals": "table"}},
            r"ems: got a table from lam = .* with integrals='table' one between the grid's ends",
        ),
        (
            {"grid": {"t": [0.9, 0.5, 0.49, 0.01]}, "options": {"integrals": "table"}},
            r"grid: got nodes 1 and 2 .* at one node of the table, \d+ of 20; fewer steps or a",
        ),
        (
            {"problem": PLANE, "x_start": [[0.0, 0.0]]},
            r"ems: got '.*' with 1 coordinates; the law's 2 are allowed",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            solve({**V3, "ems": path, **change})
    two = Table.load(path)
    wide = Table(two.lam, *(np.repeat(v, 2, axis=1) for v in (two.l, two.s, two.b)))
    wide.save(tmp_path / "two.npz")
    run = {**V3, "problem": PLANE, "x_start": [[0.0, 0.0]], "ems": str(tmp_path / "two.npz")}
    assert solve(run)["nfe"] == 4
    with pytest.raises(ValueError, match=r"ems: got '.*' with teleport, which runs in the data's"):
        solve({**run, "teleport": {"sigma_skip": 8.0}})


# --- convert -------------------------------------------------------------------------------------


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """Statistics of images with 3 x 2 x 2 numbers, as they are published: float32, no λ."""
    rng = np.random.default_rng(0)
    l, s, b = (rng.random((9, 3, 2, 2)).astype(np.float32) for _ in range(3))
    np.savez(tmp_path / "l.npz", l=l)
    np.savez(tmp_path / "sb.npz", s=s, b=b)
    return tmp_path


def convert(folder: Path, *arguments: str, files: tuple[str, ...] = ("l.npz", "sb.npz")) -> int:
    paths = (str(folder / name) for name in (*files, "ems.npz"))
    return main(["convert", *paths, *arguments])


def test_published_files_become_one(released: Path, capsys: Any) -> None:
    assert convert(released, "--lam-range", "-5", "4.5", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["nodes"], value["coordinates"], value["lam"]) == (9, 12, [-5.0, 4.5])
    found = Table.load(released / "ems.npz")
    assert found.lam.tolist() == np.linspace(-5, 4.5, 9).tolist()
    with np.load(released / "sb.npz") as file:
        assert (found.s == file["s"].reshape(9, 12)).all()
        assert found.b.dtype == np.float64


def test_the_range_of_a_run(released: Path, capsys: Any) -> None:
    assert convert(released, "--schedule", "vp_linear", "--t-range", "1.0", "1e-3") == 0
    assert capsys.readouterr().out.strip().endswith("D = 12")
    ends = Table.load(released / "ems.npz").lam[[0, -1]]
    assert ends == pytest.approx([lam(1.0), lam(1e-3)], rel=1e-15)


@pytest.mark.parametrize(
    ("arguments", "files", "message"),
    [
        ((), None, "--lam-range: got none of them; it alone, or --schedule and --t-range"),
        (("--schedule", "edm"), None, "--lam-range: got --schedule; it alone"),
        (("--lam-range", "5", "-5"), None, "--lam-range: got 5.0 -5.0; LO < HI is allowed"),
        (("--lam-range", "nan", "5"), None, "--lam-range: got nan 5.0; LO < HI is allowed"),
        (("--schedule", "edn", "--t-range", "1", "0.1"), None, "--t-range: schedule: got 'edn'"),
        (("--schedule", "flow", "--t-range", "1", "0.1"), None, "--t-range: lam: alpha = 0"),
        (("--lam-range", "-5", "5"), ("l.npz",), "FILE: got 1 files; l.npz (key l) and sb.npz"),
        (("--lam-range", "-5", "5"), ("sb.npz", "l.npz"), "an array of numbers 'l' is allowed"),
        (("--lam-range", "-5", "5"), ("no.npz", "sb.npz"), "(No such file or directory)"),
        (("--lam-range", "-5", "5"), ("l.npz", "bad.npz"), "FILE: got shapes (9, 3, 2, 2), (8,"),
    ],
)
def test_what_cannot_be_converted(
    released: Path, capsys: Any, arguments: Any, files: Any, message: str
) -> None:
    np.savez(released / "bad.npz", s=np.ones((8, 3)), b=np.ones((8, 3)))
    before = sorted(released.iterdir())
    assert convert(released, *arguments, files=files or ("l.npz", "sb.npz")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(released.iterdir()) == before


def test_a_converted_file_runs(tmp_path: Path) -> None:
    """The published pair, made of exact statistics, gives what the table gives."""
    path = table(tmp_path)
    found = Table.load(path)
    np.savez(tmp_path / "l.npz", l=found.l)
    np.savez(tmp_path / "sb.npz", s=found.s, b=found.b)
    assert main([
        "convert", str(tmp_path / "l.npz"), str(tmp_path / "sb.npz"), str(tmp_path / "made.npz"),
        "--schedule", "vp_linear", "--t-range", "0.9", "0.01",
    ]) == 0  # fmt: skip
    run = {**V3, "options": {"integrals": "table", "corrector": "full"}}
    a, b = (solve({**run, "ems": ems}) for ems in (path, str(tmp_path / "made.npz")))
    assert a["x_final"] == b["x_final"]
