"""Training data: COCO people as crops in memory, augmented by one affine, in an order a step number fixes."""
