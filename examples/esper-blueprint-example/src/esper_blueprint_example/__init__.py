"""A complete third-party plugin: a blueprint of coordinate attention."""
