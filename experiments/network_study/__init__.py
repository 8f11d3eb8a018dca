"""Solvers on a trained network: error to its own flow and distance to data, and why they differ.

study       what is asked, as a TOML file says it
problem     the network, its start points, their exact ends, the level of a jump, the data
flows       every solver x grid x number of calls x teleport: both errors of every run
scores      what known laws explain of the network's score, level by level and over the training
model       DPM-Solver-v3's statistics of the network beside those of data moments alone
summary     what is kept of all rows, and the best of them
command     ``scoreproof run network``
"""
