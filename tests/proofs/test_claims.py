"""Every statement of ``python -m theory identities`` holds, and fails once it is spoilt."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from sympy import Rational, Symbol

from solvers.method import entry
from theory.__main__ import claims
from theory.local_errors import TABLE
from theory.recursive_difference import derivative, h, phi, phi1
from theory.stiff import MARKS, RES_3
from theory.trees import tableau

CLAIMS = claims()

# what spoils each statement: a parameter of its function, set to something wrong
SPOILT: dict[str, dict[str, Any]] = {
    # forms
    "flow_in_rho": {"factor": 1},
    "forms_follow_from_the_flow": {"spoil": Rational(1, 100)},
    "phi_are_moments": {"shift": 1},
    "transfer_undoes_L": {"sign": 1},
    "force_is_integrated": {"factor": 2},
    "noise_is_integrated": {"factor": 1},
    "noise_keeps_the_marginals": {"share": Fraction(1)},
    # identities
    "ddim_in_all_forms": {"factor": 2},
    "log_rho_ab1_is_2m": {"kind": "midpoint"},
    "log_rho_ab2_is_3m": {"as_published": True},
    "solved_unip_is_adams": {"as_published": True},
    "unip_2_bh2_is_2m": {"variant": "bh1"},
    "heun_is_dpm_solver_2": {"node": Fraction(1, 2)},
    "corrected_scire_is_dpm_solver_3": {"inner": "published"},
    "unipc_variants_are_one": {"as_published": True},
    "b_cancels": {"power": 2},
    "dpm_solver_2_at_every_node": {"names": ["dpm_solver_3"]},
    "dpm_solver_3_needs_two_thirds": {"node": Fraction(3, 4)},
    "two_m_on_every_grid": {"name": "dpm_solver_3m"},
    "ipndm_v_is_adams": {"as_published": True},
    "ipndm_is_adams_at_equal_steps": {"values": 4},
    "dpm_solver_2_is_scirei_2": {"slope": Fraction(1, 5)},
    "scire_2m_is_adams": {"rules": "BA"},
    # recursive difference
    "recursion_gives_phi": {"sums": lambda j, m: phi(j, m + 1)},
    "sums_are_related": {"sums": lambda j, m: phi(j, m) * (1 if j == 1 else 2)},
    "full_identity_holds": {"phi3": phi1 - Rational(1, 3)},
    "predictor_costs_a_power": {"state_error": h**3},
    "truncated_is_inconsistent": {"divisor": 1},
    "other_closures": {"kept": derivative(2)},
    "exact_for_relaxation": {"limit": Rational(2, 3)},
    "v1_2_claim_is_true": {"claimed": 2},
    "v1_3_claim_is_false": {"phi1": "fd"},
    "error_against_ddim": {"reference": "taylor_2"},
    "combination_of_fd_and_ddim": {"share": Fraction(1, 2)},
    "corrected_has_order_3": {"inner": "published"},
    "no_factor_repairs_v1_3": {"inner": "corrected"},
    "no_factor_repairs_3m": {"name": "scire_v2_3m"},
    # local errors
    "local_errors": {"changed": Rational(1, 100)},
    "best_factor": {"shift": Rational(1, 100)},
    "runge_kutta_sums": {"spoil": Fraction(1, 100)},
    # stiff order conditions
    "stiff_orders": {"shift": 1},
    "strong_weak_classical": {"marks": {**MARKS, "RES-3": (RES_3, "ssss")}},
    "midpoint_weights_miss_condition_2": {"weights": "taylor"},
    "cubed_node_is_right_at_one": {"as_published": False},
    "res_3_contains_dpm_solver_3": {"node": Fraction(1, 2)},
    # model statistics
    "residual_variance": {"cross": 1},
    "excess_decides": {"power": 1},
    "l_is_the_relative_error": {"factor": 2},
    "the_flow_moves_the_law": {"share": 2},
    "drift_is_half_the_log_variance": {"share": 2},
    "entropy_falls_by_l": {"share": 2},
    "ems_follows_from_the_flow": {"spoil": Rational(1, 100)},
    "gaussians_are_exact": {"share": 2},
    "one_basis_is_needed": {"apart": 1},
    "moments_alone_are_gaussian": {"centre": Symbol("c")},
    "degenerate_is_unip": {"order": "same"},
    # trees
    "scalar_jets_suffice": {"highest": 5},
    "orders_agree": {"read": lambda e, F, **o: tableau(entry("rho_midpoint"), F)},
    "leading_errors_agree": {"read": lambda e, F, **o: tableau(entry("rho_midpoint"), F)},
    # peers
    "second_difference": {"factor": 1},
    "equal_step_weights": {"weights": (55, -59, 37, 9)},
    "rosenbrock_amplitude": {"at": "s"},
    # weak
    "weak_order_stops_at_two": {"names": ["sde_dpm_solver_pp_2m"]},
    "wrong_noise_never_converges": {"factor": Fraction(1)},
    # Edgeworth's expansion
    "score_difference": {"half": Fraction(1)},
    "log_ratio": {"constant": Fraction(1, 8)},
    "second_moments": {"divisor": 6},
    "pairs_give_norms": {"share": 5},
    # teleportation
    "whitened_flow": {"sign": 1},
    "displacement": {"factor": Fraction(1, 3)},
    "a_third_of_the_disagreement": {"skewed": 2},
    "corrected_jump": {"factor": Fraction(1, 4)},
    "corrected_symmetric_jump": {"factor": Fraction(1, 3)},
    "de_bruijn": {"share": Fraction(1)},
    "fisher_is_excess_error": {"power": 1},
    "chi2_is_a_gaussian_integral": {"half": Fraction(1)},
    "mehler_kernel": {"cross": 1},
    "matched_terms_cancel": {"weight": 2},
    "start_mismatch": {"sign": 1},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_it_holds(name: str) -> None:
    proved = CLAIMS[name]()
    assert proved.holds, proved.detail
    assert proved.name == name
    assert len(proved.claim) > 20


@pytest.mark.parametrize("name", CLAIMS)
def test_control_spoilt_it_fails(name: str) -> None:
    assert not CLAIMS[name](**SPOILT[name]).holds


def test_every_statement_has_a_control() -> None:
    assert SPOILT.keys() == CLAIMS.keys()


def test_the_table_of_scire_is_complete() -> None:
    assert list(TABLE) == ["V1-2", "V1-3", "V1-3 corrected", "V1-3h"]
    assert all(Symbol("phi1") in options.values() for _, options, _ in TABLE.values())
