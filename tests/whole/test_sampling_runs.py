"""A set of images is the same files whatever was killed, resumed, reordered or shared out."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from experiments import store, tensors
from experiments.cli import main
from experiments.folder import WEIGHTS
from experiments.networks import Preconditioned
from experiments.sampling import plans
from experiments.sampling import shards as files
from experiments.sampling.engine import Outcome, sample_set
from experiments.sampling.job import Job
from experiments.sampling.shards import Shards, read_set
from experiments.sampling.source import Source, opened
from gaussian_score.moments import Moments
from tests import sampling_sources as sources

BATCH, LAST = 4, 39


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sources.digits(tmp_path_factory.mktemp("sampling") / "digits")


@pytest.fixture(scope="module")
def source(digits: Path) -> Source:
    return opened(digits)


@pytest.fixture(scope="module")
def job(digits: Path) -> Job:
    return asked(digits)


def asked(digits: Path, **changes: Any) -> Job:
    how = {"method": "edm_heun", "steps": 3, "last": LAST, "batch": BATCH, "labels": "cycle"}
    return Job(**{"checkpoint": str(digits), **how, **changes})


def made(job: Job, out: Path, source: Source | None = None, **how: Any) -> Outcome:
    return sample_set(job, out, source=source, accelerator="cpu", devices=1, **how)


@pytest.fixture(scope="module")
def whole(job: Job, source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set that nothing disturbed."""
    out = tmp_path_factory.mktemp("sampling") / "whole"
    made(job, out, source)
    return out


def bits(out: Path) -> dict[str, bytes]:
    """Every file that must be the same; runs.jsonl has times."""
    kept = (f for f in out.rglob("*") if f.is_file() and f.name != files.ROWS)
    return {str(f.relative_to(out)): f.read_bytes() for f in kept}


