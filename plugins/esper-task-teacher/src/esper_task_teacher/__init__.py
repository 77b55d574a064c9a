"""The task `teacher`: images labelled by a fixed random network, so that the capacity that is needed is known."""
