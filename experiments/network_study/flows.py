"""Every solver on the network: how far a run ends from the exact flow, and how far from data."""

from __future__ import annotations

import time
from contextlib import nullcontext

import torch
from torch import Tensor

from experiments import work
from experiments.metrics.converged import trajectory_error
from experiments.network_study import forward_mode
from experiments.network_study.problem import Problem
from experiments.network_study.study import NetworkStudy
from experiments.sweep.sweep import Cell, Row, cells
from solvers.float64 import FLOAT64
from solvers.method import entry
from solvers.ops import Plan
from solvers.point import Point
from solvers.sample import sample


def asked(study: NetworkStudy) -> list[Row]:
    """A cell for each of the study's runs."""
    return cells(
        work.runs(study.methods),
        grid=[grid.name for grid in study.grids],
        teleport=study.teleports,
        budget=study.nfe,
        seed=study.seeds,
    )


def measure(problem: Problem, cell: Cell) -> Row:
    """What the row of a cell says besides.

    The model calls and derivatives of a run that uses its budget as far as whole steps go; of its
    ends the error to the exact flow, root mean square and median over samples, beside the
    reference's own error, and both distances to data.

    Raises:
        ValueError: the budget does not suffice, or the run overflows.
    """
    torch.set_num_threads(1)
    p, steps = plan_of(problem, cell)
    nfe, jvp = work.cost(p)
    began = time.perf_counter()
    with forward_mode.plain_attention() if jvp else nullcontext():
        x = ends(problem, p, problem.starts[cell["seed"]])
    seconds = time.perf_counter() - began
    error = trajectory_error(x, problem.exact[cell["seed"]])
    return {
        "family": entry(cell["method"]).family,
        "level": problem.level if cell["teleport"] == "auto" else None,
        "steps": steps,
        "nfe": nfe,
        "jvp": jvp,
        "error_rms": error.rms,
        "error_median": error.median,
        "error_reference": error.reference,
        **problem.distance(x),
        "seconds": seconds,
    }


def plan_of(problem: Problem, cell: Cell) -> tuple[Plan, int]:
    """The plan of a cell, and the number of its steps."""
    study = problem.study
    level = problem.level if cell["teleport"] == "auto" else None
    task = work.Task(cell["method"], cell["options"], study.grid(cell["grid"]), level)
    steps = work.steps_within(study, problem, task, cell["budget"])
    if not steps:
        raise ValueError(f"budget: got {cell['budget']}; the calls of a step or more are allowed")
    p = work.planned(study, problem, task, steps)
    nfe, jvp = work.cost(p)
    if jvp and nfe + jvp > study.work:
        raise ValueError(f"work: got {nfe} calls + {jvp} derivatives; {study.work} are allowed")
    return p, steps


def ends(problem: Problem, p: Plan, start: Tensor) -> Tensor:
    """x/α at the lowest level, (B, C, H, W), of a plan from x/α in the basis."""
    first, last = (
        float(Point(p.schedule, FLOAT64, "rho", FLOAT64.number(rho)).alpha)
        for rho in (problem.study.rho_start, problem.study.rho_end)
    )
    y = sample(p, problem.model, start * first).x / last
    return problem.model.basis.states(y)


def baseline(problem: Problem) -> list[Row]:
    """Distances of the exact ends themselves by set, and of sets of training images."""
    samples = problem.study.samples
    exact = [
        {"seed": seed, "error": end.rms, **problem.distance(end.x)}
        for seed, end in problem.exact.items()
    ]
    return [*exact, {"training": problem.distance.of_training(samples)}]
