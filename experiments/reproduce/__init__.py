"""Published numbers as recipes: what the paper reports, in what setting, with what network.

    *.toml      the tables: every number once, with its source
    recipe      tables to cells, each with all that its run needs
    need        what a recipe needs, and whether what is given is that
    run         the cells' images through `experiments.sampling`, measured by `experiments.metrics`
    latent_mse  distance of guided latents to a converged run of the same network
    throughput  images a second
    command     ``scoreproof reproduce``

Nothing here is measured until a checkpoint is given.
"""
