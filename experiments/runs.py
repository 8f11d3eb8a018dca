"""Subcommands that read or write files: runs, statistics, the report."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments import store
from experiments.answer import Answer
from experiments.terminal import Tick, bar, say, table

WORKERS = 2
"""Processes, unless another number is asked for."""
OF_KIND: dict[str | None, tuple[str, ...]] = {
    None: ("scheduler", "workers"),
    "galaxies": ("checkpoint", "plot"),
    "network": ("checkpoint", "scheduler", "workers"),
    "residual": (),
}
"""Kinds of studies, and what each takes of the options that not all do."""


def solve(args: Namespace) -> Answer:
    """One run, or one run a line."""
    if (args.run is None) == (args.jsonl is None):
        raise ValueError(f"RUN: got {args.run!r}; one of RUN.json and --jsonl RUNS is allowed")
    out = store.writable(args.out, "-o") if args.out else None
    how = {"states": args.states, "exact": not args.no_exact}
    return _one(args.run, out, how) if args.run else _many(args.jsonl, out, how)


def _one(run: str, out: Path | None, how: Mapping[str, bool]) -> Answer:
    from experiments.solve import parse, solve

    result = solve(parse(_read(run, "RUN")), **how)
    if out is None:
        return Answer(result, lambda: print(store.page(result), end=""))
    with store.replacing(out) as file:
        file.write(store.page(result))
    return Answer(result, lambda: say(f"{out}: {result['nfe']} model calls"))


def _many(runs: str, out: Path | None, how: Mapping[str, bool]) -> Answer:
    from experiments.solve import solve_lines

    lines = [line for line in _read(runs, "--jsonl").splitlines() if line.strip()]
    with bar("solve") as tick:
        results = solve_lines(lines, **how)
        if out is None:
            kept = [_counted(r, i, len(lines), tick) for i, r in enumerate(results, 1)]
            status = 2 if any("error" in r for r in kept) else 0
            return Answer(kept, lambda: say("\n".join(map(store.line, kept))), status)
        refused = 0
        with store.replacing(out) as file:
            for i, result in enumerate(results, 1):
                refused += "error" in _counted(result, i, len(lines), tick)
                file.write(store.line(result) + "\n")
    value = {"written": str(out), "runs": len(lines), "refused": refused}
    show = f"{out}: {len(lines)} runs, {refused} refused"
    return Answer(value, lambda: say(show), status=2 if refused else 0)


def factor(args: Namespace) -> Answer:
    """The locally best factor of every step of one run."""
    from experiments.factors import HEADS, best_factors, cells
    from experiments.solve import parse

    study = best_factors(parse(_read(args.run, "RUN")))
    return Answer(study, lambda: table(HEADS, cells(study)))


def teleport(args: Namespace) -> Answer:
    """Statistics, level, certificate, and what the jump brings."""
    from experiments import teleport as t
    from experiments.solve import parse

    if (args.data is None) == (args.problem is None):
        raise ValueError("teleport: exactly one of --data and --problem is allowed")
    for name in ("statistics", "save"):
        if args.problem and getattr(args, name):
            raise ValueError(f"--{name}: got {getattr(args, name)!r}; allowed with --data only")
    out = store.writable(args.save, "--save") if args.save else None
    question = t.Question(
        args.tolerance,
        args.sigma_max,
        args.sigma_min,
        args.grid,
        args.steps,
        tuple(args.method or t.METHODS),
        args.nfe,
        args.samples,
        args.seed,
        args.rare,
    )
    with bar("teleport") as tick:
        if args.problem:
            value = t.of_problem(parse(_read(args.problem, "--problem")), question, tick)
        else:
            value = t.of_data(args.data, question, tick, known=args.statistics, save=out)
    return Answer(value, lambda: _show_teleport(value))


HEADS = ("method", "calls", "without", "with the jump", "times smaller")


def _show_teleport(value: Mapping[str, Any]) -> None:
    from experiments.rows import name_of
    from experiments.teleport import pairs

    say("\n".join(value[key] for key in ("data", "text") if key in value))
    if value["comparison"] is None:
        say("no mixture was fitted to data of this size and number: nothing is compared")
        return
    lines, both = [], pairs(value["comparison"])
    if not both:
        say("nothing is compared: the level is an end of the range, or the calls are too few")
        return
    for plain, jumped in both:
        a, b = plain["error_median"], jumped["error_median"]
        calls = plain["nfe"] + plain["jvp"]
        lines.append((name_of(plain), calls, f"{a:.3g}", f"{b:.3g}", f"{a / b:.2f}"))
    title = "\nmedian error of a trajectory at the same number of calls, grid karras"
    table(HEADS, lines, title=title)
    if value["landing_estimate"] is not None:
        say(
            "as the first model call shows it, the jump is off by"
            f" {value['landing_estimate']:.3g} where a trajectory lands and by about"
            f" {value['landing_entropy']:.3g} nat"
        )


def train(args: Namespace) -> Answer:
    """A training, new or resumed; options that are not given are those of the folder."""
    from experiments.plots.style import drawable
    from experiments.train import commanded

    if args.plot:
        drawable(store.writable(args.plot, "--plot"), "--plot")
    with bar("train") as tick:
        done = commanded(vars(args), progress=tick)
    if args.plot:
        from experiments.plots.style import save
        from experiments.plots.training import curves

        save(curves(done.rows), args.plot)
    if not done.rows:
        raise ValueError(f"{done.folder}: its rows.jsonl is missing; a whole folder is allowed")
    value = {"folder": str(done.folder), "finished": done.finished, "last": done.rows[-1]}
    lines = [(level, f"{error:.4g}") for level, error in done.rows[-1]["validation"].items()]
    end = "finished" if done.finished else "to be resumed"
    title = f"{done.folder}: {done.rows[-1]['images']} images, {end}"
    return Answer(value, lambda: table(("sigma", "squared error a pixel"), lines, title=title))


def study(args: Namespace) -> Answer:
    """All rows of a study; the best without a teleport and with one."""
    from experiments.study import load, opened

    kind = opened(args.study)[1].get("kind")
    if kind not in OF_KIND:
        known = ", ".join(repr(k) for k in OF_KIND if k)
        raise ValueError(f"kind: got {kind!r}; {known}, or none for images, is allowed")
    for name in sorted(set().union(*OF_KIND.values())):
        value = getattr(args, name)
        if value is not None and name not in OF_KIND[kind]:
            kinds = " and ".join(k or "images" for k, known in OF_KIND.items() if name in known)
            raise ValueError(f"--{name}: got {value!r}; allowed for studies of {kinds}")
    args.workers = args.workers or WORKERS
    if kind == "galaxies":
        from experiments.galaxy import galaxies

        return galaxies(args)
    if kind == "network":
        from experiments.network_study.command import network

        return network(args)
    if kind == "residual":
        from experiments.residual_study import residual

        return residual(args)
    from experiments import work
    from experiments.report.images import stored
    from experiments.teleported import BEST, best, cells, summary

    out = store.writable(args.summary, "--summary") if args.summary else None
    asked = load(args.study)
    with bar(args.study) as tick:
        how = {"workers": args.workers, "scheduler": args.scheduler}
        _, rows = work.run(asked, args.out, **how, progress=tick)
    n = asked.nfe
    made = stored(asked, args.out).about()
    del made["certificates"]  # no proof is behind these rows
    value = {**made, "best": best(rows, n), "methods": summary(rows, n)}
    if out is not None:
        with store.replacing(out) as file:
            file.write(store.page(value))
    return Answer(value, lambda: table(BEST, cells(value["best"])))


def _counted(result: dict[str, Any], i: int, total: int, tick: Tick) -> dict[str, Any]:
    tick(i, total, f"line {i}")
    return result


def _read(name: str, argument: str) -> str:
    """A file's text; "-" is standard input."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ValueError(f"{argument}: got {name!r} ({why}); a text file is allowed") from None


