"""An Esper blueprint for images: weights the channels by the content of the whole image."""
