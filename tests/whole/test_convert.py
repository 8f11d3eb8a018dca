"""``convert`` makes a folder of a network; what FILE is decides, others are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.checkpoints import network
from experiments.checkpoints.configured import configured
from experiments.cli import main
from tests import checkpoint_files as files


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A network of ADM as its authors store one, and its flags."""
    flags = files.ADM_CASES["improved"]
    files.write_adm(tmp_path / "n.pt", configured(flags).make())
    (tmp_path / "flags.json").write_text(json.dumps(flags))
    (tmp_path / "l.npz").write_bytes(b"")
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    paths = [
        str(folder / a) if a.endswith((".pt", ".npz", "out", ".json")) else a for a in arguments
    ]
    return main(["convert", *paths])


def test_a_network_becomes_a_folder(given: Path, capsys: Any) -> None:
    assert run(given, "n.pt", "out", "--config", "flags.json", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    module, info = network(given / "out")
    assert value["written"] == str(given / "out")
    assert (value["architecture"], value["predicts"]) == ("ADM", "noise")
    assert value["shape"] == [3, 16, 16]
    assert value["parameters"] == sum(p.numel() for p in module.parameters())
    assert value["provenance"] == info.provenance
    assert info.provenance["file"] == "n.pt"


def test_people_are_told_what_it_is(given: Path, capsys: Any) -> None:
    assert run(given, "n.pt", "out", "--config", "flags.json") == 0
    said = capsys.readouterr().out
    assert "ADM, 0.703 million" in said
    assert said.rstrip().endswith("parameters, predicts noise of 3 x 16 x 16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("n.pt", "out"), "config: got NoneType; this file does not say its network: one of adm/"),
        (("n.pt", "out", "--config", "ddim/celeba"), "config: got 'ddim/celeba'; this file does"),
        (("n.pt", "out", "--config", "adm/lsun_cat"), "weights: got no "),
        (("n.pt", "out", "--config", "no.json"), "a JSON file is allowed"),
        (("no.pt", "out"), "(No such file or directory)"),
        (("flags.json", "out"), ".pkl, .pth, .pt, .ckpt, .eqx or a folder that exists is allowed"),
        (("n.pt", "n.pt", "--config", "flags.json"), "n.pt', which exists; a new folder is"),
        (
            ("n.pt", "out", "--lam-range", "0", "1"),
            "--lam-range: got 0.0 1.0; it is allowed with statistics (.npz) only",
        ),
        (
            ("n.pt", "out", "--schedule", "edm"),
            "--schedule: got edm; it is allowed with statistics (.npz) only",
        ),
        (
            ("l.npz", "l.npz", "x.npz", "--config", "adm/lsun_cat"),
            "--config: got adm/lsun_cat; it is allowed with a network only",
        ),
        (("n.pt", "l.npz", "out"), "one network, or l.npz and sb.npz, are allowed"),
        (("n.pt", "n.pt", "out"), "one network, or l.npz and sb.npz, are allowed"),
    ],
)
def test_what_is_refused(given: Path, capsys: Any, arguments: Any, message: str) -> None:
    before = sorted(given.iterdir())
    assert run(given, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(given.iterdir()) == before
