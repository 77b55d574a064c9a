"""Write a new plugin: names, templates, and the files that they become."""
