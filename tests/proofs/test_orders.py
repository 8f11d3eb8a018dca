"""Every row of the registry has the order that its literature and error analysis give it.

The table below was written from the published error analyses, not from the prover.  A method that
is newer than the table is held to its certificate and to its measured order alone.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from sympy import Symbol

import solvers.method
from solvers.forms import FORMS, NOISE_LAMBDA, NOISE_RHO
from solvers.method import Entry, Row, Step, Variant, Weights, entry, published, registry, rows
from theory.order import prove_order

SCIRE_2M = {
    "": (1, 1, 1),
    "phi1=fd": (2, 1, 2),
    "rule=A": (1, 1, 1),
    "rule=A, phi1=fd": (2, 2, 2),
    "rule=B": (1, 1, 1),
    "rule=B, phi1=fd": (2, 2, 2),
}
# graded grids, any grid, graded with warm-up
ORDERS: dict[str, dict[str, tuple[int, int, int]]] = {
    "ddim": {"": (1, 1, 1)},
    "deis_t_ab0": {"": (1, 1, 1)},
    "deis_t_ab1": {"": (2, 2, 2)},
    "deis_t_ab2": {"": (3, 3, 2)},
    "deis_t_ab3": {
        "": (4, 4, 2),
        "as_published=True": (1, 1, 1),
        "as_published=True, points=16": (1, 1, 1),
    },
    "deis_rho_ab0": {"": (1, 1, 1)},
    "deis_rho_ab1": {"": (2, 2, 2)},
    "deis_rho_ab2": {"": (3, 3, 2)},
    "deis_rho_ab3": {"": (4, 4, 2), "as_published=True, points=16": (1, 1, 1)},
    "deis_logrho_ab0": {"": (1, 1, 1)},
    "deis_logrho_ab1": {"": (2, 2, 2)},
    "deis_logrho_ab2": {"": (3, 3, 2)},
    "deis_logrho_ab3": {"": (4, 4, 2)},
    "exp_ab_1": {"": (1, 1, 1)},
    "exp_ab_2": {"": (2, 2, 2), "prediction=noise": (2, 2, 2)},
    "exp_ab_3": {"": (3, 3, 2), "prediction=noise": (3, 3, 2)},
    "exp_ab_4": {"": (4, 4, 2), "prediction=noise": (4, 4, 2)},
    "ipndm_1": {"": (1, 1, 1)},
    "ipndm_2": {"": (2, 1, 2)},
    "ipndm_3": {"": (2, 1, 2)},
    "ipndm_4": {"": (2, 1, 2)},
    "s_pndm": {"": (2, 1, 2)},
    "f_pndm": {"": (2, 1, 2)},
    "ipndm_v_1": {"": (1, 1, 1)},
    "ipndm_v_2": {"": (2, 2, 2)},
    "ipndm_v_3": {"": (3, 3, 2), "as_published=True": (3, 2, 2)},
    "ipndm_v_4": {"": (4, 4, 2), "as_published=True": (2, 0, 2)},
    "gaussian_ab2": {"": (2, 2, 2)},
    "rho_heun2": {"": (2, 2, 2)},
    "rho_midpoint": {"": (2, 2, 2)},
    "rho_kutta3": {"": (3, 3, 3)},
    "rho_ralston3": {"": (3, 3, 3)},
    "rho_heun3": {"": (3, 3, 3)},
    "rho_vdh3": {"": (3, 3, 3)},
    "rho_ssp3": {"": (3, 3, 3)},
    "rho_rk4": {"": (4, 4, 4)},
    "res_2s": {"": (2, 2, 2), "prediction=noise": (2, 2, 2)},
    "res_3s": {
        "": (3, 3, 3),
        "prediction=noise": (3, 3, 3),
        "c3=0.75": (3, 3, 3),
        "c3=0.75, as_published=True": (2, 2, 2),
    },
    "krogstad_4": {"": (4, 4, 4), "prediction=noise": (4, 4, 4)},
    "ho_5": {"": (4, 4, 4), "prediction=noise": (4, 4, 4)},
    "dpm_solver_1": {"": (1, 1, 1)},
    "dpm_solver_2": {"": (2, 2, 2), "weights=taylor": (2, 2, 2)},
    "dpm_solver_3": {"": (3, 3, 3), "weights=taylor": (3, 3, 3)},
    "dpm_solver_pp_1s": {"": (1, 1, 1)},
    "dpm_solver_pp_2s": {"": (2, 2, 2), "weights=taylor": (2, 2, 2)},
    "dpm_solver_pp_3s": {"": (3, 3, 3), "weights=taylor": (3, 3, 3)},
    "dpm_solver_2m": {"": (2, 2, 2), "weights=heun": (2, 2, 2)},
    "dpm_solver_3m": {"": (3, 3, 2), "as_published=True": (2, 2, 2)},
    "dpm_solver_pp_2m": {"": (2, 2, 2), "weights=heun": (2, 2, 2)},
    "dpm_solver_pp_3m": {"": (3, 3, 2), "as_published=True": (2, 2, 2)},
    "scire_v1_2": {"": (1, 1, 1), "phi1=inf": (1, 1, 1), "phi1=fd": (2, 2, 2)},
    "scire_v1_3": {"": (1, 1, 1), "phi1=inf": (1, 1, 1), "phi1=fd": (2, 2, 2)},
    "scire_v1_3c": {"": (3, 3, 3)},
    "scire_v1_3h": {"": (2, 2, 2)},
    "scire_v1_agile": {"": (1, 1, 1)},
    "scire_v2_2": {"": (1, 1, 1), "phi1=inf": (1, 1, 1), "phi1=fd": (2, 2, 2)},
    "scire_v2_3": {"": (1, 1, 1), "phi1=inf": (1, 1, 1), "phi1=fd": (2, 2, 2)},
    "scire_v2_3c": {"": (3, 3, 3)},
    "scire_v2_3h": {"": (2, 2, 2)},
    "scire_v2_agile": {"": (1, 1, 1)},
    "scirei_2": {"": (1, 1, 1), "phi1=inf": (1, 1, 1), "phi1=fd": (2, 2, 2)},
    "scirei_3": {"": (1, 1, 1), "phi1=fd": (3, 3, 3)},
    "scire_v1_2m": SCIRE_2M,
    "scire_v1_3m": {"": (1, 1, 1), "phi1=fd": (2, 1, 2)},
    "scire_v2_2m": SCIRE_2M,
    "scire_v2_3m": {"": (1, 1, 1), "phi1=fd": (2, 1, 2)},
    "taylor_1": {"": (1, 1, 1), "variable=t": (1, 1, 1)},
    "taylor_2": {
        "": (2, 2, 2),
        "variable=t": (2, 2, 2),
        "variable=lam": (2, 2, 2),
        "variable=lam_noise": (2, 2, 2),
        "variable=lam_data": (2, 2, 2),
        "variable=t_noise": (2, 2, 2),
    },
    "taylor_3": {"": (3, 3, 3), "variable=t": (3, 3, 3), "variable=lam_data": (3, 3, 3)},
    "taylor_4": {"": (4, 4, 4), "variable=t": (4, 4, 4)},
    "unip_1": {"": (1, 1, 1)},
    "unip_2": {
        "": (2, 2, 2),
        "prediction=noise": (2, 2, 2),
        "as_published=True, variant=bh2": (2, 2, 2),
        "as_published=True, variant=bh1": (2, 2, 2),
    },
    "unip_3": {"": (3, 3, 2), "prediction=noise": (3, 3, 2)},
    "unip_4": {"": (4, 4, 2)},
    "unipc_1": {
        "": (2, 2, 2),
        "prediction=noise": (2, 2, 2),
        "as_published=True, variant=bh2": (2, 2, 2),
        "as_published=True, variant=bh1": (2, 2, 2),
    },
    "unipc_2": {
        "": (3, 3, 3),
        "prediction=noise": (3, 3, 3),
        "as_published=True, variant=bh2": (3, 3, 3),
        "as_published=True, variant=bh1": (3, 3, 3),
        "as_published=True, variant=vary_coeff": (1, 1, 1),
        "oracle=True": (3, 3, 3),
    },
    "unipc_3": {
        "": (4, 4, 3),
        "prediction=noise": (4, 4, 3),
        "as_published=True, variant=bh2": (4, 4, 3),
        "as_published=True, variant=bh1": (4, 4, 3),
        "as_published=True, variant=vary_coeff": (1, 1, 1),
    },
    "unipc_4": {"": (5, 5, 3)},
    "dpm_solver_v3_1": {"": (1, 1, 1), "corrector=full, corrector_order=plus_one": (2, 2, 2)},
    "dpm_solver_v3_2": {
        "": (2, 2, 2),
        "corrector=full": (2, 2, 2),
        "corrector=full, corrector_order=plus_one": (3, 3, 3),
        "corrector=full, c_pseudo=True": (2, 2, 2),
    },
    "dpm_solver_v3_3": {
        "": (3, 3, 2),
        "corrector=full": (3, 3, 2),
        "corrector=full, corrector_order=plus_one": (4, 4, 3),
        "p_pseudo=True": (2, 2, 2),
        "corrector=full, p_pseudo=True": (3, 3, 2),
        "corrector=full, c_pseudo=True": (2, 2, 2),
    },
    # stochastic: the orders of the drift
    "euler_ancestral": {"": (1, 1, 1)},
    "edm_churn": {
        "": (2, 2, 2),
        "s_churn=4": (2, 2, 2),
        "s_churn=4, s_noise=1.007": (2, 2, 2),
    },
    "sde_dpm_solver_2m": {"": (2, 2, 2), "weights=heun": (2, 2, 2)},
    "sde_dpm_solver_pp_2m": {"": (2, 2, 2), "weights=heun": (2, 2, 2)},
    "sde_dpm_solver_pp_3m": {"": (3, 3, 2), "as_published=True": (2, 2, 2)},
    "sa_solver_1": {"": (2, 2, 2)},
    "sa_solver_2": {"": (3, 3, 3), "as_published=True": (3, 3, 3)},
    "sa_solver_3": {"": (4, 4, 3)},
    "er_sde_1": {"": (1, 1, 1)},
    "er_sde_2": {"": (2, 2, 2), "phi=sde": (2, 2, 2)},
    "er_sde_3": {"": (3, 3, 2), "as_published=True, integrals=accurate": (2, 2, 2)},
}


def spelled(options: Any) -> str:
    return ", ".join(f"{k}={v}" for k, v in options.items())


CASES = [(e, v) for e, v in rows() if e.name in ORDERS]


@pytest.mark.parametrize(
    ("e", "variant"), CASES, ids=[f"{e.name} {spelled(v.options)}" for e, v in CASES]
)
def test_proved_order_is_the_known_one(e: Entry, variant: Variant) -> None:
    p = prove_order(e, **variant.options)
    assert (p.graded, p.any_grid, p.plain_start) == ORDERS[e.name][spelled(variant.options)]
    assert p.leading.power == p.graded + 1


def test_no_row_of_the_table_was_lost() -> None:
    ours = {(name, text) for name, variants in ORDERS.items() for text in variants}
    assert ours == {(e.name, spelled(v.options)) for e, v in CASES}


COSTS = {  # evaluations a step, past values
    "ddim": (1, 0),
    "rho_heun2": (2, 0),
    "rho_rk4": (4, 0),
    "dpm_solver_3": (3, 0),
    "dpm_solver_pp_3m": (1, 2),
    "deis_rho_ab3": (1, 3),
    "unipc_1": (1, 0),
    "unipc_3": (1, 2),
    "taylor_4": (1, 0),
    "s_pndm": (1, 1),
    "f_pndm": (1, 3),
    "ho_5": (5, 0),
}


@pytest.mark.parametrize("name", COSTS)
def test_cost_of_a_step(name: str) -> None:
    p = prove_order(entry(name))
    assert (p.evaluations, p.memory) == COSTS[name]


@pytest.mark.parametrize("form", [*FORMS.values(), None], ids=lambda f: f.name if f else "all")
@pytest.mark.parametrize("name", ["rho_kutta3", "dpm_solver_pp_2m", "taylor_3", "unipc_2"])
def test_orders_do_not_depend_on_the_form(name: str, form: Any) -> None:
    assert prove_order(entry(name), form, generic=form is None).graded == ORDERS[name][""][0]


# --- leading errors known in closed form ------------------------------------------------------

LEADING = {
    "ddim": {("g1",): "-1/2"},
    "deis_rho_ab1": {("g2",): "-5/12"},
    "deis_rho_ab2": {("g3",): "-3/8"},
    "deis_rho_ab3": {("g4",): "-251/720"},
    "taylor_4": {("g4",): "-1/120"},
    "rho_heun2": {("g2",): "1/12", ("J0", "g1"): "-1/4"},
    "scire_v1_2": {("g1",): "1/4"},
    "scire_v1_3": {("g1",): "1/4"},
    "dpm_solver_2m": {("g1",): "1/12", ("g2",): "-5/12"},
    "unip_2": {("g2",): "-5/12"},
    "unip_4": {("g4",): "-251/720"},
    "ipndm_2": {("g1",): "-T2/2", ("g2",): "-5/12"},
    "ipndm_4": {("g1",): "-T2/12"},
    "f_pndm": {("g1",): "-T2/12"},
    "unipc_1": {("g2",): "1/12", ("J0", "g1"): "-1/2"},
}


@pytest.mark.parametrize("name", LEADING)
def test_leading_errors(name: str) -> None:
    """Adams-Bashforth's 1/2, 5/12, 3/8, 251/720; Heun's; RD's (1/φ₁ − 1)/2 at φ₁ = 2/3."""
    got = {word: str(c) for word, c in prove_order(entry(name)).leading.terms}
    assert got == LEADING[name]


