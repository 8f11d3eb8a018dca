r"""A mixture's components at a batch of points, in the coordinates of their own bases.

    r = x − α μ_k,   t = U_kᵀ r,   a = r − U_k t,   C_k⁻¹ r = U_k t/(α² l_k + σ²) + a/(α² f_k + σ²)

Components that share a basis are a group: one group for each component, or one for all K. A
group takes x − α c at its centre c into its basis, and there subtracts its members' offsets
μ_k − c. A component alone has c = μ_k and no offset; without a basis c = 0 and the offset is μ_k.
So nothing is lost beyond the rounding of x − α μ_k; or of x − α m, where one basis serves all
and c = m.

The work is cut into blocks of components that stay in the processor's cache: 2 B D R flops a group
on the way in, as many on the way out, and between them elementwise passes over a block. What is
kept from one way to the other is C_k⁻¹ r, K B R numbers (and K B D where there are floors).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gaussian_score.mixture import GaussianMixture

BLOCK = 2**21  # numbers in an array of a block: 8 MB in float32
Parts = tuple[
    Tensor, ...
]  # along the basis (.., R) and, where there are floors, across it (.., D)


@dataclass(frozen=True)
class Block:
    """Components of some groups G' and members M' of each; fields are (G', M', B, ·).

    Attributes:
        bases: U, (G', D, R), or None.
        logits: log(w_k N(x; α μ_k, C_k)), (G', M', B).
        variances: l and f, (G', M', 1, R) and (G', M', 1, 1).
        solved: C⁻¹ r.
        moved: C⁻¹ v of a tangent v; empty without one.
        slopes: ∇ log N(x; α μ_k, C_k) · v = −vᵀ C⁻¹ r, (G', M', B); None without a tangent.
    """

    bases: Tensor | None
    logits: Tensor
    variances: Parts
    solved: Parts
    moved: Parts
    slopes: Tensor | None


@dataclass(frozen=True)
class Components:
    """All components, a list of blocks for every set of groups; `logits` is (K, B)."""

    blocks: list[list[Block]]

    @property
    def logits(self) -> Tensor:
        """log(w_k N(x; α μ_k, C_k)), (K, B)."""
        return torch.cat([b.logits.flatten(0, 1) for row in self.blocks for b in row])

    @property
    def slopes(self) -> Tensor:
        """∇ log N(x; α μ_k, C_k) · v, (K, B)."""
        return torch.cat(
            [b.slopes.flatten(0, 1) for row in self.blocks for b in row if b.slopes is not None]
        )

    def mix(
        self, weights: Tensor, moved: Tensor | None = None, *, by_variance: bool = False
    ) -> Tensor:
        """Σ_k M_k C_k⁻¹ (weights_k r + moved_k v), (B, D); M is I, or S_k if `by_variance`."""
        total, start = [], 0
        for row in self.blocks:
            sums: list[Tensor] = []
            for b in row:
                shape = b.logits.shape
                here = slice(start, start := start + shape[0] * shape[1])
                fields = [h * weights[here].view(*shape, 1) for h in b.solved]
                if moved is not None:
                    by = moved[here].view(*shape, 1)
                    fields = [y + by * h for y, h in zip(fields, b.moved, strict=True)]
                if by_variance:
                    fields = [y * var for y, var in zip(fields, b.variances, strict=True)]
                fields = [y.sum(1) if shape[1] > 1 else y[:, 0] for y in fields]
                sums = [p + q for p, q in zip(sums, fields, strict=True)] if sums else fields
            total.append(join(tuple(sums), row[0].bases).sum(0))
        return total[0] if len(total) == 1 else torch.stack(total).sum(0)


def components(
    law: GaussianMixture, x: Tensor, a: Tensor, s: Tensor, v: Tensor | None = None
) -> Components:
    """The components of `law` at x, (B, D), α and σ, () or (B, 1), all of one dtype.

    Args:
        law: its components share a basis if `bases` is (1, D, R) and `variances` (K, R).
        x: points.
        a: α.
        s: σ.
        v: a tangent to x, (B, D).
    """
    count, d = law.means.shape
    groups = 1 if law.bases is None else len(law.bases)
    members, across = count // groups, law.floors is not None
    variances = [law.variances.view(groups, members, 1, -1)]
    copies = [1]
    if law.floors is not None:
        variances.append(law.floors.view(groups, members, 1, 1))
        copies.append(d - law.variances.shape[1])
    centres, offsets = _frames(law, groups)
    log_w = (law.weights.log() - 0.5 * d * math.log(2 * math.pi)).view(groups, members, 1)
    blocks: list[list[Block]] = []
    for g in slices(groups, x.numel()):
        bases = None if law.bases is None else law.bases[g]
        near = x[None] if centres is None else x - a * centres[g, None]
        parts = split(near, bases, across=across)
        tangents = () if v is None else split(v[None], bases, across=across)
        row: list[Block] = []
        for m in slices(members, near.numel()):
            solved, moved, slopes = [], [], None
            logits = log_w[g, m]
            for i, (part, all_variances) in enumerate(zip(parts, variances, strict=True)):
                r = part[:, None]
                if offsets is not None:
                    r = r - a * offsets[i][g, m, None]
                c = a * a * all_variances[g, m] + s * s
                h = r / c
                logits = logits - 0.5 * ((r * h).sum(-1) + copies[i] * c.log().sum(-1))
                solved.append(h)
                if v is not None:
                    tangent = tangents[i][:, None]
                    slope = -(h * tangent).sum(-1)
                    slopes = slope if slopes is None else slopes + slope
                    moved.append(tangent / c)
            used = tuple(var[g, m] for var in variances)
            row.append(Block(bases, logits, used, tuple(solved), tuple(moved), slopes))
        blocks.append(row)
    return Components(blocks)


def split(r: Tensor, bases: Tensor | None, *, across: bool) -> Parts:
    """Coordinates t = Uᵀ r and, if asked for, the rest a = r − U t."""
    if bases is None:
        return (r,)
    t = r @ bases
    return (t, r - t @ bases.mT) if across else (t,)


def join(parts: Parts, bases: Tensor | None) -> Tensor:
    """U t + a."""
    along = parts[0] if bases is None else parts[0] @ bases.mT
    return along + parts[1] if len(parts) == 2 else along


def _frames(law: GaussianMixture, groups: int) -> tuple[Tensor | None, Parts | None]:
    """Centres c, (G, D), and the offsets of the members in their basis, (G, K/G, ·)."""
    if law.bases is None:
        return None, (law.means[None],)
    if groups == len(law.means):
        return law.means, None
    centre = law.mean[None]
    return centre, split((law.means - centre)[None], law.bases, across=law.floors is not None)


def slices(count: int, numbers: int) -> list[slice]:
    """All of `count` items, each a slice of `numbers`, in blocks."""
    size = max(1, BLOCK // max(1, numbers))
    return [slice(i, i + size) for i in range(0, count, size)]
