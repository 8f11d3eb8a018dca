"""``scoreproof run residual``: what the Gaussian residual gains over plain EDM, image by image."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments import store
from experiments.answer import Answer
from experiments.rows import Row
from experiments.study import check, load
from experiments.terminal import bar, say, table
from experiments.training import Training

RESULTS = Path(__file__).parent / "results" / "residual.json"
SOURCES = (
    "solvers",
    "gaussian_score",
    "experiments/backbones.py",
    "experiments/compare_training.py",
    "experiments/data.py",
    "experiments/datamodules.py",
    "experiments/fashion.py",
    "experiments/folder.py",
    "experiments/lightning.py",
    "experiments/loading.py",
    "experiments/module.py",
    "experiments/networks.py",
    "experiments/residual.py",
    "experiments/samples.py",
    "experiments/targets.py",
    "experiments/tensors.py",
    "experiments/train.py",
    "experiments/training.py",
    "experiments/validation.py",
)
"""What the rows rest on."""


@dataclass(frozen=True)
class ResidualStudy:
    """Both trainings of a recipe for some seeds; ``residual`` and ``seed`` of it do not count."""

    kind: str
    name: str
    seeds: tuple[int, ...]
    training: Training

    def __post_init__(self) -> None:
        check("kind", self.kind, self.kind == "residual", "'residual'")
        one_each = 0 < len(self.seeds) == len({s for s in self.seeds if s >= 0})
        check("seeds", self.seeds, one_each, "one integer >= 0 or more, each another,")

    def to_json(self) -> dict[str, Any]:
        """Plain values: what a run's id is computed from."""
        return asdict(self)


def residual(args: Namespace) -> Answer:
    """All rows of the study; trainings that were stopped go on."""
    from experiments.compare_training import residual_rows

    out = store.writable(args.summary, "--summary") if args.summary else None
    study = load(args.study, ResidualStudy)
    run = store.open_run(args.out, f"residual-{study.name}", study.to_json(), SOURCES)
    with run.alone(), bar(args.study) as tick:
        rows = residual_rows(study.training, run.folder, seeds=study.seeds, progress=tick)
    made = run.about()
    del made["certificates"]  # no proof is behind these rows
    value = {**made, "rows": rows}
    if out is not None:
        with store.replacing(out) as file:
            file.write(store.line(value) + "\n")

    def show() -> None:
        say("squared error of the residual over that of plain EDM; least to most, by seed")
        images = sorted({row["images"] for row in rows if row["images"]})
        table(("sigma", *(f"{n:,} images" for n in images)), gains(rows))

    return Answer(value, show)


def gains(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """A line a noise level, a cell a number of images: least to most, over seeds, of the ratio."""
    error = {(r["training"], r["seed"], r["images"], r["sigma"]): r["error"] for r in rows}
    seeds, images, sigmas = (
        sorted({r[key] for r in rows if r["images"]}) for key in ("seed", "images", "sigma")
    )

    def cell(n: int, sigma: float) -> str:
        found = sorted(error["gaussian", s, n, sigma] / error["edm", s, n, sigma] for s in seeds)
        return f"{found[0]:.2f} to {found[-1]:.2f}"

    return [(f"{sigma:g}", *(cell(n, sigma) for n in images)) for sigma in sigmas]
