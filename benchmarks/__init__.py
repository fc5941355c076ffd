"""Benchmarks against JAX, torch and autograd: ``python -m benchmarks --help``."""
