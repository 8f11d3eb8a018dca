"""Recipes: the tables of papers, read from the .toml files beside this module, and checked.

A file has the paper, its tables and their rows; what a row leaves out is the table's, what a table
leaves out is the file's, and ``when`` overrides both for some numbers of calls. A row's key
``best`` lists options of which the paper reports the best run; ``blocked`` says why a number
cannot be reproduced. How sure a number is:

    paper        read in the paper               abstract     in its abstract
    code         in the authors' README          slides       in slides of others
    plot         read from a picture             unconfirmed  remembered, found in no source
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from solvers.grids import RULES
from solvers.method import entry

HERE = Path(__file__).parent
CHECKPOINTS = "checkpoints.toml"
SURE = ("paper", "abstract", "code", "slides", "plot", "unconfirmed")
METRICS = ("FID", "latent MSE", "images per second")


@dataclass(frozen=True, kw_only=True)
class Network:
    """The checkpoint of a recipe.

    ``ends`` are the first and last times of a run on the network's own schedule; ``config`` is a
    published configuration of the architecture, ``arguments`` are its own where there is none;
    ``also`` is the same network in diffusers, with these arguments; ``parameters`` is how many
    were published.
    """

    name: str
    file: str
    project: str
    licence: str
    architecture: str
    predicts: str
    schedule: str
    shape: tuple[int, int, int]
    ends: tuple[float, float]
    classes: int = 0
    latent: bool = False
    text: int | None = None
    classifier: str | None = None
    config: str | None = None
    also: str | None = None
    parameters: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """The model's l, s and b at ``nodes`` + 1 levels, from ``points`` samples a level."""

    nodes: int
    points: int


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a paper, and the run that it is of."""

    shown: str
    nfe: int
    paper: float
    sure: str
    method: str
    grid: str
    ends: tuple[float, float]
    calls: int = 1
    odd: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    best: tuple[Mapping[str, Any], ...] = ({},)
    schedule: Mapping[str, Any] | None = None
    statistics: Statistics | None = None
    teleport: float | None = None
    skipped: int = 0
    note: str | None = None
    blocked: str | None = None

    @property
    def steps(self) -> int:
        """Intervals of the grid; of a method with a ladder its calls."""
        return self.nfe // self.calls

    @property
    def finish(self) -> str:
        """What follows the last step."""
        return self.odd or "none" if self.nfe % self.calls else "none"

    @property
    def moments(self) -> bool:
        """Whether the run needs the mean and the covariance of the data."""
        return self.teleport is not None or self.skipped > 0

    @property
    def made(self) -> int:
        """Calls that the run makes: fewer than ``nfe`` where steps do not fill it."""
        return self.steps * self.calls + (self.finish == "denoise")

    def variants(self) -> list[dict[str, Any]]:
        """The options of every run; with a ladder the number of calls is one of them."""
        ladder = {"nfe": self.nfe} if entry(self.method).ladder else {}
        return [{**self.options, **more, **ladder} for more in self.best]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One table of a paper."""

    name: str
    paper: str
    title: str
    where: str | None
    network: Network
    metric: str
    data: str
    images: int
    cells: tuple[Cell, ...]
    guidance: float | None = None
    reference: Mapping[str, Any] | None = None
    note: str | None = None

    @property
    def source(self) -> str:
        """Where the numbers stand."""
        return f"arXiv {self.paper}" + (f", {self.where}" if self.where else "")

    def chosen(self, *, nfe: tuple[int, ...] = (), rows: tuple[str, ...] = ()) -> tuple[Cell, ...]:
        """The cells of these numbers of calls and rows; of all where none are named.

        Raises:
            ValueError: a number or row that the table does not have.
        """
        for name, given, had in (
            ("--nfe", nfe, {c.nfe for c in self.cells}),
            ("--row", rows, {c.shown for c in self.cells}),
        ):
            for value in given:
                if value not in had:
                    listed = ", ".join(str(v) for v in sorted(had))
                    raise ValueError(f"{name}: got {value!r}; {self.name} has {listed}")
        picked = (c for c in self.cells if not nfe or c.nfe in nfe)
        return tuple(c for c in picked if not rows or c.shown in rows)


def recipe(name: str) -> Recipe:
    """The recipe of a name; ``ValueError`` for another."""
    known = recipes()
    if name not in known:
        raise ValueError(f"NAME: got {name!r}; {', '.join(known)} are allowed")
    return known[name]


