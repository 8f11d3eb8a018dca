"""A run means what its format says: its numbers, its counts, its errors, its order in a batch."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from experiments import store
from experiments.cli import main
from experiments.solve import solve, solve_lines
from tests.whole.runs import GAUSSIAN, RULE, RUN, Json, but, nodes, scire

EXACT = {"exact", "exact_error", "error_rms", "error_max"}
ALWAYS = {"x_final", "nfe", "jvp", "nodes", "plan_hash", "seconds"}


def same(a: Json, b: Json, rtol: float = 1e-11) -> bool:
    return np.allclose(a["x_final"], b["x_final"], rtol=rtol, atol=0)


# --- what a run says -----------------------------------------------------------------------------


def test_the_keys_of_the_output() -> None:
    assert solve(RUN, exact=False).keys() == ALWAYS
    assert solve(RUN, states=True).keys() == ALWAYS | EXACT | {"states"}


def test_the_errors_are_those_of_the_printed_states() -> None:
    r = solve(RUN)
    miss = np.subtract(r["x_final"], r["exact"])
    assert r["error_rms"] == pytest.approx(np.sqrt(np.mean(miss**2)), rel=1e-14)
    assert r["error_max"] == np.abs(miss).max()
    assert r["exact_error"] < 1e-10 < r["error_rms"]
    finer = solve(but("grid.steps", 256))
    assert 30 < r["error_rms"] / finer["error_rms"] < 120  # order 1 over 64 times the steps


@pytest.mark.parametrize(
    ("method", "calls", "derivatives"),
    [
        ("ddim", 4, 0),
        ("dpm_solver_2", 8, 0),
        ("rho_heun2", 8, 0),
        ("scire_v1_3", 12, 0),
        ("unipc_2", 4, 0),
        ("taylor_2", 4, 4),
        ("taylor_3", 4, 8),
    ],
)
def test_model_calls_are_counted(method: str, calls: int, derivatives: int) -> None:
    run = {**RUN, "method": method}
    r, denoised = (solve({**run, "finish": f}, exact=False) for f in ("none", "denoise"))
    assert (r["nfe"], r["jvp"]) == (calls, derivatives)
    assert denoised["nfe"] == calls + 1


def test_finish_denoises_the_last_state() -> None:
    """Of a single Gaussian in one dimension: E[x0 | x] is linear and written out here."""
    m, v = 0.3, 0.5
    gauss = {"weights": [1], "means": [[m]], "covs": [[[v]]]}
    run = {**RUN, "problem": gauss, "schedule": {"name": "edm"}, "grid": {"sigma": [5.0, 1.0]}}
    (x, _), (y, _) = (solve({**run, "finish": f})["x_final"] for f in ("none", "denoise"))
    assert y[0] == pytest.approx(m + v / (v + 1) * (x[0] - m), rel=1e-13)
    r = solve({**run, "finish": "denoise", "method": "gaussian_ab2"})
    assert r["error_max"] < 1e-12


def test_states_come_one_per_node() -> None:
    for extra in ({}, {"finish": "denoise"}, {"teleport": {"sigma_skip": 2.0}}):
        r = solve({**RUN, **extra}, states=True)
        assert len(r["states"]) == len(r["nodes"]["t"]) == len(r["nodes"]["lam"])
        assert r["states"][0] == RUN["x_start"]
        assert (r["states"][-1] == r["x_final"]) == (extra.get("finish") is None)


@pytest.mark.parametrize("schedule", ["vp_linear", "edm", "flow"])
def test_the_clocks_lay_the_same_grid(schedule: str) -> None:
    run = but("grid.start", 0.7, {**RUN, "schedule": {"name": schedule}})
    laid = solve(run)
    lam = laid["nodes"]["lam"]
    rho = [math.exp(-v) for v in lam]
    clocks = {"t": laid["nodes"]["t"], "lam": lam, "rho": rho}
    clocks |= {"sigma": rho} if schedule == "edm" else {}
    for clock, values in clocks.items():
        r = solve({**run, "grid": {clock: values}})
        assert same(r, laid, 1e-10)
        assert r["nodes"]["lam"] == pytest.approx(lam, rel=1e-11, abs=1e-11)
    moved = [rho[0], 1.001 * rho[1], *rho[2:]]
    assert not same(solve({**run, "grid": {"rho": moved}}), laid, 1e-10)


@pytest.mark.parametrize(
    "rule", [{"name": n} for n in ("t", "t2", "rho", "karras", "nsr")] + [{"name": "nsr", "k": 2}]
)
def test_rules_and_their_options(rule: Json) -> None:
    r = solve({**RUN, "grid": {**RULE, **rule}})
    assert r["nodes"]["t"][0] == 0.9
    assert r["nodes"]["t"][-1] == 0.01
    assert len(r["nodes"]["t"]) == 5


def test_karras_takes_its_rho() -> None:
    grids = [{**RULE, "name": "karras", **o} for o in ({}, {"rho": 7}, {"rho": 5})]
    default, seven, five = (solve({**RUN, "grid": g})["nodes"]["t"] for g in grids)
    assert default == seven
    assert default != five


def test_flow_may_start_at_alpha_zero() -> None:
    r = solve({**RUN, **nodes("t", 1.0, 0.6, 0.2, schedule="flow")})
    assert r["nodes"]["lam"][0] is None
    assert r["nfe"] == 2
    near = solve({**RUN, **nodes("t", 1 - 1e-9, 0.6, 0.2, schedule="flow")})
    assert same(r, near, 1e-6)


def test_float32_is_float32() -> None:
    single, double = (solve(but("dtype", d)) for d in ("float32", "float64"))
    assert solve(RUN)["x_final"] == double["x_final"]
    assert np.array_equal(np.float32(single["x_final"]), single["x_final"])
    assert not np.array_equal(np.float32(double["x_final"]), double["x_final"])
    assert same(single, double, 1e-5)
    assert single["exact"] == double["exact"]


def test_aliases_are_the_method() -> None:
    a, b = (solve({**RUN, "method": m}) for m in ("edm_heun", "rho_heun2"))
    assert (a["x_final"], a["plan_hash"]) == (b["x_final"], b["plan_hash"])


def test_the_hash_tells_plans_apart() -> None:
    changes: list[Json] = [
        scire(),
        scire(inner="corrected"),
        scire(r1=0.25),
        scire(phi1="fd"),
        {**scire(), "finish": "denoise"},
        {**scire(), **nodes("t", 0.9, 0.5, 0.01)},
        {"method": "ddim"},
    ]
    first, again = ([solve({**RUN, **c}, exact=False)["plan_hash"] for c in changes] for _ in "ab")
    assert first == again
    assert len(set(first)) == len(changes)


def test_exact_does_not_depend_on_the_batch() -> None:
    """One call for three starts, or one for each: equal within what the reference states."""
    starts = [[0.4], [-1.3], [2.0]]
    together = solve({**RUN, "x_start": starts})
    alone = [solve({**RUN, "x_start": [x]}) for x in starts]
    bound = together["exact_error"] + max(r["exact_error"] for r in alone) + 1e-14
    gap = np.abs(np.subtract(together["exact"], [r["exact"][0] for r in alone]))
    assert gap.max() <= bound
    assert bound < 1e-9


def test_numbers_keep_17_digits() -> None:
    r = solve(RUN, states=True)
    assert json.loads(store.page(r)) == json.loads(store.line(r)) == r
    digits = [len(re.sub(r"e.*|\D|^0+", "", repr(x))) for (x,) in r["exact"] + r["x_final"]]
    assert max(digits) >= 16
    with pytest.raises(ValueError, match="JSON"):
        store.line({"x": math.nan})


# --- teleport ------------------------------------------------------------------------------------


def test_teleport_follows_a_gaussian_exactly() -> None:
    """The jump ends just above the last node, so that the error is the jump's."""
    jumped = solve({**GAUSSIAN, "teleport": {"sigma_skip": 0.1001}})
    assert jumped["sigma_skip"] == 0.1001
    assert jumped["error_max"] < 1e-7
    assert solve(GAUSSIAN)["error_max"] > 0.1  # the same step without the jump
    with pytest.raises(ValueError, match=r"^teleport\.tolerance: .* or sigma_skip, is allowed"):
        solve({**GAUSSIAN, "teleport": {"tolerance": 0.05}})


