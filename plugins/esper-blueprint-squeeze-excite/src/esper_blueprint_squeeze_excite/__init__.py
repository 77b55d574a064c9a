"""An Esper blueprint for images: reweights the channels by what the whole image shows."""
