"""``python -m esper_core.cli``: the `esper` command where its script is not on the path."""

from esper_core.cli import main

main()
