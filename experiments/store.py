"""Rows and where they came from: ``rows.jsonl`` and ``provenance.json``, one folder per run.

A run's id is the hash of what decides its rows: the study, the sources they rest on and the
versions that execute them.  So an interrupted run is found again and goes on, and a changed source
starts a new one.  A row is seen complete or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[1]
LOCK = ".lock"
NUMERICAL = ("torch", "numpy", "scipy", "sympy", "mpmath", "scikit-learn")


def writable(path: str | Path, name: str) -> Path:
    """The path, if a file can be written there; asked before anything is computed."""
    path = Path(path)
    folder = path.resolve().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "is a folder" if path.is_dir() else "lies in no writable folder"
        raise ValueError(f"{name}: got {str(path)!r}, which {why}; a file in one is allowed")
    return path


@contextmanager
def replacing(path: str | Path) -> Iterator[TextIO]:
    """A text file that takes its name when it is complete; devices and pipes are written to."""
    path = Path(path).resolve()
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as device:
            yield device
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def line(value: Any) -> str:
    """JSON on one line, 17 digits; NaN and infinity raise ``ValueError``."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, default=_fraction)


def page(value: Any) -> str:
    """JSON for people: one row a line, anything else indented."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(line, value)) + "\n]\n"
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1, default=_fraction)
    return text + "\n"


def _fraction(value: Any) -> str:
    if isinstance(value, Fraction):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


@dataclass(frozen=True)
class Run:
    """One folder ``<root>/<study>/<run_id>/``."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    def about(self) -> dict[str, Any]:
        """What was run when the folder was made: see `provenance`."""
        return json.loads((self.folder / "provenance.json").read_text(encoding="utf-8"))

    def rows(self) -> list[dict[str, Any]]:
        """The rows stored so far."""
        file = self.folder / "rows.jsonl"
        if not file.exists():
            return []
        whole, _, _ = file.read_bytes().rpartition(b"\n")  # no line that is being written
        return [json.loads(text) for text in whole.splitlines()]

    def append(self, row: Mapping[str, Any]) -> None:
        """One row at the file's end; what a killed process left of another is cut off first."""
        text = line(row).encode() + b"\n"
        with (self.folder / "rows.jsonl").open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.write(text)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append; the file is replaced, so that no reader sees half a row."""
        kept = self.rows()
        with replacing(self.folder / "rows.jsonl") as file:
            file.writelines(line(row) + "\n" for row in (*kept, *rows))

    def once(self, make: Callable[[], Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
        """The rows, which are made where there are none yet."""
        if not self.rows():
            with self.alone():
                if not self.rows():  # nobody was quicker
                    self.add(make())
        return self.rows()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While this process is the only one that adds rows; its death ends that too."""
        with (self.folder / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"{self.folder}: another process works on this run; one at a time is allowed"
                ) from None
            yield


def open_run(
    root: str | Path, name: str, study: Mapping[str, Any], packages: Sequence[str]
) -> Run:
    """The run of this study on the present sources of ``packages``, new or begun earlier."""
    run_id, versions = identity(study, packages)
    run = Run(Path(root) / name / run_id)
    if not (run.folder / "provenance.json").exists():
        run.folder.mkdir(parents=True, exist_ok=True)
        with replacing(run.folder / "provenance.json") as file:
            file.write(page(provenance(run_id, study, versions)))
    return run


def identity(study: Mapping[str, Any], packages: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The id of a run of this study, from everything that decides it, and the versions in it."""
    versions = {package: version(package) for package in NUMERICAL}
    return _id(study, packages, versions, platform.python_version()), versions


def current(found: Mapping[str, Any], study: Mapping[str, Any], packages: Sequence[str]) -> bool:
    """Whether stored rows are of this study on the present sources, whatever executed them.

    ``found`` has what `provenance` says of them.
    """
    return found["run_id"] == _id(study, packages, found["packages"], found["python"])


def _id(
    study: Mapping[str, Any], packages: Sequence[str], versions: Mapping[str, str], python: str
) -> str:
    decides = [study, {p: sources(p) for p in packages}, versions, python]
    return hashlib.sha256(line(decides).encode()).hexdigest()[:16]


def sources(package: str) -> str:
    """Hash of every Python file of a package, or of one file (``experiments/work.py``)."""
    place = ROOT / package
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def provenance(run_id: str, study: Mapping[str, Any], versions: Mapping[str, str]) -> dict:
    """What was run, on which sources, with what, where."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("--no-optional-locks", "status", "--porcelain")
    certificates = sorted((ROOT / "theory" / "certificates").glob("*.json"))
    return {
        "run_id": run_id,
        "study": study,
        "commit": commit,
        "clean": changes == "" if commit else None,
        "packages": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "certificates": {f.stem: hashlib.sha256(f.read_bytes()).hexdigest() for f in certificates},
    }


def _git(*arguments: str) -> str | None:
    """Git's answer in the checkout; None outside of one."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
