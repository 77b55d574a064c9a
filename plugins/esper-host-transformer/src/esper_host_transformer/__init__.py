"""A small GPT as host network, with sites behind its layers, attentions and MLPs."""
