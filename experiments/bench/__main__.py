"""`python -m experiments.bench [--json] [NAME ..]`: speed and memory of this machine, measured."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from experiments.bench import moments, sampling, scores

SUBJECTS = {"scores": scores.rows, "moments": moments.rows, "sampling": sampling.rows}


def main() -> None:
    """Prints the rows of every subject named, or of all."""
    parser = argparse.ArgumentParser("python -m experiments.bench", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="NAME", help=", ".join(SUBJECTS))
    parser.add_argument("--json", action="store_true", help="one JSON list on standard output")
    asked = parser.parse_args()
    for name in asked.subjects:
        if name not in SUBJECTS:
            parser.error(f"NAME is {name!r}; {', '.join(SUBJECTS)} are allowed")
    rows = [row for name in asked.subjects or SUBJECTS for row in SUBJECTS[name]()]
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"{row.name:{width}}  {row.value:10.3f} {row.unit:8} {row.note}".rstrip())


if __name__ == "__main__":
    main()