@cache
def recipes() -> dict[str, Recipe]:
    """All, by name."""
    found: dict[str, Recipe] = {}
    for file in sorted(HERE.glob("*.toml")):
        if file.name != CHECKPOINTS:
            for made in read(tomllib.loads(file.read_text(encoding="utf-8")), file.name):
                if made.name in found:
                    raise ValueError(f"{file.name}: got {made.name!r} twice; once is allowed")
                found[made.name] = made
    return found


@cache
def networks() -> dict[str, Network]:
    """All that recipes need, by name."""
    text = (HERE / CHECKPOINTS).read_text(encoding="utf-8")
    return {name: _network(name, about) for name, about in tomllib.loads(text).items()}


def read(page: Mapping[str, Any], file: str) -> list[Recipe]:
    """The recipes of a file's values.

    Raises:
        ValueError: a key, method, grid or network that does not exist, or another number of
            values than of calls.
    """
    tables = {k: v for k, v in page.items() if isinstance(v, dict)}
    common = {k: v for k, v in page.items() if not isinstance(v, dict)}
    return [_recipe(name, {**common, **table}, f"{file}.{name}") for name, table in tables.items()]


def _network(name: str, about: Mapping[str, Any]) -> Network:
    rest = {k: v for k, v in about.items() if k != "network"}
    rest |= {"shape": tuple(about["shape"]), "ends": tuple(about["ends"])}
    return _made(Network, {"name": name, "arguments": about.get("network", {}), **rest}, name)


TABLE = ("paper", "title", "where", "metric", "data", "images", "guidance", "reference", "note")
"""What belongs to a whole table; every other key is a cell's."""


def _recipe(name: str, table: Mapping[str, Any], at: str) -> Recipe:
    about = {k: table[k] for k in TABLE if k in table}
    network = networks().get(table.get("checkpoint", ""))
    if network is None:
        raise ValueError(f"{at}.checkpoint: got {table.get('checkpoint')!r}; one of {CHECKPOINTS}")
    if about.get("metric") not in METRICS:
        raise ValueError(f"{at}.metric: got {about.get('metric')!r}; one of {METRICS} is allowed")
    inner = {k: v for k, v in table.items() if k not in (*TABLE, "checkpoint", "row")}
    cells = [
        cell
        for row in table["row"]
        for cell in _cells({"ends": network.ends, **inner}, row, f"{at}.{row.get('shown')}")
    ]
    own = {"name": name, "network": network, "cells": tuple(cells), "where": None}
    return _made(Recipe, {**own, **about}, at)


def _cells(table: Mapping[str, Any], row: Mapping[str, Any], at: str) -> list[Cell]:
    rules = [*table.get("when", ()), *row.get("when", ())]
    whole = _merged({k: v for k, v in table.items() if k != "when"}, row)
    counts, values = whole.pop("nfe"), whole.pop("values")
    whole.pop("when", None)
    if len(counts) != len(values):
        raise ValueError(f"{at}: got {len(values)} values of {len(counts)} numbers of calls")
    cells = []
    for nfe, value in zip(counts, values, strict=True):
        here = whole
        for rule in rules:
            if nfe in rule["nfe"]:
                here = _merged(here, {k: v for k, v in rule.items() if k != "nfe"})
        cells.append(_cell({**here, "nfe": nfe, "paper": float(value)}, at))
    return cells


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The upper's values; options are joined."""
    options = {**below.get("options", {}), **above.get("options", {})}
    return {**below, **above, "options": options}


def _cell(values: Mapping[str, Any], at: str) -> Cell:
    given = {**values, "ends": tuple(float(t) for t in values["ends"])}
    if "best" in given:
        given["best"] = tuple(given["best"])
    if "statistics" in given:
        given["statistics"] = _made(Statistics, given["statistics"], at)
    if given.get("grid") not in RULES:
        raise ValueError(f"{at}.grid: got {given.get('grid')!r}; {', '.join(RULES)} are allowed")
    if not given["sure"].startswith((*SURE, "table ")):
        raise ValueError(f"{at}.sure: got {given['sure']!r}; {', '.join(SURE)} are allowed")
    cell = _made(Cell, given, at)
    for options in cell.variants():
        method = entry(cell.method)
        method.resolve({k: v for k, v in options.items() if k in method.options})
    return cell


def _made(kind: type, values: Mapping[str, Any], at: str) -> Any:
    names = {f.name for f in fields(kind)}
    for key in values:
        if key not in names:
            raise ValueError(f"{at}: got the key {key!r}; {', '.join(sorted(names))} are allowed")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{at}: {error}") from None
