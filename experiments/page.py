"""The report's page: one self-contained HTML file, readable on a phone and in the dark.

Strings in, a string out: what is said in numbers comes from the caller's rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from experiments.identify import command, identity

Row = Mapping[str, Any]


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


LINK = re.compile(r"\[([^\]]*)\]\(#([\w-]+)\)")


def linked(text: str, name: str) -> str:
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


COLUMNS = {
    "claimed": "claimed",
    "proved": "proved",
    "measured": "measured",
    "measured_plain_start": "warm-up",
    "measured_irregular": "1:2 grid",
    "measured_weak": "weak",
}
"""Order columns of the table, with their headings."""


def table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """One body per row: the orders, and below them the verdict, which opens the details.

    A filter stands above it, where a script runs; the script draws each row's plot, too.
    """
    heads = ["solver", *COLUMNS.values()]
    head = "".join(f'<th scope="col"><button type="button">{h}</button></th>' for h in heads)
    bodies = (_body(*parts) for parts in zip(rows, names, strict=True))
    kinds = "".join(f"<option>{f}</option>" for f in sorted({row["family"] for row in rows}))
    return (
        '<form class="filter" data-table="solvers" hidden>'
        '<label>Filter <input type="search" name="text" placeholder="name, form, verdict">'
        '</label><label>Family <select name="family">'
        f'<option value="">all</option>{kinds}</select></label>'
        '<label><input type="checkbox" name="short"> below the claim</label>'
        '<output aria-live="polite"></output></form>\n'
        f'<table class="sortable" id="solvers"><thead><tr>{head}</tr></thead>\n'
        + "\n".join(bodies)
        + "</table>"
    )


FOUND = ("claimed", "proved", "measured")


def beside(pairs: Sequence[tuple[Row, Row]]) -> str:
    """(As published, right) row by row."""
    heads = ("as published", *FOUND, "right", *FOUND)
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    lines = "".join(
        "<tr>" + "".join(_solver(row) + _found(row) for row in pair) + "</tr>" for pair in pairs
    )
    body = f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody>"
    return f'<div class="scroll"><table>{body}</table></div>'


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
    return f"<td{kind}>{LINK.sub(_anchor, _breakable(text))}</td>"


def _anchor(found: re.Match[str]) -> str:
    return f'<a href="#{found[2].replace("<wbr>", "")}">{found[1]}</a>'


def _solver(row: Row) -> str:
    return f"<td><b>{_breakable(row['method'])}</b>{_options(row)}</td>"


def _found(row: Row) -> str:
    short = row["claimed"] is not None and row["proved"] < row["claimed"]
    link = f'<a href="#{identity("order", row)}">'
    return "".join(
        f'<td class="n{" bad" if short and key == "proved" else ""}">'
        f"{link}{_number(row[key])}</a></td>"
        for key in FOUND
    )


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _body(row: Row, name: str) -> str:
    short = row["claimed"] is not None and row["proved"] < row["claimed"]
    solver = f"<b>{_breakable(row['method'])}</b>{_options(row)}"
    cells = [f'<td data-key="{escape(name)}">{solver}</td>']
    for key in COLUMNS:
        value = row[key]
        bad = " bad" if short and key == "proved" else ""
        plain = "" if value is None else value
        cells.append(f'<td class="n{bad}" data-key="{plain}">{_number(value)}</td>')
    kind = ' class="bad"' if short else ""
    stale = "" if row["certificate"] == "current" else f" (certificate {row['certificate']})"
    id = identity("order", row)
    words = " ".join((name, row["family"], row["form"], row["verdict"], row["source"])).lower()
    marks = f'id="{id}" data-family="{row["family"]}" data-text="{escape(words)}"'
    return (
        f"<tbody {marks}{' data-short' if short else ''}><tr>{''.join(cells)}</tr>\n"
        f'<tr class="more"><td colspan="{len(cells)}"><details><summary{kind}>'
        f"{escape(row['verdict'] + stale)}</summary>{_details(row)}"
        f'<div data-row="{id}"></div></details></td></tr></tbody>'
    )


def _breakable(name: str) -> str:
    """A narrow column may break a name after an underscore."""
    return escape(name).replace("_", "_<wbr>")


def _options(row: Row) -> str:
    options = ", ".join(f"{key}={value}" for key, value in row["options"].items())
    return f' <span class="soft">{_breakable(options)}</span>' if options else ""


def _details(row: Row) -> str:
    facts = {
        "leading error": _powers(escape(str(row["leading_error"]), quote=False)),
        "form": escape(row["form"]),
        "model calls a step": row["evals_per_step"],
        "order on any fixed step ratios": f"{row['proved_any_grid']} proved",
        "order with warm-up": f"{row['proved_plain_start']} proved",
        "weak order": "no noise" if row["proved_weak"] is None else f"{row['proved_weak']} proved",
        "window of h": _range(row["window"]),
        "source": escape(row["source"]),
        "certificate": row["certificate"],
        "again": f"<code>{command(identity('order', row))}</code>",
    }
    inside = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts.items())
    return f"<dl>{inside}</dl>"


def _range(window: Sequence[float] | None) -> str:
    return " to ".join(f"{h:.3g}" for h in sorted(window)) if window else "–"


def _powers(formula: str) -> str:
    """h^3 as a superscript."""
    return re.sub(r"\^(\d+)", r"<sup>\1</sup>", formula)
