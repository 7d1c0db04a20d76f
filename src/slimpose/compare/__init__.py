"""Published systems side by side: their weights, their results, the report."""
