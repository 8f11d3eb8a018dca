"""A file is seen complete or not at all, and a run is found again only on the same sources."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest

from experiments import store
from experiments.store import open_run, replacing, sources, writable


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_text("old")
    with replacing(file) as out:
        out.write("new")
        out.flush()
        assert file.read_text() == "old"
        assert len(names(tmp_path)) == 2  # what is being written lies beside it
    assert file.read_text() == "new"
    assert names(tmp_path) == ["rows"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("before", ["old", None])
def test_an_interrupted_writer_leaves_what_was_there(
    tmp_path: Path, before: str | None, error: type[BaseException]
) -> None:
    file = tmp_path / "rows"
    if before:
        file.write_text(before)

    def interrupted() -> None:
        with replacing(file) as out:
            out.write("half a ro")
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == (["rows"] if before else [])
    assert not before or file.read_text() == before


def test_links_are_followed_and_devices_are_written_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    with replacing(tmp_path / "link") as out:
        out.write("text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"
    with replacing("/dev/null") as out:
        out.write("text")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(("path", "why"), [("", "is a folder"), ("none/x", "no writable folder")])
def test_what_cannot_be_written_is_refused_before(tmp_path: Path, path: str, why: str) -> None:
    with pytest.raises(ValueError, match=rf"^-o: got .*{why}; a file in one is allowed$"):
        writable(tmp_path / path, "-o")
    assert writable(tmp_path / "x", "-o") == tmp_path / "x"
    assert names(tmp_path) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("write", [store.line, store.page])
def test_nan_and_infinity_are_refused(bad: float, write) -> None:
    for value in (bad, [bad], {"x": [{"y": bad}]}):
        with pytest.raises(ValueError, match="JSON"):
            write(value)


def test_values_survive() -> None:
    value = {"x": [0.1, 1 / 3, 5e-324, -1.7976931348623157e308], "name": "σ/α", "none": None}
    assert json.loads(store.line(value)) == json.loads(store.page(value)) == value
    assert "\n" not in store.line(value)
    assert json.loads(store.page([value, value])) == [value, value]
    assert json.loads(store.page([])) == []
    assert store.line(Fraction(2, 3)) == '"2/3"'
    with pytest.raises(TypeError, match="set has no JSON form"):
        store.line({1, 2})


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of our own in place of the project's."""
    root = tmp_path / "checkout"
    (root / "package" / "inner").mkdir(parents=True)
    for name in ("package/a.py", "package/inner/b.py", "package/data.txt", "single.py"):
        (root / name).write_text(name)
    monkeypatch.setattr(store, "ROOT", root)
    return root


def test_rows_are_current_while_study_and_sources_are(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, packages = {"seed": 0}, ["package"]

    def made() -> dict:
        run_id, versions = store.identity(study, packages)
        return store.provenance(run_id, study, versions)

    here = made()
    with monkeypatch.context() as patch:
        patch.setattr(store, "version", lambda package: "0")
        elsewhere = made()
    assert here["run_id"] != elsewhere["run_id"]
    for found in (here, elsewhere):
        assert store.current(found, study, packages)
        assert not store.current(found, {"seed": 1}, packages)
    (checkout / "package" / "a.py").write_text("edited")
    for found in (here, elsewhere):
        assert not store.current(found, study, packages)


def test_an_interrupted_run_goes_on(tmp_path: Path, checkout: Path) -> None:
    def again() -> store.Run:
        return open_run(tmp_path / "results", "orders", {"size": "small"}, ["package"])

    run = again()
    assert run.rows() == []
    run.add([{"n": 1}, {"n": 2}])
    stated = (run.folder / "provenance.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        again().add([{"n": 3}, {"n": math.nan}])
    again().add([{"n": 4}])
    assert again().rows() == [{"n": 1}, {"n": 2}, {"n": 4}]
    assert names(run.folder) == ["provenance.json", "rows.jsonl"]
    assert (run.folder / "provenance.json").read_bytes() == stated
    assert json.loads(stated)["run_id"] == run.id
    assert json.loads(stated)["study"] == {"size": "small"}


@pytest.mark.parametrize(
    ("change", "decides"),
    [
        (lambda root: (root / "package/a.py").write_text("edited"), True),
        (lambda root: (root / "package/inner/b.py").write_text("edited"), True),
        (lambda root: (root / "package/inner/b.py").rename(root / "package/b.py"), True),
        (lambda root: (root / "package/new.py").write_text(""), True),
        (lambda root: (root / "single.py").write_text("edited"), True),
        (lambda root: (root / "package/data.txt").write_text("edited"), False),
        (lambda root: (root / "other.py").write_text("edited"), False),
    ],
)
def test_a_changed_source_starts_a_new_run(
    tmp_path: Path, checkout: Path, change, decides
) -> None:
    def run_id() -> str:
        return open_run(tmp_path, "orders", {}, ["package", "single.py"]).id

    before = run_id()
    assert run_id() == before
    change(checkout)
    assert (run_id() != before) == decides


def test_a_changed_study_or_version_starts_a_new_run(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_id(study: dict) -> str:
        return open_run(tmp_path, "orders", study, ["package"]).id

    ids = [run_id({}), run_id({"seed": 0}), run_id({"seed": 1})]
    monkeypatch.setattr(store, "version", lambda package: "0")
    assert len({*ids, run_id({})}) == 4


def test_a_source_that_is_not_there_is_no_source(checkout: Path) -> None:
    assert sources("package") != sources("single.py")
    with pytest.raises(OSError, match="gone"):
        sources("gone.py")


def test_a_row_is_appended_whole_or_not_at_all(tmp_path: Path) -> None:
    """What another process left of a row is no row, and does not spoil the next one."""
    run = store.Run(tmp_path)
    run.append({"n": 1})
    run.append({"n": "line\nbreaks \u2028 inside"})
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"n": 3, "half')
    assert len(run.rows()) == 2
    with pytest.raises(ValueError, match="JSON"):
        run.append({"n": math.nan})
    run.append({"n": 4})
    assert [row["n"] for row in run.rows()] == [1, "line\nbreaks \u2028 inside", 4]
    assert (tmp_path / "rows.jsonl").read_bytes().count(b"\n") == 3
