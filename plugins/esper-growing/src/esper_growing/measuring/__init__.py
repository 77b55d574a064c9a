"""Measuring on the data of a user: what loss and metric are for each sample, held against the user's."""
