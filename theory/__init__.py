"""Proofs and many-digit references for the methods of ``solvers``; torch is never imported.

``order``       the exact order of a weight function, and its leading error
``trees``       the same for Runge-Kutta tableaux by rooted trees
``stiff``       which stiff order conditions exponential Runge-Kutta methods meet
``weak``        the weak order of stochastic methods on Gaussian data
``recursive_difference``  what SciRE's derivative estimate is, and what follows from it
``mixtures``    a Gaussian mixture's noise prediction over any field, and its exact 1-D flow
``prediction``  the proved leading error carried along that flow: the global error before a run
``rounding``    float64 weights against 50 digits
``certificates`` one JSON per method; stale when anything they rest on changes
"""
