"""The project's files agree with each other, and each package imports only what it may."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
PACKAGES = ["theory", "solvers", "gaussian_score", "experiments"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def name_of(requirement: str) -> str:
    """The distribution in "pyright[nodejs]>=1", in lower case."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


# --- metadata -------------------------------------------------------------------------------


def pip_part() -> list[str]:
    entries = yaml.safe_load(text("environment.yml"))["dependencies"]
    return next(entry["pip"] for entry in entries if isinstance(entry, dict))


def test_environment_yml_installs_what_make_test_installs() -> None:
    (extras,) = re.findall(r"\.dev\.stamp:.*\n\t.*-e \"\.\[(.*?)\]\"", text("Makefile"))
    assert pip_part() == ["-c constraints.txt", f"-e .[{extras}]"]
    assert set(extras.split(",")) <= set(EXTRAS)
    assert re.search(r"^PIP := .* -c constraints\.txt$", text("Makefile"), re.MULTILINE)


def test_conda_gives_the_interpreter_and_pip_only() -> None:
    entries = yaml.safe_load(text("environment.yml"))["dependencies"]
    plain = [entry for entry in entries if isinstance(entry, str)]
    assert plain == [f"python{PROJECT['project']['requires-python']}", "pip"]


def test_constraints_pin_torch_and_name_only_declared_packages() -> None:
    lines = [line for line in text("constraints.txt").splitlines() if line[:1] not in ("", "#")]
    assert "torch==2.13.0" in lines
    declared = {name_of(r) for r in sum(EXTRAS.values(), PROJECT["project"]["dependencies"])}
    assert {name_of(line) for line in lines} <= declared
    assert all(re.fullmatch(r"[\w.-]+([=<>]=?[\d.]+,?)+", line) for line in lines)


def test_no_file_asks_for_torchvision() -> None:
    # The CPU build of torch cannot import it, and other packages import it wherever they find it.
    unwanted = "torch" + "vision"
    for name in ("pyproject.toml", "constraints.txt", "environment.yml", "Makefile", ".ci/run"):
        assert unwanted not in text(name), name
    for path in python_files("."):
        names = [name for name, _ in imports(path.read_text(encoding="utf-8"))]
        assert unwanted not in {name.split(".")[0] for name in names}, path


def test_the_wheel_holds_the_four_packages() -> None:
    include = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert include == [pattern for name in PACKAGES for pattern in (name, f"{name}.*")]
    assert PROJECT["tool"]["importlinter"]["root_packages"] == PACKAGES


def test_continuous_integration_calls_make_test_and_nothing_else() -> None:
    assert text(".ci/run") == "#!/usr/bin/env bash\nset -eu\nmake test\n"
    assert os.access(ROOT / ".ci/run", os.X_OK)
    steps = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make test"]
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]


# --- addresses ------------------------------------------------------------------------------

REGISTRY = re.compile(
    r"https?://[\w.:@/-]*(?:pypi|pythonhosted|npmjs|anaconda|conda\.|debian\.org|download\.pytorch)"
)
MACHINE = re.compile(r"(?<![\w.~)\]}*])/(?:work|root|home)/")


def repository_files() -> list[Path]:
    """What git tracks or would track; without git, everything that is not hidden."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        names = [ROOT / name for name in listed.stdout.split("\0") if name]
        return [path for path in names if path.is_file()]
    inside = (path for path in ROOT.rglob("*") if path.is_file())
    return [p for p in inside if not any(s.startswith(".") for s in p.relative_to(ROOT).parts)]


def addresses(content: str) -> list[str]:
    return REGISTRY.findall(content) + MACHINE.findall(content)


def test_no_file_names_a_registry_or_a_machine() -> None:
    found = {}
    for path in repository_files():
        try:
            content = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if hits := addresses(content):
            found[str(path.relative_to(ROOT))] = hits
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "index-url = https://" + "pypi.org/simple",
        "see http://" + "files.pythonhosted.org/x.whl",
        "resolved https://registry." + "npmjs.org/x",
        "path = '" + "/home" + "/someone/data'",
        "cd /" + "work/main",
    ],
)
def test_an_address_would_be_seen(line: str) -> None:
    assert addresses(line)


# --- imports --------------------------------------------------------------------------------


def imports(source: str, package: str = "") -> Iterator[tuple[str, int]]:
    """Every imported dotted name with its line, inside functions and by name in a string too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__", "find_spec")
        ):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value), node.lineno


