"""An Esper blueprint for sequences: adds a layer normalisation of the activation."""
