"""An Esper blueprint for images: a convolution between two 1x1 projections."""
