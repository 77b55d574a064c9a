"""Networks that grow by neurons, with the package gromo: TINY and GradMax, as arms of the benchmark."""
