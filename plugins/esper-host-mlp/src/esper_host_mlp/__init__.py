"""A small perceptron as a host network, with one site after each block."""
