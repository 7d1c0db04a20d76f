"""Speed measurements on this machine: benchmark, load planning, and backend diagnosis."""
