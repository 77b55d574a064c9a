"""``python -m esper_app``: the `esper` command, also as what several processes of one job are started with.

The first process of a job runs the command; the others follow it, if a distribution with an executor for such jobs is
installed. Its entry point in the group ``esper.ranks`` is a module with `is_follower`, `follow`, `is_leader`, `lead`.
"""

import atexit
import os
from importlib.metadata import entry_points

from esper_app.cli import main


def run() -> None:
    """Run the command, or follow the process that does."""
    if "RANK" in os.environ:
        for found in entry_points(group="esper.ranks"):
            ranks = found.load()
            if ranks.is_follower():
                ranks.follow()
                return
            if ranks.is_leader():
                atexit.register(ranks.lead())
    main()


if __name__ == "__main__":
    run()
