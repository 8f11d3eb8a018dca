"""A study says exactly what is run: unknown, missing and mistyped keys are refused by name."""

from __future__ import annotations

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from experiments import store
from experiments.galaxy import GalaxyStudy
from experiments.network_study.study import NetworkStudy
from experiments.residual_study import ResidualStudy
from experiments.study import STUDIES, Rule, Study, load, opened, read

TABLE = tomllib.loads((STUDIES / "digits.toml").read_text(encoding="utf-8"))
GONE = object()
LOGSNR = {"name": "logsnr", "schedule": "edm"}


def but(path: str, value: Any) -> dict[str, Any]:
    """The study with another value at a dotted path, or without one."""
    table = copy.deepcopy(TABLE)
    *way, last = path.split(".")
    here = table
    for key in way:
        here = here[key]
    here[last] = value
    if value is GONE:
        del here[last]
    return table


def grid(**change: Any) -> dict[str, Any]:
    return but("grids", [{**LOGSNR, **change}])


REFUSED: list[tuple[dict[str, Any], str]] = [
    (but("sead", 0), r"sead: got 0; no such key \(nearest: seed\)"),
    (but("sheet.method", []), r"sheet\.method: got \[\]; no such key \(nearest: methods\)"),
    (grid(option={}), r"grids\[0\]\.option: got {}; no such key \(nearest: options\)"),
    *[
        (but(key, GONE), rf"{re.escape(key)}: got None; a .* is allowed")
        for key in ("seed", "nfe", "sheet", "sheet.nfe", "grids", "target")
    ],
    (but("grids", [{"name": "logsnr"}]), r"grids\[0\]\.schedule: got None; a str is allowed"),
    *[(but("samples", v), f"samples: got {v!r}; a int") for v in ("64", 64.0, True, {})],
    *[(but("rho_end", v), f"rho_end: got {v!r}; a float") for v in ("0.02", True)],
    (but("name", 3), "name: got 3; a str"),
    (but("nfe", 5), "nfe: got 5; a list"),
    (but("nfe", [5, "6"]), r"nfe\[1\]: got '6'; a int"),
    (but("sheet", []), r"sheet.*: got \[\]; a table"),
    (but("sheet.methods", ["ddim", 3]), r"sheet\.methods\[1\]: got 3; a str"),
    (grid(options=[]), r"grids\[0\]\.options: got \[\]; a table"),
    (grid(name="karras", options={"rho": "7"}), r"options\.rho: got '7'; a float"),
    (but("nfe", [5, 0]), r"nfe: got \(5, 0\); .*>= 1"),
    (but("nfe", []), r"nfe: got \(\); .*>= 1"),
    (but("components", 0), "components: got 0; an integer >= 1"),
    (but("sheet.samples", 65), "sheet.samples: got 65; 1 to samples, 64,"),
    *[(but("rho_end", v), f"rho_end: got {v}; 0 to rho_start") for v in (0.0, 80.0, float("nan"))],
    (but("rho_start", float("inf")), "rho_start: got inf; a finite number"),
    (but("grids", []), r"grids: got \[\]; one grid or more"),
    (but("grids", [LOGSNR, LOGSNR]), r"grids: got \['logsnr', 'logsnr'\]; .* another name"),
    (grid(name="logsrn"), "grids.name: got 'logsrn'; one of t, t2, logsnr, rho, karras, nsr"),
    (grid(schedule="vp_lin"), "schedule: got 'vp_lin'; nearest: vp_linear"),
    (grid(options={"rho": 7.0}), "grids.options.rho: got 7.0; a rule logsnr with no options"),
    (grid(name="nsr", options={"rho": 7.0}), "grids.options.rho: got 7.0; a rule nsr with k"),
    (grid(name="nsr", options={"k": -1.0}), "grids.options.k: got -1.0; a finite number > 0"),
    (but("methods", ["dpm_solver_4"]), "method: got 'dpm_solver_4'; nearest: dpm_solver_"),
    (but("sheet.methods", ["dim"]), "method: got 'dim'; nearest: ddim"),
]


@pytest.mark.parametrize(("table", "said"), REFUSED, ids=[said[:30] for _, said in REFUSED])
def test_what_a_study_may_not_say(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^(grids.0..)?{said}") as caught:
        read(Study, table)
    assert re.search("allowed$|nearest", str(caught.value))
    assert "\n" not in str(caught.value)


def test_what_is_refused_differs_from_a_study_that_is_not() -> None:
    study = read(Study, TABLE)
    assert study == load("digits")
    assert study.nfe == tuple(TABLE["nfe"])
    assert study.grids[1] == Rule("karras", "edm", {"rho": 7.0})
    assert read(Study, but("methods", ["ddim"])).methods == ("ddim",)
    assert read(Study, grid(name="nsr", options={"k": 2})).grids[0].options == {"k": 2}


def test_every_study_of_the_project_is_read() -> None:
    kinds = {"galaxies": GalaxyStudy, "network": NetworkStudy, "residual": ResidualStudy}
    kinds |= {None: Study}
    names = sorted(file.stem for file in STUDIES.glob("*.toml"))
    found = [load(name, kinds[opened(name)[1].get("kind")]) for name in names]
    assert {type(study) for study in found} == set(kinds.values())
    for study in found:
        assert store.line(study.to_json())
    with pytest.raises(ValueError, match=r"network\.toml: kind: got 'network'; no such key"):
        load("network")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none", None, r"study: got '.*none.toml'; digits.* or a TOML file is allowed"),
        ("torn", b"name = ", r"study: got '.*torn.toml' \(Invalid.*\); TOML is allowed"),
        ("bytes", b"\xff\xfe", r"study: got '.*bytes.toml' \(.*\); TOML is allowed"),
        ("empty", b"", r"empty.toml: name: got None; a str is allowed"),
    ],
)
def test_files_are_refused_by_name(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    file = tmp_path / f"{name}.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{said}$"):
        load(file)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^study: got 'digit'; digits.* or a TOML file is allowed"
    ):
        load("digit")
