"""The diagnostic `standard`: what gradients, weights, activations and classes of a growing network look like."""
