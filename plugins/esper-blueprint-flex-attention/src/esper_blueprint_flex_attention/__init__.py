"""An Esper blueprint for sequences: self-attention through FlexAttention, with an optional window."""
