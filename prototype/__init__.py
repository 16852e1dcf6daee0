"""The packet path in user space, in numba."""
