"""Language-modelling tasks: any local files byte by byte, and TinyStories."""
