"""The papers whose solvers are here: ``references.bib`` here, by key or by method.

A method may name its source in words instead of a key; then the words are all there is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from solvers.method import entry, registry

FILE = Path(__file__).parent / "references.bib"


@dataclass(frozen=True)
class Reference:
    """One entry."""

    key: str
    bibtex: str

    def field(self, name: str) -> str:
        """The value without braces, on one line; empty where the entry has none."""
        found = re.search(rf"^ *{name} *= *\{{(.*?)\}},$", self.bibtex, re.DOTALL | re.MULTILINE)
        return re.sub(r"[{}]", "", " ".join(found[1].split())) if found else ""

    @property
    def line(self) -> str:
        """Authors, year, title and arXiv number in one line of plain text."""
        people = [name.split(",")[0] for name in self.field("author").split(" and ")]
        authors = " and ".join(people) if len(people) < 3 else f"{people[0]} et al."
        number = self.field("eprint")
        parts = [f"{authors} {self.field('year')}".strip(), self.field("title")]
        if not any(parts):
            return ""
        return ", ".join([*parts, f"arXiv {number}"] if number else parts) + "."


@cache
def references() -> dict[str, Reference]:
    """All entries by key."""
    text = FILE.read_text(encoding="utf-8")
    found = re.findall(r"^@\w+\{([^,\s]+),\n.*?^\}$", text, re.DOTALL | re.MULTILINE)
    entries = re.findall(r"^@\w+\{.*?^\}$", text, re.DOTALL | re.MULTILINE)
    return {key: Reference(key, e) for key, e in zip(found, entries, strict=True)}


def cite(names: Sequence[str]) -> list[Reference]:
    """The entries of these methods or keys, each once; of all methods where none is named."""
    known = references()
    keys = [name if name in known else _key(name) for name in names or registry()]
    return [known.get(key, Reference(key, f"% {key}")) for key in dict.fromkeys(keys)]


def _key(name: str) -> str:
    try:
        return entry(name).cite
    except ValueError:
        near = difflib.get_close_matches(name, [*registry(), *references()], n=4, cutoff=0.4)
        raise ValueError(
            f"cite: got {name!r}; nearest: {', '.join(near) or 'none'};"
            " a method or a key of experiments/references.bib is allowed"
        ) from None
