"""Speed measurements on this machine: benchmark and load planning."""
