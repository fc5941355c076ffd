"""Reverse and forward mode."""
