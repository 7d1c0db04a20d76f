"""Training data: reading it, augmenting it, making batches; needs no PyTorch."""
