"""Samplers of diffusion models: each defined once, as weights over an abstract field.

Data flows one way: schedule, form, grid, plan, run, trajectory.  Importing this package loads
neither torch nor numpy; only ``solvers.denoiser`` and ``solvers.sample`` need torch.
"""
