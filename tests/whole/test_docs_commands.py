"""Every command line of the pages runs, in the order of its page, in a folder with what it names.

A line runs as it stands, or as `CASES` says: with fewer images or methods where it takes long,
or up to its one line of refusal where it needs files that are not here. A line of several pages
runs on the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.cli import main, parser
from experiments.pages import blocks
from solvers import method
from tests.page_files import PAGES, ROOT, RULES, make, title
from tests.picture_files import fashion_files
from theory.__main__ import main as theory

# Dask says so where a disk is slow.
pytestmark = pytest.mark.filterwarnings("ignore:Creating scratch directories")

LINE = re.compile(r"^ {4}(?:\.venv/bin/)?(scoreproof|python -m theory) +([^#\n]*)", re.MULTILINE)
INLINE = re.compile(r"`(?:\.venv/bin/)?(scoreproof|python\s-m\stheory)\s([^`]*)`")
MAKE = re.compile(r"(?:^ {4}|`)make ([a-z]+)", re.MULTILINE)


@dataclass(frozen=True)
class Smaller:
    """What runs instead, and why; only at the long size with ``nightly``."""

    line: str
    why: str
    nightly: bool = False


@dataclass(frozen=True)
class Refused:
    """What the line of refusal says, and why it is refused here."""

    says: str
    why: str


LONG = "minutes on one core"
FASHION = "the data may not be on this machine: noise stands in for them"
NOT_HERE = "files of others that this project does not have"
CASES: dict[str, Smaller | Refused] = {
    "orders": Smaller("orders ddim", LONG),
    "orders --plot docs/orders.svg": Smaller("orders ddim --plot docs/orders.svg", LONG),
    "audit": Smaller("audit DDIMScheduler", LONG),
    "run teleport": Smaller("run tiny.toml --out tiny", LONG),
    "run teleport --summary best.json": Smaller("run tiny.toml --out b --summary best.json", LONG),
    "run network --workers 2": Refused("was trained on other images", FASHION),
    "report": Smaller("report --fast", "a minute; test_report.py makes the page", nightly=True),
    "certify": Smaller("certify --check ddim", "it writes into the sources"),
    "train --data digits --out net --images 20000 --batch 128 --seed 0": Smaller(
        "train --data digits --out net --images 256 --batch 128 --seed 0 --widths 32", LONG
    ),
    "train --data digits --out net --images 40000": Smaller(
        "train --data digits --out net --images 256 --widths 32", LONG
    ),
    "train --data fashion --residual gaussian --widths 32,64,96 --images 600000 --every 25000"
    " --threads 1 --snapshots --out fashion": Smaller(
        "train --data fashion --residual gaussian --widths 16,16 --images 8 --every 8 --batch 4"
        " --threads 1 --snapshots --out fashion",
        LONG,
    ),
    "sample --checkpoint experiments/pretrained/fashion --method unipc_3 --steps 10 --seeds 0-99"
    " --labels cycle --guidance 1.5 --out set --sheet set.png": Smaller(
        "sample --checkpoint experiments/pretrained/fashion --method unipc_3 --steps 3 --seeds 0-1"
        " --labels cycle --guidance 1.5 --out set --sheet set.png",
        LONG,
    ),
    "sample --checkpoint experiments/pretrained/fashion --method unipc_3 --steps 5 --seeds 0-99"
    " --teleport auto --out skipped": Smaller(
        "sample --checkpoint trained --method unipc_3 --steps 5 --seeds 0-3 --teleport auto"
        " --out skipped",
        LONG,
    ),
    "run galaxies --checkpoint eqx_hsc_ScoreNet32.eqx --plot galaxies.svg": Smaller(
        "run tiny_galaxies.toml --checkpoint eqx_hsc_ScoreNet32.eqx --plot galaxies.svg", LONG
    ),
    "reproduce v3-cifar10-edm --checkpoint edm-cifar10-32x32-uncond-vp.pkl"
    " --data cifar10-32x32.npz"
    " --inception pt_inception-2015-12-05-6726825d.pth": Refused("cifar10-32x32.npz", NOT_HERE),
    "reproduce v3-cifar10-edm --checkpoint edm-cifar10-32x32-uncond-vp.pkl --row UniPC-3 --nfe 5"
    " --images 5000 --data cifar10-32x32.npz"
    " --inception pt_inception-2015-12-05-6726825d.pth --out uni": Refused(
        "cifar10-32x32.npz", NOT_HERE
    ),
    "reproduce teleport-cifar10-heun --checkpoint edm-cifar10-32x32-uncond-vp.pkl"
    " --stats moments.npz --data cifar10-32x32.npz"
    " --inception pt_inception-2015-12-05-6726825d.pth": Refused("cifar10-32x32.npz", NOT_HERE),
    "reproduce v3-cifar10-edm --checkpoint edm-cifar10-32x32-uncond-vp.pkl --data pictures"
    " --extractor pca": Smaller(
        "reproduce v3-cifar10-edm --checkpoint edm-cifar10-32x32-uncond-vp.pkl --row UniPC-3"
        " --nfe 5 --images 2 --data pictures --extractor pca",
        "50,000 images a row",
    ),
    "reproduce v3-sd-7.5 --checkpoint stable-diffusion-v1-4 --prompts captions.txt --images 100"
    " --converged 8": Refused("stable-diffusion-v1-4", NOT_HERE),
    "reproduce v3-sd-7.5 --checkpoint stable-diffusion-v1-4"
    " --embeddings captions.safetensors": Refused("stable-diffusion-v1-4", NOT_HERE),
}


def lines(page: Path) -> Iterator[tuple[str, str]]:
    """(program, arguments) of every line that stands for itself."""
    for program, rest in LINE.findall(page.read_text(encoding="utf-8")):
        yield program, " ".join(rest.split())


def first_seen() -> dict[Path, list[tuple[str, str]]]:
    """The lines of every page that no page before it has."""
    seen: set[tuple[str, str]] = set()
    found: dict[Path, list[tuple[str, str]]] = {}
    for page in PAGES:
        found[page] = [line for line in dict.fromkeys(lines(page)) if line not in seen]
        seen.update(found[page])
    return found


FIRST = first_seen()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for our packages; CONTRIBUTING's solver is registered meanwhile."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.setenv("SCOREPROOF_FASHION", str(fashion_files(tmp_path / "files")))
    monkeypatch.chdir(tmp_path)
    method.registry()
    monkeypatch.setattr(method, "_ENTRIES", dict(method._ENTRIES))
    ((_, code),) = (b for b in blocks(RULES) if b[0] == "python")
    exec(compile(code, RULES.name, "exec"), {"__name__": "kutta"})
    return tmp_path


def words(line: str) -> list[str]:
    """Of a line; its rows do not depend on the number of processes, so two become one."""
    given = line.split()
    several = getattr(parser().parse_args(given), "workers", None) and "--workers" not in given
    return [*given, "--workers", "1"] if several else given


def carry_out(line: str, place: Path, capsys: pytest.CaptureFixture[str], size: int = 1) -> None:
    """Run it, or what stands for it; the status and what is said are as expected."""
    case = CASES.get(line)
    if isinstance(case, Smaller) and case.nightly and size == 1:
        return
    run = case.line if isinstance(case, Smaller) else line
    make(run, place)
    status = main(words(run))
    said = capsys.readouterr()
    if isinstance(case, Refused):
        assert (status, case.says in said.err) == (2, True), (line, said.err)
    else:
        assert (status, bool(said.out)) == (0, True), (line, said.err)


@pytest.mark.parametrize("page", [p for p in PAGES if FIRST[p]], ids=title)
def test_every_line_runs(
    page: Path, place: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    for program, line in FIRST[page]:
        if program == "scoreproof":
            carry_out(line, place, capsys, size)
        else:
            assert theory(line.split()) == 0, line


def test_control_a_line_that_fails_is_seen(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError, match="no_such_method"):
        carry_out("prove no_such_method", place, capsys)
    asked = {line for page in PAGES for _, line in lines(page)}
    assert len(asked) > 40
    assert CASES.keys() <= asked, "a case without its line"


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_what_prose_quotes_exists(page: Path) -> None:
    """Commands inside a sentence may name FILE or DIR, so they are read and not run."""
    text = page.read_text(encoding="utf-8")
    for program, rest in INLINE.findall(text):
        if program == "scoreproof" and rest.split()[1:]:
            assert parser().parse_args(rest.split()).command, rest
        elif program == "scoreproof":
            assert rest in parser().format_help().split()
        else:
            names = rest.split()[1:]
            assert not names or theory(["identities", *names]) == 0, rest
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(MAKE.findall(text)) <= set(targets)


def test_a_smaller_line_has_the_command_and_names_no_other_option() -> None:
    """What stands for a line is that line with other values, or with less of it to do."""
    less = {"--fast", "--check", "--images", "--nfe", "--row", "--batch", "--widths", "--out"}
    for line, case in CASES.items():
        if isinstance(case, Smaller):
            given, run = line.split(), case.line.split()
            assert given[0] == run[0]
            options = {w for w in run if w.startswith("--")} - {*given} - less
            assert not options, (line, options)
