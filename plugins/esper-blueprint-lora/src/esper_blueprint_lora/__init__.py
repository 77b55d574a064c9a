"""An Esper blueprint for sequences: a low-rank linear update that can be merged into a linear layer."""
