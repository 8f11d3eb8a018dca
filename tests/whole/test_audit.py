"""``scoreproof audit`` finds the orders of installed schedulers and what is wrong with some."""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.cli import main
from experiments.peers import audit, drives, peer
from experiments.peers.peer import Peer
from experiments.peers.roster import left_out
from experiments.peers.roster import peers as roster
from theory.__main__ import claims

KEYS = {"scheduler", "config", "nominal", "measured", "measured_plain_start", "cause"}
MULTISTEP, SINGLESTEP = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
UNIPC, DEIS, LMS = "UniPCMultistepScheduler", "DEISMultistepScheduler", "LMSDiscreteScheduler"


@pytest.fixture
def asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """The one JSON value that the command prints, from fewer doublings."""
    monkeypatch.setattr(audit, "STEPS", (16, 32, 64, 128))

    def ask(*arguments: str) -> Any:
        assert main(["audit", "--workers", "1", "--json", *arguments]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        return json.loads(said.out)

    return ask


# --- the command ---------------------------------------------------------------------------------


def test_rows_of_named_schedulers(asked: Callable[..., Any]) -> None:
    rows = asked("HeunDiscreteScheduler", "IPNDMScheduler")
    assert [row["scheduler"] for row in rows] == ["HeunDiscreteScheduler", "IPNDMScheduler"]
    assert all(row.keys() > KEYS for row in rows)
    heun, ipndm = rows
    assert (heun["nominal"], heun["cause"], heun["patched"]) == (2, "", None)
    assert "Adams-Bashforth weights of equal steps" in ipndm["cause"]
    assert ipndm["measured"] < 2.2 < ipndm["patched"]


def test_the_table_of_agreement(asked: Callable[..., Any]) -> None:
    rows = asked("--agreement", "KDPM2DiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
    assert [row["ours"] for row in rows] == ["dpm_solver_2", None, "dpm_solver_2"]
    assert [row["finish"] for row in rows] == ["none", "none", "denoise"]
    assert rows[0]["difference"] < 1e-10
    assert rows[1]["difference"] is None
    assert "velocity" in rows[1]["explanation"]


@pytest.mark.parametrize("options", [[], ["--agreement"]])
def test_people_see_a_table_and_what_it_leaves_out(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "STEPS", (16, 32, 64))
    assert main(["audit", "EDMEulerScheduler", "--workers", "1", *options]) == 0
    said = capsys.readouterr().out
    assert "EDMEulerScheduler" in said
    assert re.search(r"audited: .*diffusers [\d.]+", said)
    assert "not audited (noise in every step): CogVideoXDPMScheduler" in said
    for library in ("azula", "k_diffusion"):
        assert peer.version(library) or f"{library}: not installed" in said


@pytest.mark.parametrize(
    ("argument", "words"),
    [("DEIS", ["'DEIS'", "nearest"]), ("--workers=0", ["workers", ">= 1"])],
)
def test_bad_input_is_one_line(
    argument: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", argument]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(word in said for word in [*words, "allowed"])


@pytest.mark.parametrize("options", [[], ["--agreement"]])
def test_without_diffusers_it_says_what_to_install(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "version", lambda library: "")
    assert main(["audit", *options]) == 2
    said = capsys.readouterr().err
    assert said == (
        "scoreproof: diffusers: not installed; pip install scoreproof[peers] is allowed\n"
    )


def test_a_library_that_fails_to_import_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer, "version", lambda library: "1.0")
    said = peer.missing("azula", "azula_without_its_parts.sample")
    assert said.startswith("azula 1.0: not importable (No module named")


def test_what_is_left_out_has_a_reason() -> None:
    reasons = left_out()
    if peer.version("diffusers").startswith("0.42"):  # later ones may have schedulers unknown here
        assert "not known here" not in reasons
    named = {name for names in reasons.values() for name in names}
    assert len(named) > 20
    assert named.isdisjoint(p.name for p in roster())


# --- the rows ------------------------------------------------------------------------------------


def one(name: str, **config: Any) -> Peer:
    """The first peer of this name and at least this configuration."""
    wanted = config.items()
    return next(p for p in roster() if p.name == name and wanted <= p.described.items())


HALF = "lacks the factor 2"
KNOWN: list[tuple[Peer, tuple[float, float], tuple[float, float], str]] = [
    # peer, range on the exact start, range as shipped, cause
    (one(MULTISTEP, solver_order=1, algorithm_type="dpmsolver"), (0.95, 1.05), (0.95, 1.05), ""),
    (one(MULTISTEP, solver_order=2, algorithm_type="dpmsolver"), (1.9, 2.05), (1.9, 2.05), ""),
    (one(MULTISTEP, solver_order=2, solver_type="heun"), (1.9, 2.05), (1.9, 2.05), ""),
    (one(MULTISTEP, solver_order=3, algorithm_type="dpmsolver"), (1.85, 2.4), (1.85, 2.4), HALF),
    (one(MULTISTEP, solver_order=3, algorithm_type="dpmsolver++"), (1.9, 2.4), (1.9, 2.4), HALF),
    (one(SINGLESTEP, solver_order=3), (2.9, 3.1), (2.9, 3.1), ""),
    (one(UNIPC, solver_order=2, solver_type="bh1"), (2.9, 3.1), (2.9, 3.1), ""),
    (one(UNIPC, solver_order=2, solver_type="bh2"), (2.9, 3.1), (2.9, 3.1), ""),
    (one(UNIPC, solver_order=3, predict_x0=True), (3.8, 4.1), (2.9, 3.2), ""),
    (one(UNIPC, solver_order=4, predict_x0=True), (4.9, 5.2), (2.9, 3.2), ""),
    (one(UNIPC, solver_order=4, predict_x0=False), (4.85, 5.2), (2.9, 3.2), ""),
    (one(DEIS, solver_order=2), (1.9, 2.05), (1.9, 2.05), ""),
    (one(DEIS, solver_order=3), (2.95, 3.1), (2.0, 2.1), ""),
    (one(LMS, order=4), (3.8, 4.0), (2.0, 2.5), ""),
]


@pytest.mark.parametrize(
    ("peer", "exact", "plain", "cause"),
    KNOWN,
    ids=[f"{p.name}-{'-'.join(map(str, p.described.values()))}" for p, *_ in KNOWN],
)
def test_known_rows(
    peer: Peer,
    exact: tuple[float, float],
    plain: tuple[float, float],
    cause: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "STEPS", (32, 64, 128, 256))
    row = audit.row(peer)
    assert exact[0] < row["measured"] < exact[1]
    assert plain[0] < row["measured_plain_start"] < plain[1]
    assert cause in row["cause"]
    assert bool(cause) == bool(row["cause"])
    if cause:
        assert row["patched"] == pytest.approx(peer.nominal, abs=0.1)
        assert row["proof"] in claims()


def test_every_fault_has_a_proof() -> None:
    faults = {p.fault.proof for p in roster() if p.fault}
    assert faults == {"second_difference", "equal_step_weights", "rosenbrock_amplitude"}
    assert faults <= claims().keys()


@pytest.mark.nightly
def test_every_row() -> None:
    rows = audit.rows(workers=1)
    assert len(rows) >= 88
    for row in rows:
        limit = audit.within(row["nominal"])
        reached = abs(row["measured"] - row["nominal"]) <= limit
        assert reached != bool(row["cause"]), row
        assert row["cause"] != "not known"
        if row["cause"]:
            assert abs(row["patched"] - row["nominal"]) <= limit
            assert claims()[row["proof"]]().holds


# --- libraries that own their loop ---------------------------------------------------------------


def through(xs: list[Any], ds: list[Any], x: Any) -> Any:
    """∫ from xs[-1] to x of the parabola, line or constant through the values ds at xs."""
    total = 0.0
    for j, d in enumerate(ds):
        others = [t for k, t in enumerate(xs) if k != j]
        scale = torch.stack([xs[j] - t for t in others]).prod() if others else 1.0
        a, b = xs[-1], x
        if len(others) == 2:
            s, p = sum(others), others[0] * others[1]
            area = (b**3 - a**3) / 3 - s * (b**2 - a**2) / 2 + p * (b - a)
        elif others:
            area = (b**2 - a**2) / 2 - others[0] * (b - a)
        else:
            area = b - a
        total = total + area / scale * d
    return total


def sample_lms(model: Any, x: Any, sigmas: Any, disable: bool = False, order: int = 3) -> Any:
    """k-diffusion's interface."""
    slopes: list[Any] = []
    for n, sigma in enumerate(sigmas[:-1]):
        slopes = [*slopes, (x - model(x, sigma * x.new_ones(len(x)))) / sigma][-order:]
        x = x + through(list(sigmas[n + 1 - len(slopes) : n + 1]), slopes, sigmas[n + 1])
    return x


class ZABSampler:
    """azula's interface."""

    def __init__(self, denoiser: Any, order: int, start: float, stop: float, steps: int, **_: Any):
        self.denoiser, self.order = denoiser, order
        self.timesteps = torch.linspace(start, stop, steps + 1, dtype=torch.float64)

    def __call__(self, x: Any) -> Any:
        alpha, sigma = self.denoiser.schedule(self.timesteps)
        rho, slopes = sigma / alpha, []
        for n, t in enumerate(self.timesteps[:-1]):
            slopes.append((x - alpha[n] * self.denoiser(x, t).mean) / sigma[n])
            slopes = slopes[-self.order :]
            step = through(list(rho[n + 1 - len(slopes) : n + 1]), slopes, rho[n + 1])
            x = alpha[n + 1] * (x / alpha[n] + step)
        return x


@pytest.mark.parametrize(
    ("drive", "sampler"), [(drives.K_DIFFUSION, sample_lms), (drives.AZULA, ZABSampler)]
)
def test_an_exact_start_of_a_sampler_that_owns_its_loop(
    drive: Any, sampler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = types.ModuleType(drive.module)
    module.torch = torch
    monkeypatch.setitem(sys.modules, drive.module, module)
    monkeypatch.setattr(sampler, "__module__", drive.module)
    setattr(module, sampler.__name__, sampler)
    monkeypatch.setattr(audit, "STEPS", (32, 64, 128, 256))
    peer = Peer(sampler.__name__, 3, drive, {"order": 3}, given=2)
    assert audit.measured(peer, peer.given).slope == pytest.approx(3, abs=0.1)
    assert audit.measured(peer, 0).slope < 2.3  # one DDIM step at the beginning


def test_the_page_shows_commands_that_run(asked: Callable[..., Any]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "peer_audit.md").read_text(encoding="utf-8")
    commands = re.findall(r"^ {4}scoreproof audit ([^#\n]*Scheduler[^#\n]*)", page, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        assert asked(*command.split())
