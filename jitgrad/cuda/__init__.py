"""The CUDA target: kernels for NVIDIA GPUs, and what runs them."""
