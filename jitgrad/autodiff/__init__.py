"""Derivatives of graphs: reverse mode, forward mode, and the split of a joint graph into two halves."""
