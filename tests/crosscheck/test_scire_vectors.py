"""Factors, schedules, steps and runs are the printed ones of the SciRE tables section 12."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from solvers.float64 import FLOAT64
from solvers.forms import DATA_SNR
from solvers.grids import inner_nodes, laid
from solvers.gridstep import Uniform
from solvers.method import Row, Step, Weights, unpublished
from solvers.methods.scire import factor
from solvers.plan import plan
from solvers.point import Point
from solvers.schedules import Schedule, schedule
from solvers.step import run
from tests.crosscheck.printed import M, Task, label, law, missed
from theory.mixtures import Analytic

LAW = law("0.4 0.6", "-1 1.5", "0.5 0.3")
LINEAR = schedule("vp_linear")
DISCRETE = schedule("ddpm_discrete")

FACTORS = {  # TV-1: φ₁, φ₂, φ₃, 1/φ₁, 1 − 1/φ₁
    "m3": "0.666666666666667 0.333333333333333 0.166666666666667 1.50000000000000"
          " -0.500000000000000",
    "m4": "0.625000000000000 0.375000000000000 0.125000000000000 1.60000000000000"
          " -0.600000000000000",
    "m5": "0.633333333333333 0.366666666666667 0.133333333333333 1.57894736842105"
          " -0.578947368421053",
    "m6": "0.631944444444444 0.368055555555556 0.131944444444444 1.58241758241758"
          " -0.582417582417582",
    "m10": "0.632120535714286 0.367879464285714 0.132120535714286 1.58197676471627"
           " -0.581976764716268",
    "inf": "0.632120558828558 0.367879441171442 0.132120558828558 1.58197670686933"
           " -0.581976706869326",
}  # fmt: skip


@pytest.mark.parametrize("m", FACTORS)
def test_tv1_factors(m: str) -> None:
    p = M.lift(1) * factor(Uniform(M), m)
    half = Fraction(1, 2)
    got = (p, 1 - p, p - half, 1 / p, 1 - 1 / p)
    assert max(missed(g, w) for g, w in zip(got, FACTORS[m].split(), strict=True)) <= 1


POINTS: list[tuple[Schedule, str, dict[str, str]]] = [  # TV-2 and TV-8; TV-8's clock is (n+1)/1000
    *(
        (LINEAR, t, dict(zip(("alpha", "sigma", "rho", "lam"), row.split(), strict=True)))
        for t, row in {
            "1": "6.57158649492962e-3 0.999978406892339 152.166970283946 -5.02497840665920",
            "0.6": "0.161863806168825 0.986813107053479 6.09656433028782 -1.80772538796576",
            "0.5": "0.281182880796752 0.959654202068036 3.41291830906912 -1.22756773441079",
            "0.4": "0.442196909279899 0.896917997045050 2.02832262782128 -0.707209159772872",
            "0.1": "0.946721798820598 0.322052535524704 0.340176529077401 1.07829059294243",
            "0.001": "0.999945026511098 0.0104854163350949 0.0104859927867030 4.55771493272990",
        }.items()
    ),
    (DISCRETE, "999", {"alpha": "6.35281808757002e-3", "rho": "157.407280810407"}),
    (DISCRETE, "499", {"alpha": "0.280334162887398", "rho": "3.42413661904404"}),
    (DISCRETE, "249.5", {"alpha": "0.723016256617324", "rho": "0.955484762170796"}),
    (DISCRETE, "0", {"alpha": "0.999949998749937", "rho": "0.0100005000375031"}),
]


@pytest.mark.parametrize(("s", "t", "want"), POINTS, ids=[f"{p[0].name} {p[1]}" for p in POINTS])
@pytest.mark.parametrize("F", [M, FLOAT64], ids=repr)
def test_tv2_and_tv8_points(s: Schedule, t: str, want: dict[str, str], F: Any) -> None:
    p = Point(s, F, "t", F.number(Fraction(t)))
    got = {key: M.number(str(getattr(p, key).v)) for key in want}
    assert {key: v for key, v in want.items() if missed(got[key], v) > 1} == {}


@pytest.mark.parametrize(
    ("s", "rho", "t"),
    [
        (LINEAR, "0.1", "0.0269949483747919"),
        (LINEAR, "1", "0.258960262432797"),
        (LINEAR, "10", "0.676044958585164"),
        (DISCRETE, "0.1", "0.0274018138271900"),
        (DISCRETE, "1", "0.259092798205869"),
    ],
)
def test_inverses(s: Schedule, rho: str, t: str) -> None:
    got = Point(s, M, "rho", M.number(rho)).t
    assert missed((got + 1) / 1000 if s is DISCRETE else got, t) <= 1


@pytest.mark.parametrize("name", ["t", "logsnr", "nsr"])
def test_tv8_an_end_below_the_first_trained_step_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"grid\[1\]: got -0\.9; .* is allowed"):
        laid(DISCRETE, name, steps=5, start=999.0, end=-0.9)  # t = 1e-4


@pytest.mark.parametrize(
    ("x", "t", "noise", "data"),
    [
        ("0.7", "1", "0.696679408002476", "0.507584503918580"),
        ("0.8", "0.6", "0.695814529851658", "0.700348673043644"),
        ("-1.2", "0.3", "-0.732563936997816", "-1.00202866200111"),
        ("1.4", "0.1", "-0.0348140640887970", "1.49063004503516"),
        ("0.2", "0.1", "0.449437652952258", "0.0583671616892009"),
    ],
)
def test_tv3_predictions(x: str, t: str, noise: str, data: str) -> None:
    p = Point(LINEAR, M, "t", M.number(Fraction(t)))
    got = LAW.predictions(M.number(x) / p.alpha, p.rho)
    assert max(missed(got[0], noise), missed(got[1], data)) <= 1


ONE = Task(LAW, "explicit", 1, "0.6", "0.4", "0.8")
RUN = Task(LAW, "nsr", 10, "1", "1e-3", "0.7")


@pytest.mark.parametrize(
    ("task", "end"),
    [
        (ONE, "0.995663035963192"),
        (RUN, "1.57209334585656"),
        (replace(RUN, x="-0.5"), "-0.632991537843562"),
        (replace(RUN, x="1.3"), "1.79562107828832"),
    ],
)
def test_tv4_exact_ends(task: Task, end: str) -> None:
    assert missed(task.exact(), end) <= 1


SNR: dict[str, Any] = {"form": DATA_SNR}
FAMILIES: list[tuple[str, str, str]] = [  # φ = 1, φ₁(3), φ₁(∞): TV-5; TV-7
    ("scire_v1_2", "0.979573492549823 1.00246994229095 1.00622389338850",
     "1.57450729134675 1.62317088272342 1.63153918642004"),
    ("scire_v1_3", "0.981265405295977 0.991498663735336 0.992316653550090",
     "1.55955967405016 1.57825582381989 1.58004396950341"),
    ("scire_v2_2", "0.993991337450218 1.02409670964154 1.02903258818418",
     "1.57259239298715 1.61972652800379 1.62782098894750"),
    ("scire_v2_3", "0.997292956647085 1.03220660999257 1.03812792628321",
     "1.57284803153373 1.63301887899162 1.64456366722667"),
    ("scirei_2", "0.997016358618491 1.02863424139395 1.03381810121018",
     "1.58642867733902 1.64301260966216 1.65284551480643"),
    ("scirei_3", "0.997131389325397 1.01405830156308 1.01589427693108",
     "1.56945715752022 1.59722970897179 1.60079688569101"),
]  # fmt: skip
OTHERS: list[tuple[str, dict[str, Any], str | None, str | None]] = [  # TV-5; TV-7
    ("ddim", {}, "0.933780593067570", "1.48775217893804"),
    ("ddim", SNR, "0.933780593067570", "1.48775217893804"),
    ("scire_v1_3c", {}, "0.987267807033582", "1.56907746981684"),
    ("dpm_solver_2", {}, "1.01088050954918", "1.60490108157721"),
    ("dpm_solver_3", {}, "0.997131389325397", "1.56945715752022"),
    # the multistep methods with φ₁ = 1 whose ratio is that of their own clock
    ("deis_rho_ab1", {}, None, "1.52888623160859"),
    ("deis_rho_ab1", SNR, None, "2.52329981057329"),
]
MULTISTEP: list[tuple[str, str, str, str]] = [  # φ = 1, φ₁(3); TV-7; step 2 of 3m by rule A
    ("scire_v1_2m", "A", "1.52888623160859", "1.56971674009890"),
    ("scire_v1_2m", "B", "1.57374221931394", "1.60530019719953"),
    ("scire_v1_2m", "C", "1.57094280269370", "1.60076287147155"),
    ("scire_v1_3m", "A", "1.53148708574833", "1.57657731260489"),
    ("scire_v2_2m", "A", "1.53911247076614", "1.62478281130577"),
    ("scire_v2_2m", "B", "1.64287586678013", "1.78098703818733"),
    ("scire_v2_2m", "C", "1.62949462890536", "1.74331720513119"),
    ("scire_v2_3m", "A", "1.52743650255955", "1.55954787546374"),
]
ROWS = [
    *(
        (name, {"phi1": phi1}, one, whole)
        for name, ones, wholes in FAMILIES
        for phi1, one, whole in zip(("fd", "m3", "inf"), ones.split(), wholes.split(), strict=True)
    ),
    *(
        (name, {"rule": rule, "phi1": phi1}, None, whole)
        for name, rule, *wholes in MULTISTEP
        for phi1, whole in zip(("fd", "m3"), wholes, strict=True)
    ),
    *OTHERS,
]


@pytest.mark.parametrize(
    ("method", "options", "one", "whole"), ROWS, ids=[label(*r) for r in ROWS]
)
def test_tv5_and_tv7_ends(
    method: str, options: dict[str, Any], one: str | None, whole: str | None
) -> None:
    for task, text in ((ONE, one), (RUN, whole)):
        assert text is None or task.worst(text, method, **options) <= 1


@pytest.mark.parametrize(
    ("phi1", "whole"), [("fd", "2.52329981057329"), ("m3", "4.58714690379282")]
)
def test_tv7_two_values_with_the_ratio_of_their_own_clock(phi1: str, whole: str) -> None:
    """Weights 1/(φ₁ r₀) with r₀ in 1/ρ, which no rule of V2-2m takes."""

    def true_ratio(s: Step, *, q: int) -> Weights:
        if q == 1:
            return Weights(b=Row(now=(s.phi(1),)))
        w = s.phi(2) / (s.ratio() * factor(s, phi1))
        return Weights(b=Row(now=(s.phi(1) + w,), past=(-w,)))

    p = plan(unpublished(true_ratio, DATA_SNR, q=2), RUN.grid())
    assert missed(run(p, Analytic(LAW), M.number(RUN.x)).x, whole) <= 1


def test_control_the_default_rule_of_3m_is_another() -> None:
    """Its second step counts, here for a hundred thousandth."""
    for name, rule, _, whole in MULTISTEP:
        if name.endswith("3m"):
            assert rule == "A"
            assert RUN.worst(whole, name, rule=rule) <= 1 < 1e6 < RUN.worst(whole, name)


@pytest.mark.parametrize(
    ("method", "r1", "r2", "end"),
    [
        ("scire_v1_2", "0.549616001667863", None, "1.00972456623439"),
        ("scire_v1_3", "0.378427287363213", "0.709811260365935", "0.996967770721690"),
    ],
)
def test_tv5_inner_nodes_of_the_nsr_rule(method: str, r1: str, r2: str | None, end: str) -> None:
    nodes = inner_nodes(ONE.grid(), [2 + (r2 is not None)], "nsr", {"k": 3.1})
    assert missed(nodes["r1"][0], r1) <= 1
    assert r2 is None or missed(nodes["r2"][0], r2) <= 1
    exact: dict[str, Any] = {
        key: Fraction(str(places[0].v)) for key, places in nodes.items() if places[0] is not None
    }
    assert ONE.worst(end, method, **exact) <= 1


GRIDS = {  # TV-6: t; of nsr also ρ, in tests/laws/test_grids.py
    "logsnr": "1.00000000000000 0.785568074974586 0.493439534033274 0.140636413518903"
              " 0.0180953998390362 1.00000000000000e-3",
    "t2": "1.00000000000000 0.650159288512539 0.375338932768808 0.175538932768808"
          " 0.0507592885125388 1.00000000000000e-3",
}  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
def test_tv6_grids(name: str) -> None:
    grid = replace(RUN, rule=name, steps=5).grid()
    want = GRIDS[name].split()
    assert max(missed(p.t, w) for p, w in zip(grid.points, want, strict=True)) <= 1
