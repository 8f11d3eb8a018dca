"""The pages are true: Python prints what stands below it, links exist, letters are listed."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from experiments.pages import blocks, main, printed
from solvers.method import entry, registry
from tests.page_files import DOCS, PAGES, ROOT, RULES, title

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", [p for p in PAGES if p != RULES], ids=title)
def test_python_prints_what_stands_below_it(page: Path) -> None:
    for found, stated in printed(page):
        assert found == stated, "make docs prints it again"


def test_control_a_wrong_output_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n```text\n2\n```\n")
    assert list(printed(page)) == [("1\n", "2\n")]
    main([str(page)])
    assert list(printed(page)) == [("1\n", "1\n")]
    assert sum(language == "text" for p in PAGES for language, _ in blocks(p)) >= 10


def test_the_worked_solver_is_one_file(tmp_path: Path) -> None:
    """CONTRIBUTING's file, put into a copy of the packages: listed, proved and measured there."""
    for package in ("solvers", "theory", "gaussian_score", "experiments", "docs"):
        shutil.copytree(ROOT / package, tmp_path / package)
    ((_, code),) = [b for b in blocks(RULES) if b[0] == "python"]
    (tmp_path / "solvers" / "methods" / "kutta.py").write_text(code, encoding="utf-8")

    def scoreproof(*arguments: str) -> Any:
        command = [sys.executable, "-m", "experiments", *arguments, "--json"]
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=True)
        return json.loads(run.stdout)

    (row,) = scoreproof("orders", "rho_38", "--workers", "1")
    assert (row["claimed"], row["proved"], row["proved_any_grid"]) == (4, 4, 4)
    assert abs(row["measured"] - 4) < 0.1
    assert row["certificate"] == "missing"
    assert "rho_38" in {m["name"] for m in scoreproof("list", "methods")}
    assert "Kutta 1901" in str(scoreproof("cite", "rho_38"))


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_to_files(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    assert {p.name for p in DOCS if p != index} <= set(LINK.findall(index.read_text()))


PACKAGES = ["solvers", "theory", "gaussian_score", "experiments"]


NOTATION = ROOT / "docs" / "notation.md"


def columns() -> list[tuple[str, str]]:
    """The first two cells of every row of the dictionary's tables."""
    lines = NOTATION.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines if line[:1] == "|"]
    return [(row[0], row[1]) for row in rows if len(row) == 2]


def greek(text: str) -> set[str]:
    """Letters; Σ is the sign of a sum."""
    return {c for c in text if "GREEK" in unicodedata.name(c, "")} - {"Σ"}


def unknown_letters(text: str) -> set[str]:
    """Greek letters that no row of the dictionary begins with."""
    return greek(text) - greek(" ".join(symbol for symbol, _ in columns()))


@pytest.mark.parametrize("name", registry())
def test_the_dictionary_has_the_letters_of_every_method(name: str) -> None:
    text = entry(name).fn.__doc__ or ""
    assert text
    assert not unknown_letters(text)


def test_control_a_strange_letter_is_seen() -> None:
    assert unknown_letters("ω of φ") == {"ω"}


def exists(name: str) -> bool:
    """An object, or a dataclass's field, of this dotted name."""
    owner, _, field = name.rpartition(".")
    try:
        pkgutil.resolve_name(name)
        return True
    except (AttributeError, ImportError):
        return field in getattr(pkgutil.resolve_name(owner), "__dataclass_fields__", {})


def test_the_dictionary_names_what_exists() -> None:
    names = [n for _, cell in columns() for n in re.findall(r"`((?:\w+\.)+\w+)`", cell)]
    assert len(names) > 40
    assert [name for name in names if not exists(name)] == []
    assert not exists("solvers.point.Point.no_such_thing")


def test_pages_of_modules_are_made_from_docstrings(tmp_path: Path, size: int) -> None:
    """What ``make docs`` writes: a page each, with the formulas; of one with ``__all__`` what
    that names.  All packages at the long size.
    """
    command = [sys.executable, "-m", "pdoc", "--docformat", "google", "--no-show-source"]
    names = ["solvers.schedules"] if size == 1 else PACKAGES
    done = subprocess.run(
        [*command, "-o", str(tmp_path), *names], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Rectified flow" in (tmp_path / "solvers" / "schedules.html").read_text()
    made = {p.relative_to(tmp_path).with_suffix("").as_posix() for p in tmp_path.rglob("*.html")}
    files = [p for n in PACKAGES for p in (ROOT / n).rglob("*.py") if p.stem[0] != "_"]
    shown = (p for p in files if "__all__" not in (p.parent / "__init__.py").read_text())
    modules = {p.relative_to(ROOT).with_suffix("").as_posix() for p in shown}
    assert size == 1 or modules <= made


def words_of(text: str) -> set[str]:
    """Names in a leading error; N, its derivatives and h are explained by their marks."""
    return set(re.findall(r"[A-Za-z]\w*", text)) - {"N", "h"}


def test_every_word_of_a_leading_error_is_explained() -> None:
    page = (ROOT / "docs" / "how_to_read_a_certificate.md").read_text(encoding="utf-8")
    firsts = [row.split("|")[1] for row in page.splitlines() if row.startswith("|")]
    known = words_of(" ".join(firsts))
    files = (ROOT / "theory" / "certificates").glob("*.json")
    rows = [row for file in files for row in json.loads(file.read_text())["rows"]]
    assert set().union(*(words_of(row["leading_error"]) for row in rows)) <= known
    assert not words_of("h^2 [zeta1 N']") <= known
