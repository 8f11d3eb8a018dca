"""Pages whose text is computed: what a Python block prints stands in the text block below it.

``python -m experiments.pages`` runs the Python blocks of README.md and docs/*.md, each page in a
namespace of its own, and writes what they print now; with names of files, those alone.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments import store
from experiments.store import ROOT

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def printed(page: Path) -> Iterator[tuple[str, str]]:
    """(what the Python blocks up to a block of text print, that block), in one namespace."""
    names: dict[str, object] = {"__name__": "page"}
    out = io.StringIO()
    for language, text in blocks(page):
        if language == "python":
            with contextlib.redirect_stdout(out):
                exec(compile(text, page.name, "exec", dont_inherit=True), names)
        elif language == "text":
            yield out.getvalue().rstrip() + "\n", text
            out = io.StringIO()


def refreshed(page: Path) -> str:
    """The page with every text block as it is printed now."""
    found = iter([new for new, _ in printed(page)])

    def block(match: re.Match[str]) -> str:
        return f"```text\n{next(found)}```" if match[1] == "text" else match[0]

    return BLOCK.sub(block, page.read_text(encoding="utf-8"))


def main(names: Sequence[str]) -> None:
    """Rewrite the pages whose text has changed, and name them."""
    pages = [Path(n) for n in names] or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        text = refreshed(page)
        if text != page.read_text(encoding="utf-8"):
            with store.replacing(page) as file:
                file.write(text)
            print(page)


if __name__ == "__main__":
    main(sys.argv[1:])
