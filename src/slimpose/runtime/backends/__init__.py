"""Backends: the runtimes that compute a model file, one module each, behind ``Session``."""
