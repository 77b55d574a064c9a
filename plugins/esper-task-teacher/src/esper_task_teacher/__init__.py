"""The task `teacher`: images labelled by a fixed random network, so the required capacity is known."""
