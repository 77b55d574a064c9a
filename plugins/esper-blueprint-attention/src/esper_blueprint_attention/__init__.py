"""An Esper blueprint for sequences: multi-head self-attention."""
