"""Subcommands about methods: what there is, what is proved, what is measured.

torch and SymPy are imported by the commands that need them: ``list`` and ``cite`` start at once.
"""

from __future__ import annotations

import json
import re
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from math import log
from typing import Any

from experiments import store
from experiments.answer import Answer
from experiments.rows import name_of
from experiments.terminal import bar, say, table
from solvers.method import Entry, Variant, entry

# --- what there is -------------------------------------------------------------------------------


def list_(args: Namespace) -> Answer:
    """Methods, schedules, grids, forms or options."""
    from experiments.listing import KINDS

    value = KINDS[args.what]()
    heads = [k for k in value[0] if k not in ("forms", "certificate")]

    def short(item: Any) -> Any:
        if isinstance(item, list):
            names = (v if isinstance(v, str) else f"{v['name']}={v['default']}" for v in item)
            return ", ".join(names)
        if isinstance(item, Mapping):
            return ", ".join(f"{k}={v}" for k, v in item.items())
        return item

    return Answer(value, lambda: table(heads, [[short(v[k]) for k in heads] for v in value]))


def cite(args: Namespace) -> Answer:
    """BibTeX."""
    from experiments.references import cite as find

    found = find(args.names)
    value = [{"key": r.key, "bibtex": r.bibtex} for r in found]
    return Answer(value, lambda: say("\n\n".join(r.bibtex for r in found)))


# --- proofs and measurements ---------------------------------------------------------------------


def chosen(args: Namespace) -> tuple[Entry, dict[str, Any]]:
    """The entry and options that a command line names; ``--form`` moves it to another form."""
    from experiments.methods import find

    e = find(args.name, form=args.form, q=args.q)
    options = dict(option(text) for text in args.option)
    for key, value in e.resolve(options).items():
        if isinstance(value, tuple):
            raise ValueError(f"options.{key}: got {list(value)!r}; one value is allowed here")
    return e, options


def option(text: str, name: str = "--option") -> tuple[str, Any]:
    """KEY=VALUE; the value is JSON, a fraction p/q, or a word."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ValueError(f"{name}: got {text!r}; KEY=VALUE is allowed")
    if re.fullmatch(r"-?\d+/[1-9]\d*", value):
        return key, Fraction(value)
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def outside(name: str, call: Callable[[], Any]) -> Any:
    """The call; whatever a function from a user's file raises becomes one line."""
    try:
        return call()
    except (ValueError, KeyboardInterrupt):
        raise
    except Exception as error:
        if ".py:" not in name:
            raise
        raise ValueError(f"method: {name} fails: {type(error).__name__}: {error}") from error


def prove(args: Namespace) -> Answer:
    """The exact order of one method."""
    from theory.order import prove_order

    e, options = chosen(args)
    began = time.perf_counter()
    with bar(f"prove {e.name}"):
        proof = outside(args.name, lambda: prove_order(e, **options))
    known = next((v for v in e.variants if dict(v.options) == options), Variant())
    value = {
        "method": e.name,
        "options": options,
        "form": e.form(options).name,
        "claimed": known.claim,
        "proved": proof.graded,
        "proved_any_grid": proof.any_grid,
        "proved_plain_start": proof.plain_start,
        "leading_error": str(proof.leading),
        "evals_per_step": proof.evaluations,
        "seconds": time.perf_counter() - began,
    }
    return Answer(value, lambda: table(("", ""), [(k, _text(v)) for k, v in value.items()]))


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}={v}" for k, v in value.items()) or "–"
    return "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def converge(args: Namespace) -> Answer:
    """Errors and slopes of one method."""
    from experiments.orders import converge as measure

    if args.plot:
        from experiments.plots.style import drawable

        drawable(store.writable(args.plot, "--plot"), "--plot")
    e, options = chosen(args)
    with bar(f"converge {e.name}"):
        row = outside(args.name, lambda: measure(e, options, size=args.size))
    if args.plot:
        from experiments.plots.orders import convergence
        from experiments.plots.style import save

        save(convergence(row), args.plot)

    def show() -> None:
        for kind, curve in row["curves"].items():
            slopes = [None, *(log(a[1] / b[1]) / log(a[0] / b[0]) for a, b in pairwise(curve))]
            lines = [(f"{h:.4g}", f"{x:.4g}", p) for (h, x), p in zip(curve, slopes, strict=True)]
            table(("step h", "error", "slope"), lines, title=f"\n{kind}")
        low, high = sorted(row["window"])
        say(f"\n{e.name}: {row['verdict']}")
        say(f"measured {row['measured']:.3f} for h from {low:.3g} to {high:.3g}, exact start")

    return Answer(row, show)


ORDER_COLUMNS = (
    "claimed",
    "proved",
    "measured",
    "proved_any_grid",
    "measured_irregular",
    "proved_plain_start",
    "measured_plain_start",
    "proved_weak",
    "measured_weak",
)


FOUND = ("claimed", "proved", "measured")


def orders(args: Namespace) -> Answer:
    """The table of orders, and every published row that is not right beside the one that is."""
    from experiments.orders import order_rows, pairs

    if args.plot:
        from experiments.plots.style import drawable

        drawable(store.writable(args.plot, "--plot"), "--plot")
    names = args.names or None
    with bar("orders") as tick:
        rows = order_rows(names=names, size=args.size, workers=args.workers, progress=tick)
    if args.plot:
        from experiments.plots.orders import overview
        from experiments.plots.style import save

        save(overview(rows), args.plot)
    lines = [(name_of(r), *(r[k] for k in ORDER_COLUMNS), r["verdict"]) for r in rows]
    heads = ("solver", *(name.replace("_", "\n") for name in ORDER_COLUMNS), "verdict")

    def show() -> None:
        table(heads, lines)
        beside = [
            (name_of(a), *(a[k] for k in FOUND), name_of(b), *(b[k] for k in FOUND))
            for a, b in pairs(rows)
        ]
        if beside:
            heading = "\nas published, beside what is right"
            table(("published", *FOUND, "right", *FOUND), beside, title=heading)

    return Answer(rows, show)


def certify(args: Namespace) -> Answer:
    """Prove and write certificates, or look at those that are there."""
    from theory.certificates import certify as write
    from theory.certificates import check

    if args.check:
        named = {entry(name).name for name in args.names}
        bad = [(name, state) for name, state in check() if not named or name in named]
        value = [{"method": name, "certificate": state} for name, state in bad]
        lines = [f"{name}: {state}" for name, state in bad] or ["all certificates are current"]
        return Answer(value, lambda: say("\n".join(lines)), status=1 if bad else 0)
    with bar("certify") as tick:
        files = [str(path) for path in write(args.names or None, progress=tick)]
    return Answer(files, lambda: say(f"{len(files)} certificates written"))


def audit(args: Namespace) -> Answer:
    """Schedulers of other libraries: their orders, or how they agree with ours."""
    from experiments.peers import agreement
    from experiments.peers import audit as orders_of_peers

    about = agreement if args.agreement else orders_of_peers
    with bar("audit") as tick:
        rows = about.rows(args.names, workers=args.workers, progress=tick)

    def show() -> None:
        table(about.HEADS, map(about.cells, rows))
        say("\n".join(["", *orders_of_peers.footnotes()]))

    return Answer(rows, show)
