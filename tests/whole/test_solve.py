"""A replay means what its format says: good runs in full, bad ones refused by name on one line."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import store
from experiments.cli import main
from experiments.solve import parse, solve, solve_lines

Json = dict[str, Any]
RUN: Json = {
    "problem": {
        "weights": [0.4, 0.6],
        "means": [[-1.2], [1.5]],
        "covs": [[[0.25]], [[0.64]]],
    },
    "schedule": {"name": "vp_linear"},
    "method": "ddim",
    "grid": {"name": "logsnr", "steps": 4, "start": 0.9, "end": 0.01},
    "x_start": [[0.4], [-1.3]],
}
GAUSSIAN: Json = {
    **RUN,
    "problem": {"weights": [1.0], "means": [[0.3, -0.2]], "covs": [[[0.5, 0.2], [0.2, 0.8]]]},
    "grid": {"rho": [50.0, 0.1]},
    "x_start": [[1.0, 2.0], [0.0, -1.0]],
}
EXACT = {"exact", "exact_error", "error_rms", "error_max"}
ALWAYS = {"x_final", "nfe", "jvp", "nodes", "plan_hash", "seconds"}


def but(path: str, value: Any, run: Json = RUN) -> Json:
    """The run with another value at a dotted path."""
    changed = copy.deepcopy(run)
    *way, last = path.split(".")
    here = changed
    for key in way:
        here = here.setdefault(key, {})
    here[last] = value
    return changed


def same(a: Json, b: Json, rtol: float = 1e-11) -> bool:
    return np.allclose(a["x_final"], b["x_final"], rtol=rtol, atol=0)


# --- what is refused -----------------------------------------------------------------------------

NAN, INF, HUGE = math.nan, math.inf, 10**400
LIST = "a rectangular list of finite numbers, is allowed"
PER_STEP = "or a list with one value per step is allowed"
REFUSED: list[tuple[str, Sequence[Any], str]] = [
    ("problem", [3, []], "an object is allowed"),
    ("problem.weights", [[], 1, [NAN, 1], ["a", 1], [True, False], [[0.4, 0.6]], [HUGE, 1]], LIST),
    ("problem.weights", [[0.4, 0.7], [-0.4, 1.4], [0.4, 0.6 - 1e-8]], "whose sum is 1"),
    ("problem.means", [[1, 2], [[], []], [[None], [1]], [[INF], [1]]], LIST),
    ("problem.covs", [[[1], [1]], [[["1"]], [[1]]]], LIST),
    ("schedule", ["vp_linear", None], "an object is allowed"),
    ("schedule.name", [["vp_linear"], 3, {}], "a name is allowed"),
    ("schedule.beta_min", ["x", NAN, INF, True, None], "a finite float is allowed"),
    ("schedule.beta", [1], "vp_linear takes beta_min, beta_max"),
    ("method", [3, ["ddim"], None], "a name is allowed"),
    ("method", ["dpm_solver_4", "DDIM", "rho_heun", ""], "nearest: "),
    ("options", [3, None, [1]], "an object is allowed"),
    ("ems", ["exact", {"samples": 9}], "no model statistics are allowed with ddim"),
    ("grid", [3, [1, 0.5]], "an object is allowed"),
    ("grid.name", [3, ["t"]], "a name is allowed"),
    ("grid.name", ["logsrn", "karas"], "allowed: t, t2, logsnr, rho, karras, nsr"),
    ("grid.steps", [0, -1, 2.0, True, "4", None, 10**9], "an integer from 1 to 100000 is allowed"),
    ("grid.start", ["x", NAN, INF, None, True], "a finite time is allowed"),
    ("grid.end", ["x", NAN], "a finite time is allowed"),
    ("x_start", [3, [], [[]], [1, 2], [[NAN], [1]], [["a"]], [[None]], [[HUGE]]], LIST),
    ("teleport", [3, [1]], "an object is allowed"),
    ("teleport.sigma_skip", [0, -1, "x", NAN, True, HUGE], "a positive number is allowed"),
    ("teleport.sigma_skip", [1e9, 1e-9], r"a level in \(0.0446.*, 58.8.*\] is allowed"),
    ("teleport.tolerance", [0, -1, "x", INF], "a positive number is allowed"),
    ("teleport.tolerance", [1e-30], "at most tolerance = 1e-30 is allowed"),
    ("teleport.tolerance", [50.0], "a smaller number, or sigma_skip, is allowed"),
    ("finish", ["denois", 3, None], "'none' or 'denoise' is allowed"),
    ("dtype", ["float16", "double"], "float64 or float32 is allowed"),
    ("dtype", [3, ["float64"], {}], "a name is allowed"),
]


def one_line(error: BaseException, begins: str, allowed: str) -> bool:
    text = str(error)
    return "\n" not in text and text.startswith(begins) and bool(re.search(allowed, text))


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [(path, value, allowed) for path, values, allowed in REFUSED for value in values],
    ids=lambda v: repr(v)[:24],
)
def test_a_bad_value_is_named_with_what_is_allowed(path: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match="allowed|nearest|takes") as caught:
        solve(but(path, value))
    begins = "schedule" if path == "schedule.name" else path
    got = repr(value)[:70] if value != 10**400 else "1000"
    assert one_line(caught.value, begins, allowed), caught.value
    assert got in str(caught.value)


def scire(**options: Any) -> Json:
    return {"method": "scire_v1_3", "options": options}


def unipc(**options: Any) -> Json:
    return {"method": "unipc_3", "options": options}


def nodes(clock: str, *values: Any, schedule: str = "vp_linear") -> Json:
    return {"schedule": {"name": schedule}, "grid": {clock: list(values)}}


RULE = RUN["grid"]
ONE = {"weights": [1], "means": [[0, 0]]}
POINTED: list[tuple[Json, str, str]] = [
    ({"extra": 1}, "run: got the key 'extra'", "allowed: problem, schedule"),
    (but("problem.scale", 1), "problem: got the key 'scale'", "allowed: weights, means, covs"),
    (but("problem.means", [[1], [1, 2]]), "problem.means: got rows of unequal lengths", LIST),
    (but("problem.weights", [1.0]), "problem: got weights (1,), means (2, 1)", "are allowed"),
    (but("problem.covs", [[[1, 0], [0, 1]]] * 2), "problem: got weights (2,)", "are allowed"),
    (but("problem.covs", [[[-0.1]], [[1]]]), "problem.covs[0] has the eigenvalue -0.1", "allowed"),
    ({"problem": {**ONE, "covs": [[[1, 2], [2, 1]]]}}, "problem.covs[0] has the", "semidefinite"),
    ({"problem": {**ONE, "covs": [[[1, 0.5], [0, 1]]]}}, "problem.covs[0] differs", "symmetric"),
    (but("schedule.name", "vp_linaer"), "schedule: got 'vp_linaer'", "nearest: vp_linear"),
    (but("schedule.beta_max", -1), "schedule: got VPLinear(", "beta_max > .beta_min. is allowed"),
    (scire(r3=1), "options: got the key 'r3'", "allowed: phi1, r1, r2, inner, outer, orders"),
    ({"options": {"r1": 1}}, "options: got the key 'r1'", "allowed: orders"),
    ({"options": {"first": 1}}, "options: got the key 'first'", "allowed: orders"),
    ({"options": {"finish": "none"}}, "options: got the key 'finish'", "allowed: orders"),
    ({"options": {"form": "NOISE_T"}}, "form: got 'NOISE_T'", "allowed with FILE.py:function"),
    ({"options": {"q": 1}}, "q: got 1", "allowed with FILE.py:function"),
    *[(scire(phi1=v), f"options.phi1: got {v!r}", PER_STEP) for v in ("m0", -1, NAN, {}, None)],
    *[(scire(r1=v), f"options.r1: got {v!r}", PER_STEP) for v in (0, -1, "x", INF, True)],
    (scire(r1=[0.5]), "options.r1: got 1 values", "one value per step, 4, is allowed"),
    (scire(r1=[0.5, 0.5, 0, 0.5]), "options.r1[2]: got 0", PER_STEP),
    (scire(inner="publish"), "options.inner: got 'publish'", "'published' or 'paper'"),
    (unipc(prediction="x"), "options.prediction: got 'x'", "'data' or 'noise' is allowed"),
    (unipc(orders=[1, 2]), "options.orders: got [1, 2]", "a list of 4 integers is allowed"),
    (unipc(orders=3), "options.orders: got 3", "a list of 4 integers is allowed"),
    (unipc(orders=[1, 2, 3, 4]), "options.orders[3]: got 4", "an integer 1..3 is allowed"),
    (unipc(orders=[1, 2, 2.0, 2]), "options.orders[2]: got 2.0", "an integer 1..3 is allowed"),
    (unipc(orders=[2, 2, 2, 2]), "options.orders[0]: got 2", "needs 1 earlier values"),
    (unipc(correct_last=1), "options.correct_last: got 1", "true or false is allowed"),
    (unipc(lower_order_final=0), "options.lower_order_final: got 0", "true or false is allowed"),
    (
        {"method": "rho_heun2", "options": {"orders": [1, 1, 1, 1]}},
        "options.orders: got [1, 1, 1, 1]",
        "rho_heun2 has one order",
    ),
    (
        {"method": "dpm_solver_2", "options": {"correct_last": True}},
        "options.correct_last: got True",
        "dpm_solver_2 has no corrector",
    ),
    ({"grid": {}}, "grid: got the keys []", "one of t, rho, lam, sigma, name is allowed"),
    ({"grid": {"t": [1, 0.5], "rho": [1, 0.5]}}, "grid: got the keys ['rho', 't']", "one of t"),
    ({"grid": {"t": [1, 0.5], "steps": 1}}, "grid: got the key 'steps'", "allowed: t"),
    *[({"grid": {**RULE, k: 1}}, f"grid: got the key {k!r}", "allowed: name") for k in ("F", "k")],
    ({"grid": {**RULE, "rho": 7}}, "grid: got the key 'rho'", "allowed: name, steps, start, end"),
    ({"grid": {**RULE, "name": "karras", "rho": 0}}, "grid.rho: got 0", "a positive number"),
    *[(nodes("t", *v), f"grid.t: got {list(v)!r}", "at least two nodes") for v in ((), (0.5,))],
    ({"grid": {"t": 3}}, "grid.t: got 3", "a list of at least two nodes is allowed"),
    *[
        (nodes("t", 0.5, v), f"grid.t[1]: got {v!r}", "a finite number is allowed")
        for v in (NAN, INF, None, "0.1", True)
    ],
    (nodes("t", 0.1, 0.5), "grid.t[1]: got 0.5 after 0.1", "strictly decreasing noise"),
    (nodes("t", 0.9, 0.5, 0.5), "grid.t[2]: got 0.5 after 0.5", "strictly decreasing noise"),
    (nodes("rho", 1.0, 2.0), "grid.rho[1]: got 2.0 after 1.0", "strictly decreasing noise"),
    (nodes("lam", 1.0, 0.0), "grid.lam[1]: got 0.0 after 1.0", "strictly decreasing noise"),
    (nodes("t", 1.1, 0.1), "grid.t[0]: got 1.1", "0.0 <= t <= 1.0 is allowed"),
    (nodes("t", 0.5, 0.0), "grid.t[1]: got 0.0", "sigma > 0 are allowed"),
    *[(nodes("rho", 1, v), f"grid.rho[1]: got {v}", "sigma > 0 is allowed") for v in (0, -1)],
    (nodes("rho", 1e200, 1), "grid.rho[0]: got 1e+200", "nodes with 0.0 <= t <= 1.0 are allowed"),
    (nodes("sigma", 1, 0.5), "grid.sigma: got schedule 'vp_linear'", "allowed where alpha = 1"),
    (nodes("sigma", 1, 0, schedule="edm"), "grid.sigma[1]: got 0", "sigma > 0 is allowed"),
    (nodes("t", 1.0, 0.5, schedule="vp_cosine"), "grid.t[0]: got 1.0", "alpha > 0"),
    (nodes("t", 1.0, 1.0, schedule="flow"), "grid.t[1]: got 1.0", "alpha > 0"),
    (nodes("t", 1000, 0, schedule="ddpm_discrete"), "grid.t[0]: got 1000.0", "t <= 999.0 is"),
    (but("grid.end", 0), "grid[1]: got 0.0", "sigma > 0 are allowed"),
    (but("grid.start", 0.001), "grid[1]: got 0.01 after 0.001", "strictly decreasing noise"),
    ({"x_start": [[1], [2, 3]]}, "x_start: got rows of unequal lengths", LIST),
    ({"x_start": [[1, 2]]}, "x_start: got 2 coordinates", "the law's 1 are allowed"),
    ({"x_start": [[1], [1e308]]}, "model: got a value that is not finite", "finite predictions"),
    ({"teleport": {}}, "teleport: got the keys []", "exactly one of sigma_skip, tolerance"),
    ({"teleport": {"skip": 1}}, "teleport: got the key 'skip'", "allowed: sigma_skip, tolerance"),
    *[
        (
            {**nodes("t", 1.0, 0.5, schedule="flow"), "teleport": {key: 0.5}},
            "teleport: got a start with alpha = 0",
            "alpha > 0 is allowed",
        )
        for key in ("sigma_skip", "tolerance")
    ],
]


@pytest.mark.parametrize(
    ("change", "begins", "allowed"), POINTED, ids=[begins for _, begins, _ in POINTED]
)
def test_the_place_of_a_bad_value_is_named(change: Json, begins: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=r"allowed|nearest|needs|has (one|no)") as caught:
        solve({**RUN, **change})
    assert one_line(caught.value, begins, allowed), caught.value


def test_what_is_refused_differs_from_a_run_that_is_not() -> None:
    assert solve(RUN).keys() == ALWAYS | EXACT
    assert solve({**RUN, **scire(r1=[0.5] * 4)})["nfe"] == 12
    assert solve(but("grid.t", [0.5 + 1e-12, 0.1], {**RUN, "grid": {}}))["nfe"] == 1


@pytest.mark.parametrize("key", ["problem", "schedule", "method", "grid", "x_start"])
def test_every_key_of_a_run_is_needed(key: str) -> None:
    with pytest.raises(ValueError, match=f"^run: the key '{key}' is missing; needed: problem"):
        solve({k: v for k, v in RUN.items() if k != key})


@pytest.mark.parametrize(
    ("path", "key"),
    [("problem", "covs"), ("schedule", "name"), ("grid", "steps"), ("grid", "end")],
)
def test_every_key_inside_is_needed(path: str, key: str) -> None:
    short = {k: v for k, v in RUN[path].items() if k != key}
    with pytest.raises(ValueError, match=f"^{path}: the key '{key}' is missing; needed: "):
        solve(but(path, short))


@pytest.mark.parametrize("run", [None, 3, [], "ddim"])
def test_a_run_is_an_object(run: Any) -> None:
    with pytest.raises(ValueError, match=r"^run: got .*; an object is allowed$"):
        solve(run)


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ('{"a": NaN}', "json: got 'NaN'"),
        ("[-Infinity]", "json: got '-Infinity'"),
        ("[1e999]", "json: got '1e999'"),
        ("1" * 5000, "json: got '1111"),
        ("[" * 100_000, "json: got '[[["),
        ('{"a":', "json: Expecting value at line 1, column 6"),
        ("", "json: Expecting value"),
        ("{} {}", "json: Extra data"),
    ],
    ids=lambda v: v[:12],
)
def test_json_is_strict(text: str, begins: str) -> None:
    with pytest.raises(ValueError, match="allowed$") as caught:
        parse(text)
    assert one_line(caught.value, begins, "allowed")
    assert parse('{"a": [1, -2.5, 1e5, true, null]}') == {"a": [1, -2.5, 1e5, True, None]}


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
