"""Every command prints one JSON value; bad input is one line that names it, and status 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import commands, orders, store
from experiments.cli import main
from theory import certificates

RUN = {
    "problem": {"weights": [1.0], "means": [[0.5]], "covs": [[[0.25]]]},
    "schedule": {"name": "edm"},
    "method": "ddim",
    "grid": {"sigma": [2.0, 1.0, 0.5]},
    "x_start": [[1.0]],
}
SOLVER = '''
from fractions import Fraction
from solvers.method import Row, Weights, method

@method
def halfway(s):
    """The middle of the step, twice."""
    middle = Row(now=(s.phi(1, Fraction(1, 2)) / 2,), c=Fraction(1, 2))
    return Weights(stages=(middle,), b=Row(now=(0, s.phi(1))))

@method
def power(s, *, q: int):
    return Weights(b=Row(now=(s.phi(1),)))

@method
def fails(s):
    raise KeyError("first\\nsecond")

@method
def nothing(s):
    return None

@method
def heavy(s):
    return Weights(b=Row(now=(2 * s.phi(1),)))

def unmarked(s):
    return None
'''
FILES: dict[str, str | bytes] = {
    "run.json": json.dumps(RUN),
    "mine.py": SOLVER,
    "torn.py": "def f(",
    "raises.py": "raise RuntimeError('first\\nsecond')",
    "torn.json": '{"problem": ',
    "nan.json": json.dumps({**RUN, "x_start": [[float("nan")]]}),
    "steps.json": json.dumps({**RUN, "grid": {"name": "t", "steps": 0, "start": 2, "end": 1}}),
    "fails.json": json.dumps({**RUN, "method": "mine.py:fails"}),
    "bytes.json": b"\xff\xfe",
    "torn.toml": "name = ",
    "unknown.toml": "sead = 0",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with good and bad files."""
    for name, content in FILES.items():
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(orders.STEPS, "small", (16, 32, 64, 128))
    return tmp_path


@pytest.fixture
def asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Any]:
    """The one JSON value that a command prints."""

    def ask(line: str, status: int = 0) -> Any:
        assert main([*line.split(), "--json"]) == status
        said = capsys.readouterr()
        assert said.err == ""
        return json.loads(said.out)

    return ask


# --- what each command says ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "one", "keys"),
    [
        (
            "methods",
            "rho_heun2",
            {"name", "aliases", "options", "form", "claim", "proved", "cite"},
        ),
        ("schedules", "vp_linear", {"name", "parameters", "formula"}),
        ("grids", "karras", {"name", "options"}),
        ("forms", "NOISE_RHO", {"name", "clock", "u", "L", "N", "formula"}),
        ("options", "phi1", {"name", "default", "allowed", "methods"}),
    ],
)
def test_list(asked: Callable[..., Any], what: str, one: str, keys: set[str]) -> None:
    rows = asked(f"list {what}")
    assert all(row.keys() >= keys for row in rows)
    assert one in [row["name"] for row in rows]
    if what == "methods":
        (heun,) = (row for row in rows if row["name"] == one)
        assert heun["aliases"] == ["edm_heun"]
        assert heun["options"][0]["default"] == 1


