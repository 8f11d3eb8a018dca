"""The samplers that are audited: configurations, nominal orders, equals of ours, faults.

Nominal is what a library's own words promise: ``solver_order``, one more where UniPC corrects, the
number of values of an Adams method, the order that a docstring names.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, product
from typing import Any

from experiments.peers import drives
from experiments.peers.faults import (
    AMPLITUDE,
    EQUAL_STEPS,
    EQUAL_STEPS_PLMS,
    SECOND_DIFFERENCE,
    SECOND_DIFFERENCE_SDE,
)
from experiments.peers.peer import Drive, Peer

Json = dict[str, Any]
FULL: Json = {"lower_order_final": False}
NOISY: Json = {**FULL, "final_sigmas_type": "sigma_min"}
"""The last step has full order too, and ends at a node with noise."""
FLOW: Json = {"use_flow_sigmas": True}

SAME = "the same formula"
HALVED = "the same formula, D2 without its factor 2"
BACKWARD = "from data to noise, where grids of ours do not run; the formula of "
COMPLETE = "its second stage is a whole step of order 2: weight phi_1/2 where ours has phi_2"
VELOCITY = "Heun on the velocity in the flow's own clock; ours in sigma/alpha"
MIXED = "begins like s_pndm, goes on like ipndm_4"
FEWER = "corrects with as many values as it predicts with, ours with one more"
RECTIFIED = "Adams-Bashforth on the velocity in sigma/(alpha + sigma), not among ours"
ROSENBROCK = "Adams-Bashforth about a unit Gaussian; gaussian_ab2 is about the data's moments"


# --- diffusers -----------------------------------------------------------------------------------


def first_order() -> Iterator[Peer]:
    """DDIM under its many names."""
    plain: Json = {"clip_sample": False}
    for name in ("DDIM", "DDIMParallel", "CogVideoXDDIM"):
        yield Peer(f"{name}Scheduler", 1, drives.CUMULATIVE, plain, ours="ddim", note=SAME)
    yield Peer("EulerDiscreteScheduler", 1, drives.PLAIN, ours="ddim", note=SAME)
    yield Peer("EDMEulerScheduler", 1, drives.EDM, ours="ddim", note=SAME)
    yield Peer("FlowMatchEulerDiscreteScheduler", 1, drives.FLOW, ours="ddim", note=SAME)
    yield Peer("DDIMInverseScheduler", 1, drives.INVERSE, plain, note=f"{BACKWARD}ddim")


def two_calls() -> Iterator[Peer]:
    """Heun's method and the midpoint rule."""
    yield Peer("HeunDiscreteScheduler", 2, drives.HEUN, ours="rho_heun2", note=SAME)
    yield Peer("KDPM2DiscreteScheduler", 2, drives.MIDDLE, ours="dpm_solver_2", note=SAME)
    yield Peer("FlowMatchHeunDiscreteScheduler", 2, drives.FLOW_HEUN, note=VELOCITY)


def dpm_solver() -> Iterator[Peer]:
    """Multistep and singlestep, in noise, data and flow; the solver type matters from order 2."""
    for order, kind in ((1, "midpoint"), *product((2, 3), ("midpoint", "heun"))):
        own: Json = {"solver_order": order, "solver_type": kind}
        for algorithm in ("dpmsolver", "dpmsolver++"):
            config = {"algorithm_type": algorithm, **own, **NOISY}
            yield multistep("DPMSolverMultistep", drives.VARIANCE, config)
            yield singlestep(config)
        yield multistep("DPMSolverMultistep", drives.RECTIFIED_NOISE, {**own, **FLOW, **NOISY})
        yield multistep("EDMDPMSolverMultistep", drives.EDM, {**own, **NOISY})
        yield multistep("DPMSolverMultistepInverse", drives.REVERSED, {**own, **FULL})


def family(config: Json) -> tuple[str, str]:
    """How names of ours begin, and what ends the singlestep ones; ++ is the default."""
    noise = config.get("algorithm_type") == "dpmsolver"
    return ("dpm_solver", "") if noise else ("dpm_solver_pp", "s")


def multistep(name: str, drive: Drive, config: Json) -> Peer:
    """Through q values; q = 3 has the fault."""
    order, (prefix, single) = config["solver_order"], family(config)
    ours = f"{prefix}_{order}m" if order > 1 else f"{prefix}_1{single}"
    weights = {"weights": config["solver_type"]} if order > 1 else {}
    return Peer(
        f"{name}Scheduler",
        order,
        drive,
        config,
        given=order - 1,
        fault=SECOND_DIFFERENCE if order == 3 else None,
        ours=None if drive.backward else ours,
        options={**weights, "as_published": True} if order == 3 else weights,
        note=f"{BACKWARD}{ours}" if drive.backward else HALVED if order == 3 else SAME,
    )


