"""The configuration of a run: layers, sections, and the components that they name."""
