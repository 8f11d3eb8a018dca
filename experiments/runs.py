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


def convert(args: Namespace) -> Answer:
    """DPM-Solver-v3's published statistics as one file, with their range of λ."""
    from experiments.convert import ends, statistics

    out = store.writable(args.out, "OUT")
    low, high = ends(args.lam_range, args.schedule, args.t_range)
    made = statistics(args.files, low, high)
    made.save(out)
    nodes, coordinates = made.l.shape
    value = {"written": str(out), "nodes": nodes, "coordinates": coordinates, "lam": [low, high]}
    text = f"{out}: {nodes} nodes from lam = {low:.9g} to {high:.9g}, D = {coordinates}"
    return Answer(value, lambda: say(text))


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
    """The report."""
    from experiments.report import FAST
    from experiments.report import report as write
    from experiments.study import load

    if Path(args.out).is_file():
        raise ValueError(f"--out: got {args.out!r}, which is a file; a folder is allowed")
    study = load(args.study)
    if args.images:
        label = args.images if "/" not in args.images else Path(args.images).stem
        study = replace(study, name=label, target=args.images)
    names: Sequence[str] | None = FAST if args.fast else None
    if args.fast:
        study = replace(study, nfe=(5, 10), grids=study.grids[:1], samples=study.sheet.samples)
    done = write(args.out, study=study, names=names, workers=args.workers, stage=bar)
    stale = [{"method": name, "certificate": state} for name, state in done.stale]
    value = {
        "page": str(done.page),
        "orders": len(done.orders),
        "work": len(done.work),
        "certificates": stale,
    }
    return Answer(value, lambda: say(f"{done.page}\n{done.summary}"))
