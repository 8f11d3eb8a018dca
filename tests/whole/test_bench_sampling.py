"""The sampler's share is what a run does beside its network: a sampler that idles shows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor, nn

from experiments.bench import sampling
from experiments.networks import EDMScaling, Learned, Preconditioned, ResidualMLP
from experiments.sampling.draw import prepared
from experiments.sampling.job import Job


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = ResidualMLP(3 * 32 * 32, width=16, depth=1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.net(x.flatten(1), c).reshape(x.shape)


class Idle(Learned):
    def at(self, *given: Any) -> Tensor:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
        return super().at(*given)


def test_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "REPEATS", 1)
    source = sampling.flow(Preconditioned(Flat(), EDMScaling(0.5)))
    p = prepared(Job(checkpoint="-", method="ddim", steps=5), source)
    wall, network = sampling.overhead(p, 2)
    assert 0 < network < wall
    slow = replace(source, bind=lambda net, condition: Idle(net))
    late, same = sampling.overhead(replace(p, source=slow), 2)
    assert late - same > wall - network + 0.05  # five calls of 20 ms
    rows = [*sampling._noise(), *sampling._overhead(source, 2)]
    assert [row.unit for row in rows] == ["us/image", "%", "%", "%"]
    assert all(0 < row.value for row in rows)
