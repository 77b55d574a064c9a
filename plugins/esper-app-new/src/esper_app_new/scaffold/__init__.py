"""Write a new plugin: its names, the templates, and the files made from them."""
