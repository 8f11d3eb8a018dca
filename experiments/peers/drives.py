"""How each family of samplers takes a grid, is asked for steps, and is told what a network says.

A grid is laid by overwriting the numbers a scheduler has stored: its σ or ᾱ of every node.  The
last node may be ρ = 0; then the last call is the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from experiments.peers.peer import RECTIFIED, VE, VP, Course, Drive, Peer
from solvers.float64 import FLOAT64
from solvers.point import Point
from solvers.schedules import VPLinear

Lay = Callable[[Any, Mapping[str, Any], Tensor], tuple[Any, Tensor]]
"""(class, configuration, ρ of the nodes) to (scheduler, ρ of its calls)."""
Answer = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""What the network predicts: from D, ε, α and ρ."""


def stepwise(lay: Lay, answer: Answer) -> Callable[..., Tensor]:
    """A scheduler of diffusers: one ``step`` after every call of the model."""

    def run(peer: Peer, sampler: Any, course: Course) -> Tensor:
        scheduler, calls = lay(sampler, peer.config, course.rho)
        scheduler.is_scale_input_called = True  # it warns otherwise
        x = torch.empty(0)
        for k, (t, at) in enumerate(zip(scheduler.timesteps, calls, strict=True)):
            alpha = peer.drive.scale.alpha(at)
            if k <= course.given:
                x = alpha * course.flow(at)
                scheduler.last_sample = None  # a corrector would redo the step that led here
            D = course.law.denoise(x / alpha, 1.0, float(at))
            said = answer(D, (x / alpha - D) / at, alpha, at)
            x = scheduler.step(said, t, x, return_dict=False, **peer.call)[0]
        return x

    return run


# --- what networks predict -----------------------------------------------------------------------


def noise(D: Tensor, eps: Tensor, alpha: Tensor, rho: Tensor) -> Tensor:
    """ε."""
    return eps


def v(D: Tensor, eps: Tensor, alpha: Tensor, rho: Tensor) -> Tensor:
    """α ε − σ D."""
    return alpha * (eps - rho * D)


def velocity(D: Tensor, eps: Tensor, alpha: Tensor, rho: Tensor) -> Tensor:
    """ε − D."""
    return eps - D


def preconditioned(D: Tensor, eps: Tensor, alpha: Tensor, rho: Tensor) -> Tensor:
    """(D − c_skip x)/c_out of EDM, with its σ_data = 1/2."""
    total = rho**2 + 0.25
    return (D - 0.25 / total * (D + rho * eps)) / (rho * 0.5 * total**-0.5)


# --- how grids are laid --------------------------------------------------------------------------


def sigmas(sampler: Any, config: Mapping[str, Any], rho: Tensor) -> tuple[Any, Tensor]:
    """σ = ρ, one call a step."""
    scheduler, steps = sampler(**config), len(rho) - 1
    scheduler.set_timesteps(steps)
    scheduler.sigmas, scheduler._step_index = rho.clone(), 0
    scheduler.timesteps = torch.arange(steps, dtype=rho.dtype)
    return scheduler, rho[:-1]


def rectified(sampler: Any, config: Mapping[str, Any], rho: Tensor) -> tuple[Any, Tensor]:
    """σ = ρ/(1 + ρ)."""
    scheduler, calls = sigmas(sampler, config, rho)
    scheduler.sigmas = rho / (1 + rho)
    return scheduler, calls


def twice(sampler: Any, config: Mapping[str, Any], rho: Tensor) -> tuple[Any, Tensor]:
    """σ of every node but the first twice: a second call at the end of each step."""
    scheduler, _ = sigmas(sampler, config, rho)
    scheduler.sigmas = torch.cat([rho[:1], rho[1:].repeat_interleave(2)])
    calls = scheduler.sigmas[:-1]
    calls = calls[calls > 0]
    scheduler.timesteps = torch.arange(len(calls), dtype=rho.dtype)
    return scheduler, calls


def rectified_twice(sampler: Any, config: Mapping[str, Any], rho: Tensor) -> tuple[Any, Tensor]:
    """The same with σ = ρ/(1 + ρ)."""
    scheduler, calls = twice(sampler, config, rho)
    scheduler.sigmas = scheduler.sigmas / (1 + scheduler.sigmas)
    return scheduler, calls


def between(sampler: Any, config: Mapping[str, Any], rho: Tensor) -> tuple[Any, Tensor]:
    """The second call at the geometric mean of both ends."""
    scheduler, _ = twice(sampler, config, rho)
    middle = (rho[:-1] * rho[1:]).sqrt()
    scheduler.sigmas_interpol = torch.cat([rho[:1], middle.repeat_interleave(2), rho[-1:]])
    calls = torch.stack([rho[:-1], middle], 1).flatten()
    return scheduler, calls[calls > 0]


def cumulative(sampler: Any, config: Mapping[str, Any], rho: Tensor) -> tuple[Any, Tensor]:
    """ᾱ = 1/(1 + ρ²) by index, from data to noise; the last node has a name of its own."""
    steps = len(rho) - 1
    scheduler = sampler(num_train_timesteps=steps, **config)
    scheduler.set_timesteps(steps)
    scheduler.alphas_cumprod = VP.alpha(rho[:-1].flip(0)) ** 2
    scheduler.final_alpha_cumprod = VP.alpha(rho[-1]) ** 2
    return scheduler, rho[:-1]