# --- symbolic parameters ----------------------------------------------------------------------


def test_a_free_factor_keeps_order_one() -> None:
    p = prove_order(entry("scire_v1_3"), phi1=Symbol("phi1"), r1=Symbol("r1"), r2=Symbol("r2"))
    assert (p.graded, p.any_grid, p.plain_start) == (1, 1, 1)
    ((word, c),) = p.leading.terms
    phi1 = Symbol("phi1")
    assert word == ("g1",)
    assert (c - (1 / phi1 - 1) / 2).simplify() == 0


def test_a_free_node_keeps_order_two() -> None:
    p = prove_order(entry("rho_heun2"), alpha=Symbol("alpha"))
    assert p.graded == 2
    alpha = Symbol("alpha")
    coefficients = dict(p.leading.terms)
    assert (coefficients[("g2",)] - (3 * alpha - 2) / 12).simplify() == 0


def test_the_irrational_factor_stays_a_symbol() -> None:
    p = prove_order(entry("scire_v1_2"), phi1="inf")
    ((_, c),) = p.leading.terms
    assert c.free_symbols == {Symbol("phi1_inf")}


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"options\.r3: got r3; dpm_solver_3 takes r1, r2, weights"
    ):
        prove_order(entry("dpm_solver_3"), r3=Symbol("r3"))


