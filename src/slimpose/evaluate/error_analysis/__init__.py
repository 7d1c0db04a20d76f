"""Error analysis of a pose model: errors by kind, joint and group of people."""
