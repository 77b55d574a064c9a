"""Growing a network of the user's own, in a training loop of the user's own."""
