"""A bad run is refused on one line that names the key, the value and what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pytest

from experiments.solve import parse, solve
from tests.whole.runs import RULE, RUN, Json, but, nodes, scire

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


def unipc(**options: Any) -> Json:
    return {"method": "unipc_3", "options": options}


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
    ({"options": {"form": "NOISE"}}, "form: got 'NOISE'", "allowed: NOISE_RHO"),
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
    (
        {**nodes("t", 1.0, 0.5, schedule="flow"), "teleport": {"sigma_skip": 0.5}},
        "teleport.sigma_skip: got 0.5",
        r"a level in \(1.0, inf\] is allowed",
    ),
]


@pytest.mark.parametrize(
    ("change", "begins", "allowed"), POINTED, ids=[begins for _, begins, _ in POINTED]
)
def test_the_place_of_a_bad_value_is_named(change: Json, begins: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=r"allowed|nearest|needs|has (one|no)") as caught:
        solve({**RUN, **change})
    assert one_line(caught.value, begins, allowed), caught.value


def test_what_is_refused_differs_from_a_run_that_is_not() -> None:
    assert "x_final" in solve(RUN)
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


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        ({"method": "dpm_solver_3", "options": {"r1": 0.5, "r2": 0.5, "weights": "taylor"}},
         "options: got r1=0.5, r2=0.5, weights=taylor; "),
        ({"method": "rho_heun2", "options": {"alpha": 3}}, "options: got alpha=3; "),
        (scire(phi1=[["m3"]] * 4), "options.phi1[0]: got ['m3']"),
        ({"method": "unip_2", "options": {"orders": [1, 2, 2, 3]}}, "options.orders[3]: got 3"),
    ],
)  # fmt: skip
def test_options_without_weights_are_named(change: Json, begins: str) -> None:
    with pytest.raises(ValueError, match="allowed") as caught:
        solve({**RUN, **change})
    assert one_line(caught.value, begins, "allowed"), caught.value


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"c": 1, "c": 1}}]'])
def test_a_key_stands_once(text: str) -> None:
    with pytest.raises(ValueError, match=r"^json: got the key '[ac]' twice; once is allowed$"):
        parse(text)
