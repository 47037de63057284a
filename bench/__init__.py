"""Benchmarks: ours beside the peers', one command, results as ratios of one run."""
