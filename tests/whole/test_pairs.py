"""What is published and not right stands beside what is: in registry, table and page."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.commands import orders
from experiments.orders import STEPS, key, order_rows, pairs
from experiments.report.solvers import beside
from solvers.method import AS_PUBLISHED, entry, rows

ASKED = [(e, v) for e, v in rows() if v.right or any(k in AS_PUBLISHED for k in v.options)]


@pytest.mark.parametrize(("e", "variant"), ASKED, ids=[f"{e.name} {v.options}" for e, v in ASKED])
def test_every_published_row_has_its_right_one(e: Any, variant: Any) -> None:
    found = e.right(variant)
    assert found is not None
    name, options = found
    assert options in [dict(v.options) for v in entry(name).variants]
    assert not set(AS_PUBLISHED) & set(options)


def test_other_rows_have_none() -> None:
    others = [(e, v) for e, v in rows() if (e, v) not in ASKED]
    assert len(others) > len(ASKED)
    assert [e.name for e, v in others if e.right(v) is not None] == []


def test_the_most_similar_variant_is_chosen() -> None:
    e = entry("unipc_2")
    oracle = next(v for v in e.variants if v.options.get("variant") == "vary_coeff")
    assert e.right(oracle) == ("unipc_2", {})
    assert entry("scire_v1_3").right(entry("scire_v1_3").variants[0]) == ("scire_v1_3c", {})


@pytest.fixture(scope="module")
def measured() -> list[dict[str, Any]]:
    """One published row with its right one, and a method without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS, "small", (16, 32, 64))
        return order_rows(names=["ddim", "dpm_solver_3m"], workers=1)


def test_pairs_of_the_table(measured: list[dict[str, Any]]) -> None:
    ((published, right),) = pairs(measured)
    assert key(published) == ("dpm_solver_3m", "[('as_published', True)]")
    assert key(right) == ("dpm_solver_3m", "[]")
    assert (published["proved"], right["proved"]) == (2, 3)
    assert pairs(measured[:1]) == []


def test_the_page_sets_them_side_by_side(measured: list[dict[str, Any]]) -> None:
    html = beside(pairs(measured)).replace("<wbr>", "")
    line = html[html.index("<tbody>") :]
    assert line.index("published=True") < line.rindex("<b>dpm_")
    assert line.count("<td") == 8
    assert line.count(" bad") == 1  # the published order is marked, the right one is not


def test_the_command_prints_them(
    measured: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("experiments.orders.order_rows", lambda **_: measured)
    arguments = {"plot": None, "names": [], "size": "small", "workers": 1}
    orders(type("Arguments", (), arguments)).show()  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert "as published, beside what is right" in shown
    assert shown.count("dpm_solver_3m") == 4
