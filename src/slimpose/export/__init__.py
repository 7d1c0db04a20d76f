"""Weights to files that other runtimes read, each checked against the network it came from."""