# Modules of solvers that need more than the standard library; every other one is pure.
NUMPY = ("solvers.coordinatewise", "solvers.piecewise", "solvers.statistics")
TORCH = (
    "solvers.adapters",
    "solvers.basis",
    "solvers.denoiser",
    "solvers.guidance",
    "solvers.sample",
)
EXACT = {"sympy", "mpmath", "flint", "gmpy2"}
DISTRIBUTION = {"sklearn": "scikit-learn", "flint": "python-flint", "PIL": "pillow"}


def within(name: str, prefixes: Any) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def allowed(module: str, name: str) -> bool:
    """Section by section: may this module of ours import that name?"""
    if name.split(".")[0] in sys.stdlib_module_names:
        return True
    impure = within(name, (*NUMPY, *TORCH))
    if within(module, TORCH):
        extra = {"diffusers"} if within(module, ["solvers.adapters"]) else set()
        return within(name, {"solvers", "numpy", "torch", *extra})
    if within(module, NUMPY):
        return within(name, {"solvers", "numpy"}) and not within(name, TORCH)
    if within(module, ["solvers"]):
        return within(name, {"solvers"}) and not impure
    if within(module, ["theory"]):
        return within(name, {"theory", "solvers", *EXACT}) and not impure
    if within(module, ["gaussian_score"]):
        externals = {"torch", "numpy", "scipy", "mpmath"}
        externals |= {"sklearn", "threadpoolctl"} if module == "gaussian_score.fits" else set()
        ours = {"gaussian_score", "solvers.schedules", "solvers.field"}
        return within(name, externals | ours)
    declared = {name_of(r) for k in EXTRAS if k != "dev" for r in EXTRAS[k]}
    declared |= {name_of(r) for r in PROJECT["project"]["dependencies"]}
    top = name.split(".")[0]
    distribution = DISTRIBUTION.get(top, top.replace("_", "-"))
    return within(name, PACKAGES) or distribution in declared


def offences(module: str, source: str, is_package: bool = False) -> list[str]:
    package = module if is_package else module.rpartition(".")[0]
    found = imports(source, package)
    return [f"{module}:{line} imports {name}" for name, line in found if not allowed(module, name)]


def python_files(folder: str) -> list[Path]:
    return [
        path
        for path in repository_files()
        if path.suffix == ".py" and path.is_relative_to((ROOT / folder).resolve())
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package: str) -> None:
    found = []
    for path in python_files(package):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        found += offences(module, path.read_text(encoding="utf-8"), is_package)
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("solvers.plan", "import numpy as np"),
        ("solvers.plan", "def late():\n    from torch.nn import Module"),
        ("solvers.plan", "from . import sample"),
        ("solvers.plan", "from solvers.sample import sample"),
        ("solvers.methods.new", "from ..denoiser import Denoiser"),
        ("solvers.methods.new", "importlib.import_module('mpmath')"),
        ("solvers.methods.new", "import experiments"),
        ("solvers.statistics", "import torch"),
        ("solvers.statistics", "import solvers.sample"),
        ("solvers.sample", "from theory.order import prove_order"),
        ("solvers.sample", "import gaussian_score.mixture"),
        ("theory.order", "__import__('torch')"),
        ("theory.order", "import pytorch_lightning"),
        ("theory.order", "from gaussian_score import mixture"),
        ("theory.order", "from solvers.denoiser import Denoiser"),
        ("gaussian_score.mixture", "from solvers.plan import plan"),
        ("gaussian_score.mixture", "from solvers import forms"),
        ("gaussian_score.reference", "import sympy"),
        ("gaussian_score.reference", "import experiments.data"),
        ("experiments.cli", "from tests.conftest import SIZE"),
        ("experiments.cli", "import undeclared"),
        ("experiments.cli", "import pytest"),
    ],
)
def test_a_wrong_import_would_be_seen(module: str, source: str) -> None:
    assert len(offences(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("solvers.plan", "from fractions import Fraction\nfrom . import field"),
        ("solvers.methods.new", "from ..method import Row\nfrom solvers.forms import NOISE_RHO"),
        ("solvers.sample", "import torch\nfrom solvers.plan import plan"),
        ("theory.order", "import sympy, mpmath\nfrom solvers import method"),
        ("gaussian_score.mixture", "import torch\nfrom solvers import schedules"),
        ("experiments.data", "def late():\n    from sklearn.mixture import GaussianMixture"),
    ],
)
def test_right_imports_pass(module: str, source: str) -> None:
    assert offences(module, source) == []


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from importlinter.cli import lint_imports as run; sys.exit(run(no_cache=1))"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_import_contracts() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("theory/new.py", "import torch", "theory never loads torch"),
        ("theory/new.py", "import gaussian_score", "do not know each other"),
        ("solvers/methods/new.py", "import mpmath", "standard library alone"),
        ("solvers/methods/new.py", "import solvers.plan", "inside solvers"),
        ("solvers/new.py", "", "inside solvers"),
        ("gaussian_score/new.py", "import solvers.plan", "nothing else"),
        ("gaussian_score/new.py", "import experiments.data", "do not know each other"),
    ],
)
def test_a_broken_contract_would_be_seen(
    tmp_path: Path, file: str, line: str, contract: str
) -> None:
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / file).write_text(line + "\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert re.search(rf"{contract}.*BROKEN", result.stdout)


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in json.loads(result.stdout)}


