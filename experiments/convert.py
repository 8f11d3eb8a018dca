"""The command ``convert``: files of others in the formats of this program.

    l.npz sb.npz OUT.npz    published statistics of DPM-Solver-v3, with their range of λ, as one
    FILE OUT                a network (.pkl, .pth, .pt, .ckpt or a folder) as a folder of tensors

What FILE is decides; options of the other kind are refused.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from experiments import store
from experiments.answer import Answer
from experiments.terminal import bar, say

STATISTICS = {"lam_range": "--lam-range", "schedule": "--schedule", "t_range": "--t-range"}
NETWORK = {"config": "--config"}


def arguments(p: ArgumentParser) -> None:
    """Those of the command."""
    p.add_argument("files", nargs="+", metavar="FILE", help="a network, or l.npz and sb.npz")
    p.add_argument("out", metavar="OUT", help="a new folder; for statistics a .npz")
    p.add_argument(
        "--config", metavar="NAME", help="of weights alone: a published name, or a JSON file"
    )
    both = {"nargs": 2, "type": float}
    p.add_argument("--lam-range", **both, metavar=("LO", "HI"), help="of the statistics' nodes")
    p.add_argument("--schedule", metavar="NAME", help="or the range of a run on this schedule")
    p.add_argument("--t-range", **both, metavar=("START", "END"), help="between these times")


def convert(args: Namespace) -> Answer:
    """A network, or statistics."""
    tables = [name for name in args.files if name.endswith(".npz")]
    if len(args.files) == 1 and not tables:
        _without(args, STATISTICS, "statistics (.npz)")
        return _network(args.files[0], args.out, args.config)
    if len(tables) < len(args.files):
        raise ValueError(
            f"FILE: got {' '.join(args.files)}; one network, or l.npz and sb.npz, are allowed"
        )
    _without(args, NETWORK, "a network")
    return _statistics(args)


def _without(args: Namespace, options: dict[str, str], kind: str) -> None:
    for name, option in options.items():
        if (value := getattr(args, name)) is not None:
            given = " ".join(map(str, value)) if isinstance(value, list) else value
            raise ValueError(f"{option}: got {given}; it is allowed with {kind} only")


def _network(file: str, out: str, config: str | None) -> Answer:
    from experiments.checkpoints import convert

    with bar("convert") as tick:
        info, parameters = convert(file, out, config=config, progress=tick)
    value = {
        "written": out,
        "architecture": info.architecture,
        "parameters": parameters,
        "predicts": info.predicts,
        "schedule": info.schedule["name"],
        "shape": list(info.shape),
        "classes": info.classes,
        "context": info.context,
        "provenance": info.provenance,
    }
    text = (
        f"{out}: {info.architecture}, {parameters / 1e6:.3g} million parameters, predicts"
        f" {info.predicts} of {' x '.join(map(str, info.shape))}"
    )
    return Answer(value, lambda: say(text))


def _statistics(args: Namespace) -> Answer:
    from experiments.published_statistics import ends, statistics

    out = store.writable(args.out, "OUT")
    low, high = ends(args.lam_range, args.schedule, args.t_range)
    made = statistics(args.files, low, high)
    made.save(out)
    nodes, coordinates = made.l.shape
    value = {"written": str(out), "nodes": nodes, "coordinates": coordinates, "lam": [low, high]}
    text = f"{out}: {nodes} nodes from lam = {low:.9g} to {high:.9g}, D = {coordinates}"
    return Answer(value, lambda: say(text))
