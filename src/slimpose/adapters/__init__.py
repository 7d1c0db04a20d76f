"""Third-party pose models behind this project's `Model` interface."""