def inverse(sampler: Any, config: Mapping[str, Any], rho: Tensor) -> tuple[Any, Tensor]:
    """ᾱ by index from the second node on, the grid running from data to noise."""
    scheduler, calls = cumulative(sampler, config, rho)
    scheduler.alphas_cumprod = VP.alpha(rho[1:]) ** 2
    scheduler.initial_alpha_cumprod = VP.alpha(rho[0]) ** 2
    return scheduler, calls


def pseudo_linear(sampler: Any, config: Mapping[str, Any], rho: Tensor) -> tuple[Any, Tensor]:
    """The second node is called twice: the first step is Heun's."""
    scheduler, calls = cumulative(sampler, config, rho)
    return scheduler, torch.cat([calls[:2], calls[1:]])


def pseudo_runge_kutta(sampler: Any, config: Mapping[str, Any], rho: Tensor) -> tuple[Any, Tensor]:
    """Four calls in each of the first three steps, whose middles lie at every other index."""
    steps = len(rho) - 1
    scheduler = sampler(num_train_timesteps=2 * steps, **config)
    scheduler.set_timesteps(steps)
    points = [Point(VPLinear(), FLOAT64, "rho", FLOAT64.number(float(r))) for r in rho]
    middles = [
        float(Point(VPLinear(), FLOAT64, "t", (a.t + b.t) / 2).rho) for a, b in pairwise(points)
    ]
    fine = torch.stack([rho[:-1], torch.tensor(middles, dtype=rho.dtype)], 1).flatten()[:-1]
    scheduler.alphas_cumprod = VP.alpha(fine.flip(0)) ** 2
    scheduler.final_alpha_cumprod = VP.alpha(rho[-1]) ** 2
    return scheduler, torch.cat([fine[[0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]], fine[6::2]])


def pairs(sampler: Any, config: Mapping[str, Any], rho: Tensor) -> tuple[Any, Tensor]:
    """α and σ (its ``betas``) of every node."""
    scheduler, calls = sigmas(sampler, config, rho)
    scheduler.alphas, scheduler.betas = VP.alpha(rho), VP.alpha(rho) * rho
    return scheduler, calls


# --- samplers that own their loop ----------------------------------------------------------------


def asked(peer: Peer, course: Course) -> Callable[[Tensor, Tensor], Tensor]:
    """D at (x, ρ); the first calls put the state that they are shown onto the flow."""
    calls = 0

    def denoise(x: Tensor, rho: Tensor) -> Tensor:
        nonlocal calls
        alpha = peer.drive.scale.alpha(rho)
        if calls <= course.given:
            x.copy_(alpha * course.flow(rho))
        calls += 1
        return course.law.denoise(x / alpha, 1.0, float(rho))

    return denoise


def k_diffusion(peer: Peer, sampler: Any, course: Course) -> Tensor:
    """A function of the model, the start and σ = ρ."""
    denoise = asked(peer, course)

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x, sigma[0])

    start = course.flow(course.rho[0]).clone()
    return sampler(model, start, course.rho, disable=True, **peer.config)


@dataclass(frozen=True)
class Denoiser:
    """azula's: a call, and a schedule that is a table over the index of the node."""

    denoise: Callable[[Tensor, Tensor], Tensor]
    alphas: Tensor
    rho: Tensor

    def __call__(self, x: Tensor, t: Tensor) -> Any:
        """A posterior, of which samplers read the mean."""
        return SimpleNamespace(mean=self.denoise(x, self.rho[t.round().long()]))

    def schedule(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(α, σ) of nodes."""
        n = t.round().long()
        return self.alphas[n], self.alphas[n] * self.rho[n]


def azula(peer: Peer, sampler: Any, course: Course) -> Tensor:
    """An object with a denoiser and uniform times, here the indices."""
    rho, steps = course.rho, len(course.rho) - 1
    alphas = peer.drive.scale.alpha(rho)
    model = Denoiser(asked(peer, course), alphas, rho)
    span = {"start": 0, "stop": steps, "steps": steps, "dtype": torch.float64, "silent": True}
    return sampler(model, **peer.config, **span)(alphas[0] * course.flow(rho[0]))


DIFFUSERS = "diffusers.schedulers"
VARIANCE = Drive(DIFFUSERS, VP, stepwise(sigmas, noise))
REVERSED = Drive(DIFFUSERS, VP, stepwise(sigmas, noise), backward=True)
RECTIFIED_NOISE = Drive(DIFFUSERS, RECTIFIED, stepwise(rectified, noise))
PLAIN = Drive(DIFFUSERS, VE, stepwise(sigmas, noise))
HEUN = Drive(DIFFUSERS, VE, stepwise(twice, noise))
MIDDLE = Drive(DIFFUSERS, VE, stepwise(between, noise))
EDM = Drive(DIFFUSERS, VE, stepwise(sigmas, preconditioned))
CUMULATIVE = Drive(DIFFUSERS, VP, stepwise(cumulative, noise))
INVERSE = Drive(DIFFUSERS, VP, stepwise(inverse, noise), backward=True)
PLMS = Drive(DIFFUSERS, VP, stepwise(pseudo_linear, noise))
PRK = Drive(DIFFUSERS, VP, stepwise(pseudo_runge_kutta, noise))
PAIRS = Drive(DIFFUSERS, VP, stepwise(pairs, v))
FLOW = Drive(DIFFUSERS, RECTIFIED, stepwise(rectified, velocity))
FLOW_HEUN = Drive(DIFFUSERS, RECTIFIED, stepwise(rectified_twice, velocity))
K_DIFFUSION = Drive("k_diffusion.sampling", VE, k_diffusion)
AZULA = Drive("azula.sample", VP, azula)