def test_teleport_at_the_start_is_no_teleport() -> None:
    plain = solve(RUN)
    rho = math.exp(-plain["nodes"]["lam"][0])
    here = solve(but("teleport.sigma_skip", rho))
    assert (here["x_final"], here["plan_hash"]) == (plain["x_final"], plain["plan_hash"])
    assert not same(solve(but("teleport.sigma_skip", rho / 2)), plain)


def test_teleport_drops_nodes_or_lays_the_rule_again() -> None:
    laid = solve(but("teleport.sigma_skip", 2.0))
    given = solve({**RUN, "grid": {"rho": [50, 10, 1, 0.1]}, "teleport": {"sigma_skip": 2.0}})
    for r, steps in ((laid, 4), (given, 2)):
        assert r["nfe"] == steps
        assert r["nodes"]["lam"][1] == pytest.approx(-math.log(2), rel=1e-14)


def test_a_tolerance_finds_the_level() -> None:
    strict, loose = (solve(but("teleport.tolerance", t)) for t in (0.001, 0.05))
    assert strict["sigma_skip"] > loose["sigma_skip"]
    again = solve(but("teleport.sigma_skip", loose["sigma_skip"]))
    assert again["x_final"] == loose["x_final"]


# --- many runs -----------------------------------------------------------------------------------


