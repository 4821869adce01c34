"""C and Triton kernels, compiled where they are used. Knows nothing of networks."""
