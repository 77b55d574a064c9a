"""An Esper blueprint: a copy of the site's own submodule, behind it."""
