"""The CUDA target: the same loop programs as kernels for NVIDIA GPUs.

``grid`` maps a program's nests to launches, ``render`` writes their source, ``program`` runs them. Nothing here is
imported before it is used: the package itself needs neither a GPU nor the packages for one.
"""
