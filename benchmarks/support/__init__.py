"""What the benchmarks share. Beside them, every file is a command (`make bench` runs them all)."""
