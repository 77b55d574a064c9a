"""A small convolutional host network with one site behind each block."""
