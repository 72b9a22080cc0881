"""Long runs: what takes hours, and prints a table for docs/benchmarks.md."""
