"""An Esper blueprint for linear and convolutional layers and sequences: LoRA, which can be merged into the layer."""
