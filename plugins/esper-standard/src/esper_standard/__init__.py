"""No code: installing `esper-standard` installs the core and the standard plugins."""
