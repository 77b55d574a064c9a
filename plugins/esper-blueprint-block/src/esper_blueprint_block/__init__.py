"""An Esper blueprint for sequences: a whole transformer layer like the site's own, zero at its output projections."""
