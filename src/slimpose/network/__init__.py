"""PyTorch networks: the slimpose family, compared architectures, weights files, cost, pruning."""