def test_list_in_a_process_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "list", "methods", "--json"],
        cwd=store.ROOT,
        env={**os.environ, "PYTHONPATH": str(store.ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert "scire_v1_3" in [row["name"] for row in json.loads(done.stdout)]


def test_what_is_not_installed_is_named() -> None:
    code = (
        "import sys; sys.modules['pytorch_lightning'] = None\n"
        "from experiments.cli import main\n"
        "quick = [main(['cite', 'ddim']), main(['map', 'rk2']), main(['run', 'no'])]\n"
        "print(quick, {'matplotlib', 'torch'} & sys.modules.keys(), main(['train', '--out', 'x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=store.ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "[0, 0, 2] set() 2"
    assert "pytorch_lightning: not installed; pip install scoreproof[train]" in done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ddim", (1, 1, "NOISE_RHO")),
        ("scire_v1_3", (2, 1, "NOISE_RHO")),
        ("scire_v1_3 --option phi1=inf", (2, 1, "NOISE_RHO")),
        ("dpm_solver_2", (2, 2, "NOISE_LAMBDA")),
        ("dpm_solver_2 --option r1=2/3", (None, 2, "NOISE_LAMBDA")),
        ("dpm_solver_2 --form NOISE_RHO", (None, 2, "NOISE_RHO")),
        ("mine.py:halfway", (None, 2, "NOISE_RHO")),
        ("mine.py:halfway --form DATA_LAMBDA", (None, 2, "DATA_LAMBDA")),
        ("mine.py:power --q 1", (None, 1, "NOISE_RHO")),
    ],
)
def test_prove(asked: Callable[..., Any], line: str, expected: tuple[Any, ...]) -> None:
    value = asked(f"prove {line}")
    assert (value["claimed"], value["proved"], value["form"]) == expected
    assert value["leading_error"].startswith(f"h^{value['proved'] + 1} ")


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("mine.py:halfway", 2)])
def test_converge(asked: Callable[..., Any], folder: Path, name: str, order: int) -> None:
    row = asked(f"converge {name} --plot plot.svg")
    assert row["proved"] == order
    assert abs(row["measured"] - order) < 0.1
    errors = [error for _, error in row["curves"]["exact"]]
    assert errors == sorted(errors, reverse=True)
    assert (folder / "plot.svg").read_text().rstrip().endswith("</svg>")


def test_orders(asked: Callable[..., Any], folder: Path) -> None:
    rows = asked("orders ddim --workers 1 --plot table.svg")
    assert [(row["method"], row["claimed"], row["proved"]) for row in rows] == [("ddim", 1, 1)]
    assert (folder / "table.svg").stat().st_size > 1000


def test_solve(asked: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = asked("solve run.json --states -o out.json")
    assert json.loads((folder / "out.json").read_text()).keys() == value.keys()
    assert len(value["states"]) == 3
    lines = [json.dumps(RUN), "{", json.dumps({**RUN, "method": "mine.py:halfway"})]
    (folder / "runs.jsonl").write_text("\n\n".join(lines))
    first, bad, mine = asked("solve --jsonl runs.jsonl --no-exact", status=2)
    assert (first["nfe"], bad.keys(), mine["nfe"]) == (2, {"error"}, 4)
    counted = asked("solve --jsonl runs.jsonl -o out.jsonl", status=2)
    assert counted == {"written": "out.jsonl", "runs": 3, "refused": 1}
    with (folder / "run.json").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert asked("solve -")["x_final"] == value["x_final"]


def test_certify_looks(asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "check", lambda: [("ddim", "stale"), ("unipc_2", "missing")])
    stale = {"method": "ddim", "certificate": "stale"}
    missing = {"method": "unipc_2", "certificate": "missing"}
    assert asked("certify --check", status=1) == [stale, missing]
    assert asked("certify --check ddim", status=1) == [stale]
    assert asked("certify --check rho_heun2") == []
    monkeypatch.setattr(certificates, "check", lambda: [])
    assert asked("certify --check") == []


def test_certify_writes(
    asked: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = certificates.certify

    def elsewhere(names: Any, **how: Any) -> list[Path]:
        return write(names, folder=tmp_path / "new", **how)

    monkeypatch.setattr(certificates, "certify", elsewhere)
    (file,) = asked("certify ddim")
    assert json.loads(Path(file).read_text())["rows"][0]["order"] == 1


def test_cite(asked: Callable[..., Any]) -> None:
    (heun,) = asked("cite edm_heun rho_heun2")
    assert heun["bibtex"].startswith("@")
    assert heun["key"] in heun["bibtex"]
    assert asked(f"cite {heun['key']}") == [heun]
    assert len(asked("cite")) > 5


@pytest.mark.parametrize("name", ["list", "prove", "converge", "orders", "solve", "report"])
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: scoreproof {name}")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("list grids", "karras"),
        ("prove mine.py:halfway", "halfway"),
        ("solve run.json", "x_final"),
        ("solve run.json -o out.json", "out.json: 2 model calls"),
        ("cite ddim", "@"),
    ],
)
def test_people_are_answered_too(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str, shown: str
) -> None:
    assert main(line.split()) == 0
    said = capsys.readouterr()
    assert shown in said.out
    assert said.err == ""


