"""The report is one self-contained page, and the JSON files beside it lead to what it shows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from experiments import cache, looseness, orders, store, work
from experiments.cli import main
from experiments.report import identify, rerun, sections
from experiments.report.build import Report, report
from experiments.report.compare import compared
from experiments.study import Sheet, load

NAMES = ("ddim", "scire_v1_3")
ROW = {
    "method",
    "options",
    "published",
    "family",
    "form",
    "claimed",
    "proved",
    "measured",
    "measured_irregular",
    "measured_plain_start",
    "proved_plain_start",
    "proved_any_grid",
    "window",
    "evals_per_step",
    "leading_error",
    "source",
    "verdict",
}
STUDY = replace(
    load("digits"),
    components=2,
    samples=3,
    nfe=(4, 8),
    grids=load("digits").grids[:1],
    sheet=Sheet(("ddim",), 4, 2),
)


@pytest.fixture(scope="module")
def short_steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """Few steps for the whole module, and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cache.CACHE_ENV, str(tmp_path_factory.mktemp("cache")))
        patch.setitem(orders.STEPS, "small", (16, 32, 64, 128))
        yield patch


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, short_steps: pytest.MonkeyPatch
) -> tuple[Report, Path]:
    folder = tmp_path_factory.mktemp("report") / "new"
    return report(folder, study=STUDY, names=NAMES, workers=1), folder


