r"""Stochastic samplers: weights of deterministic methods, in a form with noise or with renoising.

A row with ``noise`` takes the step's one ξ at the form's own deviation; a rule of
``solvers.stochastic`` adds noise before or after a step.  With the noise switched off each is bit
for bit its deterministic method.

Sources: Song et al. 2021 (DDIM's η, the ancestral sampler), Karras et al. 2022 (churn), Lu et al.
2022 (SDE-DPM-Solver++), Xue et al. 2023 (SA-Solver), Cui et al. 2023 (ER-SDE), and the released
codes of the last four.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from solvers.forms import NOISE_RHO
from solvers.method import Row, Step, Variant, Weights, method, published
from solvers.methods.adams import adams
from solvers.methods.dpm_solver import dpm_multistep
from solvers.methods.runge_kutta import rk2
from solvers.methods.unipc import unipc
from solvers.stochastic import DATA_SA, DATA_SDE, ER_SDE, NOISE_SDE, ancestral, churn


def noisy(w: Weights) -> Weights:
    """Every row takes the same ξ."""
    stages = tuple(replace(row, noise=1) for row in w.stages)
    return replace(w, stages=stages, b=replace(w.b, noise=1))


@method
def sde_multistep(
    s: Step,
    *,
    q: int,
    weights: Literal["midpoint", "heun"] = "midpoint",
    as_published: bool = False,
) -> Weights:
    """φ₁N₀ + φ₂D₁ + φ₃D₂ of ``dpm_multistep``, and ξ."""
    return noisy(dpm_multistep(s, q=q, weights=weights, as_published=as_published))


@method
def sa_solver(s: Step, *, q: int, as_published: bool = False) -> Weights:
    """Predict with q values, evaluate, correct with q + 1; one ξ for both rows.

    As published, in few steps, with 1/2 in place of φ₂ where there is one difference: UniPC's bh1.
    """
    return noisy(unipc(s, q=q, variant="bh1", as_published=as_published))


@method
def er_sde(s: Step, *, q: int, as_published: bool = False) -> Weights:
    """Through N₀ .. N_{1−q}, and ξ; published for q = 3 is φ₁N₀ + φ₂D₁₀ + φ₃D₂.

    D₁₀ = (N₀−N₋₁)/r₀, D₁₁ = (N₋₁−N₋₂)/r₁, D₂ = 2 (D₁₀−D₁₁)/(r₀+r₁): there D₁₀ lacks r₀D₂/2.
    """
    if q < 3 or not as_published:
        return noisy(adams(s, q=q))
    r0, r1 = s.ratio(1), s.ratio(2)
    second = s.phi(3) * 2 / (r0 + r1)
    newer, older = (s.phi(2) + second) / r0, second / r1
    return noisy(Weights(b=Row(now=(s.phi(1) + newer,), past=(-newer - older, older))))


off, cite = {"eta": 0}, "song2021ddim"
published("euler_ancestral", adams, NOISE_RHO, q=1, cite=cite, renoise=ancestral, quiet=off)
stirred = [Variant({"s_churn": 4} | more, published=False) for more in ({}, {"s_noise": 1.007})]
off, cite = {"s_churn": 0}, "karras2022edm"
published("edm_churn", rk2, NOISE_RHO, cite=cite, renoise=churn, quiet=off, variants=stirred)

heun, shipped = Variant({"weights": "heun"}, 2), Variant({"as_published": True}, 3)
for name, form, q, variant in (
    ("sde_dpm_solver_pp_2m", DATA_SDE, 2, heun),
    ("sde_dpm_solver_pp_3m", DATA_SDE, 3, shipped),
    ("sde_dpm_solver_2m", NOISE_SDE, 2, heun),
):
    sde: dict[str, Any] = {"cite": "lu2022dpmpp", "quiet": {"eta": 0}, "variants": [variant]}
    published(name, sde_multistep, form, q=q, claim=q, **sde)

for q in (1, 2, 3):
    rows = [Variant({"as_published": True}, q + 1)] if q == 2 else []
    sa: dict[str, Any] = {"cite": "xue2023sa", "quiet": {"tau": 0}, "variants": rows}
    published(f"sa_solver_{q}", sa_solver, DATA_SA, q=q, claim=q + 1, **sa)
    slip = Variant({"as_published": True, "integrals": "accurate"}, q)
    rows = [Variant({"phi": "sde"}, q)] if q == 2 else [slip] if q == 3 else []
    er: dict[str, Any] = {"cite": "cui2023er", "quiet": {"phi": "ode"}, "variants": rows}
    published(f"er_sde_{q}", er_sde, ER_SDE, q=q, claim=q, **er)
