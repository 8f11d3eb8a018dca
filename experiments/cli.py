"""The command ``scoreproof``: parse, run, print; bad input is one line and exit status 2."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NoReturn

from experiments import commands, runs, store
from experiments import convert as converting
from experiments import map_command as mapping
from experiments.answer import Answer
from experiments.metrics import command as measuring
from experiments.reproduce import command as reproducing
from experiments.sampling import command as sampling

WHAT = ("methods", "schedules", "grids", "forms", "options")
FAILURES = (ValueError, ArithmeticError, OSError)
"""What bad input raises; anything else is our mistake and keeps its traceback."""
INTERRUPTED = 130
EXTRAS = {
    "dask": "scale",
    "diffusers": "train",
    "distributed": "scale",
    "pytorch_lightning": "train",
    "safetensors": "train",
    "torchmetrics": "train",
    "transformers": "text",
}
"""What brings the packages that only some commands need."""
NUMBERS = {"int": "an integer", "float": "a number"}
SPOKEN = {
    "FILE": ("--checkpoint", "--classifier", "--embeddings", "--stats", "--weights"),
    "grid": ("--grid-option",),
    "grid.name": ("--grid",),
    "labels": ("--labels", "--label"),
    "levels": ("--sigma-min", "--sigma-max"),
    "options": ("--option",),
    "source": ("--data", "--images"),
}
"""Options by what messages call their values, where that is another name."""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are ours to print."""

    def error(self, message: str) -> NoReturn:
        """One line instead of the usage."""
        for kind, allowed in NUMBERS.items():
            message = re.sub(
                rf"invalid {kind} value: (.*)", rf"got \1; {allowed} is allowed", message
            )
        listed = "allowed" in message or "choose from" in message
        raise ValueError(message if listed else f"{message}; allowed: see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 where something differs, 2 for bad input, 130 after Ctrl-C."""
    try:
        args = parser().parse_args(argv)
        answer: Answer = args.command(args)
        if args.json:
            sys.stdout.write(store.page(answer.value))
        else:
            answer.show()
        sys.stdout.flush()
        return answer.status
    except FAILURES as error:
        if isinstance(error, BrokenPipeError):  # the reader has gone: there is nothing to say
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        message = _typed(_line(error), sys.argv[1:] if argv is None else argv)
        print(f"scoreproof: {message}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in EXTRAS:
            raise
        how = f"pip install scoreproof[{EXTRAS[name]}] is allowed"
        print(f"scoreproof: {name}: not installed; {how}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("scoreproof: interrupted", file=sys.stderr)
        return INTERRUPTED


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _typed(message: str, argv: Sequence[str]) -> str:
    """The message with the name of the option whose value it refuses, as it was typed."""
    name, _, rest = message.partition(":")
    first, _, key = name.partition(".")
    options = SPOKEN.get(name) or SPOKEN.get(first) or (f"--{name.replace('_', '-')}",)
    words = [part for word in argv for part in word.split("=", 1)]
    given = dict(pairwise([*words, ""]))
    typed = [o for o in options if o in given and (name != "FILE" or given[o] in rest)]
    if not typed:
        return message
    named = f" {key}" if key and name not in SPOKEN else ""
    return f"{', '.join(typed)}{named}:{rest}"


def parser() -> Parser:
    """All subcommands."""
    top = Parser(
        prog="scoreproof", description="Solvers of the diffusion ODE, proved and measured."
    )
    commands_of = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], Answer], text: str) -> Parser:
        sub = commands_of.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="one JSON value on standard output")
        sub.set_defaults(command=command)
        return sub

    p = add("list", commands.list_, "what there is")
    p.add_argument("what", choices=WHAT, nargs="?", default="methods")

    p = add("prove", commands.prove, "the exact order of one method")
    _method(p)

    p = add("converge", commands.converge, "errors, slopes and their window for one method")
    _method(p)
    _size(p)
    p.add_argument("--plot", metavar="FILE", help="draw it: .png, .svg or .pdf")

    p = add("orders", commands.orders, "the table: claimed, proved and measured orders")
    p.add_argument("names", nargs="*", metavar="NAME", help="methods; all by default")
    _size(p)
    _workers(p)
    p.add_argument("--plot", metavar="FILE", help="draw the overview: .png, .svg or .pdf")

    p = add("solve", runs.solve, "run what a JSON object describes, beside the exact solution")
    p.add_argument("run", nargs="?", metavar="RUN.json", help="one run; - is standard input")
    p.add_argument("--jsonl", metavar="RUNS", help="one run a line, one result a line")
    p.add_argument("-o", "--out", metavar="FILE", help="written whole or not at all")
    p.add_argument("--states", action="store_true", help="the states at all nodes")
    p.add_argument("--no-exact", action="store_true", help="leave out the exact solution")

    p = add("factor", runs.factor, "where SciRE's factor helps: 1/φ* of every step of a run")
    p.add_argument("run", metavar="RUN.json", help="as for solve; - is standard input")

    p = add("teleport", runs.teleport, "the level above which a law is its Gaussian, certified")
    p.add_argument("--data", metavar="SOURCE", help="digits, fashion, .npy, .npz, IDX or a folder")
    p.add_argument("--problem", metavar="FILE", help="a JSON object with the key problem, or -")
    p.add_argument("--tolerance", type=float, default=0.05, metavar="NATS", help="default 0.05")
    p.add_argument("--grid", metavar="NAME", help="land on a node of this rule; else anywhere")
    p.add_argument("--steps", type=_positive, default=18, metavar="N", help="of the rule")
    p.add_argument("--sigma-max", type=float, default=80.0, metavar="S", help="default 80")
    p.add_argument("--sigma-min", type=float, default=0.02, metavar="S", help="default 0.02")
    p.add_argument("--method", action="append", metavar="NAME", help="to compare; repeatable")
    p.add_argument("--nfe", type=_positive, default=10, metavar="N", help="calls; default 10")
    p.add_argument("--samples", type=_positive, default=64, metavar="N", help="start points")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the start points")
    p.add_argument(
        "--rare", action="store_true", help="rare modes: land where KL allows it, not its bound"
    )
    p.add_argument("--statistics", metavar="FILE", help="of the data, instead of making them")
    p.add_argument("--save", metavar="FILE.npz", help="write the statistics of the data")

    p = add("run", runs.study, "all runs of a study, and the best of them")
    known = "digits, teleport, network, residual, galaxies, or a TOML file"
    p.add_argument("study", metavar="STUDY", help=known)
    p.add_argument("--out", default="report/results", metavar="DIR", help="default report/results")
    p.add_argument("--summary", metavar="FILE", help="write the best rows, as JSON")
    p.add_argument("--checkpoint", metavar="PATH", help="of network (default: ours) or galaxies")
    p.add_argument("--plot", metavar="FILE", help="of galaxies: .png, .svg or .pdf")
    p.add_argument("--scheduler", metavar="ADDRESS", help="of Dask, instead of own processes")
    _workers(p, default=None)

    converting.arguments(add("convert", converting.convert, "files of others as files of ours"))

    p = add("train", runs.train, "train a score network into a folder that diffusers can read")
    _training(p)

    p = add("reproduce", reproducing.reproduce, "published numbers: paper, measured, difference")
    reproducing.arguments(p)

    sampling.arguments(add("sample", sampling.sample, "images of a checkpoint, one of each seed"))

    measuring.arguments(add("metrics", measuring.metrics, "how far a set of images is from data"))
    measuring.card_arguments(add("card", measuring.card, "a training's card, with its figures"))

    p = add("report", runs.report, "the page with all orders, errors and samples")
    p.add_argument("--out", default="report", metavar="DIR", help="default: report")
    p.add_argument("--study", metavar="NAME", help="or a TOML file; default: digits")
    p.add_argument("--images", metavar="SOURCE", help="digits, fashion, or an IDX file or folder")
    p.add_argument("--fast", action="store_true", help="a few methods, to try the machinery")
    p.add_argument("--row", metavar="ID", help="show a row of the page in --out, by its id")
    p.add_argument("--rerun", action="store_true", help="with --row: compute it anew and compare")
    _workers(p, default=None)

    p = add("map", mapping.map_, "every scheme in every form: proved order, leading error, names")
    mapping.arguments(p)
    _workers(p, default=None)

    p = add("certify", commands.certify, "prove and write theory/certificates")
    p.add_argument("names", nargs="*", metavar="NAME", help="methods; all by default")
    p.add_argument(
        "--check", action="store_true", help="only look: status 1 if one is not current"
    )

    p = add("audit", commands.audit, "measured orders of the schedulers of other libraries")
    p.add_argument("names", nargs="*", metavar="NAME", help="their classes; all by default")
    p.add_argument("--agreement", action="store_true", help="distances from methods of ours")
    _workers(p)

    p = add("cite", commands.cite, "BibTeX of methods")
    p.add_argument("names", nargs="*", metavar="NAME", help="methods or keys; all by default")
    return top