def lines() -> list[str]:
    runs = [but("grid.steps", n) for n in (1, 0, 3)]
    return [json.dumps(runs[0]), "{broken", *(json.dumps(r) for r in runs[1:])]


def test_lines_keep_their_order() -> None:
    found = list(solve_lines(lines(), exact=False))
    assert [r.get("nfe") for r in found] == [1, None, None, 3]
    assert "grid.steps: got 0" in found[2]["error"]
    assert found[1].keys() == found[2].keys() == {"error"}


def test_jsonl_writes_all_and_says_that_some_were_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = tmp_path / "runs.jsonl", tmp_path / "out.jsonl"
    for content, status in ((lines(), 2), (lines()[:1], 0)):
        runs.write_text("\n".join(content), encoding="utf-8")
        assert main(["solve", "--jsonl", str(runs), "-o", str(out), "--no-exact"]) == status
        written = [json.loads(text) for text in out.read_text(encoding="utf-8").splitlines()]
        assert [r.get("nfe") for r in written] == [1, None, None, 3][: len(content)]
    assert capsys.readouterr().err == ""
    assert sorted(f.name for f in tmp_path.iterdir()) == ["out.jsonl", "runs.jsonl"]


def test_a_refused_run_leaves_the_old_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run.json", tmp_path / "out.json"
    run.write_text(json.dumps(RUN))
    assert main(["solve", str(run), "-o", str(out), "--states"]) == 0
    old = out.read_bytes()
    assert len(json.loads(old)["states"]) == 5
    run.write_text(json.dumps({**RUN, "x_start": [[1e308]]}))
    assert main(["solve", str(run), "-o", str(out)]) == 2
    assert out.read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("method", ["ddim", "unip_1", "unipc_1", "deis_t_ab0"])
def test_lowering_the_end_of_order_one_changes_nothing(method: str) -> None:
    runs = [{**RUN, "method": method, "options": o} for o in ({}, {"lower_order_final": True})]
    assert solve(runs[0])["x_final"] == solve(runs[1])["x_final"]


def test_listed_orders_replace_the_final_lowering() -> None:
    orders = {"orders": [1, 2, 2, 2]}
    runs = [{**orders}, {**orders, "lower_order_final": True}, {"orders": [1, 2, 2, 1]}]
    ends = [solve({**RUN, "method": "unip_2", "options": o})["x_final"] for o in runs]
    assert ends[0] == ends[1] != ends[2]
