"""Benchmarks, run from a checkout by name: `python -m bench.throughput`. They print tables with units and ratios, and write JSON with --json."""
