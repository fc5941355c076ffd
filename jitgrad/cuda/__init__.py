"""Kernels for NVIDIA GPUs: the language that they are written in, its compiler and its simulator."""
