"""``python -m theory`` prints proofs without torch, and refuses what it does not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from theory.__main__ import main

ROOT = Path(__file__).parents[2]


def test_prove_prints_claimed_and_proved(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prove", "scire_v1_3", "edm_heun"]) == 0
    out = capsys.readouterr().out
    assert "scire_v1_3" in out
    assert "rho_heun2" in out
    assert "h^2 [1/4 N']" in out
    assert "proved < claimed: 2" in out


def test_identities_prints_claims(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identities", "truncated_is_inconsistent", "b_cancels"]) == 0
    out = capsys.readouterr().out
    assert "holds  truncated_is_inconsistent" in out
    assert "2 hold, 0 fail" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prove", "dpm_solver_99"], "method: got 'dpm_solver_99'; nearest: dpm_solver_"),
        (["identities", "b_cancel"], "identity: got 'b_cancel'; nearest: b_cancels"),
        (["proof"], "command: got 'proof'"),
        ([], "usage: python -m theory"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_no_torch_is_loaded() -> None:
    code = (
        "import sys; from theory.__main__ import main; main(['prove', 'ddim']);"
        "print('loaded' if {'torch', 'numpy', 'scipy'} & set(sys.modules) else 'pure')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "pure"
