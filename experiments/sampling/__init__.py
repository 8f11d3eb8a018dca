"""Images of a checkpoint, as many as are asked for, on any number of devices.

source      a checkpoint as a flow to sample: denoiser, shape, schedule, levels, moments
job         what decides the images
plans       the grid, the jump, the coordinates of a run
draw        start noise, and one batch of images
level       where ``teleport="auto"`` lands
shards      the files: one a batch, whole or not at all
engine      a LightningModule whose predictions are batches, and the loop over those missing
command     ``scoreproof sample``
"""
