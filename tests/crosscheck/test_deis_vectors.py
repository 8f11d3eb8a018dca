"""Runs, weights and derivatives are the printed ones of the DEIS tables section 6."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from solvers.form import Form
from solvers.forms import FORMS, NOISE_LAMBDA, NOISE_RHO, NOISE_T, VELOCITY_T
from solvers.grids import Grid
from solvers.method import entry
from solvers.ops import Advance
from solvers.plan import plan
from solvers.point import Point
from solvers.schedules import schedule
from tests.crosscheck.printed import M, Task, label, law, missed
from theory.mixtures import Analytic

LAW = law("0.4 0.6", "-1.2 1.5", "0.5 0.8")
UNIFORM = Task(LAW, "t", 10, "0.9", "0.2", "0.4")
KARRAS = replace(UNIFORM, rule="karras")
LINEAR = schedule("vp_linear")

EXACT = {  # x(0.9): x(0.2) exact, ε and D at 0.9
    "-1.3": ("-1.481820936853806", "-1.306483643025261", "0.3703665259660482"),
    "-0.35": ("-0.2776706999269849", "-0.3569600287201718", "0.4064648995110494"),
    "0.4": ("1.046939329015545", "0.392664319650395", "0.4349375937988792"),
    "1.1": ("1.86603829984748", "1.092314277922035", "0.4614787852239226"),
}


@pytest.mark.parametrize("x", EXACT)
def test_exact_ends_and_predictions(x: str) -> None:
    end, noise, data = EXACT[x]
    assert missed(replace(UNIFORM, x=x).exact(), end) <= 1
    p = UNIFORM.grid().points[0]
    got = LAW.predictions(M.number(x) / p.alpha, p.rho)
    assert max(missed(got[0], noise), missed(got[1], data)) <= 1


def test_ends_of_the_interval_in_lambda() -> None:
    a, *_, b = UNIFORM.grid().points
    assert missed(a.lam, "-4.0746") <= 1
    # λ(0.2) = −log(expm1(0.418))/2 = 0.32800..; section 6 prints 0.3270
    assert float(b.lam) == pytest.approx(-math.log(math.expm1(0.418)) / 2, rel=1e-14)
    assert missed(b.lam, "0.3270") > 1
    assert missed(b.lam, "0.3280") <= 1


JETS: dict[str, tuple[str, ...]] = {  # N, N', N'' of a form at x = 0.5, t = 0.3
    "NOISE_RHO": ("-0.02287946125319728", "0.320238443658902", "-0.678126761774945"),
    # its N is −ε
    "NOISE_LAMBDA": ("0.02287946125319728", "0.3952227017339855", "0.6376521804931913"),
    "DATA_LAMBDA": ("0.822454809440104", "0.4877646237011019", "0.2991946640773394"),
    "NOISE_T": ("-0.02287946125319728", "1.987024805028133", "-17.52225749196391"),
    "VELOCITY_T": ("-1.606872898816164", "7.548758568704308"),
}


@pytest.mark.parametrize("name", JETS)
def test_total_derivatives_along_the_flow(name: str) -> None:
    form, p = FORMS[name], Point(LINEAR, M, "t", M.number(Fraction("0.3")))
    u = (M.number("0.5") - form.shift(p)) / form.scale(p)
    got = Analytic(LAW).derivatives(LINEAR, form, form.tau(p), u, len(JETS[name]) - 1)
    assert max(missed(g, text) for g, text in zip(got, JETS[name], strict=True)) <= 1


# --- 6.1: Adams-Bashforth weights -------------------------------------------------------------

QUADRATIC = Task(LAW, "t2", 10, "1", "1e-3", "0")
KINDS = {"t": NOISE_T, "rho": NOISE_RHO, "logrho": NOISE_LAMBDA}
AB: list[tuple[Task, int, str, str, str]] = [  # step, kind, Ψ, weights C_i0, C_i1, ..
    (QUADRATIC, 0, "t rho logrho", "5.333456701872997", "-4.333955950455841"),
    (QUADRATIC, 1, "t", "3.372062739492195", "-3.195859223629433 0.8188595243099486"),
    (QUADRATIC, 1, "rho", "3.372062739492195", "-2.570306938664004 0.1933072393445197"),
    (QUADRATIC, 1, "logrho", "3.372062739492195", "-3.071867547015953 0.6948678476964684"),
    (QUADRATIC, 2, "t", "2.339008486806937",
     "-2.220168680492619 1.183159511626021 -0.3245755055237957"),
    (QUADRATIC, 2, "rho", "2.339008486806937",
     "-1.555440518309902 0.1982687699997605 -0.004412926080251321"),
    (QUADRATIC, 2, "logrho", "2.339008486806937",
     "-2.037875001359317 0.8631168838676171 -0.1868265568986928"),
    (QUADRATIC, 3, "t", "1.761396811335491",
     "-1.538733385331454 1.223673953539597 -0.6328196702650164 0.12856643945917"),
    (QUADRATIC, 3, "rho", "1.761396811335491",
     "-0.9990142216979831 0.1896909032967451 -0.01003063608893213 4.129189246639578e-5"),
    (QUADRATIC, 3, "logrho", "1.761396811335491",
     "-1.37504123690687 0.819035053187928 -0.3067369254398563 0.04343044656109458"),
    (QUADRATIC, 9, "t", "1.002127177733348",
     "-0.08006977910968781 0.03357125835993138 -0.01053260188549916 0.001419456526979912"),
    (QUADRATIC, 9, "rho", "1.002127177733348",
     "-0.08103600756792355 0.03429965966764171 -0.010019072263199 0.00114375405520517"),
    (QUADRATIC, 9, "logrho", "1.002127177733348",
     "-0.1921518211107297 0.3828161773593489 -0.3760549574765103 0.1297789351196155"),
    (UNIFORM, 3, "t", "1.583610711110979",
     "-1.265494309252738 1.283586064840682 -0.7994029447005922 0.1938811095381596"),
    (UNIFORM, 3, "rho", "1.583610711110979",
     "-0.8690958951831432 0.3555838974307121 -0.07952570656468473 0.00560762474262633"),
    (UNIFORM, 3, "logrho", "1.583610711110979",
     "-1.175850967446248 1.030740664566209 -0.5618031180616938 0.1194833413672433"),
]  # fmt: skip
SUMS = {0: "-4.333955950455841", 1: "-2.376999699319484", 2: "-1.361584674390393",
        3: "-0.8193126625977036", 9: "-0.05561166610827568"}  # fmt: skip


def row(task: Task, i: int, kind: str) -> tuple[Grid, Form, Advance, list[Any]]:
    """Step i of the degree min(i, 3) method and its bare weights, newest first."""
    grid, form = task.grid(), KINDS[kind]
    op = plan(entry(f"deis_{kind}_ab{min(i, 3)}"), grid).ops[i]
    assert isinstance(op, Advance)
    return grid, form, op, [*op.weights.b.now, *op.weights.b.past]


@pytest.mark.parametrize(
    ("task", "i", "kinds", "psi", "weights"), AB, ids=[f"{a[0].rule} {a[1]} {a[2]}" for a in AB]
)
def test_adams_bashforth_weights(task: Task, i: int, kinds: str, psi: str, weights: str) -> None:
    for kind in kinds.split():
        grid, form, op, b = row(task, i, kind)
        start, end = grid.points[i : i + 2]
        sign = -1 if kind == "logrho" else 1  # N = −ε there
        got = [sign * form.scale(end) * op.h * w for w in b]
        want = weights.split()
        assert max(missed(g, w) for g, w in zip(got, want, strict=True)) <= 1
        assert missed(end.alpha / start.alpha, psi) <= 1
        if task is QUADRATIC:
            assert missed(sum(got, M.lift(0)), SUMS[i]) <= 1


def test_variable_step_weights_on_the_karras_grid() -> None:
    """Section 6.2, iPNDM_v-4 at i = 3: the correct one, and as published."""
    right = ("1.7425013", "-1.106844", "0.4271568", "-0.062814035")
    shipped = ("2.0030834", "-1.5718204", "0.64125759", "-0.071434404")
    for old, want in ((False, right), (True, shipped)):
        op = plan(entry("ipndm_v_4"), KARRAS.grid(), as_published=old).ops[3]
        assert isinstance(op, Advance)
        b = [*op.weights.b.now, *op.weights.b.past]
        assert max(missed(g, w) for g, w in zip(b, want, strict=True)) <= 1
    assert missed(sum(b, M.lift(0)), "1.00109") <= 1  # published weights: no mean


# --- 6.1, last paragraph: the released code's left sums ---------------------------------------

LEFT: dict[str, Any] = {"as_published": True}
CHANGES = [(3, "-2.1e-5 -9.4e-5 -1.0e-4 -1.0e-4"), (9, "-1.7e-4")]
"""Step, relative changes of its weights; of the last step the largest."""


@pytest.mark.parametrize(("i", "changes"), CHANGES)
def test_what_left_sums_change(i: int, changes: str) -> None:
    *_, exact = row(QUADRATIC, i, "t")
    op = plan(entry("deis_t_ab3"), QUADRATIC.grid(), **LEFT).ops[i]
    assert isinstance(op, Advance)
    left = [*op.weights.b.now, *op.weights.b.past]
    found = [a / b - 1 for a, b in zip(left, exact, strict=True)]
    if i == 9:
        found = [min(found, key=float)]
    assert max(missed(g, w) for g, w in zip(found, changes.split(), strict=True)) <= 1


@pytest.mark.parametrize(
    ("steps", "exact", "left"), [(16, "2.42e-4", "2.21e-4"), (64, "-1.96e-7", "-9.0e-6")]
)
def test_ends_with_left_sums(steps: int, exact: str, left: str) -> None:
    """tAB-3 on the quadratic grid from an exact history: numerical − true."""
    task = replace(UNIFORM, rule="t2", steps=steps)
    for options, text in (({}, exact), (LEFT, left)):
        assert missed(task.signed("deis_t_ab3", **options), text) <= 1


# --- 6.2: end values --------------------------------------------------------------------------

HEUN: dict[str, Any] = {"weights": "heun"}
TAYLOR: dict[str, Any] = {"weights": "taylor"}
OLD: dict[str, Any] = {"as_published": True}
ENDS: list[tuple[str, str, int, dict[str, Any]]] = [
    ("deis_t_ab0", "0.964040584423712", 10, {}),
    ("deis_t_ab1", "1.026741944657347", 10, {}),
    ("deis_t_ab2", "1.047623854657305", 10, {}),
    ("deis_t_ab3", "1.053864667615081", 10, {}),
    ("deis_rho_ab0", "0.964040584423712", 10, {}),
    ("deis_rho_ab1", "1.011131844251713", 10, {}),
    ("deis_rho_ab2", "1.027186155463685", 10, {}),
    ("deis_rho_ab3", "1.034009876611781", 10, {}),
    ("deis_logrho_ab0", "0.964040584423712", 10, {}),
    ("deis_logrho_ab1", "1.027092156489233", 10, {}),
    ("deis_logrho_ab2", "1.048162115009154", 10, {}),
    ("deis_logrho_ab3", "1.054280148172035", 10, {}),
    ("ddim", "0.964040584423712", 10, {}),
    ("rho_heun2", "1.065372072956712", 20, {}),
    ("rho_midpoint", "1.045988059539501", 20, {}),
    ("rho_kutta3", "1.046406559760097", 30, {}),
    ("rho_ralston3", "1.046231145825723", 30, {}),
    ("rho_heun3", "1.046632218368939", 30, {}),
    ("rho_vdh3", "1.046091718001989", 30, {}),
    ("rho_ssp3", "1.04534147884017", 30, {}),
    ("rho_rk4", "1.04713895571205", 40, {}),
    ("rho_heun2", "1.043814109243529", 20, {"form": VELOCITY_T}),
    ("rho_rk4", "1.046932095053602", 40, {"form": VELOCITY_T}),
    ("ipndm_2", "1.030154886273581", 10, {}),
    ("ipndm_3", "1.052362253945403", 10, {}),
    ("ipndm_4", "1.059066358659868", 10, {}),
    ("ipndm_v_2", "1.011131844251713", 10, {}),
    ("ipndm_v_3", "1.027186155463685", 10, {}),
    ("ipndm_v_4", "1.034009876611781", 10, {}),
    ("s_pndm", "1.030316907740917", 11, {}),
    ("f_pndm", "1.059582233298123", 19, {}),
    ("dpm_solver_2", "1.055203467446241", 20, {}),
    ("dpm_solver_3", "1.04712061497016", 30, {}),
    ("dpm_solver_2", "1.049619824005596", 20, TAYLOR),
    ("dpm_solver_3", "1.047081501666035", 30, TAYLOR),
    ("dpm_solver_pp_2s", "1.039874272671957", 20, {}),
    ("dpm_solver_pp_3s", "1.047060643645374", 30, {}),
    ("dpm_solver_pp_2s", "1.04451558872701", 20, TAYLOR),
    ("dpm_solver_pp_3s", "1.047095856647282", 30, TAYLOR),
    ("dpm_solver_2m", "1.031024383368866", 10, {}),
    ("dpm_solver_2m", "1.027092156489233", 10, HEUN),
    ("dpm_solver_3m", "1.044104978801964", 10, OLD),
    ("dpm_solver_3m", "1.048174979777869", 10, {}),
    ("dpm_solver_3m", "1.04409203929281", 10, {**OLD, **HEUN}),
    ("dpm_solver_3m", "1.048162115009154", 10, HEUN),
    ("dpm_solver_pp_3m", "1.060902521271212", 10, HEUN),
    ("dpm_solver_pp_2m", "1.039516388137975", 10, {}),
    ("dpm_solver_pp_2m", "1.044495588599052", 10, HEUN),
    ("dpm_solver_pp_3m", "1.057510121708377", 10, OLD),
    ("dpm_solver_pp_3m", "1.060885498226617", 10, {}),
    ("dpm_solver_pp_3m", "1.057527213526991", 10, {**OLD, **HEUN}),
    ("exp_ab_3", "1.060902521271212", 10, {}),
    ("exp_ab_4", "1.059697192306601", 10, {}),
    ("exp_ab_4", "1.054280148172035", 10, {"prediction": "noise"}),
    ("unip_4", "1.059697192306601", 10, {}),
    ("dpm_solver_pp_2m", "1.011465505250948", 10, {"lower_order_final": True}),
    ("res_3s", "1.047032606525843", 30, {}),
    ("res_2s", "1.04451558872701", 20, {}),
    ("krogstad_4", "1.046973750442943", 40, {}),
    ("ho_5", "1.046953881281179", 50, {}),
    ("genie", "1.03140024661862", 10, {}),
    ("taylor_2", "1.046053785662897", 10, {"variable": "t"}),
    ("taylor_3", "1.049286051799514", 10, {"variable": "t"}),
    ("taylor_2", "1.03140024661862", 10, {}),
    ("taylor_3", "1.044762316994233", 10, {}),
    ("taylor_2", "1.049323728388938", 10, {"variable": "lam"}),
    ("taylor_3", "1.048869530691075", 10, {"variable": "lam"}),
    ("taylor_2", "1.039268299225122", 10, {"variable": "t_noise"}),
    ("taylor_3", "1.048065077837858", 10, {"variable": "t_noise"}),
    ("taylor_2", "1.039662727690828", 10, {"variable": "lam_noise"}),
    ("taylor_3", "1.047956433968252", 10, {"variable": "lam_noise"}),
    ("taylor_2", "1.049575870904752", 10, {"variable": "lam_data"}),
    ("taylor_3", "1.048637541626606", 10, {"variable": "lam_data"}),
]


@pytest.mark.parametrize(
    ("method", "end", "nfe", "options"), ENDS, ids=[label(e[0], e[3]) for e in ENDS]
)
def test_end_values(method: str, end: str, nfe: int, options: dict[str, Any]) -> None:
    assert UNIFORM.worst(end, method, **options) <= 1
    assert plan(entry(method), UNIFORM.grid(), **options).nfe == nfe


@pytest.mark.parametrize(
    ("method", "end"),
    [
        ("edm_heun", "1.083591278313529"),
        ("deis_rho_ab3", "1.006368934590578"),
        ("ipndm_4", "1.064505302105757"),
        ("dpm_solver_pp_2m", "1.020723314282666"),
    ],
)
def test_end_values_on_the_karras_grid(method: str, end: str) -> None:
    assert KARRAS.worst(end, method) <= 1


def test_times_of_the_karras_grid() -> None:
    want = (
        "0.9 0.8620553823154134 0.8203466388580694 0.7740643428053854 0.7221113067697707"
        " 0.6629694160910735 0.5945302491835381 0.5140241103491582 0.4187477365421552"
        " 0.3098153188090812 0.2"
    ).split()
    got = [p.t for p in KARRAS.grid().points]
    assert max(missed(g, w) for g, w in zip(got, want, strict=True)) <= 1


def test_control_two_units_in_the_last_digit_are_seen() -> None:
    value = UNIFORM.digits("dpm_solver_2")
    assert missed(value, "1.055203467446241") <= 1
    assert missed(value, "1.055203467446243") > 1
