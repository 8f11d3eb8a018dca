"""The page works in a browser: no error, nothing fetched, and by keyboard what a mouse can do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import atlas, orders, store, work
from experiments.cli import main
from experiments.report import build, identify, images, page, sections
from experiments.study import Sheet, load
from tests.browser import CHROMIUM, Browser, browser

NAMES = ("ddim", "dpm_solver_3m", "scire_v1_3")
STUDY = replace(
    load("digits"),
    components=2,
    samples=3,
    nfe=(4, 8),
    grids=load("digits").grids[:2],
    sheet=Sheet(("ddim",), 8, 2),
    methods=NAMES,
)
FOLDED = (("solver", "error"), [("a", "0.5")], ["x-1"])
MOST = 6_000_000
"""Bytes that a page may have."""
SOON = 1000
"""Milliseconds after which it must answer."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The parts that move, as the report writes them, and the rows behind them."""
    out = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(orders.STEPS, "small", (16, 32, 64))
        run, measured = build.orders_of(out / "results", NAMES, 1, lambda *_: None)
        problem, rows = work.run(STUDY, out / "results", workers=1)
        for name in (STUDY.name, "another"):  # rows of the same ids beside the page's
            work.run(replace(STUDY, samples=2, name=name), out / "results", workers=1)
        html = page.document(
            "A page",
            [
                ("The map", sections.mapping(atlas.read())),
                ("All solvers", sections.solvers(measured)),
                ("Beside", sections.published(measured)),
                ("Linked", page.prose("See [0.5](#x-1).") + page.folded("Rows", *FOLDED)),
                ("Error against work", images.section(STUDY, problem, rows)),
            ],
        )
        (out / "index.html").write_text(html, encoding="utf-8")
        (out / "orders.json").write_text(store.page(measured), encoding="utf-8")
        runs = {"order": run, "work": images.stored(STUDY, out / "results")}
        (out / identify.RUNS).write_text(identify.listed(out, runs.items()), encoding="utf-8")
        yield out