def test_report_trial(
    asked: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command's own part: what it hands on, and what it says of the result."""
    from experiments.report import build as report

    def write(out: str, **how: Any) -> report.Report:
        assert how["names"] == report.FAST
        assert how["study"].nfe == (5, 10)
        assert len(how["study"].grids) == 1
        page = Path(out) / "index.html"
        return report.Report(page, [{}], [{}, {}], [("ddim", "stale")])

    monkeypatch.setattr(report, "report", write)
    assert asked("report --fast --out new") == {
        "page": "new/index.html",
        "orders": 1,
        "work": 2,
        "certificates": [{"method": "ddim", "certificate": "stale"}],
    }


# --- what is refused -----------------------------------------------------------------------------

REFUSED = [
    ("", "COMMAND", "allowed: see scoreproof --help"),
    ("frobnicate", "'frobnicate'", "choose from 'list', 'prove'"),
    ("list nothing", "what: invalid choice: 'nothing'", "'methods', 'schedules', 'grids'"),
    ("list methods more", "more", "allowed: see scoreproof --help"),
    ("prove", "NAME", "allowed: see scoreproof prove --help"),
    ("prove ddim --optoin r1=1", "--optoin", "allowed: see scoreproof --help"),
    ("prove dpm_solver_4", "method: got 'dpm_solver_4'", "nearest: dpm_solver_"),
    ("converge rho_heun", "method: got 'rho_heun'", "nearest: rho_heun"),
    ("orders ddim scire", "method: got 'scire'", "nearest: scire"),
    ("certify ddmi", "method: got 'ddmi'", "nearest: ddim"),
    ("certify --check ddmi", "method: got 'ddmi'", "nearest: ddim"),
    ("cite ddmi", "cite: got 'ddmi'", "nearest: ddim"),
    ("prove ddim --option", "--option", "allowed: see scoreproof prove --help"),
    ("prove ddim --option r1", "--option: got 'r1'", "KEY=VALUE is allowed"),
    ("prove ddim --option =1", "--option: got '=1'", "KEY=VALUE is allowed"),
    ("prove ddim --option r1=1", "--option r1: got 1", "takes no options"),
    ("prove dpm_solver_2 --option r1=-1", "--option r1: got -1", "a positive number"),
    ("prove dpm_solver_2 --option r1=1/0", "--option r1: got '1/0'", "a positive number"),
    ("prove dpm_solver_2 --option r1=NaN", "--option r1: got nan", "a positive number"),
    ("prove dpm_solver_2 --option r1=1e999", "--option r1: got inf", "a positive number"),
    ("prove dpm_solver_2 --option r1=[1,1]", "--option r1: got [1, 1]", "one value is allowed"),
    ("converge dpm_solver_2 --option weights=x", "--option weights: got 'x'", "'taylor'"),
    ("prove ddim --form NOISE_RO", "form: got 'NOISE_RO'", "nearest: NOISE_RHO"),
    ("prove ddim --q 0", "--q: got '0'", "an integer >= 1 is allowed"),
    ("prove ddim --q 2", "q: got 2", "allowed with FILE.py:function"),
    ("orders ddim --workers 0", "--workers: got '0'", "an integer >= 1 is allowed"),
    ("orders ddim --workers two", "--workers: got 'two'", "an integer >= 1 is allowed"),
    ("converge ddim --size big", "--size: invalid choice: 'big'", "'small', 'full'"),
    ("converge ddim --plot a.txt", "--plot: got 'a.txt'", ".png, .svg, .pdf is allowed"),
    ("converge ddim --plot no/a.svg", "--plot: got 'no/a.svg'", "a file in one is allowed"),
    ("orders ddim --plot folder", "--plot: got 'folder'", "a file in one is allowed"),
    ("prove no.py:f", "method: got 'no.py'", "an existing Python file is allowed"),
    ("prove torn.py:f", "method: torn.py fails to import", "SyntaxError"),
    ("prove raises.py:f", "method: raises.py fails to import", "RuntimeError: first second"),
    ("prove mine.py:halfwya", "got 'mine.py:halfwya'", "nearest: halfway; an @method of"),
    ("prove mine.py:unmarked", "got 'mine.py:unmarked'", "marked @method is allowed"),
    ("prove mine.py:power", "q: got None", "--q N is needed"),
    ("prove mine.py:fails", "method: mine.py:fails fails", "KeyError"),
    ("prove mine.py:nothing", "method: mine.py:nothing fails", "returns Weights"),
    ("converge mine.py:fails", "method: mine.py:fails fails", "KeyError"),
    ("prove mine.py:heavy", "in the update of heavy", "c phi_1(c) = 1.0 is allowed"),
    ("solve", "RUN: got None", "one of RUN.json and --jsonl RUNS is allowed"),
    ("solve run.json --jsonl run.json", "RUN: got 'run.json'", "one of RUN.json and --jsonl"),
    ("solve no.json", "RUN: got 'no.json'", "a text file is allowed"),
    ("solve folder", "RUN: got 'folder'", "a text file is allowed"),
    ("solve bytes.json", "RUN: got 'bytes.json' (not UTF-8)", "a text file is allowed"),
    ("solve --jsonl no.jsonl", "--jsonl: got 'no.jsonl'", "a text file is allowed"),
    ("solve torn.json", "json: Expecting value at line 1, column 13", "value is allowed"),
    ("solve nan.json", "json: got 'NaN'", "finite numbers of float64 are allowed"),
    (
        "solve steps.json -o out.json",
        "grid.steps: got 0",
        "an integer from 1 to 100000 is allowed",
    ),
    ("solve fails.json -o out.json", "run: 'mine.py:fails' fails", "KeyError"),
    ("solve run.json -o no/out.json", "-o: got 'no/out.json'", "a file in one is allowed"),
    ("solve run.json -o folder", "-o: got 'folder'", "a file in one is allowed"),
    ("solve run.json -o run.json/x", "-o: got 'run.json/x'", "a file in one is allowed"),
    ("solve run.json -o", "-o", "allowed: see scoreproof solve --help"),
    ("report --study digit", "study: got 'digit'", "or a TOML file is allowed"),
    ("report --study no.toml", "study: got 'no.toml'", "or a TOML file is allowed"),
    ("report --study torn.toml", "study: got 'torn.toml'", "TOML is allowed"),
    ("report --study unknown.toml", "unknown.toml: sead: got 0", "nearest: seed"),
    ("report --out run.json", "--out: got 'run.json'", "a folder is allowed"),
    ("report --images cifar", "--images: 'cifar'", "neither 'digits' nor 'fashion'"),
    ("teleport --seed one", "--seed: got 'one'", "an integer is allowed"),
    ("teleport --tolerance=low", "--tolerance: got 'low'", "a number is allowed"),
    ("teleport --data=cifar", "--data: 'cifar' is neither", "nor a folder of pictures"),
    ("report --workers -1", "--workers", "allowed"),
]


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("json_too", [False, True], ids=["", "json"])
@pytest.mark.parametrize(("line", "named", "allowed"), REFUSED, ids=[line for line, *_ in REFUSED])
def test_bad_input_is_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    line: str,
    named: str,
    allowed: str,
    json_too: bool,
) -> None:
    before = contents(folder)
    assert main([*line.split(), *(["--json"] if json_too and line else [])]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("scoreproof: ")
    assert said.err.endswith("\n")
    assert said.err.count("\n") == 1
    assert named in said.err
    assert allowed in said.err
    assert contents(folder) == before


@pytest.mark.parametrize("error", [KeyError, TypeError, AttributeError])
def test_our_own_mistakes_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def mistaken(_: Any) -> None:
        raise error("ours")

    monkeypatch.setattr(commands, "cite", mistaken)
    with pytest.raises(error, match="ours"):
        main(["cite"])


def test_an_interrupt_is_no_error_of_the_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "cite", interrupted)
    assert main(["cite"]) == 130
    assert capsys.readouterr() == ("", "scoreproof: interrupted\n")
