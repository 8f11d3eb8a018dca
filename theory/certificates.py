"""Certificates: one JSON per method with what was proved, and a hash of all that it rests on.

The hash covers the method's file, everything it imports from ``solvers``, the step, the plan and
the prover.  An edit of any of them makes the certificate stale; ``certify`` writes it anew.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from solvers.method import Entry, Variant, entry, registry
from theory.order import prove_order
from theory.rounding import worst_ulps
from theory.weak import prove_weak_order

FOLDER = Path(__file__).parent / "certificates"
ROOT = Path(__file__).parent.parent
ALWAYS = ("solvers.step", "solvers.plan", "theory.order", "theory.rounding")
"""Modules every proof rests on; with all they import from ``solvers`` and ``theory``."""

Status = Literal["current", "stale", "missing"]


def closure(modules: Iterable[str]) -> list[Path]:
    """Source files of the modules and of all they import from solvers and theory, sorted."""
    seen: dict[Path, None] = {}
    queue = [_file(m) for m in modules]
    while queue:
        path = queue.pop()
        if path in seen:
            continue
        seen[path] = None
        queue += [p for m in _imports(path) if (p := _file(m)).exists()]
    return sorted(seen)


def _file(module: str) -> Path:
    base = ROOT.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Modules of solvers and theory that a file imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Import):
            names += [a.name for a in node.names]
    return tuple(n for n in names if n.split(".")[0] in ("solvers", "theory"))


def source_hash(e: Entry) -> str:
    """SHA-256 over names and bytes of the closure."""
    digest = hashlib.sha256()
    for path in closure([e.fn.__module__, *ALWAYS, *(["theory.weak"] if _noisy(e) else [])]):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _noisy(e: Entry) -> bool:
    return e.quiet is not None


@dataclass(frozen=True)
class Certificate:
    """What the file of one method holds."""

    method: str
    sources: str
    rows: tuple[dict[str, Any], ...]

    def row(self, options: dict[str, Any]) -> dict[str, Any] | None:
        """Of these options."""
        return next((r for r in self.rows if r["options"] == options), None)


def row(e: Entry, variant: Variant) -> dict[str, Any]:
    """One variant, proved now."""
    options = dict(variant.options)
    proof = prove_order(e, **options)
    return {
        "options": options,
        "form": e.form(options).name,
        "order": proof.graded,
        "order_any_grid": proof.any_grid,
        "order_plain_start": proof.plain_start,
        "leading_error": str(proof.leading),
        "evaluations_per_step": proof.evaluations,
        "past_values": proof.memory,
        "rounding_ulps": round(worst_ulps(e, options), 3),
        **({"weak_order": prove_weak_order(e, **options).order} if _noisy(e) else {}),
    }


def certify(
    names: Sequence[str] | None = None,
    *,
    folder: Path = FOLDER,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Path]:
    """Prove every variant of the named methods (all by default) and write their files."""
    entries = [entry(n) for n in names] if names else list(registry().values())
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for i, e in enumerate(entries):
        if progress:
            progress(i, len(entries), e.name)
        content = {
            "method": e.name,
            "sources": source_hash(e),
            "rows": [row(e, v) for v in e.variants],
        }
        written.append(write_json(folder / f"{e.name}.json", content))
    if not names:
        for path in set(folder.glob("*.json")) - set(written):
            path.unlink()
    return written


def write_json(path: Path, content: Any) -> Path:
    """Whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as f:
        f.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)
    return path


def load(name: str, folder: Path = FOLDER) -> Certificate | None:
    """The certificate on file."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Certificate(content["method"], content["sources"], tuple(content["rows"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: damaged certificate ({error}); make certify writes it anew"
        ) from error


def status(e: Entry, folder: Path = FOLDER) -> Status:
    """Whether the certificate belongs to the sources as they are, and has all variants."""
    certificate = load(e.name, folder)
    if certificate is None:
        return "missing"
    complete = all(certificate.row(dict(v.options)) for v in e.variants)
    return "current" if complete and certificate.sources == source_hash(e) else "stale"


def check(folder: Path = FOLDER) -> list[tuple[str, Status]]:
    """Methods whose certificate is stale or missing, and files without a method."""
    bad = [(name, status(e, folder)) for name, e in registry().items()]
    orphans = [(p.stem, "stale") for p in folder.glob("*.json") if p.stem not in registry()]
    return [b for b in bad if b[1] != "current"] + orphans  # type: ignore[operator]
