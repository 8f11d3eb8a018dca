"""Certificates belong to the sources as they are: any edit below a proof makes them stale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from solvers.method import entry, registry
from tests.conftest import SIZE
from theory import certificates
from theory.certificates import certify, check, load, row, status

ROOT = Path(__file__).parents[2]
NAMES = list(registry())


def test_all_are_current() -> None:
    assert check() == [], "make certify proves anew"


@pytest.mark.parametrize("name", NAMES if SIZE > 1 else NAMES[::6])
def test_they_say_what_is_proved_now(name: str) -> None:
    certificate = load(name)
    assert certificate is not None
    found = [row(entry(name), v) for v in entry(name).variants]
    assert [json.loads(json.dumps(r)) for r in found] == list(certificate.rows)


def test_weights_are_rounded_once() -> None:
    """At most 8 ulp of a row's largest weight are asked for; half of one is the least."""
    worst = max(r["rounding_ulps"] for name in NAMES for r in load(name).rows)  # type: ignore[union-attr]
    assert worst <= 0.5


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources at another place, which certificates are then compared with."""
    for package in ("solvers", "theory"):
        shutil.copytree(ROOT / package, tmp_path / package)
    monkeypatch.setattr(certificates, "ROOT", tmp_path)
    return tmp_path


def test_control_a_copy_is_current(copy: Path) -> None:
    assert check() == []


@pytest.mark.parametrize(
    "edited",
    [
        "solvers/step.py",
        "solvers/plan.py",
        "solvers/field.py",
        "solvers/forms.py",
        "solvers/method.py",
        "solvers/series.py",
        "theory/order.py",
        "theory/jets.py",
        "theory/rounding.py",
    ],
)
def test_an_edit_makes_every_one_stale(copy: Path, edited: str) -> None:
    with (copy / edited).open("a") as file:
        file.write("# edited\n")
    assert check() == [(name, "stale") for name in NAMES]


def test_an_edit_of_a_method_is_its_own(copy: Path) -> None:
    with (copy / "solvers/methods/scire.py").open("a") as file:
        file.write("# edited\n")
    own = {e.name for e in registry().values() if e.family.startswith("scire")}
    assert {name for name, _ in check()} == own
    assert "ddim" not in own


def test_what_no_proof_rests_on_may_change(copy: Path) -> None:
    with (copy / "solvers/sample.py").open("a") as file:
        file.write("# edited\n")
    assert check() == []


def test_missing_damaged_and_left_over_files(tmp_path: Path) -> None:
    (written,) = certify(["ddim"], folder=tmp_path)
    assert status(entry("ddim"), tmp_path) == "current"
    assert status(entry("scire_v1_2"), tmp_path) == "missing"
    (tmp_path / "no_such_method.json").write_text("{}")
    assert ("no_such_method", "stale") in check(tmp_path)
    content = json.loads(written.read_text())
    written.write_text(json.dumps({**content, "rows": []}))
    assert status(entry("ddim"), tmp_path) == "stale"
    written.write_text("{")
    with pytest.raises(ValueError, match="ddim.json: damaged certificate"):
        load("ddim", tmp_path)