# --- the claim is never read ------------------------------------------------------------------


class Blind(Entry):
    """An entry whose claims nobody may look at."""

    def __getattribute__(self, name: str) -> Any:
        if name == "variants":
            raise AssertionError("the prover read the claims")
        return super().__getattribute__(name)


@pytest.mark.parametrize("name", ["scire_v1_3", "unipc_2", "dpm_solver_3m", "taylor_3"])
def test_the_prover_never_reads_a_claim(name: str) -> None:
    e = entry(name)
    blind = Blind(**{f.name: getattr(e, f.name) for f in fields(e)})
    assert prove_order(blind) == prove_order(e)
    with pytest.raises(AssertionError, match="read the claims"):
        _ = blind.variants  # control: the blindfold works


def test_another_claim_changes_nothing_in_the_proof() -> None:
    e = entry("scire_v1_2")
    boasting = replace(e, variants=(Variant({}, claim=17),))
    assert prove_order(boasting) == prove_order(e)


def test_a_wrong_claim_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered like any method, with a claim of 3 for a method of order 1."""
    before = dict(registry())
    with monkeypatch.context() as patch:
        patch.setattr(solvers.method, "_ENTRIES", dict(solvers.method._ENTRIES))

        def boaster(s: Step) -> Weights:
            return Weights(b=Row(now=(s.phi(1),)))

        published("boaster", boaster, NOISE_RHO, claim=3, cite="nobody")
        found = [(e, v) for e, v in rows() if e.name == "boaster"]
        ((e, variant),) = found
        proof = prove_order(e, **variant.options)
        assert variant.claim == 3
        assert proof.graded == 1
    assert dict(registry()) == before


def test_false_claims_of_the_registry() -> None:
    """The rows whose published claim is higher than what is proved, and no others."""
    false = {
        (e.name, spelled(v.options))
        for e, v in CASES
        if v.claim is not None and ORDERS[e.name][spelled(v.options)][0] < v.claim
    }
    assert false == {
        ("scire_v1_3", ""),
        ("scire_v1_3", "phi1=inf"),
        ("dpm_solver_3m", "as_published=True"),
        ("dpm_solver_pp_3m", "as_published=True"),
        ("unipc_2", "as_published=True, variant=vary_coeff"),
        ("unipc_3", "as_published=True, variant=vary_coeff"),
        ("deis_t_ab3", "as_published=True"),
        ("deis_t_ab3", "as_published=True, points=16"),
        ("deis_rho_ab3", "as_published=True, points=16"),
        ("ipndm_3", ""),
        ("ipndm_4", ""),
        ("ipndm_v_4", "as_published=True"),
        ("res_3s", "c3=0.75, as_published=True"),
        ("sde_dpm_solver_pp_3m", "as_published=True"),
        ("er_sde_3", "as_published=True, integrals=accurate"),
    }


def test_a_method_without_an_order_is_refused() -> None:
    def inconsistent(s: Step) -> Weights:
        return Weights(b=Row(now=(s.phi(1) / 2,)))

    with pytest.raises(ValueError, match=r"got a sum of 0\.5 in the update .*c phi_1\(c\) = 1\.0"):
        prove_order(solvers.method.unpublished(inconsistent, NOISE_LAMBDA))
