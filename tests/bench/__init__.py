"""Measurements: scripts that print a Markdown table, for docs/benchmarks.md."""
