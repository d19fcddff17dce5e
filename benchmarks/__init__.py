"""Benchmarks: every claim about speed or memory is a ratio of two measurements in one run."""
