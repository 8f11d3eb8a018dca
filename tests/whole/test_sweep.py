"""A sweep finds each row once, bitwise as one process would, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from distributed import Client

from experiments import work
from experiments.store import Run
from experiments.study import load
from experiments.sweep import cluster
from experiments.sweep.cluster import workers
from experiments.sweep.sweep import Cell, Sweep, cells

# Dask says so where a disk is slow, as it may be under two test processes.
pytestmark = pytest.mark.filterwarnings("ignore:Creating scratch directories")
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

Row = dict[str, Any]
CELLS = cells([("a", {}), ("b", {"order": 2})], grid=["x", "y"], budget=[1, 2, 3], seed=[0, 7])


def measured(shared: Row, cell: Cell) -> Row:
    """Digits that a change of order would change; each call leaves a line behind."""
    with open(shared["calls"], "a") as file:
        file.write(f"{os.getpid()} {json.dumps(cell)}\n")
    time.sleep(shared.get("pause", 0.0))
    while "held" in shared and Path(shared["held"]).exists():
        if len(Run(Path(shared["stored"])).rows()) < shared["enough"]:
            break
        time.sleep(0.01)
    if cell["budget"] == shared.get("bad"):
        raise ArithmeticError("overflowed")
    if cell["budget"] == shared.get("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    value = 0.1 * cell["budget"]
    for _ in range(50):
        value = 3.9 * value * (1 - value)
    return {"error": value + cell["seed"], "nothing": None}


def serial(shared: Row) -> list[Row]:
    """The rows of a plain loop, as JSON keeps them."""
    return [json.loads(json.dumps({**cell, **measured(shared, cell)})) for cell in CELLS]


def calls(shared: Row) -> list[tuple[int, str]]:
    """Process and cell of each call."""
    lines = Path(shared["calls"]).read_text().splitlines()
    return [(int(pid), cell) for pid, _, cell in (line.partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with workers(2) as found:
        yield found


@pytest.fixture
def shared(tmp_path: Path) -> Row:
    return {"calls": str(tmp_path / "calls")}


@pytest.fixture
def stored(tmp_path: Path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run")


def test_rows_are_those_of_a_plain_loop_in_the_order_of_cells(
    client: Client, shared: Row, stored: Run
) -> None:
    ticks: list[tuple[int, int]] = []
    sweep = Sweep(measured, shared, CELLS)
    rows = sweep.run(stored, client, progress=lambda done, total, _: ticks.append((done, total)))
    assert len({pid for pid, _ in calls(shared)} - {os.getpid()}) == 2
    assert rows == serial(shared)
    assert sorted(map(json.dumps, stored.rows())) == sorted(map(json.dumps, rows))
    assert ticks == [(i, len(CELLS)) for i in range(len(CELLS) + 1)]


def test_a_second_run_computes_what_is_missing(client: Client, shared: Row, stored: Run) -> None:
    Sweep(measured, shared, CELLS[:10]).run(stored, client)
    assert len(calls(shared)) == 10
    file = stored.folder / "rows.jsonl"
    file.write_bytes(file.read_bytes()[:-5])  # what a killed process leaves: half a row
    rows = Sweep(measured, shared, CELLS).run(stored, client)
    assert len(calls(shared)) == len(CELLS) + 1
    assert rows == serial({"calls": os.devnull})
    assert len(stored.rows()) == len(CELLS)
    assert Sweep(measured, shared, CELLS).run(stored, client) == rows
    assert len(calls(shared)) == len(CELLS) + 1


def test_a_killed_worker_costs_no_row(shared: Row, stored: Run, size: int) -> None:
    """Bitwise the serial rows, each once; more kills where there is more time."""
    shared["pause"] = 0.4  # a stop is not late even where this process is
    killed: set[int] = set()

    def kill(done: int, total: int, _: str) -> None:
        if done in (4, 8, 12, 16)[: 1 if size == 1 else 4]:
            alive = [pid for pid, _ in calls(shared) if pid not in killed]
            os.kill(alive[-1], signal.SIGKILL)
            killed.add(alive[-1])

    with workers(2) as client:
        rows = Sweep(measured, shared, CELLS).run(stored, client, progress=kill)
    assert killed
    assert max(Counter(cell for _, cell in calls(shared)).values()) > 1  # it was at work
    assert rows == serial({"calls": os.devnull})
    assert sorted(map(json.dumps, stored.rows())) == sorted(map(json.dumps, rows))


def test_a_cell_that_raises_is_a_row(client: Client, shared: Row, stored: Run) -> None:
    rows = Sweep(measured, {**shared, "bad": 2}, CELLS).run(stored, client)
    refused = [row for row in rows if "refused" in row]
    assert [row["budget"] for row in refused] == [2] * (len(CELLS) // 3)
    assert {row["refused"] for row in refused} == {"ArithmeticError: overflowed"}
    assert len(stored.rows()) == len(CELLS)


@pytest.mark.nightly
def test_a_cell_that_kills_its_workers_is_given_up_and_tried_again(
    shared: Row, stored: Run
) -> None:
    some = [cell for cell in CELLS if (cell["grid"], cell["seed"]) == ("x", 0)][:3]
    with workers(1) as client:
        rows = Sweep(measured, {**shared, "deadly": 2}, some).run(stored, client)
        died = [row for row in rows if "refused" in row]
        assert [row["refused"] for row in died] == [f"{cluster.DEATHS + 1} workers died over it"]
        assert {row["budget"] for row in stored.rows()} == {1, 3}
        rows = Sweep(measured, shared, some).run(stored, client)
    assert not any("refused" in row for row in rows)
    assert len(stored.rows()) == 3


PROGRAM = """
    import signal
    import sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    sys.path.insert(0, {tests!r})
    from test_sweep import CELLS, Path, Run, Sweep, measured, workers
    from experiments.terminal import bar

    if __name__ == "__main__":
        with workers(2) as client, bar("sweep") as tick:
            Sweep(measured, {shared!r}, CELLS).run(Run(Path({folder!r})), client, progress=tick)