def singlestep(config: Json) -> Peer:
    """A step goes over q nodes; its stages lie on those between."""
    order, (prefix, single) = config["solver_order"], family(config)
    weights = {"midpoint": "dpmsolver", "heun": "taylor"}[config["solver_type"]]
    differs = (order, weights) == (3, "dpmsolver")
    return Peer(
        "DPMSolverSinglestepScheduler",
        order,
        drives.VARIANCE,
        config,
        nodes=order,
        ours=None if differs else f"{prefix}_{order}{single}",
        options={"weights": weights} if order > 1 else {},
        note=COMPLETE if differs else SAME,
    )


def adams() -> Iterator[Peer]:
    """Through q values: in σ/α, in its logarithm, and in the index of the step."""
    for q in (1, 2, 3, 4):
        more: Json = {"given": q - 1, "ours": f"deis_rho_ab{q - 1}", "note": SAME}
        yield Peer("LMSDiscreteScheduler", q, drives.PLAIN, call={"order": q}, **more)
    for q in (1, 2, 3):
        more = {"given": q - 1, "ours": f"deis_logrho_ab{q - 1}", "note": SAME}
        config = {"solver_order": q, **FULL}
        yield Peer("DEISMultistepScheduler", q, drives.VARIANCE, config, **more)
    more = {"given": 3, "fault": EQUAL_STEPS, "ours": "ipndm_4", "note": SAME}
    yield Peer("IPNDMScheduler", 4, drives.PAIRS, **more)
    more = {"given": 12, "fault": EQUAL_STEPS_PLMS, "ours": "f_pndm", "note": SAME}
    yield Peer("PNDMScheduler", 4, drives.PRK, {"skip_prk_steps": False}, **more)
    more = {"given": 4, "fault": EQUAL_STEPS_PLMS, "note": MIXED}
    yield Peer("PNDMScheduler", 4, drives.PLMS, {"skip_prk_steps": True}, **more)


def unipc() -> Iterator[Peer]:
    """Predict with q values, correct with q + 1; once with the predictor alone, once in flow."""
    for q, data, kind in product((1, 2, 3, 4), (True, False), ("bh1", "bh2")):
        config = {"solver_order": q, "predict_x0": data, "solver_type": kind, **NOISY}
        form = {"prediction": "data" if data else "noise"}
        more: Json = {
            "given": q - 1,
            "options": {**form, "variant": kind, "as_published": True},
            "note": SAME,
        }
        name, drive, ours = "UniPCMultistepScheduler", drives.VARIANCE, f"unipc_{q}"
        yield Peer(name, q + 1, drive, config, ours=ours, **more)
        if data and kind == "bh2":
            alone = {**config, "disable_corrector": range(1000)}
            yield Peer(name, q, drive, alone, ours=f"unip_{q}", **more)
        if data and kind == "bh2" and q == 2:
            yield Peer(name, q + 1, drives.RECTIFIED_NOISE, {**config, **FLOW}, ours=ours, **more)


def still(timestep: Any) -> int:
    """τ = 0 of SA-Solver."""
    return 0


def sa_solver() -> Iterator[Peer]:
    """Without noise: q values predict, q or q + 1 with the new one correct."""
    for data, q, one in product((True, False), (1, 2, 3), (0, 1)):
        config = {
            "predictor_order": q,
            "corrector_order": q + one,
            "algorithm_type": f"{'data' if data else 'noise'}_prediction",
            "tau_func": still,
            **FULL,
        }
        equal, options = f"unipc_{q}", {"prediction": "noise"}
        if data:
            equal, options = f"sa_solver_{q}", {"tau": 0, "as_published": True}
        yield Peer(
            "SASolverScheduler",
            q + one,
            drives.VARIANCE,
            config,
            given=q - 1,
            # It writes Lagrange's polynomials in powers of log α/σ itself, which cancel.
            floor=1e-9 if q + one == 4 else 0.0,
            ours=equal if one else None,
            options=options if one else {},
            note=SAME if one else FEWER,
        )


# --- k-diffusion and azula -----------------------------------------------------------------------


def silence(*levels: Any) -> float:
    """No noise."""
    return 0.0


