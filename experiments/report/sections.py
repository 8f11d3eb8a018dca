"""What the report's page says: every number in it comes from the rows, the study or the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments import atlas, store, work
from experiments.measure import PROBLEM
from experiments.network_study import summary
from experiments.orders import pairs
from experiments.plots.map import chart as chart_of
from experiments.plots.orders import family, overview
from experiments.plots.samples import sheet
from experiments.plots.style import inline
from experiments.references import cite
from experiments.report import audit, cells, images, network, page, scores, teleports
from experiments.report.columns import RUN, Columns, tabled
from experiments.report.figures import both
from experiments.report.identify import identity
from experiments.report.solvers import beside, table
from experiments.rows import Row, deviates, name_of
from experiments.study import Study
from experiments.terminal import Tick

COMMANDS = """\
make report              # this page, and beside it its rows and runs
scoreproof list methods  # names, options, claims
scoreproof prove dpm_solver_3m --option as_published=true
scoreproof converge dpm_solver_3m --option as_published=true --plot order.svg
scoreproof orders        # the table
scoreproof map --new     # schemes in forms where they have no name
scoreproof report --row ID --rerun    # a row of this page made again, beside what is stored
scoreproof certify       # prove all and rewrite theory/certificates
"""


def write(
    orders: Sequence[Row],
    rows: Sequence[Row],
    stale: Sequence[tuple[str, Any]],
    study: Study,
    problem: work.Problem,
    jumps: teleports.Measured,
    known: scores.Measured,
    run: store.Run,
    tick: Tick,
) -> str:
    """The page."""
    sources = "\n".join(f"- `{r.key}` {r.line}" for r in cite([row["method"] for row in orders]))
    parts: dict[str, Callable[[], str]] = {
        "What this is": lambda: introduction(orders, stale),
        "Orders at a glance": lambda: glance(orders),
        "The map": lambda: mapping(atlas.read()),
        "All solvers": lambda: solvers(orders),
        "As published and right": lambda: published(orders),
        "Convergence by family": lambda: families(orders),
        "Error against work": lambda: images.section(study, problem, rows),
        "Samples": lambda: samples(study, problem, rows),
        "Teleportation": lambda: teleports.section(jumps, study),
        "A network's score": lambda: scores.section(known),
        "A trained network": lambda: network.section(summary.read()),
        "The peer audit": lambda: audit.section(),
        "How each number was made": lambda: provenance(study, run),
        "Sources": lambda: page.prose(sources),
    }
    made = []
    for i, (title, section) in enumerate(parts.items()):
        tick(i, len(parts), title.lower())
        made.append((title, section()))
    return page.document("scoreproof: solvers of the diffusion ODE, proved and measured", made)


def introduction(orders: Sequence[Row], stale: Sequence[tuple[str, Any]]) -> str:
    """Three sentences, and the certificates that are not current."""
    measured = [row for row in orders if row["measured"] is not None]
    far = max(measured, key=lambda row: abs(row["measured"] - row["proved"]))
    gap = page.linked(f"{abs(far['measured'] - far['proved']):.2f}", identity("order", far))
    short = page.linked(sum(deviates(row) for row in orders), "as-published-and-right")
    said = page.prose(f"""
        Each sampler of the diffusion ODE is defined once, as a function that returns the weights
        of one step. The same function is evaluated over exact series to prove its order, with 50
        digits to measure it, and in float64 to draw samples. Of
        {len({row["method"] for row in orders})} methods in {len(orders)} variants,
        {short} variants have a lower order than their source claims, and the largest distance
        between a measured and a proved order is {gap}.
    """)
    names = ", ".join(f"{name} ({state})" for name, state in stale)
    warning = f"Certificates that are not current: {names}. `make certify` proves anew."
    return said + (page.warning(warning) if stale else "")


def glance(orders: Sequence[Row]) -> str:
    """The overview."""
    caption = (
        "A bar reaches to the proved order, a ring marks the claimed and a diamond the measured"
        " one (50 digits, history from the exact flow). No ring: no order is claimed."
    )
    described = "Claimed, proved and measured order of every solver"
    return both(lambda n: overview(orders, across=n), "o", described, caption)


def families(orders: Sequence[Row]) -> str:
    """Small multiples."""
    caption = "A straight line of slope p is order p. The table has the plot of each solver."
    described = "Error against step, by family"
    return both(lambda n: family(orders, across=n), "f", described, caption)


def solvers(orders: Sequence[Row]) -> str:
    """The table."""
    names = [name_of(row) for row in orders]
    guide = """
        Measured: the slope at the last doubling of the number of steps, with 50 digits and a
        history from the exact flow. Warm-up: the same with the usual start of rising order. 1:2
        grid: steps that alternate in length. Weak: mean and variance of a stochastic sampler on
        Gaussian data; its other columns are measured without noise. A verdict opens the leading
        error, the plot and the source; a heading sorts.
    """
    shown = {
        identity("order", row): _drawn(row, name) for row, name in zip(orders, names, strict=True)
    }
    return page.prose(guide) + table(orders, names) + page.data("data-orders", shown)


def _drawn(row: Row, name: str) -> dict[str, Any]:
    """What the script needs for the plot of a row."""
    curves = {
        kind: [[float(f"{x:.4g}") for x in point] for point in curve if point[1] > 0]
        for kind, curve in row["curves"].items()
    }
    kept = {key: row[key] for key in ("form", "claimed", "proved")}
    return {"name": name, **kept, "curves": {k: c for k, c in curves.items() if c}}


def mapping(found: Mapping[str, Any]) -> str:
    """The map: its table, its picture, and the cells for the script."""
    caption = (
        "Filled: published, named. Framed: named in this project first. Pale: a published method"
        " written in another form. Dashed: without a name; its leading error."
    )
    svg = inline(chart_of(found["cells"]), "mp", "Proved order of every scheme in every form")
    still = f"<details><summary>As one picture</summary>{page.figure(svg, caption)}</details>"
    return cells.section(found) + still + page.data("data-map", cells.embedded(found))


def published(orders: Sequence[Row]) -> str:
    """What people run beside what the mathematics says."""
    said = page.prose("""
        Where a published formula or code is not what the mathematics says, both are here, each
        with its own certificate. The right one is the default; `as_published` and the like ask
        for the other.
    """)
    return said + beside(pairs(orders))


def samples(study: Study, problem: work.Problem, rows: Sequence[Row]) -> str:
    """The sheet, and the rows of its methods."""
    drawn, ran = work.pictures(study, problem), []
    for name, shown in drawn["methods"].items():
        own = images.ran(rows, name, study.grids[0].name, None, shown["nfe"])
        if own is not None:  # a sheet may show what no row is about
            shown["error"] = own["error_rms"]
            ran.append(own)
    caption = (
        f"The same start points under each method, grid {study.grids[0].name}; below the images"
        " their difference from the exact flow, all on one scale (red: too bright). Errors are"
        f" those of all {study.samples} start points, where a row below has them."
    )
    svg = inline(sheet(drawn), "s", "Samples beside the exact flow")
    table = tabled("work", ran, RMS, mark="s-")
    return page.figure(svg, caption, "half") + page.folded("Rows of these images", *table)


RMS: Columns = {**RUN, "RMS error": lambda row: f"{row['error_rms']:.3g}"}


def provenance(study: Study, run: store.Run) -> str:
    """What each number is, and the command that makes it again."""
    law, made = PROBLEM.mixture, run.about()
    parts = zip(law.weights, law.means, law.variances, strict=True)
    mixture = " + ".join(f"{w} N({mean}, {v})" for w, mean, v in parts)
    clean = {True: "clean", False: "with local changes", None: "no checkout"}[made["clean"]]
    said = page.prose(f"""
        - Claimed: what the cited source says. The prover never reads it.
        - Proved: the power of h at which one step with exact history leaves the exact flow, over
        exact series (`scoreproof prove NAME`).
        - Measured: slopes with 50 digits on the mixture {mixture}, schedule
        {PROBLEM.schedule.name}, σ/α from {PROBLEM.rho_start} to {PROBLEM.rho_end}
        (`scoreproof converge NAME`).
        - Error against work: study {study.name}, seed {study.seed}; all of it lies beside its
        rows. Seconds are those of a run on all samples with one thread.
        - Any other run: `scoreproof solve RUN.json`.
        - A row again: the command beside it; for a page that lies elsewhere than in `report`,
        with `--out` and its folder.
    """)
    source = page.prose(f"""
        Commit {made["commit"] or "unknown"} ({clean}), Python {made["python"]},
        {made["platform"]}. Rows with their provenance lie beside this page in
        `results/orders/{run.id}` and `results/work-{study.name}`.
    """)
    return said + page.preformatted(COMMANDS) + source
