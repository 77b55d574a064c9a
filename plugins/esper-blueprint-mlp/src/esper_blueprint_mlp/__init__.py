"""An Esper blueprint for sequences and vectors: a two-layer perceptron."""
