"""Growing a network of the user's own, in the user's own training loop."""
