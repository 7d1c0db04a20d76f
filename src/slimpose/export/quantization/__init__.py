"""Conversion of a float model file to INT8 or FP16 within an accuracy budget."""
