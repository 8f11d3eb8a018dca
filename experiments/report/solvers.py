"""The report's tables of solvers: orders, verdicts and details; as published beside right."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from experiments.formula import typeset
from experiments.report.identify import command, identity
from experiments.report.page import breakable
from experiments.rows import Row, deviates

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


def _solver(row: Row) -> str:
    return f"<td><b>{breakable(row['method'])}</b>{_options(row)}</td>"


def _found(row: Row) -> str:
    short = deviates(row)
    link = f'<a href="#{identity("order", row)}">'
    return "".join(
        f'<td class="n{" bad" if short and key == "proved" else ""}">'
        f"{link}{_number(row[key])}</a></td>"
        for key in FOUND
    )


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _body(row: Row, name: str) -> str:
    short = deviates(row)
    solver = f"<b>{breakable(row['method'])}</b>{_options(row)}"
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


def _options(row: Row) -> str:
    options = ", ".join(f"{key}={value}" for key, value in row["options"].items())
    return f' <span class="soft">{breakable(options)}</span>' if options else ""


def _details(row: Row) -> str:
    facts = {
        "leading error": escape(typeset(str(row["leading_error"])), quote=False),
        "form": escape(row["form"]),
        "model calls a step": row["evals_per_step"],
        "order on any fixed step ratios": _both(row, "any_grid", "irregular"),
        "order with warm-up": _both(row, "plain_start", "plain_start"),
        "weak order": "no noise" if row["proved_weak"] is None else _both(row, "weak", "weak"),
        "window of h": _range(row["window"]),
        "source": escape(row["source"]),
        "certificate": row["certificate"],
        "again": f"<code>{command(identity('order', row))}</code>",
    }
    inside = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts.items())
    return f"<dl>{inside}</dl>"


def _both(row: Row, proved: str, measured: str) -> str:
    return f"{row[f'proved_{proved}']} proved, {_number(row[f'measured_{measured}'])} measured"


def _range(window: Sequence[float] | None) -> str:
    return " to ".join(f"{h:.3g}" for h in sorted(window)) if window else "–"
