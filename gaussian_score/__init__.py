"""Laws whose score is known: Gaussian mixtures, their exact probability flows, and oracles.

The forward path is x = α x₀ + σ n with n ~ N(0, I). Divided by α it is v = x/α at noise ρ = σ/α.

* `mixture`      torch mixtures: log density, score, E[x₀|x] and noise at any (α, σ)
* `trajectory`   the flow of one Gaussian in closed form
* `transport`    the flow of any one-dimensional mixture, by conservation of the CDF
* `reference`    oracles that share no code with the three above
* `targets`      named mixtures as plain data
* `certificate`  log(1 + χ²) of a mixture against its Gaussian, and the level where it is small

Importing the package imports none of them: data and oracles do not load torch.
"""
