"""Graph passes: one file, one function a pass."""
