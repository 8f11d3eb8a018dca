"""What a proof that runs returns: the claim, whether it holds, and what was found."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Proved:
    """One claim and its verdict."""

    name: str
    claim: str
    holds: bool
    detail: str = ""


Claim = Callable[..., Proved]
Finding = tuple[bool, str]
"""Whether the claim holds, and what was found."""


def claim(check: Callable[..., Finding]) -> Claim:
    """A function whose docstring is its claim; its parameters are what a control may spoil."""

    @functools.wraps(check)
    def proved(**spoiled: object) -> Proved:
        holds, detail = check(**spoiled)
        text = " ".join((inspect.getdoc(check) or "").split())
        return Proved(check.__name__, text, bool(holds), detail)

    return proved
