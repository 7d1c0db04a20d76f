"""Other people's models behind this project's `Model` interface."""