def report(args: Namespace) -> Answer:
    """The report, or one of its rows."""
    if args.row is not None:
        for name in ("study", "images", "fast", *(() if args.rerun else ("workers",))):
            value = getattr(args, name)
            if value:
                raise ValueError(f"--{name}: got {value!r} with --row; it is allowed without")
        from experiments.report.row import row

        return row(args)
    if args.rerun:
        raise ValueError("--rerun: got it without --row; it is allowed with --row ID")
    from experiments.report.build import FAST
    from experiments.report.build import report as write
    from experiments.study import load

    if Path(args.out).is_file():
        raise ValueError(f"--out: got {args.out!r}, which is a file; a folder is allowed")
    study = load(args.study or "digits")
    if args.images:
        label = args.images if "/" not in args.images else Path(args.images).stem
        study = replace(study, name=label, target=args.images)
    names: Sequence[str] | None = FAST if args.fast else None
    if args.fast:
        study = replace(study, nfe=(5, 10), grids=study.grids[:1], samples=study.sheet.samples)
    done = write(args.out, study=study, names=names, workers=args.workers or WORKERS, stage=bar)
    stale = [{"method": name, "certificate": state} for name, state in done.stale]
    value = {
        "page": str(done.page),
        "orders": len(done.orders),
        "work": len(done.work),
        "certificates": stale,
    }
    return Answer(value, lambda: say(f"{done.page}\n{done.summary}"))