def k_diffusion() -> Iterator[Peer]:
    """Functions; those of an SDE at η = 0."""
    ode: Json = {"eta": 0.0, "noise_sampler": silence}
    rows: list[tuple[str, int, int, Json, str, Json]] = [
        ("euler", 1, 0, {}, "ddim", {}),
        ("heun", 2, 0, {}, "rho_heun2", {}),
        ("dpm_2", 2, 0, {}, "dpm_solver_2", {}),
        *(("lms", q, q - 1, {"order": q}, f"deis_rho_ab{q - 1}", {}) for q in (1, 2, 3, 4)),
        ("dpmpp_2s_ancestral", 2, 0, ode, "dpm_solver_pp_2s", {}),
        ("dpmpp_2m", 2, 1, {}, "dpm_solver_pp_2m", {}),
        *(
            ("dpmpp_2m_sde", 2, 1, {**ode, "solver_type": w}, "dpm_solver_pp_2m", {"weights": w})
            for w in ("midpoint", "heun")
        ),
    ]
    for name, order, given, config, ours, options in rows:
        equal: Json = {"ours": ours, "options": options, "note": SAME}
        yield Peer(f"sample_{name}", order, drives.K_DIFFUSION, config, given=given, **equal)
    options = {"weights": "heun", "as_published": True}
    equal = {"ours": "dpm_solver_pp_3m", "options": options, "note": HALVED}
    more: Json = {"given": 2, "fault": SECOND_DIFFERENCE_SDE, **equal}
    yield Peer("sample_dpmpp_3m_sde", 3, drives.K_DIFFUSION, ode, **more)


def azula() -> Iterator[Peer]:
    """Classes; Adams-Bashforth in σ/α, σ/(α + σ), log σ/α, and with a Rosenbrock kernel."""
    for name, order, ours in (("DDIM", 1, "ddim"), ("Euler", 1, "ddim"), ("Heun", 2, "rho_heun2")):
        yield Peer(f"{name}Sampler", order, drives.AZULA, ours=ours, note=SAME)
    for q in (1, 2, 3):
        more: Json = {"given": q - 1, "config": {"order": q}}
        rho: Json = {"ours": f"deis_rho_ab{q - 1}", "note": SAME}
        yield Peer("zABSampler", q, drives.AZULA, **more, **rho)
        yield Peer("vABSampler", q, drives.AZULA, **more, note=RECTIFIED)
        for name, prediction in (("zEABSampler", "noise"), ("xEABSampler", "data")):
            lam: Json = {
                "ours": f"exp_ab_{q}",
                "options": {"prediction": prediction},
                "note": SAME,
            }
            yield Peer(name, q, drives.AZULA, **more, **lam)
        fault = AMPLITUDE if q > 1 else None  # order 1 is what it leaves
        yield Peer("REABSampler", q, drives.AZULA, **more, fault=fault, note=ROSENBROCK)


# --- all of them ---------------------------------------------------------------------------------

FAMILIES = (first_order, two_calls, dpm_solver, adams, unipc, sa_solver, k_diffusion, azula)


def peers() -> list[Peer]:
    """In the order of the table."""
    return list(chain.from_iterable(family() for family in FAMILIES))


LEFT_OUT = {
    "noise in every step": "CogVideoXDPM CosineDPMSolverMultistep DDPM DDPMParallel DDPMWuerstchen"
    " DPMSolverSDE EulerAncestralDiscrete KDPM2AncestralDiscrete KarrasVe LTXEulerAncestralRF"
    " RFD4Proteina RePaint ScoreSdeVe ScoreSdeVp UnCLIP",
    "for distilled models": "CMStochasticIterative ConsistencyDecoder FlowMapEulerDiscrete"
    " FlowMatchLCM HeliosDMD LCM Piflow SCM TCD",
    "for tokens": "Amused BlockRefinement DiscreteDDIM EntropyBound VQDiffusion",
    "another's steps again": "Helios MiniMaxH3",
}
"""Schedulers of diffusers that no row has, by reason."""


def left_out() -> dict[str, list[str]]:
    """Those that are installed and have no row, by reason."""
    import diffusers.schedulers

    names = {name for name in dir(diffusers.schedulers) if name.endswith("Scheduler")}
    rest = names - {peer.name for peer in peers()}
    known = {reason: {f"{n}Scheduler" for n in text.split()} for reason, text in LEFT_OUT.items()}
    known["not known here"] = rest - set().union(*known.values())
    return {reason: sorted(rest & names) for reason, names in known.items() if rest & names}
