"""A small GPT as a host network, with sites after its layers, attentions and MLPs."""
