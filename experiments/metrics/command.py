"""``scoreproof metrics`` and ``card``: figures of images beside data, alone and on a card."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from experiments.answer import Answer
from experiments.sweep import needed
from experiments.terminal import bar, say, table

INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
HEADS = ("figure", "value", "error", "images", "held out", "of them", "data")


def arguments(p: ArgumentParser) -> None:
    """Of the command."""
    p.add_argument("set", metavar="SET", help="a folder of sample, pictures, or a .npy")
    p.add_argument("--data", required=True, metavar="SOURCE", help="digits, fashion, or a folder")
    p.add_argument("--reference", type=int, metavar="N", help="training images; default 10000")
    _spaces(p)


def card_arguments(p: ArgumentParser) -> None:
    """Of ``card``."""
    p.add_argument("folder", metavar="FOLDER", help="of a training; the card is written there")
    p.add_argument("set", metavar="SET", help="a folder that sample wrote with this network")
    _spaces(p)


def _spaces(p: ArgumentParser) -> None:
    p.add_argument(
        "--extractor",
        action="append",
        metavar="NAME",
        help="pca (default), efficientnet or inception; repeatable",
    )
    p.add_argument("--weights", metavar="FILE", help=f"of inception: {INCEPTION}")


def metrics(args: Namespace) -> Answer:
    """All of them."""
    from experiments.metrics.measured import REFERENCE, data_for, measured, read

    if args.reference is not None and args.reference < 1:
        raise ValueError(f"--reference: got {args.reference}; an integer >= 1 is allowed")
    images = read(args.set)
    value = measured(
        images,
        data_for(args.data, images),
        tuple(args.extractor or ("pca",)),
        weights=args.weights,
        reference=args.reference or REFERENCE,
        stage=bar,
    )
    return Answer(value, lambda: show(value))


def card(args: Namespace) -> Answer:
    """The card of a training and its pictures."""
    needed()
    from experiments.card import write

    extractors = tuple(args.extractor or ("pca",))
    done = write(args.folder, args.set, extractors=extractors, weights=args.weights, stage=bar)
    value = {"card": str(done.card), **done.figures}

    def told() -> None:
        show(value)
        say(str(done.card))

    return Answer(value, told)


def show(value: Mapping[str, Any]) -> None:
    """For people."""
    title = f"{value['images']} images of {value['set']}, beside {value['data']}"
    table(HEADS, map(_cells, value["figures"]), title=title)
    for figure in value["figures"]:
        if figure["value"] is None:
            say(f"{figure['name']}: {figure['refused']}")
    near = value["nearest"]
    say(
        f"nearest training image: {near['median']:.4f} a pixel in the median, {near['tests']}"
        f" held-out images {near['test_median']:.4f}; {near['very_near']:.1%} of the images are"
        " nearer than the nearest hundredth of those"
    )
    asked = value["asked"]
    if asked is not None:
        say(
            f"class asked for: {asked['share']:.1%} ± {asked['error']:.1%}; of real images the"
            f" classifier names {asked['held_out']:.1%}"
        )


def _cells(figure: Mapping[str, Any]) -> list[Any]:
    value, error, held_out = (
        None if (v := figure.get(key)) is None else f"{v:.4g}"
        for key in ("value", "error", "held_out")
    )
    images, held_images, data = (figure.get(key) for key in ("images", "held_images", "data"))
    return [figure["name"], value, error, images, held_out, held_images, data]
