"""``scoreproof sample``: a set of images of a checkpoint, begun or completed."""

from __future__ import annotations

import argparse
import math
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import store
from experiments.answer import Answer
from experiments.commands import option
from experiments.terminal import bar, say

if TYPE_CHECKING:
    from experiments.sampling.job import Job

TILES = 100
"""Images on a sheet."""


def arguments(p: ArgumentParser) -> None:
    """Of the command."""
    p.add_argument(
        "--checkpoint",
        required=True,
        metavar="DIR",
        help="a folder, .pkl or .pth",
    )
    p.add_argument("--config", metavar="NAME", help="which network a score_sde .pth is of")
    p.add_argument("--method", required=True, metavar="NAME", help="see list methods")
    p.add_argument("--steps", type=int, metavar="N", help="needed unless the method is adaptive")
    p.add_argument("--seeds", type=_seeds, required=True, metavar="FIRST-LAST", help="or one seed")
    p.add_argument("--out", required=True, metavar="DIR", help="new, or of the same job")
    p.add_argument("--batch", type=int, metavar="B", help="images in a file; default 64")
    p.add_argument("--form", metavar="FORM", help="another canonical form (list forms)")
    p.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="repeatable")
    p.add_argument("--schedule", metavar="NAME", help="for networks that answer on every schedule")
    p.add_argument("--grid", metavar="NAME", help="see list grids; default by the schedule")
    p.add_argument("--grid-option", action="append", default=[], metavar="KEY=VALUE")
    p.add_argument("--sigma-max", type=_sigma, metavar="S", help="highest sigma/alpha")
    p.add_argument("--sigma-min", type=_sigma, metavar="S", help="lowest sigma/alpha")
    p.add_argument("--finish", metavar="HOW", help="none (default) or denoise")
    p.add_argument("--teleport", type=_level, metavar="LEVEL", help="auto, or sigma/alpha")
    p.add_argument("--tolerance", type=float, metavar="NATS", help="of auto; default 0.05")
    p.add_argument("--prior", metavar="NAME", help="of the jump: reference (default) or matched")
    p.add_argument("--corrected", action="store_true", default=None, help="correct the landing")
    p.add_argument("--history", metavar="NAME", help="at the landing: gaussian (default) or none")
    p.add_argument(
        "--label", "--labels", type=_labels, metavar="K,K..", help="or cycle", dest="labels"
    )
    p.add_argument("--guidance", type=float, metavar="S", help="scale; 1 is none")
    p.add_argument("--statistics", metavar="FILE", help="moments, or statistics of the model")
    p.add_argument("--precision", metavar="NAME", help="fp32 (default) or bf16")
    p.add_argument("--compile", action="store_true", default=None, help="the network, by torch")
    p.add_argument("--channels-last", action="store_true", default=None, help="memory format")
    p.add_argument("--devices", metavar="N", default="auto", help="default: all GPUs, or the CPU")
    p.add_argument("--nodes", type=int, default=1, metavar="N", help="default 1")
    p.add_argument("--sheet", metavar="FILE.png", help="a picture of the first images")


def sample(args: Namespace) -> Answer:
    """Make what is missing."""
    from experiments.sampling.engine import sample_set

    job = job_of(args)
    sheet = store.writable(args.sheet, "--sheet") if args.sheet else None
    if sheet is not None and sheet.suffix != ".png":
        raise ValueError(f"--sheet: got {args.sheet!r}; FILE.png is allowed")
    devices = _devices(args.devices)
    if args.nodes < 1:
        raise ValueError(f"--nodes: got {args.nodes}; an integer >= 1 is allowed")
    with bar("sample") as tick:
        done = sample_set(job, args.out, devices=devices, nodes=args.nodes, progress=tick)
    if not done.leads:
        raise SystemExit  # a process that Lightning began; the first one answers
    if sheet is not None:
        _draw(done.folder, job, sheet)
    value = {
        "folder": str(done.folder),
        "seeds": [job.first, job.last],
        "made": done.made,
        "found": done.found,
        "seconds": done.seconds,
    }
    text = f"{done.folder}: seeds {job.first} to {job.last}, {done.made} images made,"
    return Answer(value, lambda: say(f"{text} {done.found} were there"))


def job_of(args: Namespace) -> Job:
    """What the command line asks for; what is not given is `Job`'s default.

    Raises:
        ValueError: see `Job`; or no steps for a method that needs them.
    """
    from experiments.methods import find
    from experiments.sampling.job import Job

    _of_a_teleport(args)
    given = vars(args)
    names = (
        "checkpoint config method batch form grid finish teleport tolerance prior corrected"
        " history labels guidance statistics precision compile channels_last"
    ).split()
    values: dict[str, Any] = {k: given[k] for k in names if given[k] is not None}
    values["options"] = dict(option(text) for text in args.option)
    values["grid_options"] = dict(option(text, "--grid-option") for text in args.grid_option)
    values["first"], values["last"] = args.seeds
    if args.schedule is not None:
        values["schedule"] = {"name": args.schedule}
    adaptive = find(args.method, form=args.form).controller is not None
    if args.steps is None and not adaptive:
        raise ValueError(f"--steps: needed with {args.method}; an integer >= 1 is allowed")
    if args.steps is not None and adaptive:
        raise ValueError(
            f"--steps: got {args.steps}; none is allowed, {args.method} finds its own"
        )
    values["steps"] = 1 if args.steps is None else args.steps
    if (args.sigma_min, args.sigma_max) != (None, None):
        values["levels"] = (args.sigma_min, args.sigma_max)
    return Job(**values)


def _of_a_teleport(args: Namespace) -> None:
    """``ValueError`` for an option of a teleport that there is not."""
    needed = {
        "tolerance": "--teleport auto",
        **dict.fromkeys(("prior", "corrected", "history"), "--teleport"),
    }
    for name, needs in needed.items():
        given = getattr(args, name)
        there = args.teleport == "auto" if name == "tolerance" else args.teleport is not None
        if given is not None and not there:
            raise ValueError(f"--{name}: got {given}; it is allowed with {needs} only")


def _draw(folder: Path, job: Job, file: Path) -> None:
    from experiments.sampling.shards import read_set
    from experiments.sampling.sheet import tiled

    shown = range(job.first, min(job.last + 1, job.first + TILES))
    tiled(read_set(folder, shown).images).save(file)


def _seeds(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError(f"got {text!r}; FIRST-LAST is allowed")
    return int(found[1]), int(found[2] or found[1])


def _labels(text: str) -> Any:
    if text == "cycle":
        return text
    if not re.fullmatch(r"\d+(,\d+)*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"got {text!r}; classes K,K.. or cycle is allowed")
    return tuple(int(k) for k in text.split(","))


def _level(text: str) -> str | float:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; auto or a level is allowed") from None


def _sigma(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}; a number > 0 is allowed")
    return value


def _devices(text: str) -> int | str:
    if text == "auto":
        return text
    if not re.fullmatch(r"[1-9]\d*", text, re.ASCII):
        raise ValueError(f"--devices: got {text!r}; an integer >= 1 or auto is allowed")
    return int(text)
