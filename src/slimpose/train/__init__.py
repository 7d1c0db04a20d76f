"""Training: recipes say what, the loop does it, checkpoints let it go on."""
