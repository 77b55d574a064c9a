"""A small convolutional host network with one site after each block."""
