"""Benchmarks: every claim about speed or memory is a ratio of two things measured in one run."""
