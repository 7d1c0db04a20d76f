"""Where a model fails: errors by kind, joint and group."""
