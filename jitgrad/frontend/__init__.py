"""Tracing: from Python functions to graphs."""
