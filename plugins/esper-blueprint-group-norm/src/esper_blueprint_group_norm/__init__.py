"""An Esper blueprint for images: adds a group normalisation of the activation."""
