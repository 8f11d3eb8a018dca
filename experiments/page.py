"""The report's page: one self-contained HTML file, readable on a phone and in the dark.

Strings in, a string out: what is said in numbers comes from the caller's rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any

Row = Mapping[str, Any]

CSS = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --paper: #ffffff; --tint: #f6f8fa; --bad: #b54708; --accent: #0060a0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --line: #353c45;
  --paper: #0f1318; --tint: #181d24; --bad: #ff9a57; --accent: #6cb8f0; }
  .plot svg { filter: brightness(1.25); } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.2rem 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p, li { max-width: 46rem; }
code, pre { font: .88em/1.5 ui-monospace, monospace; }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 6px; padding: .7rem;
  overflow-x: auto; overflow-wrap: normal; }
nav a { color: var(--accent); margin-right: 1rem; white-space: nowrap; }
figure { margin: 1rem 0; }
figcaption, .soft { color: var(--soft); font-size: .9rem; }
svg { display: block; width: 100%; height: auto; color: var(--ink); }
.narrow { display: none; }
.half { max-width: 36rem; }
.warn { border-left: 4px solid var(--bad); background: var(--tint); padding: .5rem .8rem; }
table { border-collapse: collapse; width: 100%; }
.scroll { overflow-x: auto; }
.scroll th { overflow-wrap: normal; white-space: nowrap; padding-right: .6rem; }
thead th { text-align: left; vertical-align: bottom; border-bottom: 2px solid var(--line);
  padding: 0; }
th button { all: unset; cursor: pointer; padding: .3rem .4rem; font-size: .82rem;
  font-weight: 600; color: var(--accent); }
th button:focus-visible { outline: 2px solid var(--accent); }
th[aria-sort=ascending] button::after { content: " \\25B4"; }
th[aria-sort=descending] button::after { content: " \\25BE"; }
tbody { border-bottom: 1px solid var(--line); }
td { padding: .35rem .4rem 0; vertical-align: top; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.more td { padding: 0 .4rem .4rem; }
.bad { color: var(--bad); font-weight: 600; }
summary { cursor: pointer; font-size: .9rem; color: var(--soft); }
summary.bad { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: .5rem 0;
  font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; }
@media (max-width: 640px) { .wide { display: none; } .narrow { display: block; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; }
  td, tr.more td { padding-left: .15rem; padding-right: .15rem; }
  th button { padding: .3rem .15rem; font-size: .74rem; overflow-wrap: normal; } }
"""

SCRIPT = """
for (const head of document.querySelectorAll("table.sortable")) {
  const heads = [...head.tHead.rows[0].cells];
  heads.forEach((cell, i) => cell.querySelector("button").addEventListener("click", () => {
    const down = cell.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = body => body.rows[0].cells[i].dataset.key;
    const number = key => key === "" ? -Infinity : Number(key);
    const sorted = [...head.tBodies].sort((a, b) =>
      i ? number(key(a)) - number(key(b)) : key(a).localeCompare(key(b)));
    head.append(...(down ? sorted.reverse() : sorted));
  }));
}
"""

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
    return DOCUMENT.substitute(
        title=escape(title), css=CSS, script=SCRIPT, links=links, sections="\n".join(parts)
    )


def prose(text: str) -> str:
    """Paragraphs between blank lines; "- " begins an item, backticks set code."""
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


def _marked(line: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(line, quote=False))


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


def table(rows: Sequence[Row], names: Sequence[str], plots: Sequence[str]) -> str:
    """One body per row: the orders, and below them the verdict, which opens the details."""
    heads = ["solver", *COLUMNS.values()]
    head = "".join(f'<th scope="col"><button type="button">{h}</button></th>' for h in heads)
    bodies = (_body(*parts) for parts in zip(rows, names, plots, strict=True))
    return (
        f'<table class="sortable"><thead><tr>{head}</tr></thead>\n'
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


def simple(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """Cells as they are; those of numbers stand right."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines)
    table = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table>{table}</table></div>'


def _cell(value: Any) -> str:
    text = str(value)
    kind = ' class="n"' if re.fullmatch(r"[-+.\de]+", text) else ""
    return f"<td{kind}>{_breakable(text)}</td>"


def _solver(row: Row) -> str:
    return f"<td><b>{_breakable(row['method'])}</b>{_options(row)}</td>"


def _found(row: Row) -> str:
    short = row["claimed"] is not None and row["proved"] < row["claimed"]
    return "".join(
        f'<td class="n{" bad" if short and key == "proved" else ""}">{_number(row[key])}</td>'
        for key in FOUND
    )


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _body(row: Row, name: str, plot: str) -> str:
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
    return (
        f"<tbody><tr>{''.join(cells)}</tr>\n"
        f'<tr class="more"><td colspan="{len(cells)}"><details><summary{kind}>'
        f"{escape(row['verdict'] + stale)}</summary>{_details(row)}"
        f'<figure class="plot half">{plot}</figure></details></td></tr></tbody>'
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
    }
    inside = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts.items())
    return f"<dl>{inside}</dl>"


def _range(window: Sequence[float] | None) -> str:
    return " to ".join(f"{h:.3g}" for h in sorted(window)) if window else "–"


def _powers(formula: str) -> str:
    """h^3 as a superscript."""
    return re.sub(r"\^(\d+)", r"<sup>\1</sup>", formula)
