"""C and Triton kernels, compiled on the machine that uses them. Knows nothing of networks."""
