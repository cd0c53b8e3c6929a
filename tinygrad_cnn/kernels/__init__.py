"""Arrays in, arrays out: the numerical kernels under the operations know NumPy, and nothing of Tensors."""
