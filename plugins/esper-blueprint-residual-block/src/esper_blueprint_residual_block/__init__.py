"""An Esper blueprint for images: a residual block whose last convolution is zero at birth."""
