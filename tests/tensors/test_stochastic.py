"""Without noise a stochastic run is its deterministic method bit for bit; with it, its seed's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from experiments.solve import solve
from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Known
from solvers.grids import laid
from solvers.method import entry, registry
from solvers.plan import plan
from solvers.sample import normals, sample
from solvers.schedules import schedule

Json = dict[str, Any]
RUN: Json = {
    "problem": {
        "weights": [0.4, 0.6],
        "means": [[-1.2, 0.3], [1.5, -0.4]],
        "covs": [[[0.25, 0.05], [0.05, 0.3]], [[0.64, 0.1], [0.1, 0.2]]],
    },
    "schedule": {"name": "vp_linear"},
    "grid": {"name": "logsnr", "steps": 7, "start": 0.9, "end": 0.01},
    "x_start": [[0.4, 1.0], [-1.3, 0.2], [0.8, -0.5]],
}
STOCHASTIC = [name for name, e in registry().items() if e.quiet is not None]
LOUD: dict[str, Json] = {"edm_churn": {"s_churn": 2}}
"""Options of the names that draw nothing by default."""
LIMITS: list[tuple[str, Json, str, Json]] = [
    ("euler_ancestral", {"eta": 0}, "ddim", {}),
    ("euler_ancestral", {"eta": 0.0}, "ddim", {}),
    ("edm_churn", {}, "edm_heun", {}),
    ("edm_churn", {"s_churn": 40, "s_tmin": 1e9, "s_noise": 1.007}, "rho_heun2", {}),
    ("edm_churn", {"s_churn": 40, "s_tmax": 1e-9, "alpha": 0.5}, "rho_midpoint", {}),
    ("sde_dpm_solver_2m", {"eta": 0}, "dpm_solver_2m", {}),
    ("sde_dpm_solver_pp_2m", {"eta": 0}, "dpm_solver_pp_2m", {}),
    *(
        (f"sde_dpm_solver_pp_{q}m", {"eta": 0.0, **o}, f"dpm_solver_pp_{q}m", o)
        for q, o in ((2, {"weights": "heun"}), (3, {}), (3, {"as_published": True}))
    ),
    *((f"sa_solver_{q}", {"tau": 0}, f"unipc_{q}", {"variant": "exact"}) for q in (1, 2, 3)),
    ("sa_solver_2", {"tau": 0.0, "orders": [1, 2, 2, 1, 2, 2, 1]}, "unipc_2",
     {"orders": [1, 2, 2, 1, 2, 2, 1]}),
    ("sa_solver_2", {"tau": 0, "as_published": True}, "unipc_2",
     {"variant": "bh1", "as_published": True}),
]  # fmt: skip


def ends(method: str, options: Json, **changes: Any) -> list[list[float]]:
    run = {**RUN, "method": method, "options": options, **changes}
    return solve(run, exact=False)["x_final"]


@pytest.mark.parametrize("schedule", ["vp_linear", "edm", "flow"])
@pytest.mark.parametrize(("name", "still", "method", "options"), LIMITS)
def test_without_noise_bit_for_bit(
    name: str, still: Json, method: str, options: Json, schedule: str
) -> None:
    grid = {"schedule": {"name": schedule}, "grid": {**RUN["grid"], "start": 0.95}}
    assert ends(name, still, **grid) == ends(method, options, **grid)
    small = {**still, **{k: 1e-3 for k in ("eta", "tau") if k in still}}  # control
    if small != still:
        assert ends(name, small, **grid) != ends(method, options, **grid)


def test_er_sde_without_noise_is_ddim_to_rounding() -> None:
    """q = 1: φ₀ v + (1 − φ₀) D is v + (ρ' − ρ) ε, but not digit by digit."""
    a, b = (torch.tensor(ends(*m)) for m in (("er_sde_1", {"phi": "ode"}), ("ddim", {})))
    assert float((a - b).abs().max()) < 1e-14
    assert not torch.equal(a, torch.tensor(ends("er_sde_1", {"phi": "sde"})))


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_seed_is_a_run(name: str) -> None:
    """The same seed, the same numbers; sample b alone with seed + b; another seed, other ones."""
    own = LOUD.get(name, {})
    first = ends(name, {**own, "seed": 5})
    assert first == ends(name, {**own, "seed": 5})
    assert ends(name, own) == ends(name, {**own, "seed": 0})
    for b, x in enumerate(RUN["x_start"]):
        assert ends(name, {**own, "seed": 5 + b}, x_start=[x]) == first[b : b + 1]
    other = ends(name, {**own, "seed": 9})
    assert all(
        p != q for a, b in zip(first, other, strict=True) for p, q in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("name", STOCHASTIC)
def test_options_without_noise_draw_none(name: str) -> None:
    """A quiet plan needs no source of noise, and its seed changes nothing."""
    quiet = dict(entry(name).quiet or {})
    grid = laid(schedule("vp_linear"), "logsnr", steps=4, start=0.9, end=0.05)
    assert not plan(entry(name), grid, **quiet).noisy
    assert plan(entry(name), grid, **LOUD.get(name, {})).noisy
    assert ends(name, quiet) == ends(name, {**quiet, "seed": 3})


@pytest.mark.parametrize("name", STOCHASTIC)
def test_states_denoising_and_teleports(name: str) -> None:
    """One state a node, the last the end; other parts of a plan go with noise as without."""
    own = {**RUN, "method": name, "options": LOUD.get(name, {})}
    r = solve(own, states=True, exact=False)
    assert len(r["states"]) == len(r["nodes"]["t"]) == 8
    assert r["states"][-1] == r["x_final"]
    done = solve({**own, "finish": "denoise"}, exact=False)
    assert done["nfe"] == r["nfe"] + 1
    jumped = solve({**own, "teleport": {"sigma_skip": 2.0}}, states=True, exact=False)
    assert len(jumped["states"]) == len(jumped["nodes"]["t"])


def test_float32_follows_float64() -> None:
    """The noise is drawn in float64 for both, so the ends differ by the state's rounding."""
    for name in STOCHASTIC:
        single, double = (
            torch.tensor(ends(name, LOUD.get(name, {}), dtype=d)) for d in ("float32", "float64")
        )
        assert float((single - double).abs().max()) < 2e-5


# --- the source of noise ----------------------------------------------------------------------


def test_normals_depend_on_their_seed_alone() -> None:
    like = torch.zeros(3, 2, 2)
    draw = normals([4, 5, 6], like)
    first, second = draw(), draw()
    assert first.dtype is torch.float32
    assert not torch.equal(first, second)
    alone = normals([5], like[1:2].double())
    torch.testing.assert_close(alone()[0].float(), first[1], rtol=0, atol=0)
    torch.testing.assert_close(alone()[0].float(), second[1], rtol=0, atol=0)
    assert torch.equal(normals([5], torch.zeros(1, 4))().flatten(), first[1].flatten())


def test_normals_are_normal() -> None:
    """Mean, variance and kurtosis of 40,000 draws within five standard errors."""
    n = 40_000
    x = normals(range(n // 4), torch.zeros(n // 4, 4, dtype=torch.float64))()
    for power, moment, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (4, 3.0, 96.0)):
        assert abs(float((x**power).mean()) - moment) < 5 * (variance / n) ** 0.5
    neighbours = float((x[1:, 0] * x[:-1, 0]).mean())  # of seeds that differ by one
    assert abs(neighbours) < 5 / (n // 4) ** 0.5


LAW = GaussianMixture.isotropic([1.0], [[0.0, 0.0]], [1.0])
X = torch.zeros(2, 2, dtype=torch.float64)
GRID = laid(schedule("edm"), "karras", steps=3, start=5.0, end=0.1)
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: normals([1], X), r"seeds: got 1; one a sample, 2, are allowed"),
    (lambda: normals([1, -1], X), r"seeds\[1\]: got -1; integers from 0 to 4294967295"),
    (lambda: normals([2**32, 0], X), r"seeds\[0\]: got 4294967296; "),
    (
        lambda: sample(plan(entry("sa_solver_2"), GRID), Known(LAW), X),
        r"noise: got None; this plan draws noise, a source of it is needed",
    ),
    (lambda: ends("sa_solver_1", {"seed": -1}), r"options\.seed: got -1; an integer >= 0"),
    (lambda: ends("sa_solver_1", {"seed": 0.5}), r"options\.seed: got 0\.5; an integer >= 0"),
    (lambda: ends("sa_solver_1", {"seed": True}), r"options\.seed: got True; an integer >= 0"),
    (lambda: ends("er_sde_1", {"seed": 2**32}), r"options\.seed: got 4294967296; "),
    (lambda: ends("ddim", {"seed": 0}), r"options: got the key 'seed'"),
    (lambda: ends("euler_ancestral", {"eta": -1}), r"options\.eta: got -1; a number >= 0 is"),
    (lambda: ends("euler_ancestral", {"eta": 2}), r"options\.eta: got 2\.0; less than 1\.0.* is"),
    (lambda: ends("edm_churn", {"s_churn": [1]}), r"options\.s_churn: got \[1\]; a number >= 0"),
    (lambda: ends("edm_churn", {"s_noise": 0}), r"options\.s_noise: got 0; a positive number"),
    (lambda: ends("sa_solver_1", {"tau": None}), r"options\.tau: got None; a number >= 0 is"),
    (lambda: ends("sa_solver_1", {"eta": 1}), r"options: got the key 'eta'"),
    (lambda: ends("er_sde_2", {"phi": "cubic"}), r"options\.phi: got 'cubic'; 'default' or"),
    (lambda: ends("er_sde_2", {"integrals": "sums"}), r"'accurate' or 'rectangle' is allowed"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input_names_argument_value_and_what_is_allowed(
    make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()
