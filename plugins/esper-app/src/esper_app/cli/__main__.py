"""``python -m esper_app.cli``: the `esper` command where its script is not on the path."""

from esper_app.cli import main

main()
