"""The report's section on error against work: pictures, and rows that the page's script draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import store, work
from experiments.plots.style import inline
from experiments.plots.work import diagram, foremost
from experiments.report import page
from experiments.report.identify import identity
from experiments.rows import Row, name_of
from experiments.study import Study

BENCH = """\
<div id="bench" hidden>
<div class="tools"><label>Grid <select>{grids}</select></label>
<label>Find <input type="search" placeholder="a solver"></label>
<button type="button">Clear</button></div>
<div class="boxes" role="group" aria-label="Solvers"></div>
<div class="host"></div>
<details><summary>Rows of the chosen solvers</summary><div class="tall"><table><thead><tr>
<th scope="col">solver</th><th scope="col">calls</th><th scope="col">error</th>
<th scope="col">again</th></tr></thead><tbody></tbody></table></div></details>
</div>"""


def stored(study: Study, root: Path) -> store.Run:
    """Where `work.run` keeps the rows of this study."""
    return store.open_run(root, f"work-{study.name}", study.to_json(), work.SOURCES)


def ran(rows: Sequence[Row], method: str, grid: str, level: float | None, nfe: int) -> Row | None:
    """The row of this run with the method's defaults, if it has one with an error."""
    own = {"method": method, "options": {}, "grid": grid, "level": level, "nfe": nfe}
    found = (row for row in rows if all(row[key] == value for key, value in own.items()))
    return next((row for row in found if row["error_rms"] is not None), None)


def section(study: Study, problem: work.Problem, rows: Sequence[Row]) -> str:
    """The section's HTML: without a script one picture a grid, with one a plot to choose from."""
    said = page.prose(f"""
        The target is a mixture of {study.components} Gaussians with full covariances, fitted to
        {study.target} ({len(problem.basis)} pixels). {study.samples} points are carried from
        σ/α = {study.rho_start:g} to {study.rho_end:g}. The error is the root mean square over
        samples and pixels against the exact flow ({problem.source}; its own error:
        {problem.error:.1e}). Grey: every method with its defaults and as published, of equal runs
        one. Chosen at first: DDIM, and the best of each family at {study.sheet.nfe} calls or less
        where it is better. Taylor methods also pay for directional derivatives, and their runs end
        at {study.work} calls and derivatives. DPM-Solver-v3 takes its statistics from the mean and
        the variances alone.
    """)
    refused = [row for row in rows if row["error_rms"] is None]
    if refused:
        names = ", ".join(sorted({name_of(row) for row in refused}))
        said += page.warning(f"{len(refused)} runs overflowed and have no error: {names}.")
    grids = "".join(f"<option>{grid.name}</option>" for grid in study.grids)
    still = "".join(_picture(rows, study, grid) for grid in study.grids)
    shown = page.data("data-work", embedded(study, rows))
    return said + BENCH.format(grids=grids) + shown + f"<noscript>{still}</noscript>"


def _picture(rows: Sequence[Row], study: Study, grid: Any) -> str:
    figure = diagram(rows, grid.name, at=study.sheet.nfe)
    svg = inline(figure, f"w-{grid.name}", f"Error against work, grid {grid.name}")
    options = "".join(f", {key} = {value:g}" for key, value in grid.options.items())
    return page.figure(svg, f"Grid {grid.name}{options}, schedule {grid.schedule}.", "plot half")


def embedded(study: Study, rows: Sequence[Row]) -> dict[str, Any]:
    """Names, grids, and (name, grid, calls and derivatives, error, id) of every run."""
    done = [row for row in rows if row["error_rms"]]
    names = list(dict.fromkeys(map(name_of, done)))
    grids = [grid.name for grid in study.grids]
    return {
        "names": names,
        "grids": grids,
        "first": foremost(done, grids[0], at=study.sheet.nfe),
        "rows": [
            [
                names.index(name_of(row)),
                grids.index(row["grid"]),
                row["nfe"] + row["jvp"],
                float(f"{row['error_rms']:.4g}"),
                identity("work", row),
            ]
            for row in done
        ],
    }