def modules_of(package: str, without: tuple[str, ...] = ()) -> str:
    """The statement that imports a package with all its modules."""
    names = []
    for path in python_files(package):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        if parts[-1] != "__main__" and not within(module, without):
            names.append(module)
    return f"import {', '.join(sorted(names))}"


HEAVY = {"torch", "numpy", "scipy", "sympy", "mpmath", "lightning", "pytorch_lightning"}


def test_theory_loads_no_torch() -> None:
    assert "theory" in loaded_by("import theory")
    for statement in ("import theory", modules_of("theory")):
        assert loaded_by(statement).isdisjoint({"torch", "lightning", "pytorch_lightning"})


def test_the_pure_part_of_solvers_loads_the_standard_library_alone() -> None:
    for statement in ("import solvers", modules_of("solvers", without=(*NUMPY, *TORCH))):
        assert loaded_by(statement).isdisjoint(HEAVY)


def test_loading_would_be_seen() -> None:
    assert {"mpmath", "numpy"} <= loaded_by("import mpmath, numpy")


# --- notebooks and fixtures -----------------------------------------------------------------


def cells(path: Path) -> list[tuple[str, str]]:
    import jupytext

    return [(cell.cell_type, cell.source.strip()) for cell in jupytext.read(path).cells]


def test_notebook_pairs_are_in_step() -> None:
    sources = {path.stem: path for path in (ROOT / "notebooks").glob("*.py")}
    pairs = {path.stem: path for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert sources, "no notebook to check"
    assert sources.keys() == pairs.keys()
    for name in sources:
        assert cells(sources[name]) == cells(pairs[name]), f"{name}: run `make notebooks`"


def test_an_unequal_notebook_pair_would_be_seen(tmp_path: Path) -> None:
    import jupytext

    source = tmp_path / "a.py"
    source.write_text("# %% [markdown]\n# Words\n\n# %%\n1 + 1\n")
    jupytext.write(jupytext.read(source), tmp_path / "a.ipynb")
    assert (
        cells(source) == cells(tmp_path / "a.ipynb") == [("markdown", "Words"), ("code", "1 + 1")]
    )
    source.write_text(source.read_text().replace("1 + 1", "1 + 2"))
    assert cells(source) != cells(tmp_path / "a.ipynb")


def test_no_test_reaches_the_network() -> None:
    with socket.socket() as away, pytest.raises(PermissionError, match="tried to reach"):
        away.connect(("192.0.2.1", 80))


def test_one_thread(size: int) -> None:
    import torch

    assert torch.get_num_threads() == 1
    assert size >= 1
