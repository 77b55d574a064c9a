"""A policy that refuses: it grows on only while that lowers the loss by more than the host's own training would."""
