"""Laws whose score is known, their exact flows, statistics of data, and how Gaussian a law is.

The forward path is x = α x₀ + σ n with n ~ N(0, I). Divided by α it is v = x/α at noise ρ = σ/α.

Scores, as torch laws with log density, score, E[x₀|x] and noise at any (α, σ) (`law`):

* `mixture`      Gaussian mixtures; `frozen_level`: one level of one, factorised once
* `delta`        the training set itself, in blocks (`point_set`)
* `conditional`  a law for every class; `guided`: two Gaussians under guidance, with their flow
* `path`         any law in any convention: EDM, VP, flow; noise, data, v, velocity

Exact flows (`flow`):

* `trajectory`   one Gaussian, its flow in closed form
* `transport`, `line`, `uniform`, `radial`, `sphere`   by conservation of mass (`conserved`)
* `products`     independent blocks in orthogonal subspaces; rotation, shift, scale
* `oracle`, `flow_oracles`, `reference`   to any number of digits, sharing no code with the above
* `targets`      named mixtures as plain data

Statistics of data:

* `moments`      mean and covariance with their file; `streaming`, `batches`: in one pass
* `eigenbasis`, `sample_size`   of what rank, from how many samples
* `class_moments`, `pixel_scale`, `fits`   by class, on which scale, mixtures fitted
* `model_statistics`   what DPM-Solver-v3 measures, for exact scores

Teleportation:

* `teleport`     the jump, the matched draw, the corrected landing, for loops of one's own
* `certificate`  log(1 + χ²) ≥ K = KL(p ‖ g) (`whitened`, `looseness`), `divergence`: K itself
* `pairs`, `network_entropy`   K of data, and of a network's own flow
* `skip`         the level for a tolerance, from any of these `sources`
* `cumulants`    the laws of high noise; `diagnostics`: what known scores explain of a learned one

Importing the package imports none of them: data and oracles do not load torch.
"""
