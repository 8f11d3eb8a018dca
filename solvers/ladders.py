"""Which order every step takes: the lists of the papers."""

from __future__ import annotations

from solvers.options import Count


def by_calls(nfe: int, order: int) -> list[int]:
    """Orders with sum ``nfe``: as many of the highest as leave room for a last lower one.

    Order 3, K = ⌊nfe/3⌋ + 1 steps: 3.., 2, 1 where 3 divides nfe, else 3.., (nfe mod 3).  Order 2:
    2.., and 1 where nfe is odd.  Source: Lu et al. 2022, "DPM-Solver" (fast).
    """
    if nfe < 1:
        raise ValueError(f"options.nfe: got {nfe!r}; an integer >= 1 is allowed")
    rest = nfe % order
    if rest or order == 2:
        return [order] * (nfe // order) + [rest] * bool(rest)
    return [order] * (nfe // order - 1) + [2, 1]


def fast(steps: int, *, nfe: Count | None = None) -> list[int]:
    """``by_calls`` of order 3; without ``nfe`` as many calls as ``steps`` steps can take."""
    return by_calls(3 * steps - 1 if nfe is None else nfe, 3)


def agile(steps: int, *, nfe: Count | None = None, target: Count = 3) -> list[int]:
    """``by_calls`` of order 2 or 3.  Source: Li et al. 2023, "SciRE-Solver", and its code."""
    if target not in (2, 3):
        raise ValueError(f"options.target: got {target!r}; 2 or 3 is allowed")
    return by_calls(target * steps - (target == 3) if nfe is None else nfe, target)


# --- SciRE's factors, one a step: option phi1 ---------------------------------------------------


def series(count: int) -> list[str]:
    """φ₁(3), φ₁(4), ..; φ₁(100) is φ₁(∞) to 150 digits."""
    return [f"m{min(m, 100)}" for m in range(3, count + 3)]


def oct2023(K: int, steps: int | None = None) -> list[str]:
    """4, 6, .., 5, 3 terms in K singlestep steps, K = ⌊NFE/order⌋ also where agile takes one more.

    Source: SciRE's code of October 2023.
    """
    phi = series(K)
    return [
        phi[2 * i + 1] if i < K // 2 else phi[2 * (K - i - 1)]
        for i in range(K if steps is None else steps)
    ]


def apr2024(K: int, steps: int | None = None) -> list[str]:
    """3, 5, .., 6, 4 terms in K singlestep steps, K as for ``oct2023``.

    Source: SciRE's code of April 2024.
    """
    phi = series(K)
    middle = K // 2
    return [
        phi[2 * i] if i < middle else phi[-1] if i == middle else phi[2 * (K - i) - 1]
        for i in range(K if steps is None else steps)
    ]


def apr2024_multistep(steps: int, order: int) -> list[str]:
    """4, 6, .. terms in the start-up, then 4, 6, .., 5, 3.

    Source: SciRE's code of April 2024.
    """
    phi, middle = series(steps + 1), steps // 2

    def place(n: int) -> int:
        if n < order:
            return 2 * n - 1
        if n < middle:
            return 2 * (n - order) + 1
        return -1 if n == middle else 2 * (steps - n)

    return [phi[place(n)] for n in range(1, steps + 1)]