def forked(work: Callable[[], Any]) -> int:
    """A process that is this one until it works; imports are not paid again."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    """The signal that ended it, or minus its exit status."""
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


# --- the files ----------------------------------------------------------------------------------


def test_a_set_holds_what_was_asked_for_and_where_it_comes_from(
    whole: Path, job: Job, source: Source
) -> None:
    found = read_set(whole)
    assert found.images.shape == (40, 1, 8, 8)
    assert found.images.dtype == torch.float32
    assert found.seeds.tolist() == list(range(40))
    assert found.labels is not None
    assert found.labels.tolist() == [i % 10 for i in range(40)]
    assert set(found.nfe.tolist()) == {6}
    about = found.about
    assert Job.from_json(about["job"]) == job
    assert about["checkpoint"] == source.digest
    assert about["versions"]["torch"] == torch.__version__
    plans = json.loads((whole / files.PLANS).read_text())
    assert list(about["plans"]) == list(plans) == ["all"]
    assert len(plans["all"]["ops"]) == 3
    row = json.loads((whole / files.ROWS).read_text())
    assert (row["made"], row["found"]) == (40, 0)


def test_another_batch_is_another_file_and_the_same_images(
    whole: Path, digits: Path, source: Source, tmp_path: Path
) -> None:
    made(asked(digits, batch=7), tmp_path, source)
    one, two = read_set(whole).images, read_set(tmp_path).images
    assert len(list((tmp_path / files.FOLDER).iterdir())) == 6
    assert float((one - two).abs().max() / one.abs().max()) < 1e-5  # float32 sums


def test_more_seeds_add_files_and_change_none(
    whole: Path, digits: Path, source: Source, tmp_path: Path
) -> None:
    """0-9 ends within a batch; that batch is the whole one from the beginning."""
    made(asked(digits, last=9), tmp_path, source)
    assert read_set(tmp_path).seeds.tolist() == list(range(10))
    assert made(asked(digits, first=9, last=LAST), tmp_path, source).found == 4
    assert bits(tmp_path) == bits(whole)
    assert made(asked(digits, last=3), tmp_path, source).made == 0
    assert bits(tmp_path) == bits(whole)  # fewer seeds take nothing away
    assert read_set(tmp_path, range(5, 8)).seeds.tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match=r"0000000010.safetensors: cannot be read"):
        read_set(tmp_path, range(36, 44))


def test_damaged_and_foreign_files_are_made_again(
    whole: Path, digits: Path, source: Source, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "set"))
    other = tmp_path / "other"
    made(asked(digits, steps=2, last=LAST), other, source)
    place = out / files.FOLDER
    names = sorted(place.iterdir())
    names[0].write_bytes(names[0].read_bytes()[:100])
    flipped = bytearray(names[1].read_bytes())
    flipped[-1] ^= 1
    names[1].write_bytes(bytes(flipped))
    shutil.copy(other / files.FOLDER / names[2].name, names[2])
    shutil.copy(names[4], names[3])
    names[5].unlink()
    (place / ".x.safetensors.1.part").write_bytes(b"half")
    with pytest.raises(ValueError, match="0000000000.safetensors: cannot be read"):
        read_set(out)
    assert made(asked(digits), out, source).made == 5 * BATCH
    assert bits(out) == bits(whole)


def test_equal_tensors_are_equal_bytes(whole: Path, tmp_path: Path) -> None:
    """Headers keep an order; the library alone draws one each time."""
    found, facts = tensors.read(whole / files.FOLDER / "0000000000.safetensors")
    drawn, kept = set(), set()
    for _ in range(12):
        tensors.write(tmp_path / "file", found, facts)
        kept.add((tmp_path / "file").read_bytes())
        drawn.add(save(found, metadata={"a": "", "b": "", "c": ""}))
    assert len(kept) == 1
    assert len(drawn) > 1  # the control: 6 orders, all 12 alike once in 4e8 runs


# --- killed, shared, resumed --------------------------------------------------------------------


def test_killed_at_any_moment_and_completed(
    job: Job, source: Source, whole: Path, tmp_path: Path, size: int
) -> None:
    """SIGKILL at random moments of a run; then again, and in between the files are whole."""
    draw = random.Random(0)
    began = time.perf_counter()
    assert ended(forked(lambda: made(job, tmp_path / "timed", source))) == 0
    usual = time.perf_counter() - began
    killed = 0
    for i in range(5 if size == 1 else 50):
        out = tmp_path / f"{i}"
        pid = forked(lambda out=out: made(job, out, source))
        time.sleep(draw.uniform(0.05, 1.0) * usual)
        os.kill(pid, signal.SIGKILL)
        if ended(pid) == signal.SIGKILL:
            killed += 1
        else:  # it was done before: the machine has become quicker
            usual *= 0.7
        for file in (out / files.FOLDER).glob("*.safetensors"):
            assert file.read_bytes() == (whole / files.FOLDER / file.name).read_bytes()
        assert ended(forked(lambda out=out: made(job, out, source))) == 0
        assert bits(out) == bits(whole)
    assert killed >= 2  # else nothing was tested


@pytest.mark.parametrize("moment", ["before", "within", "replacing", "after"])
def test_killed_while_writing(
    job: Job, source: Source, whole: Path, tmp_path: Path, moment: str
) -> None:
    """In the third file: before its bytes, after half of them, before and after its name."""

    def work() -> None:
        count = 0
        write, replaced = Path.write_bytes, os.replace

        def die() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def writing(self: Path, data: bytes) -> int:
            nonlocal count
            count += 1
            if count == 3 and moment in ("before", "within"):
                if moment == "within":
                    write(self, data[: len(data) // 2])
                die()
            return write(self, data)

        def replacing(a: Any, b: Any) -> None:
            if count == 3 and moment == "replacing":
                die()
            replaced(a, b)
            if count == 3:
                die()

        Path.write_bytes, os.replace = writing, replacing  # type: ignore[method-assign]
        made(job, tmp_path, source)

    assert ended(forked(work)) == signal.SIGKILL
    there = len(list((tmp_path / files.FOLDER).glob("[0-9]*")))
    assert there == (3 if moment == "after" else 2)
    assert made(job, tmp_path, source).found == there * BATCH
    assert bits(tmp_path) == bits(whole)


def test_a_write_that_is_not_whole_would_be_seen(
    job: Job, source: Source, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: files written under their names, and not looked at when found."""
    monkeypatch.setattr(
        Shards,
        "missing",
        lambda self, batches, tick=None: [b for b in batches if not self.path(b).is_file()],
    )
    out = Path(shutil.copytree(whole, tmp_path / "set"))
    first = out / files.FOLDER / "0000000000.safetensors"
    first.write_bytes(first.read_bytes()[:-50])
    assert made(job, out, source).made == 0
    assert bits(out) != bits(whole)


