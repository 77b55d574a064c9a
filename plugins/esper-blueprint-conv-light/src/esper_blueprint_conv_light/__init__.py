"""An Esper blueprint for images: one 3x3 convolution."""