def stored(folder: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((folder / name).read_text(encoding="utf-8"))


class Outside(HTMLParser):
    """Everything that a page would fetch, and its tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.meta: dict[str | None, str | None] = {}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name, value in given.items():
            local = (value or "").startswith(("#", "data:"))
            link = tag == "a" and name == "href"
            loads = name in ("src", "srcset", "href", "xlink:href", "data", "poster", "action")
            if loads and not local and not link:
                self.fetched.append(f"{tag} {name}={value}")
        if tag == "script" and "src" in given:
            self.fetched.append("script src")
        if tag == "meta":
            self.meta[given.get("name")] = given.get("content")
        self.open.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] == "style":
            self.fetched += re.findall(r"@import.*|url\((?!['\"]?[#d]).*?\)", data)


def test_the_page_fetches_nothing(written: tuple[Report, Path]) -> None:
    done = written[0]
    html = done.page.read_text(encoding="utf-8")
    page = Outside(html)
    assert page.fetched == []
    assert (page.meta["viewport"] or "").startswith("width=device-width")
    assert html.startswith("<!doctype html>")
    assert html.count("<svg") >= 5
    assert page.open.count("h1") == 1
    assert "nan" not in re.findall(r"[\w.]+", page.text)
    for name in NAMES:
        assert name in page.text
    for row in done.orders:
        assert row["verdict"] in page.text


@pytest.mark.parametrize(
    "bad",
    [
        '<script src="x.js"></script>',
        '<img src="https://example.org/x.png">',
        '<link rel="stylesheet" href="style.css">',
        "<style>@import 'x.css';</style>",
        "<style>p { background: url(x.png) }</style>",
        '<svg><image xlink:href="http://example.org/x.png"/></svg>',
    ],
)
def test_what_a_page_fetches_is_seen(bad: str) -> None:
    assert Outside(f"<p>{bad}</p>").fetched
    assert not Outside('<p><a href="https://arxiv.org">x</a><a href="#y">y</a></p>').fetched


def test_anchors_lead_somewhere(written: tuple[Report, Path]) -> None:
    html = written[0].page.read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html)
    assert used
    assert set(used) <= set(ids)


def test_every_command_on_the_page_finds_its_row(written: tuple[Report, Path]) -> None:
    """Rows of the script, too; one of each kind that a report measures is made again."""
    done, folder = written
    html = done.page.read_text(encoding="utf-8")
    found = {f.id: f for f in identify.stored(folder)}
    named = set(re.findall(r"--row (\w+) --rerun", html)) - {"ID"}
    assert {found[name].kind for name in named} >= {"order", "map", "audit", "teleport"}
    assert {found[name].kind for name in named} >= {"level", "reach", "score", "jump"}
    assert set(re.findall(r'"([a-z][0-9a-f]{8})"', html)) <= found.keys()
    quick = {f.kind: f for f in found.values() if f.kind in ("level", "score", "jump", "reach")}
    assert len(quick) == 4
    for f in quick.values():
        fresh = rerun.recomputed(f, workers=1, progress=lambda *_: None)
        assert all(c.same for c in compared(f, fresh)), f.kind


def test_an_error_of_fifty_digits_has_no_floor() -> None:
    row = {"curves": {kind: [[0.1, 1e-14]] for kind in ("exact", "float64")}}
    fresh = {"curves": {kind: [[0.1, 2e-14]] for kind in ("exact", "float64")}}
    differ = [c.name for c in compared(identify.Found("order", row), fresh) if not c.same]
    assert differ == ["curves.exact[0][1]"]


def test_the_rows_of_orders(written: tuple[Report, Path]) -> None:
    done, folder = written
    rows = stored(folder, "orders.json")
    assert rows == json.loads(store.page(done.orders))
    assert {row["method"] for row in rows} == set(NAMES)
    for row in rows:
        assert row.keys() >= ROW
        numbers = [row[key] for key in row if re.match("claimed|proved|measured", key)]
        assert all(v is None or type(v) in (int, float) for v in numbers)
        assert len(numbers) >= 7
        assert abs(row["measured"] - row["proved"]) < 0.2
        first, last = row["window"]
        assert first > last > 0
    published = {row["method"]: row for row in rows if row["published"] and not row["options"]}
    assert published.keys() == set(NAMES)
    # An order that is missed is shown as missed: SciRE-Solver-3 as published is of order 1.
    assert (published["scire_v1_3"]["claimed"], published["scire_v1_3"]["proved"]) == (2, 1)
    assert published["scire_v1_3"]["verdict"].startswith("claimed 2, is 1")
    assert published["ddim"]["verdict"] == "order 1 as claimed"


def test_the_command_prints_the_same_rows(
    written: tuple[Report, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["orders", "ddim", "--json", "--workers", "1"]) == 0
    printed = json.loads(capsys.readouterr().out)
    rows = [row for row in stored(written[1], "orders.json") if row["method"] == "ddim"]
    for row in (*printed, *rows):
        row.pop("certificate")  # the sources may have changed in between
    assert printed == rows


def test_the_rows_of_work(written: tuple[Report, Path]) -> None:
    done, folder = written
    rows = stored(folder, "work_precision.json")
    assert rows == json.loads(store.page(done.work))
    keys = {"method", "options", "target", "grid", "nfe", "error_rms", "seconds", "family"}
    assert all(row.keys() >= keys for row in rows)
    assert {row["method"] for row in rows} == set(NAMES)


def test_errors_of_samples_are_those_of_rows(written: tuple[Report, Path]) -> None:
    done, _ = written
    html = done.page.read_text(encoding="utf-8")
    shown = html[html.index('<section id="samples"') : html.index('<section id="teleportation"')]
    (error,) = {
        row["error_rms"] for row in done.work if (row["method"], row["nfe"]) == ("ddim", 4)
    }
    assert f"RMS error {error:.3f}" in shown  # in the picture
    assert f">{error:.3g}<" in shown  # in the row below it


def test_a_sheet_may_show_what_no_row_is_about() -> None:
    problem = work.build(STUDY)
    assert "RMS error" in sections.samples(STUDY, problem, [])
    off = {"method": "ddim", "options": {}, "grid": STUDY.grids[0].name, "level": None, "nfe": 4}
    assert "RMS error" in sections.samples(STUDY, problem, [{**off, "error_rms": None}])


def test_the_bound_is_about_twice_the_truth(written: tuple[Report, Path]) -> None:
    row = next(f.row for f in identify.stored(written[1], ["certified"]))
    fair = [
        r.bound / r.entropy
        for group in looseness.drawn().values()
        for r in group
        if r.rarest >= 0.1 and math.expm1(r.bound) < 0.5
    ]
    assert (row["fair"], row["median"]) == (len(fair), median(fair))
    assert abs(row["median"] - 2) < 0.1  # χ² ≃ 2 K where both are small


def test_a_second_report_computes_nothing(
    written: tuple[Report, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    done, folder = written

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("computed again")

    monkeypatch.setattr(orders, "row", never)
    monkeypatch.setattr(work, "measure", never)
    monkeypatch.setattr(sections, "write", lambda *_: "page")
    again = report(folder, study=STUDY, names=NAMES, workers=1)
    assert again.work == done.work
    assert len(again.orders) == len(done.orders)
    assert (folder / "index.html").read_text() == "page"
    with pytest.raises(AssertionError, match="computed again"):
        report(folder, study=STUDY, names=("rho_heun2",), workers=1)
    assert sorted(f.name for f in folder.iterdir()) == [
        "index.html",
        "orders.json",
        "results",
        "runs.json",
        "work_precision.json",
    ]


def test_images_that_are_not_there_are_missed_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^source: 'cifar' is neither 'digits' nor"):
        report(tmp_path / "out", study=replace(STUDY, target="cifar"), names=NAMES)
    assert not (tmp_path / "out").exists()


def test_certificates_that_are_not_current_are_named(written: tuple[Report, Path]) -> None:
    done = written[0]
    stale = replace(done, stale=[("ddim", "stale"), ("unipc_2", "stale"), ("new", "missing")])
    assert stale.summary.endswith("; certificates: 1 missing, 2 stale (make certify)")
    assert "certificates" not in replace(done, stale=[]).summary
    said = sections.introduction(done.orders, stale.stale)
    assert "new (missing)" in said
    assert "warn" not in sections.introduction(done.orders, [])
