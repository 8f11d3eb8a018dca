"""Coefficients that cost an audited sampler an order, each with the text that repairs it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.peers.peer import Fault

SECOND_DIFFERENCE = Fault(
    cause="D2 of multistep_dpm_solver_third_order_update lacks the factor 2",
    proof="second_difference",
    method="multistep_dpm_solver_third_order_update",
    wrong="D2 = (1.0 / (r0 + r1)) * (D1_0 - D1_1)",
    right="D2 = (2.0 / (r0 + r1)) * (D1_0 - D1_1)",
)
SECOND_DIFFERENCE_SDE = replace(
    SECOND_DIFFERENCE,
    cause="d2 of sample_dpmpp_3m_sde lacks the factor 2",
    method="sample_dpmpp_3m_sde",
    wrong="d2 = (d1_0 - d1_1) / (r0 + r1)",
    right="d2 = 2 * (d1_0 - d1_1) / (r0 + r1)",
)


def adams(rho: Tensor, values: list[Tensor]) -> Tensor:
    """Mean from rho[1] to rho[0] of the cubic through the last four values, newest at rho[1]."""
    x = (rho[1:] - rho[1]) / (rho[0] - rho[1])
    powers = np.vander(x.numpy(), 4, increasing=True)
    weights = np.linalg.solve(powers.T, 1 / np.arange(1.0, 5.0))
    return sum(float(b) * N for b, N in zip(weights, reversed(values[-4:]), strict=True))  # type: ignore[return-value]


def ipndm_mean(self: Any) -> Tensor:
    """``adams`` on the nodes of this step."""
    n = self.step_index
    return adams((self.betas / self.alphas)[n - 3 : n + 2].flip(0), self.ets)


def plms_mean(self: Any, timestep: Tensor) -> Tensor:
    """The same, nodes being indices of ᾱ."""
    stride = self.config.num_train_timesteps // self.num_inference_steps
    known = self.alphas_cumprod[[int(timestep) + j * stride for j in range(4)]]
    last = timestep < stride
    ahead = self.final_alpha_cumprod if last else self.alphas_cumprod[timestep - stride]
    return adams((1 / torch.cat([ahead[None], known]) - 1).sqrt(), self.ets)


EQUAL_STEPS = Fault(
    cause="(55, -59, 37, -9)/24 of step are Adams-Bashforth weights of equal steps in sigma/alpha",
    proof="equal_step_weights",
    method="step",
    wrong="(1 / 24) * (55 * self.ets[-1] - 59 * self.ets[-2]"
    " + 37 * self.ets[-3] - 9 * self.ets[-4])",
    right="self.ipndm_mean()",
    helper=ipndm_mean,
)
EQUAL_STEPS_PLMS = replace(
    EQUAL_STEPS,
    cause=EQUAL_STEPS.cause.replace("step ", "step_plms ", 1),
    method="step_plms",
    right="self.plms_mean(timestep)",
    helper=plms_mean,
)
AMPLITUDE = Fault(
    cause="sqrt(alpha_s**2 + sigma_t**2) of REABSampler must have sigma_s",
    proof="rosenbrock_amplitude",
    method="__call__",
    wrong="torch.sqrt(alpha_s**2 + sigma_t**2)",
    right="torch.sqrt(alpha_s**2 + sigma_s**2)",
)
