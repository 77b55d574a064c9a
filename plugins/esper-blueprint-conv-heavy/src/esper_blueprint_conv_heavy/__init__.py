"""An Esper blueprint for images: two 3x3 convolutions, wider in between."""