def _training(p: Parser) -> None:
    p.add_argument("--data", metavar="SOURCE", help="digits, fashion, or a folder of pictures")
    p.add_argument("--out", required=True, metavar="DIR", help="new, unless --resume")
    p.add_argument("--images", type=_positive, metavar="N", help="shown in all, with repetitions")
    p.add_argument("--batch", type=_positive, metavar="B", help="images in a gradient step")
    p.add_argument("--seed", type=int, metavar="S", help="of weights and draws; default 0")
    p.add_argument("--target", metavar="NAME", help="edm (default), eps, x0, v or flow")
    p.add_argument("--residual", metavar="NAME", help="gaussian: learn what it lacks")
    p.add_argument("--backbone", metavar="NAME", help="mlp or unet; default by the data")
    p.add_argument("--widths", type=_widths, metavar="W,W,..", help="of its levels")
    p.add_argument("--depth", type=_positive, metavar="N", help="layers a level")
    p.add_argument("--rate", type=float, metavar="R", help="the largest learning rate")
    p.add_argument("--half-life", type=_positive, metavar="N", help="of the average, in images")
    p.add_argument("--dropout", type=float, metavar="P", help="share of hidden classes")
    p.add_argument("--no-labels", action="store_false", dest="labels", default=None)
    p.add_argument("--pad", action="store_true", default=None, help="Fashion-MNIST in 32 x 32")
    p.add_argument("--every", type=_positive, metavar="N", help="images between two states")
    p.add_argument("--minutes", type=float, metavar="M", help="stop after so many, to resume")
    p.add_argument("--threads", type=_positive, metavar="N", help="of torch")
    p.add_argument("--resume", action="store_true", help="go on with what DIR holds")
    p.add_argument("--snapshots", action="store_true", help="keep the weights of every row")
    p.add_argument("--plot", metavar="FILE", help="draw the curves: .png, .svg or .pdf")


def _widths(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _method(p: Parser) -> None:
    p.add_argument("name", metavar="NAME", help="a registered name, or FILE.py:function")
    p.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="repeatable")
    p.add_argument("--form", metavar="FORM", help="another canonical form (list forms)")
    p.add_argument(
        "--q", type=_positive, metavar="N", help="order parameter of a FILE.py:function"
    )


def _size(p: Parser) -> None:
    p.add_argument("--size", choices=("small", "full"), default="small", help="range of steps")


def _workers(p: Parser, default: int | None = runs.WORKERS) -> None:
    said = f"processes; default {runs.WORKERS}"
    p.add_argument("--workers", type=_positive, default=default, metavar="N", help=said)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; an integer >= 1 is allowed")
    return int(text)