def test_two_processes_make_the_files_of_one(
    job: Job, source: Source, whole: Path, tmp_path: Path
) -> None:
    """By gloo, from nothing and from a part that one of them would have made."""
    for i, kept in enumerate(([], [1, 3, 5, 7, 8])):
        out = tmp_path / f"{i}"
        if kept:
            shutil.copytree(whole, out)
            for b in set(range(10)) - set(kept):
                (out / files.FOLDER / f"{b:010d}.safetensors").unlink()
        done = sample_set(
            job, out, source=source, accelerator="cpu", devices=2, strategy="ddp_fork"
        )
        assert done.made == (10 - len(kept)) * BATCH
        assert bits(out) == bits(whole)
        assert json.loads((out / files.ROWS).read_text().splitlines()[-1])["devices"] == 2


def test_the_order_of_work_changes_nothing(
    job: Job, source: Source, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Shards.missing
    monkeypatch.setattr(
        Shards, "missing", lambda self, batches, tick=None: forward(self, batches, tick)[::-1]
    )
    seen: list[int] = []
    write = Shards.write
    monkeypatch.setattr(
        Shards, "write", lambda self, b, found: (seen.append(b), write(self, b, found))[1]
    )
    made(job, tmp_path, source)
    assert seen == list(range(9, -1, -1))
    assert bits(tmp_path) == bits(whole)


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.fixture
def command(digits: Path, tmp_path: Path) -> Callable[..., list[str]]:
    def line(**changes: Any) -> list[str]:
        out = str(tmp_path / "out")
        how = {"checkpoint": str(digits), "method": "ddim", "steps": 2, "seeds": "0-5"}
        how |= {"batch": 4, "out": out, **changes}
        flags = [(f"--{k.replace('_', '-')}", str(v)) for k, v in how.items() if v is not None]
        return ["sample", *(part for pair in flags for part in pair)]

    return line


def refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(line) == 2
    said = capsys.readouterr()
    assert said.out == ""
    error = said.err.splitlines()[-1]
    assert error.startswith("scoreproof: ")
    return error


def test_the_command(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    line = [*command(labels="3", guidance=1.5, teleport="auto"), "--json"]
    assert main([*line, "--sheet", str(sheet)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["made"], value["found"], value["seeds"]) == (8, 0, [0, 5])
    from PIL import Image

    with Image.open(sheet) as picture:
        assert picture.size == (3 * 58, 2 * 58)  # six images of 8 pixels, seven times as large
    landing = read_set(tmp_path / "out").about["landing"]
    assert 0.1 < landing < 80
    assert main(line) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["made"], again["found"]) == (0, 8)


REFUSED = {
    "no such method": ({"method": "ddimm"}, "--method: got 'ddimm'; nearest: ddim"),
    "no such grid": ({"grid": "karas"}, "--grid: got 'karas'; nearest: karras"),
    "a rule's word": ({"grid": "karras", "grid_option": "rho=x"}, "--grid-option rho: got 'x'"),
    "no value for a rule": ({"grid": "karras", "grid_option": "rho"}, "--grid-option: got 'rho'"),
    "a label, alone": ({"label": 12}, "--label: got 12; 0 to 9"),
    "no steps at all": ({"steps": 0}, "--steps: got 0; an integer >= 1 is allowed"),
    "no statistics": ({"statistics": "no.npz"}, "--statistics: got 'no.npz'"),
    "a folder of something": ({"checkpoint": Path(__file__).parent}, "--checkpoint: got '"),
    "no such option": ({"option": "q=3"}, "--option: got the key 'q'; allowed"),
    "no such class": ({"labels": "3,12"}, "--labels: got 12; 0 to 9"),
    "no such schedule": ({"schedule": "vp"}, "--schedule: got 'vp'; nearest: ve"),
    "no such form": ({"form": "NOISE"}, "--form: got 'NOISE'"),
    "no checkpoint": ({"checkpoint": "/nowhere"}, "--checkpoint: got '/nowhere'"),
    "no steps": ({"steps": None}, "--steps: needed"),
    "seeds backwards": ({"seeds": "5-3"}, "--seeds: got 5-3"),
    "guidance alone": ({"guidance": 2}, "--guidance: got 2.0 without labels"),
    "a landing below": ({"teleport": "0.001"}, "--teleport: got 0.001; a level above"),
    "a seed as an option": (
        {"option": "seed=1", "method": "er_sde_1"},
        "--option seed: got 1; none",
    ),
    "a picture of another kind": ({"sheet": "x.jpg"}, "--sheet: got 'x.jpg'"),
    "half a picture": ({"finish": "denoised"}, "--finish: got 'denoised'"),
    "no such precision": ({"precision": "fp8"}, "--precision: got 'fp8'"),
    "levels upside down": (
        {"sigma_max": 1, "sigma_min": 2},
        "--sigma-min, --sigma-max: got 2.0, 1.0",
    ),
    "above the checkpoint's": ({"sigma_min": 100}, "--sigma-min: got 100.0, 80.0"),
    "a level of nothing": ({"sigma_min": 0}, "--sigma-min: got '0'; a number > 0"),
    "a level of all": ({"sigma_max": "inf"}, "--sigma-max: got 'inf'; a number > 0"),
    "a landing above": ({"teleport": 80}, "--teleport: got 80.0; a level below 80"),
    "a tolerance for nothing": ({"tolerance": 1, "teleport": 5}, "--tolerance: got 1.0; it is"),
    "a prior for nothing": (
        {"prior": "matched"},
        "--prior: got matched; it is allowed with --tel",
    ),
    "a tolerance that no level keeps": (
        {"teleport": "auto", "tolerance": "1e-9"},
        "teleport: got 'auto' with tolerance 1e-09",
    ),
    "guidance without measure": (
        {"labels": 1, "guidance": "nan"},
        "--guidance: got nan; a finite",
    ),
    "steps that are found": ({"method": "dpm_solver_12"}, "--steps: got 2; none is allowed"),
    "no nodes": ({"nodes": 0}, "--nodes: got 0; an integer >= 1"),
    "seeds that are not": ({"seeds": "4294967290-4294967295", "batch": 100}, "--batch: got 100"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_no_file(
    command: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: str,
) -> None:
    changes, said = REFUSED[case]
    assert said in refused(command(**changes), capsys)
    assert not (tmp_path / "out").exists()


def test_what_a_network_refuses_leaves_no_folder(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Classes without a null class: labels are needed, and guidance has nothing to guide with."""
    pytest.importorskip("diffusers")
    place = sources.unet(tmp_path / "classes", num_class_embeds=3)
    assert "label: got None; 0 to 2 is allowed" in refused(command(checkpoint=place), capsys)
    line = command(checkpoint=place, labels=1, guidance=2)
    assert "guidance: got 2.0 with a network that has no unconditional" in refused(line, capsys)
    assert not (tmp_path / "out").exists()
    assert main(command(checkpoint=place, labels=1)) == 0  # the control


def test_the_lowest_level_alone_where_the_highest_is_infinite(
    command: Callable[..., list[str]], tmp_path: Path
) -> None:
    pytest.importorskip("diffusers")
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    place = sources.unet(tmp_path / "flow", flow)
    assert main(command(checkpoint=place, sigma_min=0.01, seeds="0-3")) == 0
    found = read_set(tmp_path / "out")
    assert found.about["job"]["levels"] == [0.01, None]
    nodes = plans.full_grid(Job.from_json(found.about["job"]), opened(place)).points
    assert nodes[0].silent
    assert float(nodes[-1].rho) == pytest.approx(0.01, rel=1e-12)


def test_one_call_at_a_time(job: Job, source: Source, whole: Path, tmp_path: Path) -> None:
    """A second call does not sweep away what the first writes, nor claim seeds in run.json."""
    out = tmp_path / "set"
    with files.alone(out):
        with pytest.raises(ValueError, match="another process works on this run"):
            made(job, out, source)
        assert [f.name for f in out.iterdir()] == [store.LOCK]
    made(job, out, source)
    assert bits(out) == bits(whole)
    with files.alone(out), pytest.raises(ValueError, match="another process"):
        made(replace(job, last=LAST + BATCH), out, source)
    assert bits(out) == bits(whole)


def test_an_autoencoder_that_overflows_leaves_no_file(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    place = sources.latent(tmp_path / "pipeline")
    latents = opened(place)
    bias = latents.latent.get_parameter("model.decoder.conv_out.bias")  # type: ignore[union-attr]
    bias.data[0] = float("inf")
    job = Job(checkpoint=str(place), method="ddim", steps=1, first=3, last=4, batch=2)
    with pytest.raises(ValueError, match="seed 2: the autoencoder gave a value"):
        made(job, tmp_path / "out", latents)
    assert not list((tmp_path / "out" / files.FOLDER).iterdir())


def test_statistics_of_another_model(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 10))
    Moments.from_covariance(x.mean(0), np.cov(x.T)).save(tmp_path / "small.npz")
    line = command(teleport="5", statistics=tmp_path / "small.npz")
    assert "of 10 numbers a sample; those of the checkpoint's 64" in refused(line, capsys)
    (tmp_path / "bad.npz").write_bytes(b"PK")
    line = command(teleport="5", statistics=tmp_path / "bad.npz")
    assert "statistics: got" in refused(line, capsys)
    assert not (tmp_path / "out").exists()


def test_a_folder_keeps_its_job_and_its_checkpoint(
    command: Callable[..., list[str]],
    digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = Path(shutil.copytree(digits, tmp_path / "copy"))
    assert main(command(checkpoint=copy)) == 0
    before = bits(tmp_path / "out")
    capsys.readouterr()
    assert "steps: got 3; 2, as in" in refused(command(checkpoint=copy, steps=3), capsys)
    assert "batch: got 8; 4, as in" in refused(command(checkpoint=copy, batch=8), capsys)
    was = opened(copy).digest
    state, facts = tensors.read(copy / WEIGHTS)
    tensors.write(copy / WEIGHTS, {k: 1.01 * v for k, v in state.items()}, facts)
    error = refused(command(checkpoint=copy), capsys)
    assert was in error
    assert opened(copy).digest in error
    assert bits(tmp_path / "out") == before
    assert main(command()) == 0  # the same checkpoint at another place


def test_a_folder_of_something_else(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("x")
    assert "which holds other files" in refused(command(), capsys)
    (out / "thesis.tex").rename(out / "run.json")
    assert "run.json: cannot be read (damaged)" in refused(command(), capsys)


def test_a_full_disk_leaves_no_file_that_is_trusted(
    job: Job, source: Source, whole: Path, tmp_path: Path
) -> None:
    """The kernel refuses bytes beyond a limit, in run.json and in a file of images."""
    largest = (whole / files.FOLDER / "0000000000.safetensors").stat().st_size
    for i, limit in enumerate((100, largest - 1)):
        out = tmp_path / f"{i}"

        def work(out: Path = out, limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            with pytest.raises(ValueError, match="out: .* cannot be written"):
                made(job, out, source)

        assert ended(forked(work)) == 0
        assert not list(out.rglob("*.safetensors"))
        assert not list(out.rglob("*.part"))
        assert made(job, out, source).found == 0
        assert bits(out) == bits(whole)


def test_a_name_that_cannot_be_taken(
    job: Job, source: Source, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = os.replace

    def full(a: Any, b: Any) -> None:
        if str(b).endswith("3.safetensors"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replaced(a, b)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(ValueError, match="cannot be written .No space left on device."):
            made(job, tmp_path, source)
    assert len(list((tmp_path / files.FOLDER).iterdir())) == 3
    made(job, tmp_path, source)
    assert bits(tmp_path) == bits(whole)


def test_nan_names_seed_and_step_and_leaves_no_file(
    command: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = Preconditioned.forward

    def broken(self: Any, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        out = forward(self, x, sigma, labels)
        calls.append(float(sigma))
        late = (torch.arange(len(x)) == 1) & (len(calls) == 4)
        return torch.where(late[:, None, None, None], torch.nan, out)

    calls: list[float] = []
    monkeypatch.setattr(Preconditioned, "forward", broken)
    error = refused(command(steps=2, seeds="0-7"), capsys)
    assert "seed 5, step 1: model: got a value that is not finite" in error
    assert [f.name for f in (tmp_path / "out" / files.FOLDER).iterdir()] == [
        "0000000000.safetensors"
    ]


def test_ctrl_c_ends_as_ctrl_c(
    command: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = Shards.write

    def interrupting(self: Shards, batch: int, found: Any) -> None:
        write(self, batch, found)
        if batch == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Shards, "write", interrupting)
    assert main(command()) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "scoreproof: interrupted"
    monkeypatch.setattr(Shards, "write", write)
    assert main([*command(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["found"] == 4
    assert store.line(read_set(tmp_path / "out").about["job"])
