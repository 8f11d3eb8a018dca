"""The map holds what a proof gives now; a cell has a name if and only if a named run is its."""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from experiments import atlas, plots
from experiments.cli import main
from experiments.formula import typeset
from experiments.plots.style import save
from experiments.report import cells
from experiments.report.compare import compared
from experiments.report.identify import Found
from solvers.method import registry
from theory.certificates import load

ROOT = Path(__file__).parents[2]
QUICK = 3
"""Orders up to here are proved in tenths of a second."""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return atlas.read()


def at(found: dict[str, Any], scheme: str, form: str) -> dict[str, Any]:
    return next(r for r in found["cells"] if (r["scheme"], r["form"]) == (scheme, form))


def test_every_scheme_is_there_in_every_form(found: dict[str, Any]) -> None:
    places = [(row["scheme"], row["form"]) for row in found["cells"]]
    assert places == [(scheme, form) for scheme in found["schemes"] for form in atlas.COLUMNS]
    also = {name for row in found["cells"] for name in row["also"]}
    assert not also & set(found["schemes"])
    assert also | set(found["schemes"]) == set(atlas.schemes())


def test_cells_are_proved_and_measured_again(found: dict[str, Any], size: int) -> None:
    easy = [r for r in found["cells"] if r["order"] <= QUICK and not r["derivatives"]]
    for row in random.Random(6).sample(easy, min(8 * size, len(easy))):
        fresh = atlas.cell(row["scheme"], row["form"])
        pairs = compared(Found("map", row), fresh)
        assert all(c.same for c in pairs), (row["scheme"], row["form"])
        assert fresh.keys() <= row.keys()
    spoilt = {**row, "order": row["order"] + 1}  # the comparison sees an order that is not proved
    assert [c.name for c in compared(Found("map", spoilt), fresh) if not c.same] == ["order"]


def test_every_registered_method_has_its_cell_with_its_certificate(found: dict[str, Any]) -> None:
    seen = 0
    for name, e in registry().items():
        form = e.form({}).name
        if e.quiet is not None or e.ladder or form not in atlas.COLUMNS:
            continue  # noise, several schemes in one run, left sums
        own = [r for r in found["cells"] if name in r["names"] and r["form"] == form]
        assert own, name
        certificate = load(name)
        assert certificate is not None
        proved = certificate.row({})
        assert proved is not None
        for row in own:
            assert row["order"] == proved["order"], name
            assert row["any_grid"] == proved["order_any_grid"], name
        assert proved["leading_error"] in {row["leading_error"] for row in own}
        seen += 1
    assert seen > 80


def test_names_belong_to_runs(found: dict[str, Any]) -> None:
    # One exponential Euler step is DDIM in every form with a prediction of the model in it.
    assert at(found, "adams 1", "NOISE_RHO")["names"][0] == "ddim"
    snr = at(found, "adams 1", "DATA_SNR")
    assert (snr["state"], snr["names"]) == ("same", [])
    assert {"ddim", "dpm_solver_1", "dpm_solver_pp_1s"} <= set(snr["same"])
    # Heun's method is EDM's in ρ, this project's in whitened coordinates, and nobody's in λ.
    states = [at(found, "rk2", f)["state"] for f in ("NOISE_RHO", "GAUSSIAN", "NOISE_LAMBDA")]
    assert states == ["published", "ours", "new"]
    # DPM-Solver++(2M) and an exponential Adams step of order 2 differ where steps change.
    assert at(found, "dpm_multistep 2", "DATA_LAMBDA")["names"] == ["dpm_solver_pp_2m"]
    assert "dpm_solver_pp_2m" not in at(found, "adams 2", "DATA_LAMBDA")["names"]


def test_a_name_is_given_by_the_run_alone(found: dict[str, Any]) -> None:
    row = at(found, "rk2", "NOISE_RHO")
    known = [atlas.named(registry()["rho_heun2"], {})]
    assert atlas.placed(row, known)["names"] == ["rho_heun2"]  # type: ignore[arg-type]
    off = {**row, "probe": [x * (1 + 1e-6) for x in row["probe"]]}
    assert atlas.placed(off, known)["state"] == "new"  # type: ignore[arg-type]
    assert atlas.placed({"scheme": "x", "refused": "no"}, [])["state"] == "refused"


def test_slopes_come_near_the_orders(found: dict[str, Any]) -> None:
    off = [abs(row["measured"] - row["order"]) for row in found["cells"]]
    assert median(off) < 0.1  # few steps: single cells are not settled, half of them are
    shifted = [abs(row["measured"] - row["order"] - 1) for row in found["cells"]]
    assert median(shifted) > 0.5


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["map", "rk2", "--new", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert all(row["scheme"] == "rk2" and row["state"] == "new" for row in rows)
    assert main(["map", "unip 3", "--json"]) == 0  # the same runs as another scheme
    assert {row["scheme"] for row in json.loads(capsys.readouterr().out)} == {"adams 3"}
    assert main(["map", "GAUSSIAN", "--plot", str(tmp_path / "map.svg")]) == 0
    assert "whitened_heun2" in capsys.readouterr().out
    drawn = (tmp_path / "map.svg").read_text(encoding="utf-8")
    assert "whitened_heun2" in drawn
    assert "krogstad_4" not in drawn  # of another form
    assert main(["map", "euler"]) == 2
    assert "name: got 'euler'; allowed: adams 1" in capsys.readouterr().err
    assert main(["map", "--plot", "map.bmp"]) == 2
    assert main(["map", "--workers", "3"]) == 2
    assert "--workers: got 3 without --summary" in capsys.readouterr().err


def test_the_stored_picture_is_that_of_the_rows(found: dict[str, Any], tmp_path: Path) -> None:
    save(plots.map.chart(found["cells"]), tmp_path / "map.svg")
    drawn = (ROOT / "docs" / "map.svg").read_bytes()
    assert (tmp_path / "map.svg").read_bytes() == drawn, "scoreproof map --plot docs/map.svg"


def test_what_the_page_shows_of_a_cell(found: dict[str, Any]) -> None:
    shown = cells.embedded(found)
    assert len(shown["cells"]) == len(found["cells"])
    first = shown["cells"][0]
    assert first["certificate"].startswith("theory/certificates/ddim.json")
    assert shown["sources"]["song2021ddim"].endswith("arXiv 2010.02502.")
    place = {(c["scheme"], c["form"]): c["certificate"] for c in shown["cells"]}
    assert "certificates/unipc_2.json" in place["unipc 2", "NOISE_LAMBDA"]  # with an option
    assert "results/map.json" in place["rk2", "NOISE_LAMBDA"]  # no method's
    html = cells.section(found)
    assert html.count("data-cell=") == len(found["cells"])
    stale = cells.section({**found, "run_id": "0"})
    assert "of other sources" in stale


def test_formulas_are_set() -> None:
    assert typeset("h^3 [-(3*T2 - lam2)/8 N']") == "h³ [−(3 T₂ − λ₂)/8 N']"
    assert typeset("h^3 [kappa0**2/4 N_u N' - xi1*T2 N]") == "h³ [κ₀²/4 N_u N' − ξ₁ T₂ N]"
