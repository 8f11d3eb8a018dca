"""``python -m theory prove|certify [METHOD ...]`` and ``.. identities [NAME ...]``."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable, Iterable, Sequence

from solvers.method import Entry, entry, registry
from theory import (
    edgeworth,
    forms,
    identities,
    local_errors,
    model_statistics,
    peers,
    recursive_difference,
    stiff,
    teleportation,
    trees,
    weak,
)
from theory.certificates import certify
from theory.order import prove_order
from theory.proved import Claim

MODULES = (
    forms,
    identities,
    recursive_difference,
    local_errors,
    stiff,
    model_statistics,
    trees,
    peers,
    weak,
    edgeworth,
    teleportation,
)
USAGE = "usage: python -m theory prove|identities|certify [NAME ...]"


def claims() -> dict[str, Claim]:
    """All proofs that run, by name."""
    return {c.__name__: c for module in MODULES for c in module.CLAIMS}


def claim(name: str) -> Claim:
    """The proof of this name; ``ValueError`` lists the nearest names."""
    known = claims()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=4, cutoff=0.3)
        raise ValueError(f"identity: got {name!r}; nearest: {', '.join(near) or 'none'}")
    return known[name]


def prove(names: Sequence[str]) -> int:
    """One line for each row of the table of orders; a false claim is a finding, not a failure."""
    entries: Iterable[Entry] = [entry(n) for n in names] if names else registry().values()
    short = 0
    print(f"{'method':<20} {'options':<58} claimed proved any plain  evals  leading error")
    for e in entries:
        for variant in e.variants:
            p = prove_order(e, **variant.options)
            options = ", ".join(f"{k}={v}" for k, v in variant.options.items())
            claimed = "-" if variant.claim is None else variant.claim
            short += variant.claim is not None and p.graded < variant.claim
            print(
                f"{e.name:<20} {options:<58} {claimed!s:>7} {p.graded:>6} {p.any_grid:>3}"
                f" {p.plain_start:>5} {p.evaluations:>6}  {p.leading}",
                flush=True,
            )
    print(f"proved < claimed: {short}")
    return 0


def identify(names: Sequence[str]) -> int:
    """One line for each statement; 1 if one does not hold."""
    chosen = [claim(n) for n in names] if names else list(claims().values())
    failed = 0
    for c in chosen:
        began = time.perf_counter()
        p = c()
        failed += not p.holds
        verdict = "holds" if p.holds else "FAILS"
        print(f"{verdict}  {p.name} ({time.perf_counter() - began:.1f} s)\n       {p.claim}")
        print(f"       {p.detail}", flush=True)
    print(f"{len(chosen) - failed} hold, {failed} fail")
    return 1 if failed else 0


def write(names: Sequence[str]) -> int:
    """Prove again and write the certificates, of all methods where none is named."""
    written = certify(names or None, progress=lambda i, n, name: print(f"{i + 1}/{n} {name}"))
    print(f"{len(written)} certificates written")
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "prove": prove,
    "identities": identify,
    "certify": write,
}


def main(arguments: Sequence[str]) -> int:
    """The exit status: 2 for bad input."""
    command, names = (arguments[0], arguments[1:]) if arguments else ("", ())
    if command in ("-h", "--help"):
        print(USAGE)
        return 0
    try:
        if command not in COMMANDS:
            raise ValueError(
                f"command: got {command!r}; {', '.join(COMMANDS)} are allowed\n{USAGE}"
            )
        return COMMANDS[command](names)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