@pytest.fixture(scope="module")
def chromium(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium here; Debian's package chromium brings it")
    with browser(tmp_path_factory.mktemp("profile")) as b:
        yield b


@pytest.fixture
def shown(chromium: Browser, folder: Path) -> Browser:
    """The page at a desk's width, freshly loaded."""
    chromium.problems.clear()
    chromium.look_like(1200, 900, "light")
    chromium.open(folder / "index.html")
    return chromium


def visible(b: Browser) -> list[str]:
    bodies = "[...document.querySelectorAll('#solvers tbody')].filter(x => !x.hidden)"
    return b.run(f"{bodies}.map(x => x.rows[0].cells[0].dataset.key)")


def test_it_loads_without_an_error_and_soon(shown: Browser, folder: Path) -> None:
    assert shown.problems == []
    assert int(shown.run("document.documentElement.dataset.ready")) < SOON
    assert (folder / "index.html").stat().st_size < MOST
    shown.run("console.error('a control')")
    shown.run("fetch('https://example.org').catch(() => 0)")
    shown.run("1")
    assert any("a control" in text for text in shown.problems)
    assert any("example.org" in text for text in shown.problems)


def test_the_table_filters_and_sorts(shown: Browser) -> None:
    everything = visible(shown)
    assert len(everything) > len(NAMES)
    typed = "const f = document.querySelector('form.filter'); f.elements.text.value = {!r};"
    told = "f.dispatchEvent(new Event('input'))"
    shown.run("{" + typed.format("scire order") + told + "}")
    assert 0 < len(visible(shown)) < len(everything)
    assert all("scire" in name for name in visible(shown))
    counted = shown.run("document.querySelector('form.filter output').textContent")
    assert counted == f"{len(visible(shown))} of {len(everything)}"
    shown.run("{" + typed.format("") + "f.elements.short.checked = true;" + told + "}")
    assert "ddim" not in visible(shown)
    assert visible(shown)
    shown.run("{" + typed.format("") + "f.elements.short.checked = false;" + told + "}")
    # The heading "proved" by keyboard: once up, twice down.
    shown.run("document.querySelectorAll('#solvers th button')[2].focus()")
    bodies = "[...document.querySelectorAll('#solvers tbody')]"
    keys = f"{bodies}.map(x => +x.rows[0].cells[2].dataset.key)"
    shown.press("Enter")
    assert shown.run(keys) == sorted(shown.run(keys))
    assert shown.run("document.querySelectorAll('#solvers th')[2].ariaSort") == "ascending"
    shown.press("Enter")
    assert shown.run(keys) == sorted(shown.run(keys), reverse=True)
    assert shown.run(keys)[0] > shown.run(keys)[-1]


def test_a_row_opens_with_its_plot(shown: Browser) -> None:
    shown.run("document.querySelector('#solvers details').open = true")
    plot = "document.querySelector('#solvers details svg.chart')"
    shown.run("new Promise(requestAnimationFrame)")
    assert shown.run(f"{plot} !== null && {plot}.querySelectorAll('circle').length > 8")
    assert shown.problems == []


def test_a_number_leads_to_its_row(shown: Browser) -> None:
    row = "document.getElementById('x-1')"
    assert not shown.run(f"{row}.closest('details').open")
    shown.run("document.querySelector('#linked a').focus()")
    shown.press("Enter")
    assert shown.run("location.hash") == "#x-1"
    shown.run("new Promise(requestAnimationFrame)")
    assert shown.run(f"{row}.closest('details').open")
    assert 0 <= shown.run(f"{row}.getBoundingClientRect().top") < 900
    # Chromium opens what it goes to by itself; other browsers need the page's script.
    shown.run(f"{row}.closest('details').open = false")
    shown.run("dispatchEvent(new Event('hashchange'))")
    assert shown.run(f"{row}.closest('details').open")
    assert shown.problems == []


def test_a_number_leads_to_a_solver_that_a_filter_hides(shown: Browser) -> None:
    link = "document.querySelector('#beside a')"
    body = f"document.querySelector({link}.getAttribute('href'))"
    shown.run(
        "{const f = document.querySelector('form.filter'); f.elements.text.value = 'ddim';"
        "f.dispatchEvent(new Event('input'))}"
    )
    assert shown.run(f"{body}.hidden")
    shown.run(f"{link}.click()")
    shown.run("new Promise(requestAnimationFrame)")
    shown.run("new Promise(requestAnimationFrame)")
    assert not shown.run(f"{body}.hidden")
    assert shown.run(f"{body}.querySelector('details').open")
    assert 0 <= shown.run(f"{body}.getBoundingClientRect().top") < 900


def test_a_cell_that_is_held_lets_go(shown: Browser) -> None:
    title = "document.querySelector('#map-panel h3').textContent"
    held = "document.querySelectorAll('#map-grid [aria-pressed]').length"
    buttons = "document.querySelectorAll('#map-grid button')"
    shown.run(f"{buttons}[0].click()")
    first = shown.run(title)
    shown.run(f"{buttons}[1].dispatchEvent(new Event('mouseenter'))")
    assert (shown.run(title), shown.run(held)) == (first, 1)
    shown.run("document.body.focus()")
    shown.press("Escape")
    assert shown.run(held) == 0
    shown.run(f"{buttons}[1].dispatchEvent(new Event('mouseenter'))")
    assert shown.run(title) != first
    shown.run(f"{buttons}[0].click()")
    shown.run(f"{buttons}[2].focus()")
    assert shown.run(held) == 0


def test_the_map_by_keyboard(shown: Browser) -> None:
    panel = "document.getElementById('map-panel')"
    assert shown.run(f"{panel}.hidden")
    buttons = "[...document.querySelectorAll('#map-grid button')]"
    assert (
        shown.run(f"{buttons}.filter(x => x.tabIndex === 0).length") == 1
    )  # one stop of the Tab key; arrows go from there
    shown.run("[...document.querySelectorAll('#map-states input')].at(-1).focus()")
    shown.press("Tab", "ArrowDown", "ArrowRight")
    at = shown.run("document.activeElement.getAttribute('aria-label')")
    assert at.startswith("adams 2 in NOISE_LAMBDA: order 2")
    said = shown.run(f"{panel}.textContent")
    for word in ("leading error", "−5/12", "formula", "exp_ab_2", "certificate", "--rerun"):
        assert word in said
    assert not shown.run(f"{panel}.querySelector('svg.chart') !== null")
    shown.press("Enter")
    assert shown.run(f"{panel}.querySelectorAll('svg.chart circle').length") == len(atlas.STEPS)
    covered = "document.activeElement.getBoundingClientRect().bottom"
    assert shown.run(covered) <= shown.run(f"{panel}.getBoundingClientRect().top")
    shown.press("Escape")
    assert shown.run(f"{panel}.hidden")
    assert shown.problems == []


def test_the_map_by_keyboard_passes_over_what_is_hidden(shown: Browser) -> None:
    boxes = "[...document.querySelectorAll('#map-states input')]"
    visible = "getComputedStyle(document.activeElement).visibility"
    shown.run(f"{boxes}.find(b => b.value === 'published').click()")
    shown.run(f"{boxes}.at(-1).focus()")
    shown.press("Tab")
    for way in ("ArrowRight", "ArrowDown", "ArrowRight"):
        before = shown.run("document.activeElement.getAttribute('aria-label')")
        assert before
        assert shown.run(visible) == "visible"
        shown.press(way)
        assert shown.run("document.activeElement.getAttribute('aria-label')") != before
    shown.run(f"{boxes}.find(b => b.value === 'published').click()")


def test_a_cell_that_is_clicked_stays_in_sight(shown: Browser) -> None:
    cell = "document.querySelectorAll('#map-grid tbody')[2].querySelector('button')"
    shown.run(f"scrollTo(0, scrollY + {cell}.getBoundingClientRect().bottom - 890)")
    assert shown.run(f"{cell}.getBoundingClientRect().bottom") > 800
    shown.run(f"{cell}.click()")
    top = shown.run("document.getElementById('map-panel').getBoundingClientRect().top")
    assert shown.run(f"{cell}.getBoundingClientRect().bottom") <= top


def test_solvers_are_chosen_for_the_plot(shown: Browser) -> None:
    circles = "document.querySelectorAll('#bench svg.chart circle').length"
    before = shown.run(circles)
    box = "[...document.querySelectorAll('#bench .boxes input')].find(x => !x.checked)"
    shown.run(f"{box}.focus()")
    shown.run("document.activeElement.click()")
    assert shown.run(circles) == before + len(STUDY.nfe)
    rows = "document.querySelectorAll('#bench tbody tr').length"
    assert shown.run(rows) == shown.run(circles)
    shown.run(
        "{const g = document.querySelector('#bench select'); g.selectedIndex = 1;"
        "g.dispatchEvent(new Event('change'))}"
    )
    title = shown.run("document.querySelector('#bench svg.chart').getAttribute('aria-label')")
    assert title == f"Error against work on the grid {STUDY.grids[1].name}"
    assert shown.problems == []


@pytest.mark.parametrize("width", [1200, 500, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_is_photographed(
    chromium: Browser, folder: Path, width: int, scheme: str
) -> None:
    chromium.look_like(width, 900, scheme)
    chromium.open(folder / "index.html")
    assert chromium.run("document.documentElement.scrollWidth") <= width
    table = chromium.run("document.getElementById('solvers').getBoundingClientRect().right")
    assert table <= width  # a section cuts off what is wider
    paper = chromium.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")
    file = folder / f"{width}-{scheme}.png"
    chromium.picture(file)
    assert file.read_bytes()[:4] == b"\x89PNG"


def test_without_a_script_the_numbers_are_there(folder: Path) -> None:
    html = (folder / "index.html").read_text(encoding="utf-8")
    plain = html[: html.rindex("<script>")]
    assert "h³ [−5/12 N" in plain
    assert plain.count("<noscript><figure") == 1
    for row in json.loads((folder / "orders.json").read_text()):
        assert f'id="{identify.identity("order", row)}"' in plain
        assert identify.command(identify.identity("order", row)) in plain


def test_a_row_is_found_by_its_id_and_made_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = list(identify.stored(folder))
    assert len({f.id for f in found}) == len(found)
    own = store.line(STUDY.to_json())
    assert {store.line(f.study) for f in found if f.kind == "work"} == {own}
    for kind in ("work", "map"):
        name = next(f.id for f in found if f.kind == kind)
        assert main(["report", "--row", name, "--out", str(folder), "--rerun", "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["same"]
        assert answer["differences"]
        assert answer["command"] == f"scoreproof report --row {name} --rerun"
    assert main(["report", "--row", name, "--out", str(folder)]) == 0
    assert f"--row {name} --rerun" in capsys.readouterr().out


def test_a_row_that_is_not_what_is_computed_is_seen(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = images.stored(STUDY, folder / "results").folder / "rows.jsonl"
    kept = run.read_text(encoding="utf-8")
    first: dict[str, Any] = json.loads(kept.splitlines()[0])
    name = identify.identity("work", first)
    first["error_rms"] *= 1.001
    run.write_text(store.line(first) + "\n", encoding="utf-8")
    assert main(["report", "--row", name, "--out", str(folder), "--rerun"]) == 1
    assert "error_rms" in capsys.readouterr().out
    run.write_text(kept, encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (identify.RUNS, "{"),
        (identify.RUNS, "42"),
        (identify.RUNS, '[["order"]]'),
        (identify.RUNS, '[["order", 3]]'),
        ("provenance.json", "{}"),
        ("provenance.json", None),
        ("rows.jsonl", "[1]\n"),
        ("rows.jsonl", "\u0000\n"),
    ],
)
def test_damaged_files_of_a_page(
    folder: Path, tmp_path: Path, file: str, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page"
    shutil.copytree(folder, out)
    listed = dict(json.loads((out / identify.RUNS).read_text()))
    place = out / file if file == identify.RUNS else out / listed["order"] / file
    place.unlink()
    if text is not None:
        place.write_text(text)
    assert main(["report", "--row", "o0", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "not what a report has written" in said
    assert said.count("\n") == 1
    kept = next(f.id for f in identify.stored(out, ["map"])) if file != identify.RUNS else None
    if kept:  # a row that lies beside the sources does not ask for the page's own
        assert main(["report", "--row", kept, "--out", str(out)]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--row", "o0", "--out", "nowhere"], "(there is none: `scoreproof report --out nowhere`"),
        (["--row", "o0"], "--row: got 'o0'; an id that the page in"),
        (
            ["--row", "o0", "--study", "digits"],
            "--study: got 'digits' with --row; it is",
        ),
        (["--row", "o0", "--workers", "3"], "--workers: got 3 with --row"),
        (["--rerun"], "--rerun: got it without --row; it is allowed with --row ID"),
    ],
)
def test_bad_rows(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *arguments]) == 2
    assert said in capsys.readouterr().err
