"""An Esper blueprint for images: a depthwise separable convolution."""
