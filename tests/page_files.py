"""The pages, and what their command lines name: made where a line runs, when it names it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.checkpoints.checkpoint import ARCHITECTURES
from experiments.pages import blocks
from experiments.reproduce.recipe import recipe
from tests import checkpoint_files, galaxy_files, recipe_files, sampling_sources
from tests.picture_files import coloured

ROOT = Path(__file__).parents[1]
RULES = ROOT / "CONTRIBUTING.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", RULES, ROOT / "notebooks" / "README.md", *DOCS]
NAME = re.compile(r"[\w.-]+")
STUDY = """
name = "tiny"
target = "digits"
components = 2
floor = 1e-3
seed = 0
samples = 4
rho_start = 80.0
rho_end = 0.02
nfe = [5]
work = 5
levels = [4.0]
methods = ["ddim"]

[sheet]
methods = ["ddim"]
nfe = 5
samples = 2

[[grids]]
name = "karras"
schedule = "edm"
"""
SOLVER = """
from fractions import Fraction
from solvers.forms import NOISE_LAMBDA
from solvers.method import Row, Weights, interpolate, method


@method
def function(s):
    return Weights(b=Row(now=(s.phi(1),)))


@method
def second(s, *, r1=Fraction(1, 2)):
    stage = Row(now=(s.phi(1, r1) * r1,), c=r1)
    w = s.phi(2) / r1
    return Weights(stages=(stage,), b=Row(now=(s.phi(1) - w, w)))


@method
def adams(s, *, q: int):
    b = interpolate(s, 1, [0, *(s.past(j) for j in range(1, q))])
    return Weights(b=Row(now=b[:1], past=b[1:]))
"""


def title(page: Path) -> str:
    """How a test names it."""
    return page.relative_to(ROOT).as_posix()


def example() -> dict[str, Any]:
    """The run of README.md."""
    (text,) = (text for language, text in blocks(ROOT / "README.md") if language == "json")
    return json.loads(text)


def run(file: Path) -> None:
    """The run itself."""
    file.write_text(json.dumps(example()))


def scire(file: Path) -> None:
    """The same with a method of SciRE."""
    file.write_text(json.dumps({**example(), "method": "scire_v1_2"}))


def problem(file: Path) -> None:
    """Its law alone."""
    file.write_text(json.dumps({"problem": example()["problem"]}))


def statistics(file: Path) -> None:
    """Published statistics: l.npz, or sb.npz."""
    arrays: dict[str, Any] = {name: np.full((9, 3), 0.1) for name in file.stem}
    np.savez(file, **arrays)


def edm(file: Path) -> None:
    """A network of EDM with random weights."""
    small = {"model_type": "SongUNet", **checkpoint_files.SMALL}
    interface = {"img_resolution": checkpoint_files.SIDE, "img_channels": 3}
    module = ARCHITECTURES["EDMPrecond"](**interface, **small)
    checkpoint_files.write_edm(file, module, small)


def cifar(file: Path) -> None:
    """The network of a recipe, narrow."""
    recipe_files.edm(recipe("v3-cifar10-edm").network, file, False)


MAKERS: dict[str, Callable[[Path], Any]] = {
    "run.json": run,
    "scire.json": scire,
    "problem.json": problem,
    "my_solver.py": lambda file: file.write_text(SOLVER),
    "tiny.toml": lambda file: file.write_text(STUDY),
    "tiny_galaxies.toml": lambda file: file.write_text(galaxy_files.STUDY),
    "eqx_hsc_ScoreNet32.eqx": lambda file: galaxy_files.write(file, galaxy_files.leaves()),
    "l.npz": statistics,
    "sb.npz": statistics,
    "network.pkl": edm,
    "edm-cifar10-32x32-uncond-vp.pkl": cifar,
    "--data cifar10": lambda folder: coloured(folder, 32),
    "--data pictures": lambda folder: coloured(folder, 32),
    "--checkpoint net": sampling_sources.digits,
    "--checkpoint trained": sampling_sources.digits,
    "docs/orders.svg": lambda file: file.parent.mkdir(),
}


def make(line: str, place: Path) -> None:
    """The files that a line reads, unless an earlier line has made them."""
    for key, maker in MAKERS.items():
        file = place / key.split()[-1]
        named = re.search(rf"(?<![\w-]){re.escape(key)}(?![\w.-])", line)
        if named and not file.exists():
            maker(file)
