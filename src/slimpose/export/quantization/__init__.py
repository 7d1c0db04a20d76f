"""A float model file turned into INT8 or FP16, with a promise on its accuracy."""