"""


def test_a_killed_or_interrupted_run_goes_on(
    tmp_path: Path, shared: Row, stored: Run, size: int
) -> None:
    """Ctrl-C goes to the whole group; only the process that hands out the work says anything."""
    from experiments import terminal

    held, program = tmp_path / "held", tmp_path / "program.py"
    shared |= {"held": str(held), "stored": str(stored.folder)}
    shared["pause"] = 0.4  # workers whose master is gone go on for a while
    tests = str(Path(__file__).parent)
    assert terminal.PAUSE > 5  # no line of progress in so short a run
    stops = [signal.SIGKILL, signal.SIGINT] * (1 if size == 1 else 3)
    for i, stop in enumerate([*stops, None], 1):
        enough = i * len(CELLS) // (len(stops) + 2)
        shared["enough"] = enough
        text = PROGRAM.format(tests=tests, shared=shared, folder=str(stored.folder))
        program.write_text(textwrap.dedent(text))
        if stop:
            held.touch()  # with so many rows no other cell begins, however late the stop is
        run = subprocess.Popen(
            [sys.executable, str(program)], stderr=subprocess.PIPE, start_new_session=True
        )
        while stop and run.poll() is None and len(stored.rows()) < enough:
            time.sleep(0.01)
        if stop is signal.SIGKILL:
            run.kill()  # alone: its workers must see for themselves that it is gone
        elif stop is not None:
            os.killpg(run.pid, stop)
        held.unlink(missing_ok=True)
        said = run.communicate(timeout=240)[1].decode()
        assert run.returncode == (-stop if stop else 0), said
        traces = said.count("Traceback")
        assert traces == (stop is signal.SIGINT), said
    keys = Counter(Sweep(measured, shared, CELLS).key(row) for row in stored.rows())
    assert set(keys.values()) == {1}
    place = {json.dumps(cell): i for i, cell in enumerate(CELLS)}
    rows = sorted(stored.rows(), key=lambda r: place[json.dumps({k: r[k] for k in CELLS[0]})])
    assert rows == serial({"calls": os.devnull})
    assert len(calls(shared)) < 2 * len(CELLS)  # what was stored was not computed again


def test_the_workers_of_a_scheduler_do_the_same(client: Client, shared: Row, stored: Run) -> None:
    with workers(1, client.scheduler.address) as there:  # type: ignore[union-attr]
        assert Sweep(measured, shared, CELLS).run(stored, there) == serial(shared)
    assert client.submit(abs, -1).result() == 1  # it is not ours to close


def test_a_study_on_a_scheduler_has_the_rows_of_own_processes(
    client: Client, tmp_path: Path
) -> None:
    address = client.scheduler.address  # type: ignore[union-attr]
    study = load("digits")
    few = {"components": 2, "samples": 3, "nfe": (5,), "methods": ("ddim", "ipndm_3")}
    sheet = replace(study.sheet, samples=1)
    study = replace(study, **few, grids=study.grids[:1], sheet=sheet)
    found = [
        work.run(study, tmp_path / f"{where is None}", workers=1, scheduler=where)[1]
        for where in (None, address)
    ]
    mine, theirs = ([{**row, "seconds": 0} for row in rows] for rows in found)
    assert len(mine) == 2
    assert mine == theirs


def test_no_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    nowhere = "tcp://127.0.0.1:9"
    with pytest.raises(ValueError, match=rf"^--scheduler: got '{nowhere}'.*is allowed$"):
        workers(1, nowhere).__enter__()


def test_cells_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="cells: got one twice"):
        Sweep(measured, {}, [*CELLS, dict(CELLS[3])])
    with pytest.raises(ValueError, match="the names .*budget.* are allowed"):
        Sweep(measured, {}, [*CELLS, {"seed": 1}])


def test_one_process_at_a_time(stored: Run) -> None:
    with stored.alone(), pytest.raises(ValueError, match="another process"), stored.alone():
        pass
    with stored.alone():
        pass
