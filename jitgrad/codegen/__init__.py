"""Rendering of Loop IR: Python source, LLVM, and the library functions that programs call."""
