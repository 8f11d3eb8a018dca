"""``scoreproof reproduce``: recipes listed, what one needs, paper | measured | difference."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from experiments import terminal
from experiments.answer import Answer


def arguments(p: argparse.ArgumentParser) -> None:
    """Of the command."""
    p.add_argument("name", nargs="?", metavar="NAME", help="a recipe; without, all are listed")
    p.add_argument("--list", action="store_true", help="all recipes")
    p.add_argument("--checkpoint", metavar="PATH", help="the recipe's network")
    p.add_argument("--stats", action="append", default=[], metavar="PATH", help="repeatable")
    p.add_argument(
        "--nfe", type=_count, action="append", default=[], metavar="N", help="repeatable"
    )
    p.add_argument("--row", action="append", default=[], metavar="NAME", help="repeatable")
    p.add_argument("--images", type=_count, metavar="N", help="default: as many as the paper")
    p.add_argument("--batch", type=_count, default=64, metavar="B", help="default 64")
    p.add_argument("--out", metavar="DIR", help="keep the images; a rerun goes on with them")
    p.add_argument("--inception", metavar="FILE", help="weights of FID's Inception network")
    p.add_argument("--data", metavar="REFERENCE", help="images, or a .npz with mu and sigma")
    p.add_argument(
        "--extractor", default="inception", metavar="NAME", help="or pca, efficientnet: no FID"
    )
    p.add_argument("--classifier", metavar="FILE", help="of guided-diffusion")
    p.add_argument("--prompts", metavar="FILE", help="texts, one a line")
    p.add_argument("--embeddings", metavar="FILE", help=".safetensors with prompt and null")
    p.add_argument(
        "--converged", type=_count, default=0, metavar="N", help="compare N images to the flow"
    )


def reproduce(args: argparse.Namespace) -> Answer:
    """What the command answers."""
    if args.name is None or args.list:
        return _listed()
    from experiments.reproduce.recipe import recipe
    from experiments.reproduce.run import Asked
    from experiments.reproduce.run import reproduce as run

    asked = Asked(
        checkpoint=args.checkpoint,
        stats=tuple(args.stats),
        images=args.images,
        batch=args.batch,
        out=args.out,
        nfe=tuple(args.nfe),
        rows=tuple(args.row),
        inception=args.inception,
        data=args.data,
        extractor=args.extractor,
        prompts=args.prompts,
        embeddings=args.embeddings,
        classifier=args.classifier,
        converged=args.converged,
    )
    report = run(recipe(args.name), asked, stage=terminal.bar)
    return Answer(_value(report), lambda: _show(report))


def _listed() -> Answer:
    from experiments.reproduce.recipe import recipes

    found = list(recipes().values())
    heads = ("recipe", "numbers", "metric", "checkpoint", "source")
    rows = [
        (r.name, len(r.cells), r.metric, r.network.file, f"{r.title}, {r.source}") for r in found
    ]
    value = [dict(zip(heads, row, strict=True)) for row in rows]
    return Answer(value, lambda: terminal.table(heads, rows))


def _value(report: Any) -> dict[str, Any]:
    r = report.recipe
    return {
        "recipe": r.name,
        "source": r.source,
        "metric": report.metric,
        "images": report.images,
        "rows": [{**asdict(line), "difference": line.difference} for line in report.lines],
        "notes": list(report.notes),
        "needed": list(report.needed),
    }


def _show(report: Any) -> None:
    r = report.recipe
    count = "nothing was measured" if report.images is None else f"{report.images} images"
    terminal.say(f"{r.title}, {r.source}: {r.metric} of {r.images} images of {r.network.file}")
    extra = list(dict.fromkeys(key for line in report.lines for key in line.more))
    heads = ("method", "NFE", "paper", "source", "measured", "difference", *extra)
    rows = [
        (
            line.shown,
            line.nfe,
            _number(line.paper),
            line.sure,
            _number(line.measured),
            _number(line.difference, sign=True),
            *(_number(line.more.get(key)) for key in extra),
        )
        for line in report.lines
    ]
    terminal.table(heads, rows, title=f"{report.metric}; {count}")
    for why in dict.fromkeys(line.why for line in report.lines if line.why):
        which = [f"{line.shown} {line.nfe}" for line in report.lines if line.why == why]
        terminal.say(f"not measured: {', '.join(which)}: {why}")
    for note in report.notes:
        terminal.say(f"note: {note}")
    if report.needed:
        terminal.say("to measure it, give")
    for line in report.needed:
        terminal.say(f"  {line}")


def _number(value: float | None, *, sign: bool = False) -> str | None:
    return None if value is None else f"{value:+.4g}" if sign else f"{value:.4g}"


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; an integer >= 1 is allowed")
    return int(text)
