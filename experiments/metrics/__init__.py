"""What is measured of images: how far from the network's own flow, and how far from data.

``converged``    trajectories of a network without a solver's error, and the error of runs to them
``frechet``      Frechet distances: torchmetrics' with any extractor, PCA of pixels in closed form
``nearest``      the nearest training images
``classifier``   a small network that says which class of Fashion-MNIST an image shows
``command``      ``scoreproof metrics``
"""
