"""The report's page: one self-contained HTML file, readable on a phone and in the dark.

Strings in, a string out: what is said in numbers comes from the caller's rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).parent
DOCUMENT = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$css</style>
</head>
<body>
<h1>$title</h1>
<nav>$links</nav>
$sections
<script>$script</script>
</body>
</html>
""")


def document(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """The whole page from (heading, HTML) pairs."""
    names = [(heading, re.sub(r"\W+", "-", heading.lower())) for heading, _ in sections]
    links = " ".join(f'<a href="#{anchor}">{escape(heading)}</a>' for heading, anchor in names)
    parts = (
        f'<section id="{anchor}"><h2>{escape(heading)}</h2>\n{body}\n</section>'
        for (heading, anchor), (_, body) in zip(names, sections, strict=True)
    )
    css, script = (HERE.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return DOCUMENT.substitute(
        title=escape(title), css=css, script=script, links=links, sections="\n".join(parts)
    )


def data(name: str, value: Any) -> str:
    """Rows for the page's script, which finds them by this id."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("</", r"<\/")
    return f'<script type="application/json" id="{name}">{text}</script>'


def prose(text: str) -> str:
    """Paragraphs between blank lines; "- " begins an item, backticks set code, `linked` leads."""
    out = []
    for block in re.split(r"\n\s*\n", text.strip()):
        items = re.split(r"(?:^|\n)\s*- ", block)
        lines = [_marked(" ".join(item.split())) for item in items if item.strip()]
        listed = len(items) > 1
        inside = "".join(f"<li>{line}</li>" for line in lines) if listed else lines[0]
        out.append(f"<ul>{inside}</ul>" if listed else f"<p>{inside}</p>")
    return "\n".join(out)


def warning(message: str) -> str:
    """A paragraph that is not overlooked."""
    return f'<p class="warn">{_marked(message)}</p>'


def outdated(command: str) -> str:
    """For rows that were not made by the sources that are here."""
    return warning(f"These rows are of other sources than are here; `{command}` makes new ones.")


LINK = re.compile(r"\[([^\]]*)\]\(#([\w-]+)\)")


def linked(text: Any, name: str) -> str:
    """For prose and cells: a figure that leads to the row of this id."""
    return f"[{text}](#{name})"


def _marked(line: str) -> str:
    coded = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(line, quote=False))
    return LINK.sub(r'<a href="#\2">\1</a>', coded)


def figure(svg: str, caption: str, kind: str = "plot") -> str:
    """A picture with its caption; ``kind`` is a class: plot, wide, narrow, half."""
    return f'<figure class="{kind}">{svg}<figcaption>{_marked(caption)}</figcaption></figure>'


def preformatted(lines: str) -> str:
    """Commands, as typed."""
    return f"<pre>{escape(lines, quote=False)}</pre>"


def simple(
    heads: Sequence[str], lines: Sequence[Sequence[Any]], ids: Sequence[str] | None = None
) -> str:
    """Cells as they are; those of numbers stand right.  ``ids`` are anchors of the lines."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    marks = [f' id="{name}"' for name in ids] if ids else [""] * len(lines)
    body = "".join(
        f"<tr{mark}>{''.join(map(_cell, line))}</tr>"
        for mark, line in zip(marks, lines, strict=True)
    )
    table = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table>{table}</table></div>'


def folded(
    title: str, heads: Sequence[str], lines: Sequence[Sequence[Any]], ids: Sequence[str]
) -> str:
    """The same below a line that opens it."""
    return f"<details><summary>{escape(title)}</summary>{simple(heads, lines, ids)}</details>"


def pairs(lines: Sequence[Sequence[Any]], ids: Sequence[str]) -> list[list[Any]]:
    """Lines of `experiments.teleported.cells`; both figures of each lead to its two rows."""
    out = [list(line) for line in lines]
    for line, without, jumped in zip(out, ids[::2], ids[1::2], strict=True):
        line[1], line[4] = linked(line[1], without), linked(line[4], jumped)
    return out


def _cell(value: Any) -> str:
    text = str(value)
    if text.startswith("scoreproof "):
        return f'<td><code class="command">{escape(text)}</code></td>'
    kind = ' class="n"' if re.fullmatch(r"[-+.\de]+", LINK.sub(r"\1", text)) else ""
    return f"<td{kind}>{LINK.sub(_anchor, breakable(text))}</td>"


def _anchor(found: re.Match[str]) -> str:
    return f'<a href="#{found[2].replace("<wbr>", "")}">{found[1]}</a>'


def breakable(name: str) -> str:
    """A narrow column may break a name after these signs."""
    return escape(name).replace("_", "_<wbr>").replace("=", "=<wbr>")
