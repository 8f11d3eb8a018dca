"""Sliders show the runs of ``solve`` over the exact flow, and paint no more than they must."""

from __future__ import annotations

import builtins
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import explore, plots
from experiments.explore import Explorer, levels, redraw_times
from experiments.plane import FIRST, LAST, Choice, World, draw, forms_offered, scaled, world
from experiments.solve import solve
from gaussian_score.reference import reference_flow
from solvers.grids import RULES


@pytest.fixture(scope="module")
def ring() -> World:
    return world("ring", count=6)


def solved(choice: Choice, ring: World) -> dict[str, Any]:
    """The same run by the command's function, which takes another way to the plan."""
    law = ring.law
    problem = {"weights": law.weights, "means": law.means, "covs": law.covs}
    run: dict[str, Any] = {
        "problem": {k: v.tolist() for k, v in problem.items()},
        "schedule": {"name": "edm"},
        "method": choice.solver,
        "grid": {"name": choice.grid, "steps": choice.steps, "start": FIRST, "end": LAST},
        "x_start": ring.start.tolist(),
    }
    if choice.skip < FIRST:
        run["teleport"] = {"sigma_skip": choice.skip, "budget": "redistribute"}
    return solve(run)


# Where the two go different ways their sums differ in rounding alone.
SAME = 1e-10


@pytest.mark.parametrize(
    "choice",
    [
        Choice(),
        Choice("unipc_3", steps=12, grid="logsnr"),
        Choice("rho_heun2", steps=5, grid="rho"),
        Choice("whitened_ab2", steps=7),
        Choice("deis_t_ab2", skip=5.0),
    ],
    ids=lambda c: c.solver,
)
def test_a_choice_is_the_run_that_solve_makes(choice: Choice, ring: World) -> None:
    drawn, other = draw(choice, ring), solved(choice, ring)
    assert np.abs(drawn.states[-1] - np.array(other["x_final"])).max() < SAME
    assert drawn.nfe == other["nfe"]
    assert abs(drawn.error - other["error_rms"]) < SAME
    assert drawn.states.shape == (len(drawn.sigmas), len(ring.start), 2)


def test_every_slider_changes_the_run(ring: World) -> None:
    plain = draw(Choice(), ring).states[-1]
    others = (
        Choice("ddim"),
        Choice(form="NOISE_RHO"),
        Choice(steps=9),
        Choice(grid="logsnr"),
        Choice(skip=5.0),
    )
    assert all(np.abs(draw(c, ring).states[-1] - plain).max() > 1e-4 for c in others)


@pytest.mark.parametrize("form", forms_offered())
def test_every_form_runs_towards_the_flow(form: str, ring: World) -> None:
    coarse, fine = (draw(Choice(form=form, steps=n, skip=10.0), ring).error for n in (8, 32))
    assert fine < coarse / 4


def test_exact_paths_end_where_one_integration_does(ring: World) -> None:
    law = ring.law
    found = reference_flow(law.weights, law.means, law.covs, ring.start, (1, FIRST), (1, LAST))
    # Errors on the way grow no more than by the flow's own widening, here below 10.
    assert (
        np.abs(found.x - ring.end).max() < 10 * len(ring.sigmas) * ring.error + found.error.max()
    )


def test_strayed_points_are_those_of_another_component(ring: World) -> None:
    distance = np.linalg.norm(ring.end[:, None] - ring.law.means, axis=2)
    assert (ring.modes(ring.end) == distance.argmin(1)).all()
    assert not draw(Choice("rho_rk4", steps=40), ring).strayed.any()
    assert draw(Choice("unip_4", steps=5), world("ring")).strayed.any()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("solver", "euler"),
        ("solver", "taylor_2"),
        ("form", "DATA"),
        ("grid", "even"),
        ("steps", 1),
        ("steps", 41),
        ("skip", 0.01),
        ("skip", 41.0),
    ],
)
def test_a_choice_that_is_not_offered_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: got .*allowed$"):
        Choice(**{field: value})


# --- pictures ------------------------------------------------------------------------------------


def test_the_static_picture_holds_the_run(ring: World) -> None:
    drawn = draw(Choice("ddim"), ring)
    (axes,) = plots.plane.solver(ring, drawn).axes
    segments = axes.collections[-1].get_segments()  # type: ignore[attr-defined]
    expected = scaled(drawn.states, drawn.sigmas).transpose(1, 0, 2)
    assert np.array_equal(np.stack(segments), expected)
    (words,) = (t.get_text() for t in axes.texts)
    assert words == f"ddim: {drawn.words}"


def test_a_live_picture_is_the_static_one_painted_in_two(ring: World) -> None:
    live = plots.plane.Live(ring)
    runs = [draw(Choice("ddim", steps=n), ring) for n in (4, 12, 4)]
    a, b, c = (live.png(run) for run in runs)
    assert a == c != b  # nothing is left of the run before
    pixels = np.asarray(Image.open(io.BytesIO(a)))
    orange = np.abs(pixels.astype(int) - (0xE6, 0x9F, 0x00)).sum(2) < 30
    assert orange.sum() > 100


def test_a_change_draws_once_and_repaints_nothing_behind(
    ring: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[Any] = []
    behind = plots.plane.behind
    monkeypatch.setattr(plots.plane, "behind", lambda *a: painted.append(a) or behind(*a))
    sliders = Explorer(ring)
    changes = [
        *(("steps", n) for n in range(4, 10)),
        ("solver", "ddim"),
        ("form", "DATA_LAMBDA"),
        ("grid", "logsnr"),
        ("skip", levels()[3][1]),
    ]
    before = sliders.image.value
    times = redraw_times(sliders, changes)
    assert len(times) == len(changes)
    assert sliders.redrawn == 1 + len(changes)
    assert len(painted) == 1
    assert sliders.image.value != before
    assert sliders.choice == Choice("ddim", "DATA_LAMBDA", 9, "logsnr", levels()[3][1])
    assert "RMS error" in sliders.words.value


def test_a_run_that_is_refused_leaves_the_picture(
    ring: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sliders = Explorer(ring)
    before = sliders.image.value

    def refuse(*_: Any) -> None:
        raise ValueError("state: overflowed")

    monkeypatch.setattr(explore, "draw", refuse)
    sliders.controls["steps"].value = 20
    assert (sliders.image.value, sliders.redrawn) == (before, 1)
    assert sliders.words.value == "state: overflowed"


def test_controls_offer_what_a_choice_allows(ring: World) -> None:
    controls = Explorer(ring).controls
    assert set(controls) == set(Choice.__dataclass_fields__)
    assert tuple(controls["grid"].options) == tuple(RULES)
    for _, level in levels():
        Choice(skip=level)
    assert levels()[0] == ("none", FIRST)


def test_without_ipywidgets_it_says_what_to_install(
    ring: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "ipywidgets":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"pip install scoreproof\[notebooks\]"):
        Explorer(ring)
