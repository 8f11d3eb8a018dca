"""``scoreproof run network``: the whole study of a checkpoint, and the best of its runs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from experiments import store
from experiments.answer import Answer
from experiments.sweep import needed
from experiments.terminal import bar, say, table

PRETRAINED = Path(__file__).parents[1] / "pretrained" / "fashion"


def network(args: Namespace) -> Answer:
    """All rows of a study of a network; those of an earlier run are kept."""
    needed()
    from experiments.network_study import summary as kept
    from experiments.network_study.run import run
    from experiments.network_study.study import NetworkStudy
    from experiments.study import load
    from experiments.sweep.cluster import workers
    from experiments.teleported import cells, heads

    out = store.writable(args.summary, "--summary") if args.summary else None
    study = load(args.study, NetworkStudy)
    where = args.checkpoint or PRETRAINED
    with workers(args.workers, args.scheduler) as client:
        found = run(study, where, args.out, client, stage=bar)
    value = kept.summary(study, found)
    if out is not None:
        with store.replacing(out) as file:
            file.write(store.line(value) + "\n")

    def show() -> None:
        refused = sum("refused" in row for row in found.rows)
        say(f"{len(found.rows)} runs, {refused} refused; teleports land at σ = {found.level:g}")
        for by, name in kept.MEASURES.items():
            best = kept.winners(found.rows, study.nfe, by)
            table(heads(name), cells(best, by), title=f"\nthe smallest {name}")

    return Answer(value, show)
